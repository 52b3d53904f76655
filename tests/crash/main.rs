//! What was acknowledged is there and nothing is there in part, however the host ended and whatever happened to its files.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod classes;
mod clones;
mod damage;
mod directory;
mod doctor;
mod failing;
mod kill;
mod ledger;
mod liveness;
mod offline;
mod points;
mod recovery;
mod restored;
mod shapes;
mod soak;
mod starts;
mod stuck;
#[path = "../support/mod.rs"]
mod support;
mod trees;
mod writers;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use support::client::{Client, Failure};
use support::host::Host;

/// The puppet of the conformance cases serves here, too.
fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/crash/facetd.toml")
}

/// A file of an object, of the namespace `t`.
fn object_file(host: &Host, id: &str, suffix: &str) -> Result<PathBuf> {
    Ok(support::identity::home(&host.data(), "t", id).join(format!("{id}{suffix}")))
}

/// Has a child of the root `on` carry out operations. The inner error is the host's, for the root or for the child.
fn run_in_child(client: &Client, url: &str, on: &str, child: &str, ops: Value) -> Result<Result<Vec<Value>, Failure>> {
    let ops = json!([
        {"op": "facet.get", "name": child, "class": "puppet", "as": child},
        {"op": "call", "stub": child, "ops": ops},
    ]);
    let results = match client.run(url, on, &ops)? {
        Ok(results) => results,
        Err(failure) => return Ok(Err(failure)),
    };
    for result in &results {
        if let Some(error) = result.get("err") {
            return Ok(Err(serde_json::from_value(error.clone())?));
        }
    }
    ensure!(
        results.len() == 2 && results[1]["ok"].is_array(),
        "not what a puppet answers: {results:?}"
    );
    Ok(Ok(serde_json::from_value(results[1]["ok"].clone())?))
}
