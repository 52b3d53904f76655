//! Between two hosts an operator puts an older file in its place: the row in a facet's database says when its alarm is due,
//! whatever the index of alarms has known since (S22).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::cli::{explains, facetd};
use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::{identity, process::Output};
use crate::{config, run_in_child};

/// Long enough for a host to be stopped before.
const SOON_MS: u64 = 5_000;
const LATER_MS: u64 = 3_600_000;
/// For alarms that are due.
const TRIES: u32 = 200;

fn database(host: &Host, object: &str, ending: &str) -> Result<PathBuf> {
    crate::object_file(host, &identity::object_id("t", object), &format!("{ending}.sqlite"))
}

fn program(in_ms: u64) -> Value {
    json!([
        {"op": "alarm.program", "ops": [{"op": "kv.put", "key": "fired", "value": "1"}]},
        {"op": "alarm.set", "in_ms": in_ms},
    ])
}

fn check(host: &Host) -> Result<Output> {
    let data = host.data();
    facetd(&["check", "--data", data.to_str().unwrap_or_default()])
}

fn copy_back(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)?;
    // As `cp -p` and archives do: the time of the content says nothing.
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(to)?.set_modified(old)?;
    Ok(())
}

#[test]
fn alarms_of_restored_databases_ring() -> Result<()> {
    let mut host = Host::new(&config())?;
    let client = Client::new();
    let url = host.url()?;
    for object in ["t/gone", "t/later"] {
        ensure!(client.run(&url, object, &program(SOON_MS))?.is_ok());
    }
    ensure!(run_in_child(&client, &url, "t/child", "a", program(SOON_MS))?.is_ok());
    host.stop()?;
    let restored = [
        database(&host, "gone", "")?,
        database(&host, "later", "")?,
        database(&host, "child", ".1")?,
    ];
    let aside = host.data().join("aside");
    fs::create_dir(&aside)?;
    let index = host.data().join("t/alarms.sqlite");
    let copies: Vec<_> = (0..restored.len())
        .map(|number| aside.join(number.to_string()))
        .collect();
    for (file, copy) in restored.iter().zip(&copies) {
        fs::copy(file, copy)?;
    }
    fs::copy(&index, aside.join("index"))?;
    ensure!(check(&host)?.status.success(), "nothing differs yet");

    // Since then the alarms are others, and there is one more.
    let url = host.url()?;
    let delete = json!([{"op": "alarm.delete"}]);
    let later = json!([{"op": "alarm.set", "in_ms": LATER_MS}]);
    ensure!(client.run(&url, "t/gone", &delete)?.is_ok());
    ensure!(client.run(&url, "t/later", &later)?.is_ok());
    ensure!(run_in_child(&client, &url, "t/child", "a", delete)?.is_ok());
    host.stop()?;
    ensure!(check(&host)?.status.success(), "the host has put down what it did");
    for (file, copy) in restored.iter().zip(&copies) {
        copy_back(copy, file)?;
    }
    let differs = check(&host)?;
    explains(&differs, &["3 problems"])?;
    ensure!(differs.stdout.matches("alarms.sqlite").count() == 3, "{differs:?}");

    let url = host.url()?;
    for object in ["t/gone", "t/later"] {
        rings(|| client.run(&url, object, &json!([{"op": "kv.get", "key": "fired"}])))?;
    }
    let fired = json!([{"op": "kv.get", "key": "fired"}]);
    rings(|| run_in_child(&client, &url, "t/child", "a", fired.clone()))?;

    // The index of another time knows nothing of this one.
    ensure!(client.run(&url, "t/new", &program(SOON_MS / 5))?.is_ok());
    host.stop()?;
    copy_back(&aside.join("index"), &index)?;
    let url = host.url()?;
    rings(|| client.run(&url, "t/new", &json!([{"op": "kv.get", "key": "fired"}])))?;
    host.stop()?;
    ensure!(check(&host)?.status.success(), "{:?}", check(&host)?);
    Ok(())
}

fn rings<E: std::fmt::Debug>(ask: impl Fn() -> Result<Result<Vec<Value>, E>>) -> Result<()> {
    for _ in 0..TRIES {
        let answer = ask()?;
        if matches!(&answer, Ok(results) if results[0]["ok"] == "1") {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    anyhow::bail!("it has not rung: {:?}", ask()?)
}
