//! A disk that dies under the journal: who waits for it is told that nobody knows, the host stops by itself, and what was
//! acknowledged is there when it runs again.

use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::config;
use crate::support::client::{Client, Failure};
use crate::support::host::Host;

const VARIABLE: &str = "FACETD_TEST_JOURNAL_FAILS_AFTER";
const WRITERS: usize = 4;
/// No test gets so far: the journal fails earlier.
const TURNS_MAX: u64 = 10_000;

/// What became of a writer.
struct End {
    on: String,
    acknowledged: u64,
    /// None if the host was gone.
    answer: Option<Failure>,
}

/// Writes turn after turn, in the root and in a child, until one is not acknowledged.
fn write(url: &str, on: String) -> Result<End> {
    let client = Client::new();
    let mut acknowledged = 0;
    loop {
        let n = (acknowledged + 1).to_string();
        ensure!(acknowledged < TURNS_MAX, "the journal does not fail");
        let put = json!({"op": "kv.put", "key": "n", "value": n});
        let ops = json!([
            put,
            {"op": "facet.get", "name": "c", "class": "puppet", "as": "c"},
            {"op": "call", "stub": "c", "ops": [put]},
        ]);
        match client.run(url, &on, &ops) {
            Ok(Ok(results)) => {
                ensure!(results.iter().all(|result| result.get("ok").is_some()), "{results:?}");
                acknowledged += 1;
            }
            Ok(Err(failure)) => {
                let answer = Some(failure);
                return Ok(End {
                    on,
                    acknowledged,
                    answer,
                });
            }
            Err(_) => {
                return Ok(End {
                    on,
                    acknowledged,
                    answer: None,
                });
            }
        }
    }
}

#[test]
fn a_journal_that_fails_stops_the_host_and_loses_nothing_that_was_acknowledged() -> Result<()> {
    for writes in [2, 7, 40] {
        fails_after(writes).with_context(|| format!("after {writes} writes"))?;
    }
    Ok(())
}

fn fails_after(writes: u64) -> Result<()> {
    let mut host = Host::in_memory(&config())?;
    host.set_env(VARIABLE, &writes.to_string());
    let url = host.url()?;
    let ends = thread::scope(|scope| {
        let url = &url;
        let writers: Vec<_> = (0..WRITERS)
            .map(|i| scope.spawn(move || write(url, format!("t/failing-{i}"))))
            .collect();
        let ends = writers.into_iter().map(|w| w.join().expect("writers do not panic"));
        ends.collect::<Result<Vec<_>>>()
    })?;
    let status = host.wait()?.context("it ran")?;
    let log = host.whole_log();
    ensure!(
        status.code().is_some_and(|code| code != 0),
        "{status}: a host that loses its disk must end with an error\n{log}"
    );
    let said = log.lines().last().unwrap_or_default();
    ensure!(
        said.contains("could not write to disk") && said.contains("start it again") && !log.contains("panicked"),
        "does not say what happened and what to do: {said:?}\n{log}"
    );
    let answers: Vec<_> = ends.iter().filter_map(|end| end.answer.as_ref()).collect();
    for failure in &answers {
        let known = failure.kind == "storage" && failure.code == "journal" && failure.outcome == "unknown";
        // Who came after the failure was refused.
        let refused = matches!(&failure.kind[..], "unavailable" | "broken") && !failure.message.is_empty();
        ensure!(known || refused, "{failure:?}");
    }
    ensure!(
        answers.iter().any(|failure| failure.kind == "storage"),
        "nobody who waited was told: {answers:?}\n{log}"
    );

    host.unset_env(VARIABLE);
    let url = host.url()?;
    for End { on, acknowledged, .. } in &ends {
        let get = json!({"op": "kv.get", "key": "n"});
        let ops = json!([
            get,
            {"op": "facet.get", "name": "c", "class": "puppet", "as": "c"},
            {"op": "call", "stub": "c", "ops": [get]},
        ]);
        let results = Client::new().run(&url, on, &ops)?;
        let results = results.map_err(|failure| anyhow::anyhow!("{on}: {failure:?}"))?;
        for found in [&results[0]["ok"], &results[2]["ok"][0]["ok"]] {
            let found: u64 = found.as_str().unwrap_or("0").parse()?;
            // The one that was not acknowledged may be there.
            ensure!(
                (*acknowledged..=acknowledged + 1).contains(&found),
                "{on}: acknowledged up to {acknowledged}, found {found}"
            );
        }
    }
    host.stop()
}

/// The first write of a journal is made before the host serves.
#[test]
fn a_journal_that_fails_at_once_lets_no_host_start() -> Result<()> {
    let mut host = Host::in_memory(&config())?;
    host.set_env(VARIABLE, "0");
    let refused = host.url();
    ensure!(refused.is_err(), "a host serves without a journal");
    let log = host.whole_log();
    ensure!(log.contains("journal") && !log.contains("panicked"), "{log}");
    host.unset_env(VARIABLE);
    host.url()?;
    host.stop()
}
