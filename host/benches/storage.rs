//! What storage costs: durable answers with many writers and with one, on this disk and on one with a budget of syncs, and
//! what SQLite alone takes for the same. Figures of one run on one machine are compared with each other only.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use facetd::Host;
use rusqlite::Connection;
use support::Bench;

mod support;

/// Objects that are written to in turn.
const OBJECTS: u64 = 64;
/// Calls in flight.
const WRITERS: u64 = 32;
/// A sync on a disk that lends 250 of them a second, one after the other.
const SLOW_SYNC_MS: &str = "4";
/// The host's hook for that; see docs/testing.md.
const SYNC_DELAY_VARIABLE: &str = "FACETD_TEST_SYNC_DELAY_MS";

struct Durable(Bench);

impl Durable {
    fn new(sync_delay_ms: Option<&str>) -> Self {
        // SAFETY: no other thread runs: the runtime of the host before was dropped, the next is made below.
        unsafe {
            match sync_delay_ms {
                Some(delay_ms) => std::env::set_var(SYNC_DELAY_VARIABLE, delay_ms),
                None => std::env::remove_var(SYNC_DELAY_VARIABLE),
            }
        }
        let bench = Bench::of_built();
        bench.runtime.block_on(async {
            for object in 0..OBJECTS {
                call(bench.host(), object, "puts", 0).await;
            }
        });
        Self(bench)
    }

    /// The time of `n` durable answers, `writers` in flight, over `objects` objects.
    fn time(&self, n: u64, writers: u64, objects: u64) -> Duration {
        let left = Arc::new(AtomicU64::new(n));
        let begun = Instant::now();
        self.0.runtime.block_on(async {
            let tasks: Vec<_> = (0..writers)
                .map(|_| {
                    let (host, left) = (self.0.host().clone(), left.clone());
                    tokio::spawn(async move {
                        while let Ok(now) =
                            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                        {
                            call(&host, now % objects, "puts", now).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("a writer does not panic");
            }
        });
        begun.elapsed()
    }

    /// Reads of one object, one after the other, while others are written to. Answers the 50th and the 99th percentile.
    fn reads(&self, writers: u64) -> (Duration, Duration) {
        const READS: usize = 2_000;
        self.0.runtime.block_on(async {
            let stop = Arc::new(AtomicU64::new(0));
            let tasks: Vec<_> = (0..writers)
                .map(|writer| {
                    let (host, stop) = (self.0.host().clone(), stop.clone());
                    tokio::spawn(async move {
                        let mut value = 0;
                        while stop.load(Ordering::Relaxed) == 0 {
                            value += 1;
                            call(&host, 1 + writer % (OBJECTS - 1), "puts", value).await;
                        }
                    })
                })
                .collect();
            let mut took = Vec::with_capacity(READS);
            for _ in 0..READS {
                let begun = Instant::now();
                call(self.0.host(), 0, "gets", 0).await;
                took.push(begun.elapsed());
            }
            stop.store(1, Ordering::Relaxed);
            for task in tasks {
                task.await.expect("a writer does not panic");
            }
            took.sort();
            (took[READS / 2], took[READS * 99 / 100])
        })
    }
}

/// One call that writes or reads one key.
async fn call(host: &Host, object: u64, method: &str, value: u64) {
    let answer = support::call(host, "b", &format!("o{object}"), method, (1, value % 1_000_000_000)).await;
    answer.expect("the guest does as it is told");
}

fn durable(criterion: &mut Criterion) {
    support::build_guest();
    for (name, delay) in [("this disk", None), ("4 ms a sync, one at a time", Some(SLOW_SYNC_MS))] {
        let mut bench = Durable::new(delay);
        let mut group = criterion.benchmark_group(format!("durable, {name}"));
        group.sample_size(10).throughput(Throughput::Elements(1));
        group.bench_function("64 objects, 32 writers", |b| {
            b.iter_custom(|n| bench.time(n, WRITERS, OBJECTS))
        });
        group.bench_function("one object, one writer", |b| b.iter_custom(|n| bench.time(n, 1, 1)));
        group.finish();
        let (alone, busy) = (bench.reads(0), bench.reads(WRITERS));
        println!("reads, {name}: alone p50 {:?} p99 {:?}", alone.0, alone.1);
        println!("reads, {name}: beside 32 writers p50 {:?} p99 {:?}", busy.0, busy.1);
        bench.0.stop();
    }
}

/// The same as a facet's connection, without a facet around it.
fn sqlite(path: &Path, synchronous: &str) -> Connection {
    let conn = Connection::open(path).expect("a database");
    conn.execute_batch(&format!(
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-256; PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};
         CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 2); CREATE TABLE u(id INTEGER PRIMARY KEY, v);"
    ))
    .expect("a table");
    conn
}

fn alone(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let conn = sqlite(&dir.path().join("alone.sqlite"), "OFF");
    let mut group = criterion.benchmark_group("rusqlite alone");
    conn.execute_batch("BEGIN").expect("a transaction");
    group.bench_function("select by key in a transaction", |b| {
        b.iter(|| {
            let mut statement = conn
                .prepare_cached("SELECT v FROM t WHERE id = ?")
                .expect("a statement");
            let v: i64 = statement.query_row([1], |row| row.get(0)).expect("a row");
            black_box(v)
        })
    });
    group.bench_function("insert in a transaction", |b| {
        b.iter(|| {
            let mut statement = conn.prepare_cached("INSERT INTO u(v) VALUES (?)").expect("a statement");
            statement.execute([1]).expect("an insert")
        })
    });
    conn.execute_batch("ROLLBACK").expect("it ends");
    let full = sqlite(&dir.path().join("full.sqlite"), "FULL");
    group.sample_size(20);
    group.bench_function("durable insert, synchronous=FULL, one writer", |b| {
        b.iter(|| full.execute("INSERT INTO u(v) VALUES (1)", ()).expect("an insert"))
    });
    group.finish();
}

// The host first: it tells SQLite where to take its memory, which must be told before anything else is asked of it.
criterion_group!(benches, durable, alone);
criterion_main!(benches);
