//! A host that is full makes place for whoever is called, and loses nothing for it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::puppet_config;
use crate::support::client::Client;
use crate::support::components;
use crate::support::host::Host;

const PLACES: usize = 8;
const CHILDREN: usize = 40;
/// Nobody is evicted for idleness alone.
const IDLE_EVICT_MS: u64 = 600_000;

fn running(host: &mut Host) -> Result<usize> {
    let response = host.admin("/admin/tree/n/full")?;
    let tree: Value = serde_json::from_slice(&response.body)?;
    let facets = tree["facets"].as_array().cloned().unwrap_or_default();
    ensure!(!facets.is_empty(), "no facets: {tree}");
    Ok(facets.iter().filter(|facet| facet["state"] == "running").count())
}

#[test]
fn idle_facets_make_place_for_those_that_are_called() -> Result<()> {
    components::build(&puppet_config())?;
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let puppet = components::component(&puppet_config(), "puppet", None)?;
    fs::write(directory.path().join("puppet.wasm"), puppet)?;
    let config = directory.path().join("facetd.toml");
    let text = format!(
        "[host]\nlisten = \"127.0.0.1:0\"\nrunning_facets_max = {PLACES}\n[classes.puppet]\ncomponent = \"puppet.wasm\"\n\
         [namespaces.n]\nclass = \"puppet\"\nidle_evict_ms = {IDLE_EVICT_MS}\n"
    );
    fs::write(&config, text)?;
    let mut host = Host::without_build(&config)?;
    let (url, client) = (host.url()?, Client::new());
    let call = |child: usize, ops: Value| -> Result<Value> {
        let name = format!("c{child}");
        let ops = json!([
            {"op": "facet.get", "name": name, "class": "puppet", "as": name},
            {"op": "call", "stub": name, "ops": ops},
        ]);
        let results = client.run(&url, "n/full", &ops)?;
        let results = results.map_err(|failure| anyhow::anyhow!("child {child}: {failure:?}"))?;
        Ok(results[1]["ok"].clone())
    };
    // More than there is room for, and each keeps what it was given.
    for child in 0..CHILDREN {
        let put = json!([{"op": "kv.put", "key": "who", "value": child.to_string()}]);
        ensure!(call(child, put)?[0].get("ok").is_some(), "child {child} was not served");
        let many = running(&mut host)?;
        ensure!(many <= PLACES, "{many} run");
    }
    for child in 0..CHILDREN {
        let seen = call(child, json!([{"op": "kv.get", "key": "who"}]))?;
        ensure!(seen[0]["ok"] == json!(child.to_string()), "child {child} has {seen}");
    }
    // Those that wait for each other take all places: the last is refused, and all others live on.
    let deep = (0..PLACES)
        .rev()
        .fold(json!([{"op": "echo", "value": 1}]), |ops, level| {
            let name = format!("d{level}");
            json!([
                {"op": "facet.get", "name": name, "class": "puppet", "as": name},
                {"op": "call", "stub": name, "ops": ops},
            ])
        });
    let begun = Instant::now();
    let answer = client.run(&url, "n/full", &deep)?;
    let text = format!("{answer:?}");
    ensure!(text.contains("unavailable") && text.contains("facets run"), "{text}");
    ensure!(
        begun.elapsed() < Duration::from_secs(60),
        "refused after {:?}",
        begun.elapsed()
    );
    ensure!(
        call(0, json!([{"op": "kv.get", "key": "who"}]))?[0]["ok"] == "0",
        "it does not go on"
    );
    ensure!(
        host.log().contains("as many as this host has room for"),
        "the operator is not told"
    );
    host.stop()
}
