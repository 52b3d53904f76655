//! One tenant among others that want all of the processor: how long its requests take, over HTTP, while eight facets of other
//! objects compute for ever, query for ever, trap and start again, or have large components compiled. Ratios within one run.
//!
//!     cargo bench --bench fairness

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use facetd::startup::{Format, Payload};
use facetd::{Doors, Host, ObjectRef};
use tokio::task::JoinHandle;

use support::{Bench, config};

/// Facets that want all they can get.
const GREEDY: usize = 8;
/// Requests of the tenant that is watched.
const REQUESTS: usize = 800;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(5);

fn json(text: String) -> Payload {
    Payload {
        format: Format::Json,
        body: text.into_bytes(),
    }
}

/// Calls of `method` on one object each, again and again until `stop`; they may fail, that is what limits are for.
fn greed(
    host: &Host,
    method: &'static str,
    args: &'static str,
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
) -> Vec<JoinHandle<()>> {
    (0..GREEDY)
        .map(|number| {
            let (host, stop, done) = (host.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                let object = ObjectRef::Name(format!("greedy-{number}"));
                while !stop.load(Ordering::Relaxed) {
                    let _ = host.call("greedy", &object, method, json(args.to_owned())).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect()
}

/// Latencies of requests to a facet with a row in its database, one after the other.
fn watch(url: &str) -> Vec<Duration> {
    let agent = ureq::Agent::new_with_defaults();
    let mut took = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        let answer = agent.post(url).send("[1,0]");
        let mut answer = answer.expect("the host answers");
        answer.body_mut().read_to_string().expect("an answer");
        took.push(begun.elapsed());
        std::thread::sleep(PAUSE);
    }
    took.sort_unstable();
    took
}

fn main() {
    let bench = Bench::new();
    let (runtime, host) = (&bench.runtime, bench.host().clone());
    let doors = runtime.block_on(async {
        let doors = Doors::new(&config(), bench.data(), Some("127.0.0.1:0"), true).await;
        doors.expect("doors").open().await.expect("a port")
    });
    let url = format!("{}/rpc/a/watched/keep", doors.url());
    runtime.spawn(doors.serve(host.clone(), std::future::pending()));
    let rows = [
        ("nobody else", "", ""),
        ("8 facets that compute", "spin", "[200,0]"),
        ("8 facets that compute beyond their limit", "spin", "[1000000,0]"),
        ("8 facets with endless queries", "query", "[1,0]"),
        ("nobody else, again", "", ""),
    ];
    println!(
        "{:<45} {:>9} {:>9} {:>9} {:>9}  greedy calls",
        "beside the watched facet", "p50 ms", "p90 ms", "p99 ms", "most ms"
    );
    for (what, method, args) in rows {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let _entered = runtime.enter();
        let greedy = match method {
            "" => Vec::new(),
            _ => greed(&host, method, args, &stop, &done),
        };
        std::thread::sleep(Duration::from_millis(300));
        let took = watch(&url);
        stop.store(true, Ordering::Relaxed);
        for one in greedy {
            runtime.block_on(one).expect("it does not panic");
        }
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!(
            "{what:<45} {:>9.2} {:>9.2} {:>9.2} {:>9.2}  {}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
            done.load(Ordering::Relaxed)
        );
    }
    runtime.block_on(host.stop()).expect("a clean stop");
}
