//! What claims to be fast is measured here, never in a timed test. Figures of one run on one machine are compared with
//! each other only.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use facetd::Host;
use support::Bench;

mod support;

/// Iterations that one call into the guest loops at most: an answer now and then keeps the measured part honest.
const LOOP_MAX: u64 = 2_000;

impl Bench {
    /// The time that the guest takes to do `method` `n` times.
    fn time(&self, method: &str, n: u64, extra: u64) -> Duration {
        self.runtime.block_on(async {
            told(self.host(), method, (1, extra)).await;
            let begun = Instant::now();
            let mut left = n;
            while left > 0 {
                let now = left.min(LOOP_MAX);
                // A different second argument each time, for methods that make names of it.
                let extra = if method == "cold" { left + 1 } else { extra };
                told(self.host(), method, (now, extra)).await;
                left -= now;
            }
            begun.elapsed()
        })
    }
}

async fn told(host: &Host, method: &str, args: (u64, u64)) {
    let answer = support::call(host, "b", "bench", method, args).await;
    answer.expect("the guest does as it is told");
}

fn facets(criterion: &mut Criterion) {
    let mut bench = Bench::new();
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
    bench.stop();
}

/// Rounds in which both are measured, one directly after the other: what else the machine does hurts both.
const ROUNDS: usize = 40;

/// What limits cost: the same host with and without them, in one run. Told as a ratio, for each of its own figures is the machine's.
fn limits(_: &mut Criterion) {
    let (mut with, mut without) = (Bench::of_built(), Bench::without_limits());
    // So many that a round takes a tenth of a second or more.
    for (method, extra, n) in [("calls", 16, 20_000), ("gets", 0, 200_000), ("selects", 0, 100_000)] {
        let mut ratios: Vec<_> = (0..ROUNDS)
            .map(|round| {
                let time = |bench: &Bench| bench.time(method, n, extra).as_secs_f64();
                match round % 2 {
                    0 => time(&with) / time(&without),
                    _ => 1.0 / (time(&without) / time(&with)),
                }
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "limits/{method}: with limits {:.3} times as long as without (quarters {:.3} and {:.3}, {ROUNDS} rounds)",
            ratios[ROUNDS / 2],
            ratios[ROUNDS / 4],
            ratios[ROUNDS * 3 / 4]
        );
    }
    with.stop();
    without.stop();
}

criterion_group!(benches, facets, limits);
criterion_main!(benches);
