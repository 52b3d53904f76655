//! The same deeds in every export: a call, a start, an alarm, a request.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};

/// How long the log may take to say what became of an alarm.
const LOG_LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn all() -> Vec<Attack> {
    let deeds = [
        ("loop", json!({"do": "spin"}), "cpu"),
        ("trap", json!({"do": "trap"}), "trap"),
        ("abort-self", json!({"do": "abort", "bytes": 10}), "abort-self"),
        ("stack", json!({"do": "recurse"}), "trap"),
        ("memory", json!({"do": "hoard", "step": 65_536}), "memory"),
        ("sleep", json!({"do": "sleep", "ms": 3_600_000}), "wall"),
        ("gate-dropped", json!({"do": "gate", "drop": true}), "gate"),
    ];
    let mut all = Vec::new();
    for (what, deed, code) in deeds {
        all.push(Attack::deed(&format!("{what}-in-call"), deed.clone(), must(code)));
        // A start may sleep for as long as a start may take, and has no limit of the event that came.
        if code != "wall" {
            all.push(Attack::child(
                &format!("{what}-in-start"),
                deed.clone(),
                json!({"do": "answer", "bytes": 1}),
                Must::Fail("broken", "start", "not-applied"),
            ));
        }
        let name = format!("{what}-in-alarm");
        let (on, alarm) = (object(&name), deed.clone());
        all.push(Attack::new(&name, move |arena| in_alarm(arena, &on, &alarm, code)));
        let name = format!("{what}-in-http");
        let on = object(&name);
        all.push(Attack::new(&name, move |arena| in_http(arena, &on, &deed, code)));
    }
    all
}

/// While it waits its turn has ended.
fn must(code: &'static str) -> Must {
    match code {
        "wall" => Must::broken_later(code),
        _ => Must::broken(code),
    }
}

/// The alarm fails, the log says so, and the facet answers as ever.
fn in_alarm(arena: &Arena, on: &str, deed: &Value, code: &str) -> Result<()> {
    let begun = Instant::now();
    let before = arena.log().len();
    Must::Answer(Value::Null).check(arena.rpc(on, "on_alarm", &json!([deed]))?)?;
    let broke = |log: &str| {
        let mut lines = log.lines();
        lines.any(|line| line.contains("a facet broke") && line.contains(&format!("code=\"{code}\"")))
    };
    while !broke(&arena.log()[before..]) {
        ensure!(begun.elapsed() < LOG_LIMIT, "no alarm broke with code {code}");
        std::thread::sleep(Duration::from_millis(20));
    }
    // What is left of the alarm is taken away: it would be tried again.
    Must::Answer(Value::Null).check(arena.villain(on, &json!({"do": "rest"}))?)?;
    Must::Answer(json!("pong")).check(arena.rpc(on, "ping", &json!([]))?)
}

/// The client gets the error, and the next one its answer.
fn in_http(arena: &Arena, on: &str, deed: &Value, code: &str) -> Result<()> {
    Must::Answer(Value::Null).check(arena.rpc(on, "on_fetch", &json!([deed]))?)?;
    let response = arena.client.http("GET", &format!("{}/o/{on}/", arena.url), &[], &[])?;
    let body: Value = serde_json::from_slice(&response.body)?;
    let error = &body["error"];
    ensure!(
        response.status == 500 && error["kind"] == "broken" && error["code"] == code,
        "expected broken / {code}, not {}: {body}",
        response.status
    );
    Must::Answer(json!("pong")).check(arena.rpc(on, "ping", &json!([]))?)
}
