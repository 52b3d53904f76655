//! One process owns a data directory, marks it while it runs, and leaves ordinary SQLite files behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::support::cli::{explains, facetd};
use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::{identity, process};
use crate::{config, run_in_child};

/// A process that cannot have the directory says so before it does anything else.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_second_process_is_refused() -> Result<()> {
    let mut host = Host::new(&config())?;
    let url = host.url()?;
    let second = process::run(host.serve_command().stdin(Stdio::null()), REFUSAL_LIMIT, |_| ())?;
    ensure!(!second.status.success(), "two processes serve one directory");
    let directory = host.data().display().to_string();
    ensure!(
        second.stderr.contains(&directory),
        "does not name {directory}: {}",
        second.stderr
    );
    ensure!(!second.stderr.contains("panicked"), "panicked: {}", second.stderr);
    // Who takes its lock file for a stale one has not got the directory either.
    fs::remove_file(host.data().join("LOCK"))?;
    for tool in ["recover", "check", "classes"] {
        explains(&facetd(&[tool, "--data", &directory])?, &["in use", &directory])?;
    }
    // The first one did not notice.
    write(&url)?;
    host.stop()?;
    check_databases(&host.data())?;
    // And once it is gone, another may have it.
    host.url()?;
    host.stop()
}

#[test]
fn a_clean_stop_leaves_ordinary_files() -> Result<()> {
    let mut host = Host::new(&config())?;
    let url = host.url()?;
    ensure!(host.data().join("DIRTY").exists(), "a running host has a DIRTY file");
    write(&url)?;
    host.stop()?;
    ensure!(
        !host.data().join("DIRTY").exists(),
        "DIRTY is still there after a clean stop"
    );
    check_databases(&host.data())?;

    // After a kill the mark stays, so that nobody takes the files for complete; the next clean stop removes it.
    write(&host.url()?)?;
    host.kill()?;
    ensure!(host.data().join("DIRTY").exists(), "a killed host has no DIRTY file");
    host.url()?;
    host.stop()?;
    ensure!(
        !host.data().join("DIRTY").exists(),
        "DIRTY is still there after recovery and a clean stop"
    );
    check_databases(&host.data())
}

#[test]
fn a_directory_that_is_taken_away_stops_the_host() -> Result<()> {
    let mut host = Host::new(&config())?;
    let url = host.url()?;
    write(&url)?;
    let (data, aside) = (host.data(), host.data().with_file_name("aside"));
    fs::rename(&data, &aside)?;
    let client = Client::new();
    // Nothing of it is in memory: it is not taken for an object of which nothing is stored.
    let get = json!([{"op": "kv.get", "key": "k"}]);
    if let Ok(answer) = client.run(&url, "t/never-seen", &get) {
        ensure!(
            matches!(&answer, Err(failure) if failure.kind == "storage"),
            "it is taken for empty: {answer:?}"
        );
    }
    // One that is open writes on, and the host notices.
    let put = json!([{"op": "kv.put", "key": "k", "value": "lost"}]);
    let _ = client.run(&url, "t/clean", &put);
    let status = host.wait()?.context("it ran")?;
    let log = host.whole_log();
    ensure!(status.code().is_some_and(|code| code != 0), "{status}\n{log}");
    ensure!(
        log.contains("moved or removed") && !log.contains("panicked"),
        "does not say what happened: {log}"
    );
    fs::rename(&aside, &data)?;
    let found = Client::new().run(&host.url()?, "t/clean", &get)?;
    ensure!(
        matches!(&found, Ok(r) if r[0]["ok"] == "v" || r[0]["ok"] == "lost"),
        "{found:?}"
    );
    host.stop()
}

#[test]
fn a_link_to_a_directory_will_do() -> Result<()> {
    let mut host = Host::new(&config())?;
    let elsewhere = host.data().with_file_name("elsewhere");
    fs::create_dir(&elsewhere)?;
    std::os::unix::fs::symlink(&elsewhere, host.data())?;
    write(&host.url()?)?;
    host.stop()?;
    check_databases(&elsewhere)
}

/// S18: `unavailable`, and nobody knows how far it had come.
#[test]
fn a_stop_answers_who_waits() -> Result<()> {
    let mut host = Host::new(&config())?;
    let url = host.url()?;
    let begun = json!([{"op": "kv.put", "key": "k", "value": "sealed"}, {"op": "mem.add", "key": "begun", "by": 1},
        {"op": "sleep", "ms": 600_000}, {"op": "kv.put", "key": "k", "value": "ghost"}]);
    let answer = thread::scope(|scope| -> Result<_> {
        let waiting = scope.spawn(|| Client::new().run(&url, "t/stop", &begun));
        // In the root: its event interleaves with the one that sleeps.
        let seen = Client::new().run(&url, "t/stop", &json!([{"op": "mem.wait", "key": "begun", "least": 1}]))?;
        ensure!(seen.is_ok(), "{seen:?}");
        host.stop()?;
        waiting.join().expect("clients do not panic")
    })?;
    let failure = answer.err().context("an event outlived its host")?;
    ensure!(
        failure.kind == "unavailable" && failure.outcome == "unknown",
        "{failure:?}"
    );
    let url = host.url()?;
    let found = Client::new().run(&url, "t/stop", &json!([{"op": "kv.get", "key": "k"}]))?;
    ensure!(matches!(&found, Ok(r) if r[0]["ok"] == "sealed"), "{found:?}");
    host.stop()
}

fn write(url: &str) -> Result<()> {
    let client = Client::new();
    let put = json!([{"op": "kv.put", "key": "k", "value": "v"}]);
    let root = client.run(url, "t/clean", &put)?;
    ensure!(root.is_ok(), "{root:?}");
    for child in ["a", "b"] {
        let results = run_in_child(&client, url, "t/clean", child, put.clone())?;
        ensure!(matches!(&results, Ok(r) if r[0].get("ok").is_some()), "{results:?}");
    }
    Ok(())
}

fn check_databases(data: &Path) -> Result<()> {
    let id = identity::object_id("t", "clean");
    let mut databases = 0;
    for file in files(&identity::home(data, "t", &id))? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let left_over = ["-wal", "-shm", "-journal"].iter().any(|end| name.ends_with(end));
        ensure!(!left_over, "{name} is left after a clean stop");
        if name.starts_with(&id) && name.ends_with(".sqlite") {
            let bytes = fs::read(&file)?;
            ensure!(bytes.starts_with(b"SQLite format 3\0"), "{name} is no SQLite file");
            // Bytes 16 and 17 are the page size (1 stands for 65,536), 28 to 31 the number of pages, both big-endian.
            let page_bytes = match u16::from_be_bytes([bytes[16], bytes[17]]) {
                1 => 65_536,
                n => usize::from(n),
            };
            let pages = u32::from_be_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]) as usize;
            ensure!(
                bytes.len() == page_bytes * pages,
                "{name}: {} bytes, but {pages} pages",
                bytes.len()
            );
            databases += 1;
        }
    }
    ensure!(
        databases == 3,
        "a root and two children make three databases, not {databases}"
    );
    Ok(())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?)
}
