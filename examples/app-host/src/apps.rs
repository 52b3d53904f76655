//! The apps: a row and a child of the same name each, changed together. What is refused is refused before anything is
//! written.

use std::time::Duration;

use facetd_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{answer, components};

/// More would make the list slow, and nobody would read it.
const MAX_APPS: u32 = 1_000;
/// How long a call may take before its caller is told that nobody knows. Longer than an app may run, so that what
/// happened to the app is told where it can be.
const PATIENCE: Duration = Duration::from_secs(30);
/// Made by the first statement that needs it, so that a supervisor nobody used stores nothing.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS apps
    (name TEXT PRIMARY KEY, class TEXT NOT NULL, digest TEXT NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

#[derive(Serialize, Deserialize, Debug)]
pub struct App {
    pub name: String,
    /// What its class was called when it was started.
    pub class: String,
    /// What it runs, whatever the label means today.
    pub digest: String,
    /// Milliseconds since 1970.
    pub created: i64,
    /// `running`, `idle`, or `empty`: it has stored nothing and does not run.
    pub state: String,
    pub storage_bytes: u64,
}

pub(crate) fn all() -> Result<Vec<App>> {
    query("SELECT * FROM apps ORDER BY name", &[])?
        .iter()
        .map(read)
        .collect()
}

pub(crate) fn find(name: &str) -> Result<App> {
    match query("SELECT * FROM apps WHERE name = ?", params![name])?.first() {
        Some(row) => read(row),
        None => fail!("no-such-app", "there is no app {name:?}"),
    }
}

pub(crate) fn start(name: &str, class: &str) -> Result<App> {
    check_free(name)?;
    let (class, label) = components::find(class)?;
    // The host knows what a name is. Nothing of the app runs yet: it starts with its first call.
    children::get(name, &startup(&class)?)?;
    insert(name, &label, &class.digest())?;
    find(name)
}

pub(crate) fn abort(name: &str, reason: &str) -> Result<()> {
    children::abort(&find(name)?.name, reason)
}

pub(crate) fn delete(name: &str) -> Result<()> {
    let app = find(name)?;
    query("DELETE FROM apps WHERE name = ?", params![app.name])?;
    children::delete(&app.name)
}

pub(crate) fn clone(name: &str, copy: &str) -> Result<App> {
    let app = find(name)?;
    check_free(copy)?;
    // Asked first, so that a bad name is refused before the row is there.
    children::lookup(copy)?;
    insert(copy, &app.class, &app.digest)?;
    if let Err(error) = children::clone(name, copy) {
        // An error does not undo the turn, and there is no app without a child.
        query("DELETE FROM apps WHERE name = ?", params![copy])?;
        return Err(error);
    }
    find(copy)
}

impl App {
    /// Calls the app, which starts if it does not run.
    pub(crate) async fn call(&self, method: &str, args: Payload) -> Result<Box<RawValue>> {
        let startup = startup(&classes::by_digest(&self.digest)?)?;
        let stub = children::get(&self.name, &startup)?.with_timeout(PATIENCE);
        answer::as_json(stub.call_raw(method, args, Vec::new()).await?.value)
    }
}

/// What every app runs with, always built the same way: an app whose startup differs from the one it runs with is
/// restarted. The limits are below the supervisor's own, so that an app reaches its own first and breaks alone.
fn startup(class: &classes::Class) -> Result<Startup> {
    Startup::new(class)
        .limit("memory-mib", 64)?
        .limit("cpu-ms", 1_000)?
        .limit("wall-ms", 20_000)?
        .limit("storage-mib", 64)
}

fn check_free(name: &str) -> Result<()> {
    if !query("SELECT name FROM apps WHERE name = ?", params![name])?.is_empty() {
        fail!("name-taken", "there is already an app {name:?}; choose another name");
    }
    let count = query("SELECT count(*) AS n FROM apps", &[])?;
    if count.first().map_or(Ok(0), |row| row.get::<u32>("n"))? >= MAX_APPS {
        fail!(
            "too-many-apps",
            "there are {MAX_APPS} apps, which is all there can be; delete one"
        );
    }
    Ok(())
}

fn insert(name: &str, class: &str, digest: &str) -> Result<()> {
    let created = i64::try_from(clock::now_ms())?;
    let row = params![name, class, digest, created];
    query(
        "INSERT INTO apps (name, class, digest, created) VALUES (?, ?, ?, ?)",
        row,
    )?;
    Ok(())
}

fn query(text: &str, params: &[sql::Value]) -> Result<Vec<sql::Row>> {
    sql::query(&format!("{TABLE} {text}"), params)
}

fn read(row: &sql::Row) -> Result<App> {
    let name: String = row.get("name")?;
    let (state, storage_bytes) = match children::info(&name) {
        Ok(info) => (info.state, info.storage_bytes),
        Err(error) if error.kind() == "not-found" => ("empty".into(), 0),
        Err(error) => return Err(error),
    };
    Ok(App {
        name,
        class: row.get("class")?,
        digest: row.get("digest")?,
        created: row.get("created")?,
        state,
        storage_bytes,
    })
}
