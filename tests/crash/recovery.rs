//! A start that cannot write what the journal holds does not begin to serve, and lets nothing go; an index that what the
//! journal holds does not fit to is refused, and nothing of either is lost.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::cli::{explains, facetd, limited};
use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::identity;
use crate::{config, run_in_child};

const OBJECT: &str = "t/hurt";
const OTHER: &str = "t/well";

fn put(host: &mut Host, object: &str, child: &str) -> Result<()> {
    let (url, client) = (host.url()?, Client::new());
    let ops = json!([{"op": "kv.put", "key": "who", "value": child}]);
    let results = run_in_child(&client, &url, object, child, ops)?;
    ensure!(matches!(&results, Ok(r) if r[0].get("ok").is_some()), "{results:?}");
    Ok(())
}

/// What a child says that it is; an error as kind and code.
fn who(host: &mut Host, object: &str, child: &str) -> Result<Result<Value, (String, String)>> {
    let (url, client) = (host.url()?, Client::new());
    let ops = json!([{"op": "kv.get", "key": "who"}]);
    Ok(match run_in_child(&client, &url, object, child, ops)? {
        Ok(results) => Ok(results[0]["ok"].clone()),
        Err(failure) => Err((failure.kind, failure.code)),
    })
}

fn index_of(host: &Host, object: &str) -> Result<PathBuf> {
    let id = identity::object_id("t", object.trim_start_matches("t/"));
    crate::object_file(host, &id, ".facets")
}

/// The host may have been killed before the file followed the journal.
fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot remove an index"),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[test]
fn what_recovery_cannot_write_stops_the_start() -> Result<()> {
    let mut host = Host::new(&config())?;
    put(&mut host, OBJECT, "a")?;
    host.kill()?;
    let index = index_of(&host, OBJECT)?;
    // As after a power failure: the record that was never synced is gone, and no other can be put there.
    remove_if_there(&index)?;
    let in_the_way = index.with_extension("facets.new");
    fs::create_dir(&in_the_way)?;
    let refused = limited(&mut host.serve_command())?;
    explains(&refused, &[&in_the_way.to_string_lossy()])?;
    fs::remove_dir(&in_the_way)?;
    ensure!(
        who(&mut host, OBJECT, "a")? == Ok(json!("a")),
        "what was acknowledged is gone"
    );
    host.stop()
}

#[test]
fn what_does_not_fit_to_an_index_is_kept_beside_it() -> Result<()> {
    let mut host = Host::new(&config())?;
    for object in [OBJECT, OTHER] {
        put(&mut host, object, "a")?;
    }
    host.stop()?;
    let index = index_of(&host, OBJECT)?;
    let whole = fs::read(&index)?;
    for object in [OBJECT, OTHER] {
        put(&mut host, object, "b")?;
    }
    host.kill()?;
    // Damage where the journal holds nothing any more.
    let mut damaged = fs::read(&index)?;
    damaged[120] ^= 1;
    fs::write(&index, damaged)?;

    let refusal = ("storage".to_owned(), "index".to_owned());
    for child in ["a", "b"] {
        ensure!(
            who(&mut host, OBJECT, child)? == Err(refusal.clone()),
            "{child} is served"
        );
        ensure!(who(&mut host, OTHER, child)? == Ok(json!(child)), "others are hurt");
    }
    host.stop()?;
    let data = host.data().to_string_lossy().into_owned();
    let checked = facetd(&["check", "--data", &data])?;
    ensure!(!checked.status.success(), "{checked:?}");
    // An older index is as good as none: it lacks what was acknowledged since.
    fs::write(&index, whole)?;
    ensure!(who(&mut host, OBJECT, "a")? == Err(refusal), "an older tree is served");
    host.stop()?;
    let mended = facetd(&["doctor", "--data", &data, OBJECT, "--repair"])?;
    ensure!(mended.status.success(), "{mended:?}");
    for child in ["a", "b"] {
        let found = who(&mut host, OBJECT, child)?;
        ensure!(found == Ok(json!(child)), "{child} after the repair: {found:?}");
    }
    host.stop()?;
    let checked = facetd(&["check", "--data", &data])?;
    ensure!(checked.status.success(), "{checked:?}");
    Ok(())
}

#[test]
fn a_missing_index_is_made_of_the_journal() -> Result<()> {
    let mut host = Host::new(&config())?;
    put(&mut host, OBJECT, "a")?;
    host.kill()?;
    remove_if_there(&index_of(&host, OBJECT)?)?;
    ensure!(
        who(&mut host, OBJECT, "a")? == Ok(json!("a")),
        "what was acknowledged is gone"
    );
    host.stop()
}

/// A database that is away while its commits are recovered: nobody is served what it was before, and it is completed when it is back.
#[test]
fn commits_of_a_missing_database_are_kept_beside_it() -> Result<()> {
    let mut host = Host::new(&config())?;
    put(&mut host, OBJECT, "a")?;
    put(&mut host, OTHER, "a")?;
    host.stop()?;
    let (url, client) = (host.url()?, Client::new());
    let newer = json!([{"op": "kv.put", "key": "who", "value": "newer"}]);
    let stored = run_in_child(&client, &url, OBJECT, "a", newer)?;
    ensure!(matches!(&stored, Ok(r) if r[0].get("ok").is_some()), "{stored:?}");
    host.kill()?;
    let id = identity::object_id("t", OBJECT.trim_start_matches("t/"));
    let database = crate::object_file(&host, &id, ".1.sqlite")?;
    let away = host.data().with_file_name("away");
    fs::rename(&database, &away)?;
    let data = host.data().to_string_lossy().into_owned();
    explains(
        &facetd(&["recover", "--data", &data])?,
        &["1 databases were missing", ".lost"],
    )?;
    let found = who(&mut host, OBJECT, "a")?;
    ensure!(found.is_err(), "a lost database is served: {found:?}");
    ensure!(who(&mut host, OTHER, "a")? == Ok(json!("a")), "others are hurt");
    host.stop()?;
    fs::rename(&away, &database)?;
    let found = who(&mut host, OBJECT, "a")?;
    ensure!(found.is_err(), "an older state is served: {found:?}");
    host.stop()?;
    ensure!(
        !facetd(&["check", "--data", &data])?.status.success(),
        "check finds nothing"
    );
    let recovered = facetd(&["recover", "--data", &data])?;
    ensure!(recovered.status.success(), "{recovered:?}");
    ensure!(
        who(&mut host, OBJECT, "a")? == Ok(json!("newer")),
        "what was acknowledged is gone"
    );
    host.stop()?;
    let checked = facetd(&["check", "--data", &data])?;
    ensure!(checked.status.success(), "{checked:?}");
    Ok(())
}
