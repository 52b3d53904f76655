//! Files that somebody takes away, or puts something in the place of, under a running host: who needs them is told, nobody else
//! is held up, and when they are put back all is there.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::client::{Client, Failure};
use crate::support::host::Host;
use crate::support::identity;
use crate::{config, object_file, run_in_child};

const OBJECT: &str = "t/stuck";

fn on_child(host: &mut Host, ops: Value) -> Result<Result<Vec<Value>, Failure>> {
    let (url, client) = (host.url()?, Client::new());
    run_in_child(&client, &url, OBJECT, "c", ops)
}

fn put(host: &mut Host, value: &str) -> Result<()> {
    let results = on_child(host, json!([{"op": "kv.put", "key": "k", "value": value}]))?;
    ensure!(
        matches!(&results, Ok(results) if results[0].get("ok").is_some()),
        "{results:?}"
    );
    Ok(())
}

/// The child stops, and its files are closed before the next one starts.
fn abort(host: &mut Host) -> Result<()> {
    let url = host.url()?;
    let ops = json!([{"op": "facet.abort", "name": "c", "reason": "a test says so"}]);
    let results = Client::new().run(&url, OBJECT, &ops)?;
    ensure!(
        matches!(&results, Ok(results) if results[0].get("ok").is_some()),
        "{results:?}"
    );
    Ok(())
}

/// What the child has; an error as its code and message.
fn has(host: &mut Host) -> Result<Result<Value, (String, String)>> {
    Ok(match on_child(host, json!([{"op": "kv.get", "key": "k"}]))? {
        Ok(results) => match results[0].get("err") {
            None => Ok(results[0]["ok"].clone()),
            Some(error) => Err((error["code"].to_string(), error["message"].to_string())),
        },
        Err(failure) => Err((failure.code.clone(), format!("{failure:?}"))),
    })
}

#[test]
fn who_comes_after_one_that_cannot_be_removed_is_refused_and_does_not_wait() -> Result<()> {
    let mut host = Host::new(&config())?;
    put(&mut host, "v")?;
    let index = object_file(&host, &identity::object_id("t", "stuck"), ".facets")?;
    let aside = index.with_extension("aside");
    fs::rename(&index, &aside).context("the index follows what was acknowledged")?;
    fs::create_dir(&index)?;
    let emptied = on_child(&mut host, json!([{"op": "kv.delete", "key": "k"}]))?;
    ensure!(emptied.is_ok(), "{emptied:?}");
    // Nothing is in it any more, so its file is to go, after the record that says so.
    abort(&mut host)?;
    let refused = has(&mut host)?;
    ensure!(
        matches!(&refused, Err((code, why)) if code == "start" && why.contains("cannot be written")),
        "{refused:?}"
    );
    fs::remove_dir(&index)?;
    fs::rename(&aside, &index)?;
    for _ in 0..100 {
        if has(&mut host)?.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    ensure!(has(&mut host)? == Ok(Value::Null), "it does not go on");
    put(&mut host, "again")?;
    host.stop()
}

#[test]
fn a_database_that_is_taken_away_is_told_and_goes_on_when_it_is_put_back() -> Result<()> {
    let mut host = Host::new(&config())?;
    put(&mut host, "old")?;
    put(&mut host, "new")?;
    let database = object_file(&host, &identity::object_id("t", "stuck"), ".1.sqlite")?;
    let aside = database.with_extension("aside");
    fs::rename(&database, &aside)?;
    abort(&mut host)?;
    let refused = has(&mut host)?;
    ensure!(
        matches!(&refused, Err((_, why)) if why.contains("put the file back") && !why.contains(".sqlite")),
        "{refused:?}"
    );
    fs::rename(&aside, &database)?;
    ensure!(has(&mut host)? == Ok(json!("new")), "{:?}", has(&mut host)?);
    host.stop()
}
