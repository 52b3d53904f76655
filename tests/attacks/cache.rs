//! Who can write into the data directory while the host is stopped owns it. But what is damaged or misplaced there is made
//! again, and said so; compiled code that is not the host's own is never run.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::arena::config;
use crate::attack::Attack;
use crate::support::client::Client;
use crate::support::host::Host;

/// What is done to a data directory.
type Change = fn(&Path) -> Result<()>;

pub(crate) fn all() -> Vec<Attack> {
    let attacks: [(&str, Change, &str); 8] = [
        ("a-byte-of-each-is-flipped", flip_bytes, "not as it was written"),
        ("cut", cut, "not as it was written"),
        (
            "emptied",
            |data| each(data, |file| Ok(fs::write(file, [])?)),
            "not as it was written",
        ),
        ("renamed-to-another-class", rename, "not as it was written"),
        (
            "another-key",
            |data| Ok(fs::write(data.join("cache/key"), [7; 32])?),
            "not as it was written",
        ),
        (
            "no-key",
            |data| Ok(fs::write(data.join("cache/key"), [])?),
            "not as it was written",
        ),
        ("a-directory-for-a-file", directories, "made again"),
        ("world-writable", world_writable, ""),
    ];
    let mut all: Vec<_> = attacks
        .into_iter()
        .map(|(name, attack, said)| Attack::on_own_host(name, move || between_two_runs(attack, said)))
        .collect();
    all.push(Attack::on_own_host("class-file-that-is-another-file", || {
        between_two_runs(link_classes, "made again")
    }));
    all
}

/// A host runs, is stopped, attacked, and runs again: the class answers, the log says what was wrong, the directory is
/// nobody else's.
fn between_two_runs(attack: Change, said: &str) -> Result<()> {
    let mut host = Host::in_memory(&config())?;
    answers(&mut host)?;
    host.stop()?;
    let before = host.whole_log().len();
    attack(&host.data())?;
    answers(&mut host).with_context(|| host.log())?;
    for dir in [host.data().join("cache")].into_iter().chain(engines(&host.data())?) {
        let mode = fs::metadata(&dir)?.permissions().mode() & 0o777;
        ensure!(mode == 0o700, "{} has mode {mode:o}", dir.display());
    }
    host.stop()?;
    let log = host.whole_log();
    ensure!(
        log[before..].contains(said),
        "the log does not say {said:?}:\n{}",
        &log[before..]
    );
    Ok(())
}

fn answers(host: &mut Host) -> Result<()> {
    let url = host.url()?;
    let answer = Client::new().rpc(&url, "evil/x", "ping", &json!([]))?;
    ensure!(answer.as_ref().is_ok_and(|pong| pong == "pong"), "{answer:?}");
    Ok(())
}

fn engines(data: &Path) -> Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(data.join("cache"))? {
        let path = entry?.path();
        if path.is_dir() {
            dirs.push(path);
        }
    }
    Ok(dirs)
}

fn artefacts(data: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for dir in engines(data)? {
        for entry in fs::read_dir(dir)? {
            files.push(entry?.path());
        }
    }
    ensure!(!files.is_empty(), "nothing is cached");
    Ok(files)
}

fn each(data: &Path, change: impl Fn(&Path) -> Result<()>) -> Result<()> {
    artefacts(data)?.iter().try_for_each(|file| change(file))
}

fn flip_bytes(data: &Path) -> Result<()> {
    each(data, |file| {
        let mut bytes = fs::read(file)?;
        // In the middle of the native code.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Ok(fs::write(file, bytes)?)
    })
}

fn cut(data: &Path) -> Result<()> {
    each(data, |file| {
        let bytes = fs::read(file)?;
        Ok(fs::write(file, &bytes[..bytes.len() - 1])?)
    })
}

/// Each gets the bytes of another class.
fn rename(data: &Path) -> Result<()> {
    let mut files = artefacts(data)?;
    if files.len() == 1 {
        // Only one class was run: its code is given to all that there are.
        let dir = files[0].parent().context("it lies somewhere")?.to_owned();
        let own = files[0].clone();
        for class in fs::read_dir(data.join("classes"))? {
            let name = class?.path().with_extension("cwasm");
            let name = name.file_name().context("a class has a name")?.to_owned();
            if own.file_name() != Some(name.as_os_str()) {
                files.push(dir.join(name));
            }
        }
        ensure!(files.len() > 1, "there is one class only");
        let junk = files[1].clone();
        fs::copy(&files[0], &junk)?;
        // And the one that is called has those of another: its own, with another digest in the name.
        let mut bytes = fs::read(&own)?;
        bytes.rotate_left(32);
        return Ok(fs::write(own, bytes)?);
    }
    let bytes = files.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    let count = files.len();
    for (n, file) in files.iter().enumerate() {
        fs::write(file, &bytes[(n + 1) % count])?;
    }
    Ok(())
}

fn directories(data: &Path) -> Result<()> {
    each(data, |file| {
        fs::remove_file(file)?;
        Ok(fs::create_dir(file)?)
    })
}

fn world_writable(data: &Path) -> Result<()> {
    for dir in engines(data)?.into_iter().chain([data.join("cache")]) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    }
    Ok(())
}

/// Compiled code that is a link to a file that the attacker may change later.
fn link_classes(data: &Path) -> Result<()> {
    let elsewhere = data.join("elsewhere");
    fs::write(&elsewhere, b"not native code")?;
    each(data, |file| {
        fs::remove_file(file)?;
        Ok(symlink(&elsewhere, file)?)
    })
}
