//! A request is an effect of its turn: it leaves with it, is durable before it leaves, and ends with its facet.

use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::{Bench, DELAY, Test, run};

pub(crate) const TESTS: &[Test] = &[
    ("a-request-of-a-lost-turn-is-never-sent", lost_turn),
    ("a-request-leaves-when-what-it-could-reveal-is-on-disk", durable),
    ("a-piece-of-a-body-leaves-when-it-is-on-disk", durable_piece),
    ("a-request-that-reveals-nothing-new-leaves-at-once", at_once),
    ("a-deadline-ends-the-request", deadline),
    ("an-abort-ends-the-request", abort),
    ("a-body-that-is-dropped-ends-the-request", dropped_body),
];

fn get(url: &str) -> Value {
    json!({"op": "egress.get", "url": url})
}

fn kid(bench: &Bench) -> Value {
    let hosts = [format!("127.0.0.1:{}", bench.listed.port)];
    json!({"op": "facet.get", "name": "kid", "class": "net", "as": "kid", "grants": {"egress": {"hosts": hosts}}})
}

fn lost_turn(bench: &Bench, case: &str) -> Result<()> {
    let on = format!("n/{case}");
    let lost = json!([
        kid(bench),
        {"op": "call", "stub": "kid", "ops": [{"op": "egress.start", "url": bench.at(case, "lost")}, {"op": "trap"}]},
        kid(bench),
        {"op": "call", "stub": "kid", "ops": [{"op": "egress.start", "url": bench.at(case, "kept")}, {"op": "sleep", "ms": 0}]},
    ]);
    let results = run(&bench.url, &on, &lost)?;
    ensure!(results[1]["err"]["code"] == "trap", "{results:?}");
    bench.listed.wait_for(&format!("/{case}/kept"), |_| true)?;
    // It would have left before.
    let paths: Vec<_> = bench.listed.asked(case).into_iter().map(|asked| asked.path).collect();
    ensure!(paths == [format!("/{case}/kept")], "{paths:?}");
    Ok(())
}

/// Starts an object of the slow host, so that its start is not taken for waiting.
fn warm(bench: &Bench, case: &str) -> Result<String> {
    let on = format!("n/{case}");
    run(&bench.slow_url, &on, &json!([{"op": "kv.get", "key": "k"}]))?;
    Ok(on)
}

fn durable(bench: &Bench, case: &str) -> Result<()> {
    let on = warm(bench, case)?;
    let began = Instant::now();
    let ops = json!([{"op": "kv.put", "key": "k", "value": "new"}, get(&bench.at(case, "x"))]);
    let results = run(&bench.slow_url, &on, &ops)?;
    ensure!(results[1]["ok"]["status"] == 200, "{results:?}");
    let after = bench.listed.asked(case)[0].at.saturating_duration_since(began);
    ensure!(after >= DELAY, "it was seen after {after:?}, a sync takes {DELAY:?}");
    Ok(())
}

fn durable_piece(bench: &Bench, case: &str) -> Result<()> {
    let pieces = json!(["one", ["put", "k", "new"], "two"]);
    let ops = json!([{"op": "egress.fetch", "method": "POST", "url": bench.at(case, "x"), "pieces": pieces}]);
    let on = warm(bench, case)?;
    let began = Instant::now();
    let results = run(&bench.slow_url, &on, &ops)?;
    ensure!(results[0]["ok"]["status"] == 200, "{results:?}");
    let asked = &bench.listed.asked(case)[0];
    let whole = asked.whole_at.map(|at| at.saturating_duration_since(began));
    ensure!(
        asked.body == "onetwo" && whole.is_some_and(|after| after >= DELAY),
        "it was whole after {whole:?}, a sync takes {DELAY:?}"
    );
    Ok(())
}

fn at_once(bench: &Bench, case: &str) -> Result<()> {
    let on = warm(bench, case)?;
    let began = Instant::now();
    let ops = json!([
        get(&bench.at(case, "before")),
        {"op": "kv.put", "key": "k", "value": "new"},
        get(&bench.at(case, "after")),
    ]);
    run(&bench.slow_url, &on, &ops)?;
    let at = |what: &str| {
        let path = format!("/{case}/{what}");
        bench
            .listed
            .wait_for(&path, |_| true)
            .map(|asked| asked.at.saturating_duration_since(began))
    };
    let (before, after) = (at("before")?, at("after")?);
    ensure!(
        before < DELAY && after >= before + DELAY,
        "seen after {before:?}, and after the write after {after:?}"
    );
    Ok(())
}

fn deadline(bench: &Bench, case: &str) -> Result<()> {
    let on = format!("n/{case}");
    let ask = json!([
        get(&bench.at(case, "slow")),
        // Until who asked has stopped waiting, too.
        {"op": "sleep", "ms": 200},
        {"op": "mem.add", "key": "went on", "by": 1},
    ]);
    let ops = json!([
        kid(bench),
        {"op": "call", "stub": "kid", "ops": [{"op": "program", "as": "ask", "ops": ask}]},
        {"op": "call.method", "stub": "kid", "method": "run", "args": ["ask"], "timeout_ms": 500},
        {"op": "call", "stub": "kid", "ops": [
            {"op": "mem.wait", "key": "went on", "least": 1},
            {"op": "program.results", "as": "ask"},
        ]},
    ]);
    let results = run(&bench.url, &on, &ops)?;
    let inside = &results[3]["ok"][1]["ok"][0]["err"];
    ensure!(
        results[2]["err"]["kind"] == "deadline" && inside["kind"] == "deadline",
        "{results:?}"
    );
    ensure!(inside["outcome"] == "unknown", "it was sent: {results:?}");
    bench
        .listed
        .wait_for(&format!("/{case}/slow"), |asked| asked.gone)
        .map(drop)
}

fn abort(bench: &Bench, case: &str) -> Result<()> {
    let (on, path) = (format!("n/{case}"), format!("/{case}/slow"));
    let asking = {
        let ops = json!([kid(bench), {"op": "call", "stub": "kid", "ops": [get(&bench.at(case, "slow"))]}]);
        let (url, on) = (bench.url.clone(), on.clone());
        thread::spawn(move || Client::new().run(&url, &on, &ops))
    };
    bench.listed.wait_for(&path, |_| true)?;
    run(
        &bench.url,
        &on,
        &json!([{"op": "facet.abort", "name": "kid", "reason": "enough"}]),
    )?;
    let results = asking.join().map_err(|_| anyhow!("a client panicked"))??;
    let results = results.map_err(|failure| anyhow!("{failure:?}"))?;
    ensure!(results[1]["err"]["kind"] == "aborted", "{results:?}");
    bench.listed.wait_for(&path, |asked| asked.gone).map(drop)
}

fn dropped_body(bench: &Bench, case: &str) -> Result<()> {
    let ops = json!([{"op": "egress.fetch", "url": bench.at(case, "large"), "read": "no"}]);
    // As often as requests may be under way, and once more: each gives its place back.
    for _ in 0..33 {
        let results = run(&bench.url, &format!("n/{case}"), &ops)?;
        ensure!(results[0]["ok"]["status"] == 200, "{results:?}");
    }
    Ok(())
}
