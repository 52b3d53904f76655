//! What claims to be fast is measured here, never in a timed test. Figures of one run on one machine are compared with
//! each other only.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use facetd::config::Config;
use facetd::startup::{Format, Payload};
use facetd::{Host, ObjectRef};
use tokio::runtime::Runtime;

/// Iterations that one call into the guest loops at most: an answer now and then keeps the measured part honest.
const LOOP_MAX: u64 = 2_000;

struct Bench {
    runtime: Runtime,
    host: Host,
    /// Removed when the bench is done.
    _data: tempfile::TempDir,
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
        let data = tempfile::tempdir().expect("a temporary directory");
        let config = Config::read(&project).expect("the bench's own configuration");
        let host = runtime
            .block_on(async { Host::open(&config, data.path()) })
            .expect("a host");
        Self {
            runtime,
            host,
            _data: data,
        }
    }

    /// The time that the guest takes to do `method` `n` times.
    fn time(&self, method: &str, n: u64, extra: u64) -> Duration {
        self.runtime.block_on(async {
            self.call(method, 1, extra).await;
            let begun = Instant::now();
            let mut left = n;
            while left > 0 {
                let now = left.min(LOOP_MAX);
                // A different second argument each time, for methods that make names of it.
                self.call(method, now, if method == "cold" { left + 1 } else { extra })
                    .await;
                left -= now;
            }
            begun.elapsed()
        })
    }

    async fn call(&self, method: &str, n: u64, extra: u64) {
        let args = Payload {
            format: Format::Json,
            body: format!("[{n},{extra}]").into_bytes(),
        };
        let object = ObjectRef::Name("bench".into());
        self.host
            .call("b", &object, method, args)
            .await
            .expect("the guest does as it is told");
    }
}

fn facets(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("facet");
    group.sample_size(20);
    for bytes in [16, 65_536] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("call {bytes} B"), |b| {
            b.iter_custom(|n| bench.time("calls", n, bytes))
        });
    }
    group.bench_function("cold start", |b| b.iter_custom(|n| bench.time("cold", n, 0)));
    group.bench_function("kv get", |b| b.iter_custom(|n| bench.time("gets", n, 0)));
    group.bench_function("kv put", |b| b.iter_custom(|n| bench.time("puts", n, 0)));
    group.bench_function("select", |b| b.iter_custom(|n| bench.time("selects", n, 0)));
    group.bench_function("insert", |b| b.iter_custom(|n| bench.time("inserts", n, 0)));
    group.finish();
    bench.runtime.block_on(bench.host.stop()).expect("a clean stop");
}

criterion_group!(benches, facets);
criterion_main!(benches);
