//! Damage is refused and explained, never adopted or repaired by dropping data; it concerns one object, and mending the
//! file mends the object.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::identity;
use crate::{config, run_in_child};

const HURT: &str = "hurt";
const WELL: &str = "well";
const CHILDREN: [&str; 3] = ["a", "b", "c"];

/// Two objects with children that know who they are, on a host that was stopped cleanly.
fn stored() -> Result<Host> {
    let mut host = Host::new(&config())?;
    let url = host.url()?;
    let client = Client::new();
    for object in [HURT, WELL] {
        for child in CHILDREN {
            let put = json!([{"op": "kv.put", "key": "who", "value": format!("{object}/{child}")}]);
            let results = run_in_child(&client, &url, &format!("t/{object}"), child, put)?;
            ensure!(matches!(&results, Ok(r) if r[0].get("ok").is_some()), "{results:?}");
        }
    }
    host.stop()?;
    Ok(host)
}

/// Whether the child answers. What it answers is its own data or an error, nothing else.
fn answers(host: &mut Host, object: &str, child: &str) -> Result<bool> {
    let who = json!([{"op": "kv.get", "key": "who"}]);
    match run_in_child(&Client::new(), &host.url()?, &format!("t/{object}"), child, who)? {
        Ok(results) => {
            let own = json!([{"ok": format!("{object}/{child}")}]);
            ensure!(
                json!(results) == own,
                "{object}/{child} took something else for its data: {results:?}"
            );
            Ok(true)
        }
        Err(failure) => {
            ensure!(
                !failure.message.is_empty(),
                "an error that explains nothing: {failure:?}"
            );
            Ok(false)
        }
    }
}

fn all_well(host: &mut Host, object: &str) -> Result<()> {
    for child in CHILDREN {
        ensure!(answers(host, object, child)?, "{object}/{child} does not answer");
    }
    Ok(())
}

/// Damages one file of `hurt`, looks, mends it, looks again. Answers how many of its children still answered.
fn with_damage(host: &mut Host, file: &Path, damaged: &[u8]) -> Result<usize> {
    let whole = fs::read(file)?;
    fs::write(file, damaged)?;
    let mut answering = 0;
    for child in CHILDREN {
        answering += usize::from(answers(host, HURT, child)?);
    }
    all_well(host, WELL).context("damage to one object hurts another")?;
    if answering < CHILDREN.len() {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(
            host.log().contains(&name),
            "the operator is not told which file is damaged ({name})"
        );
    }
    host.stop()?;
    fs::write(file, whole)?;
    all_well(host, HURT).context("the refusal destroyed what the mended file still had")?;
    host.stop()?;
    Ok(answering)
}

fn path(host: &Host, object: &str, ending: &str) -> PathBuf {
    host.data()
        .join("t")
        .join(format!("{}{ending}", identity::object_id("t", object)))
}

#[test]
fn a_flipped_byte_of_the_index_is_refused() -> Result<()> {
    let mut host = stored()?;
    let index = path(&host, HURT, ".facets");
    let whole = fs::read(&index)?;
    let mut refused = 0;
    for at in [0, whole.len() / 4, whole.len() / 2] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        let answering = with_damage(&mut host, &index, &damaged);
        let answering = answering.with_context(|| format!("byte {at} of {} flipped\n{}", whole.len(), host.log()))?;
        refused += usize::from(answering == 0);
    }
    ensure!(
        refused > 0,
        "no flipped byte was ever noticed: is the index checked at all?"
    );
    Ok(())
}

#[test]
fn a_truncated_index_loses_no_child_in_silence() -> Result<()> {
    let mut host = stored()?;
    let index = path(&host, HURT, ".facets");
    let whole = fs::read(&index)?;
    for length in [0, 7, whole.len() / 2] {
        with_damage(&mut host, &index, &whole[..length])
            .with_context(|| format!("index cut from {} to {length} bytes\n{}", whole.len(), host.log()))?;
    }
    Ok(())
}

#[test]
fn a_foreign_database_is_not_adopted() -> Result<()> {
    let mut host = stored()?;
    let own = path(&host, HURT, ".1.sqlite");
    // Of another object, and of a sibling: identity is object, path and incarnation.
    for (object, ending) in [(WELL, ".1.sqlite"), (HURT, ".2.sqlite")] {
        let foreign = fs::read(path(&host, object, ending)).context("files are numbered from 1 up")?;
        let answering = with_damage(&mut host, &own, &foreign);
        let answering = answering.with_context(|| format!("{object}{ending} as {HURT}.1.sqlite\n{}", host.log()))?;
        ensure!(
            answering == CHILDREN.len() - 1,
            "{answering} children answer; one has a foreign database"
        );
    }
    Ok(())
}

#[test]
fn a_database_of_garbage_is_refused() -> Result<()> {
    let mut host = stored()?;
    let own = path(&host, HURT, ".1.sqlite");
    let whole = fs::read(&own)?;
    let noise: Vec<u8> = (0..whole.len()).map(|i| (i * 31 % 251) as u8).collect();
    for damaged in [&noise[..], &whole[..100], &[]] {
        let answering = with_damage(&mut host, &own, damaged);
        let answering = answering.with_context(|| format!("{} bytes of garbage\n{}", damaged.len(), host.log()))?;
        ensure!(
            answering == CHILDREN.len() - 1,
            "{answering} children answer; one has no database left"
        );
    }
    Ok(())
}

#[test]
fn a_lost_database_is_missed() -> Result<()> {
    let mut host = stored()?;
    let own = path(&host, HURT, ".1.sqlite");
    let whole = fs::read(&own)?;
    fs::remove_file(&own)?;
    let mut answering = 0;
    for child in CHILDREN {
        answering += usize::from(answers(&mut host, HURT, child)?);
    }
    ensure!(
        answering == CHILDREN.len() - 1,
        "{answering} children answer; one has lost its database"
    );
    host.stop()?;
    ensure!(!own.exists(), "a lost database was made up");
    fs::write(&own, whole)?;
    all_well(&mut host, HURT).context("after the file was put back")
}
