//! Many alarms that come due within one minute: how many are delivered in a second, how late, how many at a time, with how
//! much memory. A measurement, not a test: it takes minutes, and decides nothing.
//!
//!     cargo bench --bench alarms
//!     FACETD_BENCH_ALARMS=10000 FACETD_BENCH_SECONDS=10 cargo bench --bench alarms

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use facetd::startup::{Format, Payload};
use facetd::{Host, ObjectRef};
use support::Bench;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

mod support;

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

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    since.as_millis() as u64
}

/// Resident memory, MiB.
fn resident_mib() -> u64 {
    support::resident_kib() / 1024
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
        support::setting("FACETD_BENCH_ALARMS", 100_000),
        support::setting("FACETD_BENCH_SECONDS", 60),
    );
    let late = Lateness::default();
    tracing_subscriber::registry().with(late.clone()).init();
    let mut bench = Bench::new();
    bench.runtime.block_on(async {
        let host = bench.host().clone();
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
    });
    bench.stop();
}
