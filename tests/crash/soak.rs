//! A journal of a sixteenth of its size under everything at once: facets that are never at rest, that are deleted and cloned while they
//! write, and that write more than it holds. Nobody but who was deleted or cloned over is refused, and a clean stop leaves one segment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::support::cli::facetd;
use crate::support::client::{Client, Failure};
use crate::support::host::Host;
use crate::{config, run_in_child};

/// How long it goes on, seconds; an hour is a soak.
const SECONDS_VARIABLE: &str = "FACETD_SOAK_S";
const SECONDS: u64 = 15;
const TREES: usize = 3;
/// A value, and what packing leaves of it: each is another one.
const MUCH_BYTES: usize = 400_000;
/// The host is asked how it is this often.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What one client does again and again.
type Step<'a> = Box<dyn FnMut(&Client) -> Result<()> + Send + 'a>;

#[derive(Default)]
struct Done {
    turns: AtomicU64,
    much: AtomicU64,
    deletes: AtomicU64,
    clones: AtomicU64,
}

/// Refused for what others have done to it, and for no other reason.
fn was_ended(failure: &Failure) -> bool {
    matches!(failure.kind.as_str(), "deleted" | "aborted" | "restarted")
}

fn expect<T>(what: &str, result: Result<Result<T, Failure>>) -> Result<()> {
    match result? {
        Err(failure) if !was_ended(&failure) => bail!("{what}: {failure:?}"),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn noise(seed: &mut u64) -> String {
    let digits = std::iter::repeat_with(|| {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from((*seed >> 40) % 75).expect("it is below 75"))
    });
    digits.filter(|c| !matches!(c, '\\' | '"')).take(MUCH_BYTES).collect()
}

#[test]
fn a_small_journal_under_everything_at_once_is_empty_afterwards() -> Result<()> {
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| text.parse().unwrap_or(SECONDS));
    let mut host = Host::new(&config())?;
    // Of segments of 4 MiB there are sixteen.
    host.set_env("FACETD_TEST_SEGMENT_MIB", "4");
    let url = host.url()?;
    let (over, done) = (AtomicBool::new(false), Done::default());
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let journal = host.data().join("journal");
    let mut most = 0;
    thread::scope(|scope| -> Result<()> {
        let (url, over, done) = (&url, &over, &done);
        let mut steps: Vec<Step<'_>> = Vec::new();
        for tree in 0..TREES {
            let on = format!("t/tree-{tree}");
            let put = |key: &str, value: &str| json!([{"op": "kv.put", "key": key, "value": value}]);
            let (name, small) = (on.clone(), put("k", "v"));
            // Two clients: while one turn is made durable, the next one runs.
            for _ in 0..2 {
                let (name, small) = (name.clone(), small.clone());
                steps.push(Box::new(move |client| {
                    done.turns.fetch_add(1, Ordering::Relaxed);
                    expect("busy", run_in_child(client, url, &name, "busy", small.clone()))
                }));
            }
            let (name, small) = (on.clone(), put("k", "v"));
            steps.push(Box::new(move |client| {
                expect("doomed", run_in_child(client, url, &name, "doomed", small.clone()))
            }));
            let name = on.clone();
            steps.push(Box::new(move |client| {
                done.deletes.fetch_add(1, Ordering::Relaxed);
                let delete = json!([{"op": "facet.delete", "name": "doomed"}]);
                expect("delete", client.run(url, &name, &delete))
            }));
            let name = on;
            steps.push(Box::new(move |client| {
                done.clones.fetch_add(1, Ordering::Relaxed);
                let clone = json!([{"op": "facet.clone", "src": "busy", "dst": "copy"}]);
                expect("clone", client.run(url, &name, &clone))
            }));
        }
        let mut seed = 1;
        steps.push(Box::new(move |client| {
            done.much.fetch_add(1, Ordering::Relaxed);
            let much: Value = json!([{"op": "kv.put", "key": "much", "value": noise(&mut seed)}]);
            expect("much", client.run(url, "t/much", &much))
        }));
        let work = |mut step: Step<'_>| -> Result<()> {
            let client = Client::new();
            while !over.load(Ordering::SeqCst) {
                step(&client)?;
            }
            Ok(())
        };
        let workers: Vec<_> = steps.into_iter().map(|step| scope.spawn(move || work(step))).collect();
        while Instant::now() < deadline && workers.iter().all(|worker| !worker.is_finished()) {
            most = most.max(segments(&journal)?);
            thread::sleep(LOOK_EVERY);
        }
        over.store(true, Ordering::SeqCst);
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("it does not panic"))
    })?;
    let Done {
        turns,
        much,
        deletes,
        clones,
    } = &done;
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{seconds} s: {} turns, {} long ones, {} deletes, {} clones; {most} segments at most",
        of(turns),
        of(much),
        of(deletes),
        of(clones)
    );
    host.stop()?;
    ensure!(segments(&journal)? == 1, "segments are left of a clean stop");
    ensure!(most <= 17, "{most} segments where 16 are the most, and one to spare");
    let checked = facetd(&["check", "--data", &host.data().to_string_lossy()])?;
    ensure!(checked.status.success(), "{checked:?}");
    Ok(())
}

fn segments(journal: &std::path::Path) -> Result<usize> {
    let mut many = 0;
    for entry in std::fs::read_dir(journal)? {
        many += usize::from(entry?.path().extension().is_some_and(|end| end == "log"));
    }
    Ok(many)
}
