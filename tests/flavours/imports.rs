//! What a component may import is a closed list, known here and there: all of it is served, anything else is refused by
//! name before it runs (S24).

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::support::cli;
use crate::support::client::Client;
use crate::support::components::FACETD;
use crate::support::host::Host;

pub(crate) const TESTS: &[crate::Plain] = &[
    ("imports::all_of_the_list_is_served", all_of_the_list_is_served),
    (
        "imports::anything_else_is_refused_by_name",
        anything_else_is_refused_by_name,
    ),
];

/// Interfaces of `facetd:runtime` that a facet may import. `twins` compares them with the contract.
pub(crate) const RUNTIME: &[&str] = &[
    "blocking-bodies",
    "blocking-calls",
    "blocking-durability",
    "blocking-egress",
    "blocking-timers",
    "bodies",
    "calls",
    "classes",
    "clock",
    "context",
    "durability",
    "egress",
    "facets",
    "http-types",
    "kv",
    "log",
    "objects",
    "random",
    "sql",
    "alarms",
    "storage",
    "timers",
    "types",
];

/// The closed WASI set, `@0.2.x`.
const WASI: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
];

/// What a toolchain may well ask for, and does not get.
const REFUSED: &[&str] = &[
    "wasi:sockets/tcp@0.2.0",
    "wasi:sockets/tcp-create-socket@0.2.0",
    "wasi:sockets/udp@0.2.0",
    "wasi:sockets/network@0.2.0",
    "wasi:sockets/instance-network@0.2.0",
    "wasi:sockets/ip-name-lookup@0.2.0",
    "wasi:http/outgoing-handler@0.2.0",
    "wasi:cli/run@0.2.0",
    "wasi:clocks/wall-clock@0.3.0",
    "wasi:filesystem/types@0.1.0",
    "facetd:runtime/kv@0.2.0",
    "facetd:runtime/handler@0.1.0",
    "facetd:runtime/blocking-http@0.1.0",
    "facetd:host/kv@0.1.0",
];

/// A component that would be a class if it did not import these beside the types of its handler.
fn component(imports: &[String]) -> Result<Vec<u8>> {
    let whole = include_str!("../smoke/forbidden-import.wat");
    let from = whole
        .find("  (import \"evil:corp")
        .context("forbidden-import.wat has changed")?;
    let to = whole
        .find("  (alias export $t \"stub\"")
        .context("forbidden-import.wat has changed")?;
    let imports = imports.iter().map(|name| format!("  (import {name:?} (instance))\n"));
    let text = [&whole[..from], &imports.collect::<String>(), &whole[to..]].concat();
    Ok(wat::parse_str(text)?)
}

/// A project of one class with this component, to which all is granted.
fn project(component: &[u8]) -> Result<TempDir> {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    fs::write(directory.path().join("mine.wasm"), component)?;
    let config =
        "[classes.mine]\ncomponent = \"mine.wasm\"\n\n[namespaces.n]\nclass = \"mine\"\negress.hosts = [\"*\"]\n";
    fs::write(directory.path().join("facetd.toml"), config)?;
    Ok(directory)
}

/// Imports of nothing from every interface: they link if the interface is there. The handler traps as soon as it runs.
fn all_of_the_list_is_served() -> Result<()> {
    let runtime = RUNTIME.iter().filter(|name| **name != "types");
    let runtime = runtime.map(|name| format!("facetd:runtime/{name}@0.1.0"));
    let wasi = WASI
        .iter()
        .flat_map(|name| ["0.2.0", "0.2.6"].map(|version| format!("wasi:{name}@{version}")));
    let project = project(&component(&runtime.chain(wasi).collect::<Vec<_>>())?)?;
    let mut host = Host::without_build(project.path())?;
    let answer = Client::new().rpc(&host.url()?, "n/x", "anything", &json!([]))?;
    let failure = answer.err().ok_or_else(|| anyhow!("it cannot have answered"))?;
    ensure!(
        failure.kind == "broken" && failure.code == "trap",
        "it should have been started and then trapped: {failure:?}"
    );
    host.stop()
}

fn anything_else_is_refused_by_name() -> Result<()> {
    for name in REFUSED {
        let project = project(&component(&[(*name).to_owned()])?)?;
        let mut command = Command::new(FACETD);
        command.arg("serve").arg("--config").arg(project.path());
        command.arg("--data").arg(project.path().join("data"));
        let output = cli::limited(command.args(["--listen", "127.0.0.1:0"]))?;
        cli::explains(&output, &["mine", name])?;
    }
    Ok(())
}
