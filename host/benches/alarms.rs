//! Many alarms that come due within one minute: how many are delivered in a second, how late, how many at a time, with how
//! much memory. A measurement, not a test: it takes minutes, and decides nothing.
//!
//!     cargo bench --bench alarms
//!     FACETD_BENCH_ALARMS=10000 FACETD_BENCH_SECONDS=10 cargo bench --bench alarms

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use facetd::config::Config;
use facetd::startup::{Format, Payload};
use facetd::{Host, ObjectRef};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Facets of one object.
const FACETS: u64 = 100;
/// Objects that are filled at a time.
const FILLING: usize = 4;
/// Between two looks at memory and at what is under way.
const LOOK: Duration = Duration::from_millis(20);

/// How late each handler was, ms, as the handlers log it.
#[derive(Clone, Default)]
struct Lateness(Arc<Mutex<Vec<u64>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lateness {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(Option<u64>);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}")
                        .strip_prefix("late ")
                        .and_then(|ms| ms.parse().ok());
                }
            }
        }
        if event.metadata().target() == "facet" {
            let mut message = Message(None);
            event.record(&mut message);
            self.0.lock().expect("nobody panics").extend(message.0);
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    since.as_millis() as u64
}

/// Resident memory, MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Sets the alarms of one object; until the host has room.
async fn fill(host: &Host, object: u64, from_ms: u64, within_ms: u64) {
    let object = ObjectRef::Name(format!("object-{object}"));
    for _ in 0..1_000 {
        let args = Payload {
            format: Format::Json,
            body: format!("[{FACETS},{from_ms},{within_ms}]").into_bytes(),
        };
        match host.call("a", &object, "alarms", args).await {
            Ok(_) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("the host never had room");
}

fn main() {
    let (many, seconds) = (
        setting("FACETD_BENCH_ALARMS", 100_000),
        setting("FACETD_BENCH_SECONDS", 60),
    );
    let project: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let built = Command::new(env!("CARGO_BIN_EXE_facetd"))
        .arg("build")
        .arg(&project)
        .status();
    assert!(
        built.expect("the binary is there").success(),
        "the guest could not be built"
    );
    let late = Lateness::default();
    tracing_subscriber::registry().with(late.clone()).init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let data = tempfile::tempdir().expect("a temporary directory");
    let config = Config::read(&project).expect("the bench's own configuration");
    runtime.block_on(async {
        let host = Host::open(&config, data.path()).expect("a host");
        let begun = Instant::now();
        let objects = many / FACETS;
        // Late enough that nothing comes due before all are set.
        let from_ms = now_ms() + 10_000 + many * 3;
        let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let fillers: Vec<_> = (0..FILLING)
            .map(|_| {
                let (host, next) = (host.clone(), next.clone());
                tokio::spawn(async move {
                    loop {
                        let object = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if object >= objects {
                            return;
                        }
                        fill(&host, object, from_ms, seconds * 1_000).await;
                    }
                })
            })
            .collect();
        for filler in fillers {
            filler.await.expect("fillers do not panic");
        }
        let set_s = begun.elapsed().as_secs_f64();
        println!("{many} alarms set in {set_s:.0} s, resident {} MiB", resident_mib());
        assert!(
            now_ms() < from_ms,
            "setting them took too long: the first are due already"
        );
        tokio::time::sleep(Duration::from_millis(from_ms.saturating_sub(now_ms()))).await;
        let resident_before = resident_mib();
        let begun = Instant::now();
        let (mut most, mut resident_most) = (0, 0);
        let delivered = || late.0.lock().expect("nobody panics").len() as u64;
        while delivered() < objects * FACETS {
            most = most.max(host.alarms_under_way());
            resident_most = resident_most.max(resident_mib());
            assert!(
                begun.elapsed() < Duration::from_secs(30 * seconds),
                "only {} came",
                delivered()
            );
            tokio::time::sleep(LOOK).await;
        }
        let took_s = begun.elapsed().as_secs_f64();
        let mut late = late.0.lock().expect("nobody panics").clone();
        late.sort_unstable();
        let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize];
        println!(
            "delivered {} in {took_s:.1} s ({:.0}/s), due within {seconds} s",
            late.len(),
            late.len() as f64 / took_s
        );
        println!(
            "late, ms: half {}, 99 % {}, 99.9 % {}, most {}",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        println!("under way at a time: {most}; resident {resident_before} MiB before, {resident_most} MiB at most");
        host.stop().await.expect("a clean stop");
    });
}
