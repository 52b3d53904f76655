//! What big trees cost: ending and deleting many facets at once, listing them, opening an object that has many. Figures of
//! one run on one machine are compared with each other only.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use facetd::config::Config;
use facetd::startup::{Format, Payload};
use facetd::{Host, ObjectRef};
use tokio::runtime::Runtime;

/// Facets that are ended or deleted at once.
const MANY: u64 = 1_000;
/// Facets of the objects that are opened: the goal is 20 ms for the first of them, 100 ms for the second.
const STORED: [u64; 2] = [5_000, 60_000];
/// Set for a process that only weighs what lies in this data directory.
const WEIGH_VARIABLE: &str = "FACETD_BENCH_WEIGH";
/// Children made in one call.
const GROWN_AT_ONCE: u64 = 500;

struct Bench {
    runtime: Runtime,
    config: Config,
    /// None while it is restarted.
    host: Option<Host>,
    data: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let project: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
        let built = Command::new(env!("CARGO_BIN_EXE_facetd"))
            .arg("build")
            .arg(&project)
            .status();
        assert!(
            built.expect("the binary is there").success(),
            "the guest could not be built"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let config = Config::read(&project).expect("the bench's own configuration");
        let host = runtime
            .block_on(async { Host::open(&config, data.path()) })
            .expect("a host");
        Self {
            runtime,
            config,
            host: Some(host),
            data,
        }
    }

    /// Stops the host and starts another one on what it left.
    fn restart(&mut self) {
        self.stop();
        let (config, data) = (&self.config, self.data.path());
        let host = self.runtime.block_on(async { Host::open(config, data) });
        self.host = Some(host.expect("a host"));
    }

    fn stop(&mut self) {
        let host = self.host.take().expect("it runs");
        self.runtime.block_on(host.stop()).expect("a clean stop");
    }

    fn host(&self) -> &Host {
        self.host.as_ref().expect("it runs")
    }

    fn call(&self, object: &str, method: &str, n: u64, extra: u64) {
        let answer = self.runtime.block_on(call(self.host(), object, method, n, extra));
        answer.unwrap_or_else(|error| panic!("{method} of {object}: {error}"));
    }

    /// Children with a key each, below the root.
    fn grow(&self, object: &str, many: u64) {
        for salt in 0..many.div_ceil(GROWN_AT_ONCE) {
            self.call(object, "grow", GROWN_AT_ONCE.min(many - salt * GROWN_AT_ONCE), salt);
        }
    }

    /// How long it takes to end a subtree of facets that are all being called, until who called has been told.
    fn abort(&self) -> Duration {
        let (host, object) = (self.host(), "aborted");
        self.runtime.block_on(async {
            let mut holding = tokio::spawn({
                let host = host.clone();
                async move { call(&host, object, "hold_top", MANY / 2 - 1, 0).await }
            });
            tokio::select! {
                () = wait_for(host, object, MANY as usize + 2) => {}
                ended = &mut holding => panic!("nobody is held: {ended:?}"),
            }
            let begun = Instant::now();
            call(host, object, "abort_top", 0, 0).await.expect("an abort");
            let told = holding.await.expect("a task that does not panic");
            let took = begun.elapsed();
            assert!(told.is_err(), "who calls an aborted facet is told so");
            took
        })
    }

    /// How long it takes to delete a subtree that runs and has data, until that is durable.
    fn delete(&self) -> Duration {
        let object = "deleted";
        self.call(object, "grow_top", MANY - 1, 0);
        let begun = Instant::now();
        self.call(object, "delete_top", 0, 0);
        begun.elapsed()
    }
}

async fn call(host: &Host, object: &str, method: &str, n: u64, extra: u64) -> Result<Payload, String> {
    let args = Payload {
        format: Format::Json,
        body: format!("[{n},{extra}]").into_bytes(),
    };
    let object = ObjectRef::Name(object.into());
    host.call("b", &object, method, args)
        .await
        .map_err(|error| error.to_string())
}

/// Until so many facets of the object run.
async fn wait_for(host: &Host, object: &str, many: usize) {
    let object = ObjectRef::Name(object.into());
    loop {
        let (_, facets) = host.tree("b", &object).expect("a tree");
        let running = facets
            .iter()
            .filter(|facet| facet.state == "running" && facet.memory_bytes > 0);
        if running.count() >= many {
            // The last of them has begun, and may not have got to where it waits.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).expect("a number")
}

fn trees(criterion: &mut Criterion) {
    if let Some(data) = std::env::var_os(WEIGH_VARIABLE) {
        return weigh(Path::new(&data));
    }
    let mut bench = Bench::new();
    let mut group = criterion.benchmark_group("tree");
    // What is not measured, making the facets, takes much longer than what is.
    group.sample_size(10).sampling_mode(criterion::SamplingMode::Flat);
    group
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(200));
    let sum = |n: u64, one: &dyn Fn() -> Duration| (0..n).map(|_| one()).sum();
    group.bench_function(format!("abort {MANY} with a call in flight each"), |b| {
        b.iter_custom(|n| sum(n, &|| bench.abort()))
    });
    group.bench_function(format!("delete {MANY} that run and have data"), |b| {
        b.iter_custom(|n| sum(n, &|| bench.delete()))
    });
    for many in STORED {
        let object = format!("of-{many}");
        bench.grow(&object, many);
        group.bench_function(format!("list {many}"), |b| {
            b.iter_custom(|n| {
                sum(n, &|| {
                    let begun = Instant::now();
                    bench.call(&object, "list", many, 0);
                    begun.elapsed()
                })
            })
        });
        group.bench_function(format!("open {many} and call one"), |b| {
            b.iter_custom(|n| {
                (0..n)
                    .map(|_| {
                        bench.restart();
                        // The class is loaded, and the namespace in use.
                        bench.call("other", "keep", 1, 0);
                        let begun = Instant::now();
                        bench.call(&object, "touch", 1, many / GROWN_AT_ONCE / 2);
                        begun.elapsed()
                    })
                    .sum()
            })
        });
        group.bench_function(format!("start one more beside {many}"), |b| {
            b.iter_custom(|n| {
                let begun = Instant::now();
                bench.call(&object, "cold", n, 1_000_000);
                begun.elapsed()
            })
        });
    }
    group.bench_function("start one more beside none", |b| {
        b.iter_custom(|n| {
            let begun = Instant::now();
            bench.call("alone", "cold", n, 1_000_000);
            begun.elapsed()
        })
    });
    group.finish();
    bench.stop();
    // In a process of its own: what this one has freed would be used again.
    let weighed = std::env::current_exe().map(|exe| Command::new(exe).env(WEIGH_VARIABLE, bench.data.path()).status());
    assert!(
        weighed.is_ok_and(|status| status.is_ok_and(|status| status.success())),
        "it is weighed"
    );
}

/// Says what the stored facets of an object take that is in memory, and runs nothing.
fn weigh(data: &Path) {
    let project: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let config = Config::read(&project).expect("the bench's own configuration");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let host = Host::open(&config, data).expect("a host");
        let call = async |object: &str, method, n| call(&host, object, method, n, 0).await.expect("an answer");
        call("other", "keep", 1).await;
        for many in STORED {
            let before_kib = resident_kib();
            call(&format!("of-{many}"), "list", many).await;
            let kib = resident_kib().saturating_sub(before_kib);
            println!("{many} stored, idle facets, and a root that runs, take {kib} KiB of memory");
        }
        host.stop().await.expect("a clean stop");
    });
}

criterion_group!(benches, trees);
criterion_main!(benches);
