//! `facetd doctor` explains what is wrong with an object, changes nothing unless it is asked to, and gives every database
//! back to its own facet and to no other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::config;
use crate::support::cli::facetd;
use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::process::Output;

const OBJECT: &str = "t/patient";
/// The facets that store something: their own paths. `c` and `c/d` store nothing.
const STORED: [&str; 5] = ["a", "a/x", "b", "b/y", "c/d/e"];

fn nested(path: &str, ops: Value) -> Value {
    path.rsplit('/').fold(ops, |ops, name| {
        json!([
            {"op": "facet.get", "name": name, "class": "puppet", "as": name},
            {"op": "call", "stub": name, "ops": ops},
        ])
    })
}

/// What the facet at the end of a path answers.
fn at(client: &Client, url: &str, path: &str, ops: Value) -> Result<Value> {
    let results = client.run(url, OBJECT, &nested(path, ops))?;
    let mut answer = json!(results.map_err(|failure| anyhow::anyhow!("{path}: {failure:?}"))?);
    for _ in path.split('/') {
        answer = answer[1]["ok"].take();
    }
    Ok(answer)
}

/// An object on a host that was stopped cleanly.
fn patient() -> Result<Host> {
    let mut host = Host::new(&config())?;
    let (url, client) = (host.url()?, Client::new());
    for path in STORED {
        let put = json!([{"op": "kv.put", "key": "who", "value": path}]);
        let answer = at(&client, &url, path, put)?;
        ensure!(answer[0].get("ok").is_some(), "{path}: {answer}");
    }
    // History, so that there is something to be damaged before the end.
    let gone = json!([
        {"op": "facet.get", "name": "gone", "class": "puppet", "as": "gone"},
        {"op": "call", "stub": "gone", "ops": [{"op": "kv.put", "key": "who", "value": "gone"}]},
        {"op": "facet.delete", "name": "gone"},
    ]);
    let answer = client.run(&url, OBJECT, &gone)?;
    ensure!(answer.is_ok(), "{answer:?}");
    host.stop()?;
    Ok(host)
}

fn doctor(data: &Path, repair: bool) -> Result<Output> {
    let data = data.to_str().context("a path of UTF-8")?;
    let args = ["doctor", "--data", data, OBJECT, "--repair"];
    facetd(&args[..if repair { 5 } else { 4 }])
}

/// Everything of the namespace's objects, by name; what it holds.
fn files(host: &Host) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for home in fs::read_dir(host.data().join("t"))? {
        let home = home?.path();
        for entry in home
            .is_dir()
            .then(|| fs::read_dir(&home))
            .transpose()?
            .into_iter()
            .flatten()
        {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "sqlite" || end == "facets") {
                found.insert(path.clone(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

fn index(host: &Host) -> Result<PathBuf> {
    let files = files(host)?;
    let index = files
        .into_keys()
        .find(|path| path.extension().is_some_and(|end| end == "facets"));
    index.context("no index")
}

/// All facets have their own data, and nothing else is there.
fn is_well(host: &mut Host) -> Result<()> {
    let (url, client) = (host.url()?, Client::new());
    for path in STORED {
        let answer = at(&client, &url, path, json!([{"op": "kv.get", "key": "who"}]))?;
        ensure!(answer == json!([{"ok": path}]), "{path} has {answer}");
    }
    let names = client.run(&url, OBJECT, &json!([{"op": "facet.list"}]))?;
    let names = names.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    ensure!(names[0]["ok"] == json!(["a", "b", "c"]), "children: {names:?}");
    // Numbers of files that were given out before are not given again.
    let new = at(
        &client,
        &url,
        "new",
        json!([{"op": "kv.put", "key": "who", "value": "new"}]),
    )?;
    ensure!(new[0].get("ok").is_some(), "{new}");
    host.stop()?;
    ensure!(
        doctor(&host.data(), false)?.status.success(),
        "{:?}",
        doctor(&host.data(), false)?
    );
    Ok(())
}

/// Damages an index, has it explained and mended, and looks at what has become of the object.
fn mended(damage: impl Fn(&mut Vec<u8>), names: &[&str]) -> Result<()> {
    let mut host = patient()?;
    let index = index(&host)?;
    let mut bytes = fs::read(&index)?;
    let good = bytes.clone();
    damage(&mut bytes);
    ensure!(bytes != good, "nothing was damaged");
    fs::write(&index, &bytes)?;
    let before = files(&host)?;
    let explained = doctor(&host.data(), false)?;
    ensure!(!explained.status.success(), "it finds nothing: {explained:?}");
    for name in names {
        ensure!(explained.stdout.contains(name), "{name:?} is not in {explained:?}");
    }
    ensure!(explained.stderr.contains("--repair"), "{explained:?}");
    ensure!(files(&host)? == before, "explaining has changed something");
    let repaired = doctor(&host.data(), true)?;
    ensure!(repaired.status.success(), "{repaired:?}");
    let kept = index.with_extension("facets.damaged1");
    ensure!(fs::read(&kept)? == bytes, "the old index is not kept");
    for (path, bytes) in before.iter().filter(|(path, _)| **path != index) {
        ensure!(fs::read(path)? == *bytes, "{} was changed", path.display());
    }
    is_well(&mut host)
}

#[test]
fn a_whole_object_has_nothing_to_mend() -> Result<()> {
    let host = patient()?;
    let before = files(&host)?;
    let explained = doctor(&host.data(), true)?;
    ensure!(explained.status.success(), "{explained:?}");
    for path in STORED {
        ensure!(
            explained.stdout.contains(&format!("of the facet {path:?}")),
            "{explained:?}"
        );
    }
    ensure!(files(&host)? == before, "something was changed");
    Ok(())
}

#[test]
fn a_record_in_the_middle_is_replaced_by_what_databases_say() -> Result<()> {
    // The first record: `a` and its startup.
    mended(|bytes| bytes[96 + 40] ^= 1, &["\"a\" is named again", "are no record"])
}

#[test]
fn a_cut_index_is_completed() -> Result<()> {
    mended(|bytes| bytes.truncate(bytes.len() / 2 + 3), &["is named again"])
}

#[test]
fn without_a_header_the_records_are_good() -> Result<()> {
    mended(|bytes| bytes[9] ^= 0x80, &["header"])
}

#[test]
fn an_index_of_garbage_is_made_of_databases_alone() -> Result<()> {
    mended(
        |bytes| bytes.fill(0x5a),
        &["\"c/d/e\" is named again", "no index of facets"],
    )
}

#[test]
fn a_lost_index_is_made_of_databases_alone() -> Result<()> {
    let mut host = patient()?;
    fs::remove_file(index(&host)?)?;
    let explained = doctor(&host.data(), false)?;
    ensure!(
        !explained.status.success() && explained.stdout.contains("is missing, and is made"),
        "{explained:?}"
    );
    ensure!(doctor(&host.data(), true)?.status.success(), "not repaired");
    is_well(&mut host)
}

#[test]
fn a_database_in_the_wrong_place_is_explained_and_left_alone() -> Result<()> {
    let host = patient()?;
    let databases: Vec<_> = files(&host)?
        .into_keys()
        .filter(|path| path.to_string_lossy().ends_with(".sqlite"))
        .filter(|path| path.to_string_lossy().matches('.').count() > 1)
        .collect();
    let (one, other) = (&databases[0], &databases[1]);
    let (left, right) = (fs::read(one)?, fs::read(other)?);
    fs::write(one, &right)?;
    fs::write(other, &left)?;
    let before = files(&host)?;
    let explained = doctor(&host.data(), true)?;
    ensure!(!explained.status.success(), "{explained:?}");
    ensure!(
        explained.stdout.matches("it is left alone").count() == 2,
        "{explained:?}"
    );
    ensure!(files(&host)? == before, "something was changed");
    Ok(())
}

#[test]
fn a_directory_that_is_in_use_or_unclean_is_not_judged() -> Result<()> {
    let mut host = patient()?;
    host.url()?;
    let busy = doctor(&host.data(), false)?;
    ensure!(!busy.status.success() && busy.stderr.contains("in use"), "{busy:?}");
    host.kill()?;
    let unclean = doctor(&host.data(), false)?;
    ensure!(
        !unclean.status.success() && unclean.stderr.contains("facetd recover"),
        "{unclean:?}"
    );
    Ok(())
}
