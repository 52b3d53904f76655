//! Deeds that take what the host counts, and do not give it back.

use std::time::Duration;

use facetd_sdk::children::Startup;
use facetd_sdk::classes::Upload;
use facetd_sdk::http::{self, Body};
use facetd_sdk::{Error, Payload, Result, children, classes, context, sql, storage, timers};
use serde_json::{Value, json};

use crate::loops;

/// More than anybody gets.
const MANY: usize = 5_000;

/// Holds it until the host has had enough, or drops it.
pub(crate) async fn gate(drops: bool) -> Result<Value> {
    let gate = context::block()?;
    if !drops {
        timers::sleep(Duration::from_secs(3_600)).await;
    }
    drop(gate);
    loops::doze().await
}

/// As many as the host gives, or dies of the next one.
fn hoard<T>(mut one: impl FnMut(usize) -> Result<T>) -> (Vec<T>, Value) {
    let mut kept = Vec::new();
    for n in 0..MANY {
        match one(n) {
            Ok(handle) => kept.push(handle),
            Err(error) => {
                let told = json!([kept.len(), error.kind(), error.code()]);
                return (kept, told);
            }
        }
    }
    let told = json!([kept.len(), "", ""]);
    (kept, told)
}

/// Kept beyond the event, for as long as the facet lives.
fn keep<T>((kept, told): (Vec<T>, Value)) -> Result<Value> {
    std::mem::forget(kept);
    Ok(told)
}

pub(crate) async fn take(what: &str) -> Result<Value> {
    let class = classes::own()?;
    match what {
        "stubs" => {
            let stub = context::self_stub("");
            keep(hoard(|_| Ok(stub.dup())))
        }
        "children" => {
            let startup = Startup::new(&class);
            keep(hoard(|n| children::get(&format!("c{n}"), &startup)))
        }
        "classes" => keep(hoard(|_| classes::own())),
        "startups" => keep(hoard(|_| Ok(Startup::new(&class)))),
        "cursors" => keep(hoard(|_| sql::stream("SELECT 1 UNION ALL SELECT 2", &[]))),
        "transactions" => keep(hoard(|_| storage::begin())),
        "bodies" => keep(hoard(|_| Ok(Body::of_bytes(&[7; 1_024])))),
        "big-bodies" => keep(hoard(|_| Ok(Body::of_bytes(&[7; 1 << 20])))),
        "pipes" => keep(hoard(|_| Ok(http::pipe()))),
        "uploads" => keep(hoard(|_| Ok(Upload::new()))),
        "calls" => {
            let child = children::get("sleeper", &Startup::new(&class))?;
            let sleep = Payload::json(&json!([{"do": "sleep", "ms": 3_600_000}]))?;
            keep(hoard(|_| Ok(child.start("do", sleep.clone(), Vec::new()))))
        }
        _ => Err(Error::msg(format!("no such handle: {what}"))),
    }
}

/// Uploads of so many bytes each that nobody finishes.
pub(crate) async fn unfinished(n: usize, bytes: usize) -> Result<Value> {
    let piece = vec![7; 1 << 20];
    let mut uploads = Vec::new();
    for _ in 0..n {
        let mut upload = Upload::new();
        for _ in 0..bytes.div_ceil(piece.len()) {
            upload.write(&piece)?;
        }
        uploads.push(upload);
    }
    loops::doze().await
}
