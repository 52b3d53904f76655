//! What big trees cost: ending and deleting many facets at once, listing them, opening an object that has many. Figures of
//! one run on one machine are compared with each other only.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use facetd::startup::Payload;
use facetd::{Host, ObjectRef};
use support::{Bench, resident_kib};

mod support;

/// Facets that are ended or deleted at once.
const MANY: u64 = 1_000;
/// Facets of the objects that are opened: the goal is 20 ms for the first of them, 100 ms for the second.
const STORED: [u64; 2] = [5_000, 60_000];
/// Set for a process that only weighs what lies in this data directory.
const WEIGH_VARIABLE: &str = "FACETD_BENCH_WEIGH";
/// Facets that are made and deleted again, one after the other; another number by the variable.
const CHURN_CYCLES: u64 = 20_000;
const CHURN_VARIABLE: &str = "FACETD_BENCH_CHURN";
/// Of which so many in one call.
const CHURNED_AT_ONCE: u64 = 500;
/// Facets beside them that stay.
const CHURN_STAY: u64 = 10;
/// Looks at index and memory on the way.
const CHURN_LOOKS: u64 = 10;
/// Children made in one call.
const GROWN_AT_ONCE: u64 = 500;

impl Bench {
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

    /// Children that store something and are deleted, one after the other, beside some that stay: neither the index nor
    /// memory may grow with them.
    fn churn() {
        let cycles = support::setting(CHURN_VARIABLE, CHURN_CYCLES);
        // On a directory of its own, with one index, by a host that has freed nothing yet.
        let mut bench = Bench::of_built();
        bench.grow("churned", CHURN_STAY);
        let look = |bench: &Bench, when: &str| {
            let (index, memory) = (longest_index_bytes(bench.data()), resident_kib());
            println!("{when}: index {index} bytes, resident {memory} KiB");
        };
        // What is used once stays in use.
        bench.call("churned", "churn", CHURNED_AT_ONCE, 0);
        look(&bench, "before");
        let begun = Instant::now();
        let calls = cycles.div_ceil(CHURNED_AT_ONCE);
        let looks = calls.div_ceil(CHURN_LOOKS).max(1);
        for nth in 0..calls {
            let now = CHURNED_AT_ONCE.min(cycles - nth * CHURNED_AT_ONCE);
            bench.call("churned", "churn", now, 0);
            if (nth + 1) % looks == 0 {
                look(&bench, &format!("after {}", nth * CHURNED_AT_ONCE + now));
            }
        }
        let took_s = begun.elapsed().as_secs_f64();
        println!(
            "{cycles} facets made and deleted, {:.0} in a second",
            cycles as f64 / took_s
        );
        bench.stop();
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

/// Length of the longest index in a data directory.
fn longest_index_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory that can be read");
    let bytes = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        match path.extension().is_some_and(|extension| extension == "facets") {
            // It may begin anew right now.
            _ if path.is_dir() => longest_index_bytes(&path),
            true => std::fs::metadata(&path).map_or(0, |found| found.len()),
            false => 0,
        }
    });
    bytes.max().unwrap_or(0)
}

async fn call(host: &Host, object: &str, method: &str, n: u64, extra: u64) -> Result<Payload, String> {
    support::call(host, "b", object, method, (n, extra)).await
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
    Bench::churn();
    // In a process of its own: what this one has freed would be used again.
    let weighed = std::env::current_exe().map(|exe| Command::new(exe).env(WEIGH_VARIABLE, bench.data()).status());
    assert!(
        weighed.is_ok_and(|status| status.is_ok_and(|status| status.success())),
        "it is weighed"
    );
}

/// Says what the stored facets of an object take that is in memory, and runs nothing.
fn weigh(data: &Path) {
    support::runtime().block_on(async {
        let host = Host::open(&support::config(), data).expect("a host");
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
