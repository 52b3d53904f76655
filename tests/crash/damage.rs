//! Damage is refused and explained, never adopted or repaired by dropping data; it concerns one object, or one facet of it,
//! nothing on disk is changed by looking at it, and mending the file mends the object.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::client::{Client, Failure};
use crate::support::host::Host;
use crate::support::identity;
use crate::{config, run_in_child};

const HURT: &str = "hurt";
const WELL: &str = "well";
/// In the order of their files: 1, 2, 3.
const CHILDREN: [&str; 3] = ["a", "b", "c"];

/// Two objects whose roots and children know who they are, on a host that was stopped cleanly.
fn stored() -> Result<Host> {
    let mut host = Host::in_memory(&config())?;
    let url = host.url()?;
    let client = Client::new();
    for object in [HURT, WELL] {
        let put = |path: &str| json!([{"op": "kv.put", "key": "who", "value": format!("{object}/{path}")}]);
        let root = client.run(&url, &format!("t/{object}"), &put(""))?;
        ensure!(root.is_ok(), "{root:?}");
        for child in CHILDREN {
            let results = run_in_child(&client, &url, &format!("t/{object}"), child, put(child))?;
            ensure!(matches!(&results, Ok(r) if r[0].get("ok").is_some()), "{results:?}");
        }
    }
    host.stop()?;
    Ok(host)
}

/// Whether the facet answers with its own data; none other is ever right. A refusal explains itself.
fn answers(host: &mut Host, object: &str, path: &str) -> Result<Result<(), Failure>> {
    let (url, client, on) = (host.url()?, Client::new(), format!("t/{object}"));
    let who = json!([{"op": "kv.get", "key": "who"}]);
    let answer = match path {
        "" => client.run(&url, &on, &who)?,
        child => run_in_child(&client, &url, &on, child, who)?,
    };
    match answer {
        Ok(results) => {
            let own = json!([{"ok": format!("{object}/{path}")}]);
            let got = json!(results);
            ensure!(got == own, "{object}/{path} took something else for its data: {got}");
            Ok(Ok(()))
        }
        Err(failure) => {
            ensure!(!failure.message.is_empty(), "it explains nothing: {failure:?}");
            Ok(Err(failure))
        }
    }
}

fn all_well(host: &mut Host, object: &str) -> Result<()> {
    for path in CHILDREN.into_iter().chain([""]) {
        let answer = answers(host, object, path)?;
        ensure!(answer.is_ok(), "{object}/{path} does not answer: {answer:?}");
    }
    Ok(())
}

/// What the operator is told when he looks into a facet's database, as kind and code; none if he sees it.
fn operators_view(host: &mut Host, address: &str) -> Result<Option<(String, String)>> {
    let response = host.admin(&format!("/admin/{address}"))?;
    let body: Value = serde_json::from_slice(&response.body)?;
    match response.status {
        200 => Ok(None),
        500 => {
            let word = |field: &str| body["error"][field].as_str().unwrap_or_default().to_owned();
            Ok(Some((word("kind"), word("code"))))
        }
        other => Err(anyhow!("{address}: status {other}: {body}")),
    }
}

/// All files of the object, with what is in them.
fn files(host: &Host, object: &str) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let id = identity::object_id("t", object);
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(identity::home(&host.data(), "t", &id))? {
        let path = entry?.path();
        if path.is_file()
            && path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&id))
        {
            found.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(found)
}

/// Damages files of `hurt` (none: removes one), has `look` see what comes of it, and mends them again.
fn with_damage(
    host: &mut Host,
    damage: &[(&Path, Option<&[u8]>)],
    look: impl FnOnce(&mut Host) -> Result<()>,
) -> Result<()> {
    let whole = files(host, HURT)?;
    for (path, bytes) in damage {
        match bytes {
            Some(bytes) => fs::write(path, bytes)?,
            None => fs::remove_file(path)?,
        }
    }
    let damaged = files(host, HURT)?;
    look(host)?;
    all_well(host, WELL).context("damage to one object hurts another")?;
    for (path, _) in damage {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = host.whole_log();
        ensure!(
            log.contains(&name),
            "the operator is not told which file is damaged ({name})"
        );
    }
    host.stop().context("with damage in it")?;
    let after = files(host, HURT)?;
    let changed: Vec<_> = damaged
        .keys()
        .chain(after.keys())
        .filter(|path| damaged.get(*path) != after.get(*path))
        .collect();
    ensure!(changed.is_empty(), "looking at damage has changed {changed:?}");
    for path in after.keys().filter(|path| !whole.contains_key(*path)) {
        fs::remove_file(path)?;
    }
    for (path, bytes) in &whole {
        fs::write(path, bytes)?;
    }
    all_well(host, HURT).context("the refusal destroyed what the mended files still had")?;
    host.stop()
}

/// The whole object is refused, whoever asks for whatever.
fn index_is_refused(host: &mut Host) -> Result<()> {
    for path in CHILDREN.into_iter().chain([""]) {
        let refusal = answers(host, HURT, path)?.err().context("it answers")?;
        let documented =
            (&refusal.kind[..], &refusal.code[..], &refusal.outcome[..]) == ("storage", "index", "not-applied");
        ensure!(documented, "{refusal:?}");
        tells_nothing_of_the_host(host, &refusal.message)?;
    }
    ensure!(
        host.whole_log().contains(".facets"),
        "the operator is not told which file"
    );
    for address in ["tree/t/hurt", "rows/t/hurt", "rows/t/hurt?path=a"] {
        let told = operators_view(host, address)?;
        ensure!(told == Some(("storage".into(), "index".into())), "{address}: {told:?}");
    }
    Ok(())
}

/// Neither paths nor other objects are callers' business.
fn tells_nothing_of_the_host(host: &Host, message: &str) -> Result<()> {
    let secrets = [
        host.data().display().to_string(),
        ".sqlite".to_owned(),
        ".facets".to_owned(),
        identity::object_id("t", WELL),
    ];
    for secret in secrets {
        ensure!(!message.contains(&secret), "{secret} is told: {message}");
    }
    Ok(())
}

/// One facet is refused with a code, and those beside it answer.
fn facet_is_refused(host: &mut Host, path: &str, code: &str) -> Result<()> {
    let refusal = answers(host, HURT, path)?.err();
    // The puppet reads its database when it starts.
    let refusal = refusal.with_context(|| format!("{path:?} answers"))?;
    ensure!(
        refusal.kind == "broken" && refusal.code == "start" && refusal.outcome == "not-applied",
        "{refusal:?}"
    );
    tells_nothing_of_the_host(host, &refusal.message)?;
    let told = operators_view(host, &format!("rows/t/hurt?path={path}"))?;
    ensure!(
        told == Some(("storage".into(), code.into())),
        "{path:?}: {told:?}, not {code}"
    );
    Ok(())
}

fn others_answer(host: &mut Host, refused: &[&str]) -> Result<()> {
    for child in CHILDREN.into_iter().filter(|child| !refused.contains(child)) {
        let answer = answers(host, HURT, child)?;
        ensure!(answer.is_ok(), "{child} is well and does not answer: {answer:?}");
    }
    Ok(())
}

fn path(host: &Host, object: &str, ending: &str) -> PathBuf {
    let id = identity::object_id("t", object);
    identity::home(&host.data(), "t", &id).join(format!("{id}{ending}"))
}

/// Bytes before the first record, and before the body of each (docs/formats.md).
const HEADER_BYTES: usize = 96;
const FRAME_BYTES: usize = 16;

/// Where the records of an index begin.
fn records(index: &[u8]) -> Vec<usize> {
    let mut begins = Vec::new();
    let mut at = HEADER_BYTES;
    while let Some(bytes) = index.get(at..at + 4) {
        begins.push(at);
        at += FRAME_BYTES + u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize;
    }
    begins
}

/// Makes the checksum of the record at `at` right.
fn seal(index: &mut [u8], at: usize) {
    let bytes = u32::from_le_bytes(index[at..at + 4].try_into().expect("four bytes")) as usize;
    let record = &index[at..at + FRAME_BYTES + bytes];
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..]);
    index[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The index with one word of the record at `at` replaced, which is in it once, and a right checksum.
fn forged(index: &[u8], at: usize, word: [u8; 8], by: [u8; 8]) -> Result<Vec<u8>> {
    let mut forged = index.to_vec();
    let end = records(index)
        .into_iter()
        .find(|begin| *begin > at)
        .unwrap_or(index.len());
    let places: Vec<_> = (at + FRAME_BYTES..end)
        .step_by(8)
        .filter(|i| index[*i..*i + 8] == word)
        .collect();
    let [place] = places[..] else {
        return Err(anyhow!("{word:?} stands {} times in the record", places.len()));
    };
    forged[place..place + 8].copy_from_slice(&by);
    seal(&mut forged, at);
    Ok(forged)
}

fn text_word(text: &str) -> [u8; 8] {
    let mut word = [0; 8];
    word[..text.len()].copy_from_slice(text.as_bytes());
    word
}

/// File and parent of a `create`.
fn create_word(file: u32, parent: u32) -> [u8; 8] {
    let mut word = [0; 8];
    word[..4].copy_from_slice(&file.to_le_bytes());
    word[4..].copy_from_slice(&parent.to_le_bytes());
    word
}

#[test]
fn a_damaged_index_is_refused_whatever_is_wrong_with_it() -> Result<()> {
    let mut host = stored()?;
    let index = path(&host, HURT, ".facets");
    let whole = fs::read(&index)?;
    let begins = records(&whole);
    let [_root, first, second, third] = begins[..] else {
        return Err(anyhow!("a root and three children have {} records", begins.len()));
    };
    let flipped = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        damaged
    };
    let (one, two, three) = (&whole[first..second], &whole[second..third], &whole[third..]);
    let mut newer = whole.clone();
    newer[8] = 3;
    let crc = crc32c::crc32c(&newer[..60]);
    newer[60..64].copy_from_slice(&crc.to_le_bytes());
    let mut again = [&whole[..], two].concat();
    again[whole.len() + 8] = 5;
    seal(&mut again, whole.len());
    let kinds: Vec<(&str, Vec<u8>)> = vec![
        ("cut to nothing", Vec::new()),
        ("cut in its header", whole[..40].to_vec()),
        ("cut in the frame of a record", whole[..second + 5].to_vec()),
        ("cut in the body of a record", whole[..third - 9].to_vec()),
        ("longer than it was", [&whole[..], b"more"].concat()),
        ("a flipped bit in its magic", flipped(2)),
        ("a flipped bit in its version", flipped(8)),
        ("a flipped bit in its next file id", flipped(12)),
        ("a flipped bit in its first number", flipped(16)),
        ("a flipped bit in its object", flipped(30)),
        ("a flipped bit in its header's checksum", flipped(61)),
        ("a flipped bit in the length of a record", flipped(first)),
        ("a flipped bit in the checksum of a record", flipped(second + 4)),
        ("a flipped bit in the number of a record", flipped(second + 8)),
        (
            "a flipped bit in the body of a record",
            flipped(second + FRAME_BYTES + 40),
        ),
        ("a flipped bit in its last byte", flipped(whole.len() - 1)),
        ("another object's", fs::read(path(&host, WELL, ".facets"))?),
        ("of a version to come", newer),
        ("a record left out", [&whole[..first], one, three].concat()),
        (
            "two records in the other order",
            [&whole[..first], two, one, three].concat(),
        ),
        ("a facet that is created twice", again),
        (
            "one name twice",
            forged(&whole, second, text_word("b"), text_word("a"))?,
        ),
        (
            "a parent that is missing",
            forged(&whole, second, create_word(2, 0), create_word(2, 77))?,
        ),
        (
            "a facet in the root's file",
            forged(&whole, second, create_word(2, 0), create_word(0, 0))?,
        ),
        (
            "a name that is none",
            forged(&whole, second, text_word("b"), text_word("/"))?,
        ),
        ("a database", fs::read(path(&host, HURT, ".1.sqlite"))?),
    ];
    for (kind, damaged) in kinds {
        let done = with_damage(&mut host, &[(&index, Some(&damaged))], index_is_refused);
        done.with_context(|| format!("{kind}\n{}", host.log()))?;
    }
    Ok(())
}

/// The end of a record is an end like any other. What is lost behind it is in databases still, which nobody else gets.
#[test]
fn an_index_cut_between_two_records_gives_nobody_the_data_of_the_lost() -> Result<()> {
    let mut host = stored()?;
    let index = path(&host, HURT, ".facets");
    let whole = fs::read(&index)?;
    let before = files(&host, HURT)?;
    let third = records(&whole)[3];
    fs::write(&index, &whole[..third])?;
    let (url, client) = (host.url()?, Client::new());
    for child in ["a", "b"] {
        ensure!(answers(&mut host, HURT, child)?.is_ok(), "{child} does not answer");
    }
    // It would get the file of the lost one.
    let put = json!([{"op": "kv.put", "key": "who", "value": "new"}, {"op": "kv.get", "key": "who"}]);
    let answer = run_in_child(&client, &url, "t/hurt", "d", put)?;
    let answer = json!(answer.map_err(|failure| anyhow!("{failure:?}"))?);
    let refused = &answer[0]["err"];
    ensure!(
        refused["kind"] == "storage" && refused["code"] == "identity" && answer[1] == json!({"ok": null}),
        "a new facet took a database that was there: {answer}"
    );
    ensure!(
        host.whole_log().contains(".3.sqlite"),
        "the operator is not told which file is in the way"
    );
    host.stop()?;
    let lost = path(&host, HURT, ".3.sqlite");
    ensure!(
        fs::read(&lost)? == before[&lost],
        "what was lost from the index is changed"
    );
    fs::write(&index, &whole)?;
    all_well(&mut host, HURT)?;
    host.stop()
}

#[test]
fn a_foreign_database_is_not_adopted() -> Result<()> {
    let mut host = stored()?;
    let [root, a, b, c] = ["", ".1", ".2", ".3"].map(|number| path(&host, HURT, &format!("{number}.sqlite")));
    let read = |file: &Path| fs::read(file).context("files are numbered from 1 up");
    let of_other = read(&path(&host, WELL, ".1.sqlite"))?;
    let root_of_other = read(&path(&host, WELL, ".sqlite"))?;
    let (bytes_root, bytes_a, bytes_b, bytes_c) = (read(&root)?, read(&a)?, read(&b)?, read(&c)?);

    let refused = |refused: &'static [&'static str]| {
        move |host: &mut Host| {
            refused
                .iter()
                .try_for_each(|path| facet_is_refused(host, path, "identity"))?;
            others_answer(host, refused)
        }
    };
    with_damage(&mut host, &[(&a, Some(&of_other))], refused(&["a"])).context("the same file of another object")?;
    with_damage(&mut host, &[(&a, Some(&bytes_b))], refused(&["a"])).context("a sibling's")?;
    with_damage(&mut host, &[(&a, Some(&bytes_root))], refused(&["a"])).context("the root's")?;
    with_damage(
        &mut host,
        &[(&a, Some(&bytes_b)), (&b, Some(&bytes_a))],
        refused(&["a", "b"]),
    )
    .context("two changed")?;
    let turned: [(&Path, Option<&[u8]>); 3] = [(&a, Some(&bytes_b)), (&b, Some(&bytes_c)), (&c, Some(&bytes_a))];
    with_damage(&mut host, &turned, refused(&["a", "b", "c"])).context("three in a ring")?;
    for (whose, bytes) in [("another object's root", &root_of_other), ("a child's", &bytes_a)] {
        let done = with_damage(&mut host, &[(&root, Some(bytes))], |host| {
            facet_is_refused(host, "", "identity")
        });
        done.with_context(|| format!("{whose} as the root's\n{}", host.log()))?;
    }
    Ok(())
}

#[test]
fn a_database_of_garbage_is_refused() -> Result<()> {
    let mut host = stored()?;
    let own = path(&host, HURT, ".1.sqlite");
    let whole = fs::read(&own)?;
    let noise: Vec<u8> = (0..whole.len()).map(|i| (i * 31 % 251) as u8).collect();
    let mut beginning_only = whole.clone();
    beginning_only[4096..].fill(0x5a);
    // Another program's: SQLite's header without our mark, in another mode, and with nothing reserved.
    let mut strange = whole.clone();
    strange[18..20].fill(1);
    strange[20] = 0;
    strange[68..72].fill(0);
    for (kind, damaged, code) in [
        ("noise", &noise[..], "corrupt"),
        ("cut in its header", &whole[..60], "corrupt"),
        ("cut to its first page", &whole[..4096], "corrupt"),
        ("cut to nothing", &[], "identity"),
        ("noise behind its first page", &beginning_only, "corrupt"),
        ("of another program", &strange, "identity"),
    ] {
        let done = with_damage(&mut host, &[(&own, Some(damaged))], |host| {
            facet_is_refused(host, "a", code)?;
            others_answer(host, &["a"])
        });
        done.with_context(|| format!("{kind}\n{}", host.log()))?;
    }
    Ok(())
}

#[test]
fn a_lost_index_is_missed() -> Result<()> {
    let mut host = stored()?;
    let index = path(&host, HURT, ".facets");
    with_damage(&mut host, &[(&index, None)], index_is_refused).with_context(|| host.log())
}

#[test]
fn a_lost_database_of_a_root_is_missed() -> Result<()> {
    let mut host = stored()?;
    let own = path(&host, HURT, ".sqlite");
    with_damage(&mut host, &[(&own, None)], |host| facet_is_refused(host, "", "corrupt")).with_context(|| host.log())
}

#[test]
fn a_lost_database_is_missed() -> Result<()> {
    let mut host = stored()?;
    let own = path(&host, HURT, ".1.sqlite");
    with_damage(&mut host, &[(&own, None)], |host| {
        facet_is_refused(host, "a", "corrupt")?;
        others_answer(host, &["a"])
    })
    .with_context(|| host.log())
}
