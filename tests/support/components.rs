//! Components are built once per test process, by one process at a time; a missing toolchain fails tests, never skips them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::process;
use super::tail;

/// The binary under test.
pub(crate) const FACETD: &str = env!("CARGO_BIN_EXE_facetd");

/// A first build may have to fetch a toolchain and compile a standard library.
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
/// Another test process may be at just that.
const LOCK_LIMIT: Duration = BUILD_LIMIT;

/// Files of the built components, by class name.
pub(crate) type Components = HashMap<String, PathBuf>;

/// Runs `facetd build` for a config, once per config and process, and answers what it built.
pub(crate) fn build(config: &Path) -> Result<Components> {
    static BUILT: OnceLock<Mutex<HashMap<PathBuf, Result<Components, String>>>> = OnceLock::new();
    let mut built = BUILT
        .get_or_init(Default::default)
        .lock()
        .unwrap_or_else(|broken| broken.into_inner());
    // The lock is held while building: every test of this process needs the result anyhow.
    let result = built
        .entry(config.to_owned())
        .or_insert_with(|| build_now(config).map_err(|e| format!("{e:#}")));
    result.clone().map_err(|e| anyhow!("{e}"))
}

fn build_now(config: &Path) -> Result<Components> {
    let _lock = lock_target_directory()?;
    eprintln!("building the components of {} ...", config.display());
    let output = process::run(Command::new(FACETD).arg("build").arg(config), BUILD_LIMIT, |text| {
        eprint!("{text}")
    })?;
    if !output.status.success() {
        bail!(
            "`facetd build {}` failed ({}):\n{}\n\
             These tests run real components, so they need a WebAssembly toolchain. Either run\n    \
             rustup target add wasm32-unknown-unknown\n\
             or let `facetd build` set one up (Debian: run `apt-get update` first), then run the tests again.",
            config.display(),
            output.status,
            tail(&output.stderr, 40),
        );
    }
    Ok(output.stdout.lines().filter_map(built_line).collect())
}

/// `puppet2 -> /path/to/puppet2.wasm`, with anything between: the first word is the class, the last a file.
fn built_line(line: &str) -> Option<(String, PathBuf)> {
    let class = line.split_whitespace().next()?.trim_end_matches(':');
    let file = line
        .split_whitespace()
        .next_back()
        .filter(|file| file.ends_with(".wasm"))?;
    Some((class.to_owned(), PathBuf::from(file)))
}

/// The bytes of the component built for a class. With a `salt`, a component of the same behaviour and another digest.
pub(crate) fn component(config: &Path, class: &str, salt: Option<&str>) -> Result<Vec<u8>> {
    let components = build(config)?;
    let path = components.get(class).with_context(|| {
        format!("`facetd build` printed no line \"{class} -> FILE.wasm\" on stdout, only {components:?}")
    })?;
    let mut bytes = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    if let Some(salt) = salt {
        bytes.extend(custom_section(salt));
    }
    Ok(bytes)
}

/// A custom section: id 0, size, then its name and no content. Names shorter than 64 bytes keep both lengths to a byte.
fn custom_section(name: &str) -> Vec<u8> {
    assert!(name.len() < 64, "salts are short words");
    let len = name.len() as u8;
    [&[0, len + 1, len], name.as_bytes()].concat()
}

/// nextest runs every test in a process of its own; their builds must not meet in one cargo target directory.
fn lock_target_directory() -> Result<File> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("components.lock");
    let file = File::create(&path).with_context(|| format!("could not create {}", path.display()))?;
    let (tell, told) = channel();
    thread::spawn(move || tell.send(file.lock().map(|()| file)));
    let locked = told.recv_timeout(LOCK_LIMIT);
    let locked = locked.with_context(|| format!("another process held {} for {LOCK_LIMIT:?}", path.display()))?;
    locked.context("could not lock")
}
