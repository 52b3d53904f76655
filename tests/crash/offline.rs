//! `facetd check` reads everything and changes nothing; `facetd recover` makes ordinary files of what a crash left.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::support::cli::{explains, facetd, limited};
use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::identity;
use crate::support::process::Output;
use crate::{config, run_in_child};

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (from, to) = (entry?.path(), to);
        let to = to.join(from.file_name().unwrap_or_default());
        match fs::metadata(&from)? {
            found if found.is_dir() => copy_all(&from, &to)?,
            found if found.is_file() => drop(fs::copy(&from, &to)?),
            // The admin socket.
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn a_copy_of_a_directory_that_was_not_stopped_is_refused() -> Result<()> {
    let mut host = Host::new(&config())?;
    let (url, data) = (host.url()?, host.data());
    let put = json!([{"op": "kv.put", "key": "k", "value": "v"}]);
    let stored = Client::new().run(&url, "t/offline", &put)?;
    ensure!(stored.is_ok(), "{stored:?}");
    host.kill()?;
    let copy = data.with_file_name("copy");
    copy_all(&data, &copy)?;
    explains(
        &facetd(&["recover", "--data", path(&copy)])?,
        &["is a copy", "--copied"],
    )?;
    let checked = check(&copy)?;
    ensure!(
        !checked.status.success() && checked.stdout.contains("is a copy"),
        "{checked:?}"
    );
    // The host gets the copy in place of its own.
    fs::rename(&data, data.with_file_name("original"))?;
    fs::rename(&copy, &data)?;
    explains(&limited(&mut host.serve_command())?, &["is a copy", "snapshot"])?;
    let recovered = facetd(&["recover", "--copied", "--data", path(&data)])?;
    ensure!(recovered.status.success(), "{recovered:?}");
    let url = host.url()?;
    let found = Client::new().run(&url, "t/offline", &json!([{"op": "kv.get", "key": "k"}]))?;
    ensure!(matches!(&found, Ok(results) if results[0]["ok"] == "v"), "{found:?}");
    host.stop()
}

#[test]
fn check_and_recover() -> Result<()> {
    let mut host = Host::new(&config())?;
    let data = host.data();
    let url = host.url()?;
    explains(&check(&data)?, &["in use"])?;
    let client = Client::new();
    let put = json!([{"op": "kv.put", "key": "k", "value": "v"}, {"op": "sql", "q": "CREATE TABLE t(x)"}]);
    let root = client.run(&url, "t/offline", &put)?;
    ensure!(root.is_ok(), "{root:?}");
    for child in ["a", "b"] {
        let results = run_in_child(&client, &url, "t/offline", child, put.clone())?;
        ensure!(results.is_ok(), "{results:?}");
    }
    host.kill()?;

    let before = files(&data)?;
    let dirty = check(&data)?;
    explains(&dirty, &["did not stop cleanly"])?;
    ensure!(dirty.stdout.contains("units of 1 objects"), "{dirty:?}");
    ensure!(files(&data)? == before, "check has changed something");

    let recovered = facetd(&["recover", "--data", path(&data)])?;
    ensure!(recovered.status.success(), "{recovered:?}");
    ensure!(!data.join("DIRTY").exists(), "DIRTY is still there");
    let clean = facetd(&["check", "--usage", "--data", path(&data)])?;
    ensure!(
        clean.status.success() && clean.stdout.contains("3 databases"),
        "{clean:?}"
    );
    ensure!(
        clean.stdout.lines().filter(|line| line.contains(" t/id:")).count() == 3,
        "{clean:?}"
    );

    // In the middle of a page of one child's table or keys.
    let before = files(&data)?;
    let (victim, bytes) = before
        .iter()
        .find(|(name, _)| name.to_string_lossy().ends_with(".1.sqlite"))
        .ok_or_else(|| anyhow::anyhow!("no database of a child"))?;
    let mut damaged = bytes.clone();
    damaged[4096..4196].fill(0x5a);
    fs::write(victim, &damaged)?;
    let after = files(&data)?;
    explains(&check(&data)?, &["1 problem"])?;
    ensure!(check(&data)?.stdout.contains(".1.sqlite"), "does not name the file");
    ensure!(files(&data)? == after, "check has changed something");
    fs::remove_file(victim)?;
    let lost = check(&data)?;
    explains(&lost, &["1 problem"])?;
    ensure!(
        lost.stdout.contains("missing") && lost.stdout.contains("\"a\""),
        "{lost:?}"
    );
    fs::write(victim, bytes)?;
    ensure!(check(&data)?.status.success(), "it is whole again");

    // The root's, and the index that names all of them.
    let id = identity::object_id("t", "offline");
    for (ending, many, why) in [
        ("sqlite", "1 problem", "for the root"),
        ("facets", "3 problems", "facetd doctor"),
    ] {
        let victim = identity::home(&data, "t", &id).join(format!("{id}.{ending}"));
        let bytes = fs::read(&victim)?;
        fs::remove_file(&victim)?;
        let lost = check(&data)?;
        explains(&lost, &[many])?;
        ensure!(lost.stdout.contains("missing") && lost.stdout.contains(why), "{lost:?}");
        let explained = facetd(&["doctor", "--data", path(&data), "t/offline"])?;
        ensure!(
            !explained.status.success() && explained.stdout.contains("missing"),
            "{explained:?}"
        );
        fs::write(&victim, bytes)?;
    }
    // Right in the namespace's directory nobody looks for it.
    let astray = data.join("t").join(format!("{id}.facets"));
    fs::copy(identity::home(&data, "t", &id).join(format!("{id}.facets")), &astray)?;
    explains(&check(&data)?, &["1 problem"])?;
    fs::remove_file(&astray)?;
    let usage = facetd(&["check", "--usage", "--data", path(&data)])?;
    ensure!(usage.stdout.matches("(\"offline\")").count() == 3, "no name: {usage:?}");

    // What was recovered offline is served.
    let url = host.url()?;
    let get = json!([{"op": "kv.get", "key": "k"}]);
    let results = run_in_child(&client, &url, "t/offline", "a", get)?;
    ensure!(matches!(&results, Ok(r) if r[0]["ok"] == "v"), "{results:?}");
    host.stop()?;
    explains(&check(&data.join("nowhere"))?, &["nowhere"])
}

/// What the journal does not change is as complete as ever.
#[test]
fn an_unclean_directory_is_no_success_and_damage_in_it_is_found() -> Result<()> {
    let mut host = Host::new(&config())?;
    let (client, data) = (Client::new(), host.data());
    let put = json!([{"op": "kv.put", "key": "k", "value": "v"}]);
    for life in ["at rest", "in the journal"] {
        let url = host.url()?;
        let root = client.run(&url, &format!("t/{life}"), &put)?;
        ensure!(root.is_ok(), "{root:?}");
        match life {
            "at rest" => host.stop()?,
            _ => host.kill()?,
        }
    }
    let usage = facetd(&["check", "--usage", "--data", path(&data)])?;
    explains(&usage, &["did not stop cleanly"])?;
    ensure!(
        usage.stdout.contains("(\"at rest\")") && !usage.stdout.contains("problem"),
        "{usage:?}"
    );
    let id = identity::object_id("t", "at rest");
    let victim = identity::home(&data, "t", &id).join(format!("{id}.sqlite"));
    let bytes = fs::read(&victim)?;
    let mut damaged = bytes.clone();
    damaged[4096..4196].fill(0x5a);
    fs::write(&victim, &damaged)?;
    explains(&check(&data)?, &["1 problem"])?;
    fs::remove_file(&victim)?;
    explains(&check(&data)?, &["1 problem"])?;
    fs::write(&victim, &bytes)?;
    host.url()?;
    host.stop()?;
    ensure!(check(&data)?.status.success(), "{:?}", check(&data)?);
    Ok(())
}

#[test]
fn a_damaged_journal_is_refused_and_can_be_salvaged() -> Result<()> {
    let mut host = Host::new(&config())?;
    let (client, data) = (Client::new(), host.data());
    for object in ["t/early", "t/late"] {
        for value in 0..5 {
            let put = json!([{"op": "kv.put", "key": "k", "value": value.to_string()}]);
            let stored = client.run(&host.url()?, object, &put)?;
            ensure!(stored.is_ok(), "{stored:?}");
        }
    }
    host.kill()?;
    let log = fs::read_dir(data.join("journal"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "log"))
        .ok_or_else(|| anyhow::anyhow!("no segment"))?;
    let mut bytes = fs::read(&log)?;
    let batches: Vec<_> = (4096..bytes.len())
        .step_by(4096)
        .filter(|at| bytes[*at..].starts_with(b"fbat"))
        .collect();
    // The last but one: behind it is one that says it was acknowledged.
    let at = batches[batches.len() - 2];
    bytes[at + 100] ^= 1;
    fs::write(&log, &bytes)?;
    for refused in [
        limited(&mut host.serve_command())?,
        facetd(&["recover", "--data", path(&data)])?,
    ] {
        explains(&refused, &["damaged", "facetd recover --salvage"])?;
    }
    let salvaged = facetd(&["recover", "--salvage", "--data", path(&data)])?;
    explains(&salvaged, &["were carried out", "missing"])?;
    let (early, late) = (identity::object_id("t", "early"), identity::object_id("t", "late"));
    ensure!(
        salvaged.stdout.contains(&format!("has lost commits: t/id:{late}")) && !salvaged.stdout.contains(&early),
        "{salvaged:?}"
    );
    ensure!(data.join("journal.damaged1/files/t").is_dir(), "nothing is kept");
    let checked = check(&data)?;
    ensure!(
        !checked.status.success() && checked.stdout.contains("salvaged.txt"),
        "{checked:?}"
    );
    fs::remove_file(data.join("salvaged.txt"))?;
    ensure!(check(&data)?.status.success(), "{:?}", check(&data)?);
    let url = host.url()?;
    for (object, value) in [("t/early", "4"), ("t/late", "2")] {
        let found = client.run(&url, object, &json!([{"op": "kv.get", "key": "k"}]))?;
        ensure!(
            matches!(&found, Ok(results) if results[0]["ok"] == value),
            "{object}: {found:?}"
        );
    }
    host.stop()
}

#[test]
fn a_lost_journal_is_not_passed_over() -> Result<()> {
    let mut host = Host::new(&config())?;
    let client = Client::new();
    let put = json!([{"op": "kv.put", "key": "k", "value": "v"}]);
    let root = client.run(&host.url()?, "t/offline", &put)?;
    ensure!(root.is_ok(), "{root:?}");
    host.kill()?;
    let journal = host.data().join("journal");
    let aside = host.data().join("aside");
    fs::rename(&journal, &aside)?;
    let refused = facetd(&["recover", "--data", path(&host.data())])?;
    explains(&refused, &["journal"])?;
    ensure!(host.url().is_err(), "a host serves what may be half of the data");
    if journal.exists() {
        fs::remove_dir_all(&journal)?;
    }
    fs::rename(&aside, &journal)?;
    let get = json!([{"op": "kv.get", "key": "k"}]);
    let answer = client.run(&host.url()?, "t/offline", &get)?;
    ensure!(matches!(&answer, Ok(r) if r[0]["ok"] == "v"), "{answer:?}");
    host.stop()
}

fn check(data: &Path) -> Result<Output> {
    facetd(&["check", "--data", path(data)])
}

fn path(data: &Path) -> &str {
    data.to_str().expect("the tests' own directories are UTF-8")
}

/// All files but LOCK, with their bytes; not the socket that a host which was killed has left.
fn files(data: &Path) -> Result<Vec<(std::path::PathBuf, Vec<u8>)>> {
    let (mut found, mut dirs) = (Vec::new(), vec![data.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() && entry.file_name() != "LOCK" {
                found.push((entry.path(), fs::read(entry.path())?));
            }
        }
    }
    found.sort();
    Ok(found)
}
