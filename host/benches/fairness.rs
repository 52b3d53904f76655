//! One tenant among others that want all of the processor: how long its requests take, over HTTP, while eight facets of other
//! objects compute for ever, query for ever, trap and start again, or have large components compiled. Ratios within one run.
//!
//!     cargo bench --bench fairness

#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches the host from outside, by the machine's own clock"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use facetd::config::Config;
use facetd::startup::{Format, Payload};
use facetd::{Host, ObjectRef};
use tokio::task::JoinHandle;

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
    let project: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let built = Command::new(env!("CARGO_BIN_EXE_facetd"))
        .arg("build")
        .arg(&project)
        .status();
    assert!(
        built.expect("the binary is there").success(),
        "the guest could not be built"
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let data = tempfile::tempdir().expect("a temporary directory");
    let config = Config::read(&project).expect("the bench's own configuration");
    let host = runtime
        .block_on(async { Host::open(&config, data.path()) })
        .expect("a host");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let url = format!(
        "http://{}/rpc/a/watched/keep",
        listener.local_addr().expect("it has one")
    );
    runtime.spawn(facetd::serve(host.clone(), listener, None, std::future::pending()));
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
