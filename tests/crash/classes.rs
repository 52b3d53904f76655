//! `facetd classes` removes what no stored facet runs, and nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::config;
use crate::support::cli::{explains, facetd};
use crate::support::client::Client;
use crate::support::host::Host;

const OBJECT: &str = "t/classes";

/// The puppet with a custom section more: the same to whoever runs it, and another class.
fn other_puppet(data: &Path, name: u8) -> Result<Value> {
    let stored = fs::read_dir(data.join("classes"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "wasm"))
        .context("no component is stored")?;
    let mut bytes = fs::read(stored)?;
    bytes.extend([0, 2, 1, name]);
    Ok(json!(base64::engine::general_purpose::STANDARD.encode(bytes)))
}

fn list(data: &Path, more: &[&str]) -> Result<String> {
    let mut args = vec!["classes", "--data", data.to_str().context("a path in UTF-8")?];
    args.extend(more);
    let output = facetd(&args)?;
    ensure!(output.status.success(), "{output:?}");
    Ok(output.stdout)
}

fn line<'a>(listed: &'a str, digest: &str) -> Result<&'a str> {
    let found = listed.lines().find(|line| line.starts_with(digest));
    found.with_context(|| format!("{digest} is not listed:\n{listed}"))
}

#[test]
fn what_no_facet_runs_can_be_removed() -> Result<()> {
    let mut host = Host::new(&config())?;
    let (url, data, client) = (host.url()?, host.data(), Client::new());
    let (kept, idle) = (other_puppet(&data, b'k')?, other_puppet(&data, b'i')?);
    let ops = json!([
        {"op": "class.load", "component": kept, "as": "kept"},
        {"op": "class.load", "component": idle, "as": "idle"},
        {"op": "facet.get", "name": "a", "class": "@kept", "as": "a"},
        {"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "v"}]},
    ]);
    let results = client.run(&url, OBJECT, &ops)?;
    let results = results.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    ensure!(results[3]["ok"][0].get("ok").is_some(), "{results:?}");
    let digest = |nth: usize| results[nth]["ok"].as_str().context("a digest").map(str::to_owned);
    let (kept_digest, idle_digest) = (digest(0)?, digest(1)?);
    let path = data.to_str().context("a path in UTF-8")?;
    explains(&facetd(&["classes", "--data", path])?, &["in use"])?;
    host.kill()?;
    let refused = facetd(&["classes", "--remove-unused", "--data", path])?;
    explains(&refused, &["did not stop cleanly", "facetd recover"])?;
    ensure!(
        facetd(&["recover", "--data", path])?.status.success(),
        "it is recovered"
    );

    let listed = list(&data, &[])?;
    ensure!(
        line(&listed, &kept_digest)?.contains(" 1 stored facets run it, uploaded in t"),
        "{listed}"
    );
    ensure!(
        line(&listed, &idle_digest)?.contains(" 0 stored facets run it, uploaded in t"),
        "{listed}"
    );
    ensure!(
        listed.contains("not uploaded") && listed.contains("3 components"),
        "{listed}"
    );
    ensure!(list(&data, &[])? == listed, "looking has changed something");

    let removed = list(&data, &["--remove-unused"])?;
    ensure!(line(&removed, &idle_digest)?.ends_with("; removed"), "{removed}");
    ensure!(!line(&removed, &kept_digest)?.ends_with("; removed"), "{removed}");
    ensure!(list(&data, &[])?.contains("1 components"), "{removed}");

    let url = host.url()?;
    let ops = json!([
        {"op": "facet.lookup", "name": "a", "as": "a"},
        {"op": "call", "stub": "a", "ops": [{"op": "kv.get", "key": "k"}]},
        {"op": "class.load", "component": idle, "as": "idle"},
        {"op": "facet.get", "name": "b", "class": "@idle", "as": "b"},
        {"op": "call", "stub": "b", "ops": [{"op": "echo", "value": 1}]},
    ]);
    let results = client.run(&url, OBJECT, &ops)?;
    let results = results.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    ensure!(results[1]["ok"][0]["ok"] == "v", "what is stored runs on: {results:?}");
    ensure!(
        results[2]["ok"] == json!(idle_digest),
        "what has gone can come again: {results:?}"
    );
    ensure!(results[4]["ok"][0]["ok"] == 1, "{results:?}");
    host.stop()
}
