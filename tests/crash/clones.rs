//! A clone shows the tree below its source as it was at one moment, though that goes on all the while (S13).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::config;
use crate::support::client::Client;
use crate::support::host::Host;

const OBJECT: &str = "t/busy";
const CLONES: u64 = 40;
/// So that copying takes longer than a turn.
const BALLAST_BYTES: usize = 200_000;

/// Writes `n` to `src`, which in the same turn exchanges a child for one of that number, and then has it written to what is
/// below it, one after the other.
fn write(n: u64) -> Value {
    let put = json!({"op": "kv.put", "key": "n", "value": n.to_string()});
    let below = |stub: &str| {
        json!([
            {"op": "facet.get", "name": stub, "class": "puppet", "as": stub},
            {"op": "call", "stub": stub, "ops": [put]},
        ])
    };
    let (a, z) = (below("a"), below("z"));
    json!([
        {"op": "facet.get", "name": "src", "class": "puppet", "as": "src"},
        {"op": "call", "stub": "src", "ops": [
            put,
            {"op": "facet.delete", "name": format!("n{}", n - 1)},
            {"op": "facet.clone", "src": "a", "dst": format!("n{n}")},
            a[0], a[1], z[0], z[1],
        ]},
    ])
}

/// The numbers at and below a facet: its own, that of `a`, that of `z`; and the names of its children.
fn read(client: &Client, url: &str, facet: &str) -> Result<([u64; 3], Value)> {
    let get = json!({"op": "kv.get", "key": "n"});
    let ops = json!([
        {"op": "facet.get", "name": facet, "class": "puppet", "as": "f"},
        {"op": "call", "stub": "f", "ops": [
            get,
            {"op": "facet.list"},
            {"op": "facet.get", "name": "a", "class": "puppet", "as": "a"},
            {"op": "call", "stub": "a", "ops": [get]},
            {"op": "facet.get", "name": "z", "class": "puppet", "as": "z"},
            {"op": "call", "stub": "z", "ops": [get]},
        ]},
    ]);
    let results = client
        .run(url, OBJECT, &ops)?
        .map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let inner = &results[1]["ok"];
    let number = |value: &Value| -> Result<u64> {
        value
            .as_str()
            .with_context(|| format!("no number: {results:?}"))?
            .parse()
            .context("not a number")
    };
    let numbers = [
        number(&inner[0]["ok"])?,
        number(&inner[3]["ok"][0]["ok"])?,
        number(&inner[5]["ok"][0]["ok"])?,
    ];
    Ok((numbers, inner[1]["ok"].clone()))
}

#[test]
fn a_clone_is_of_one_moment() -> Result<()> {
    let mut host = Host::new(&config())?;
    let url = host.url()?;
    let client = Client::new();
    // With the first there is no `a` yet to be cloned.
    for n in 1..=2 {
        client
            .run(&url, OBJECT, &write(n))?
            .map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    }
    let ballast = json!([
        {"op": "facet.get", "name": "src", "class": "puppet", "as": "src"},
        {"op": "call", "stub": "src", "ops": [
            {"op": "sql", "q": format!("create table ballast as select zeroblob({BALLAST_BYTES}) b")},
        ]},
    ]);
    client
        .run(&url, OBJECT, &ballast)?
        .map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let (over, written) = (AtomicBool::new(false), AtomicU64::new(2));
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            let client = Client::new();
            for n in 3.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let results = client.run(&url, OBJECT, &write(n))?;
                ensure!(results.is_ok(), "write {n}: {results:?}");
                written.store(n, Ordering::SeqCst);
            }
            Ok(())
        });
        let checked = (0..CLONES).try_for_each(|_| -> Result<()> {
            let before = written.load(Ordering::SeqCst);
            let clone = json!([{"op": "facet.clone", "src": "src", "dst": "dst"}]);
            let cloned = client.run(&url, OBJECT, &clone)?;
            ensure!(
                matches!(&cloned, Ok(results) if results[0].get("ok").is_some()),
                "{cloned:?}"
            );
            let (seen, children) = read(&client, &url, "dst")?;
            let [src, a, z] = seen;
            // Each is written after the one before it has been, by one writer.
            ensure!(src >= a && a >= z && z + 1 >= src, "not of one moment: {seen:?}");
            ensure!(
                children == json!(["a", format!("n{src}"), "z"]),
                "{src} belongs to other children: {children}"
            );
            ensure!(z >= before, "{seen:?} is older than what was answered before: {before}");
            Ok(())
        });
        over.store(true, Ordering::SeqCst);
        writer.join().expect("the writer does not panic")?;
        checked
    })?;
    ensure!(
        written.load(Ordering::SeqCst) > CLONES,
        "the source did not go on: {} writes beside {CLONES} clones",
        written.load(Ordering::SeqCst)
    );
    host.stop()
}
