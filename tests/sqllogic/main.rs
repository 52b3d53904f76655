//! A facet is answered what SQLite answers: each script is run statement by statement, each of them an event of its own,
//! and compared with answers that were taken from stock SQLite, never from this host.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod facet;
mod proof;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};
use libtest_mimic::{Arguments, Trial};
use sqllogictest::{Runner, strict_column_validator};

use facet::Facet;
use support::host::Host;

/// Scripts mostly wait for the disk.
const THREADS: usize = 4;

/// One host for all; each script has an object of its own. None before the first; an error if it could not be started.
static HOST: Mutex<Option<Result<Host, String>>> = Mutex::new(None);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

/// Where the host listens. The puppet of the conformance cases serves here, too.
fn url() -> Result<String> {
    let mut host = HOST.lock().unwrap_or_else(|broken| broken.into_inner());
    let config = directory().join("conformance/facetd.toml");
    let host = host.get_or_insert_with(|| Host::new(&config).map_err(|error| format!("{error:#}")));
    host.as_mut().map_err(|error| anyhow!("{error}"))?.url()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let mut trials = proof::trials();
    match scripts() {
        Ok(scripts) => trials.extend(scripts.into_iter().map(trial)),
        Err(error) => trials.push(Trial::test("scripts", move || Err(format!("{error:#}").into()))),
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let host = HOST.lock().unwrap_or_else(|broken| broken.into_inner()).take();
    match host {
        Some(Ok(mut host)) => match host.stop() {
            Ok(()) => conclusion.exit_code(),
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
        _ => conclusion.exit_code(),
    }
}

fn scripts() -> Result<Vec<PathBuf>> {
    let directory = directory().join("sqllogic/scripts");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))? {
        scripts.push(entry?.path());
    }
    scripts.sort();
    anyhow::ensure!(!scripts.is_empty(), "no scripts in {}", directory.display());
    Ok(scripts)
}

fn trial(path: PathBuf) -> Trial {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Trial::test(stem.clone(), move || {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        run(&stem, &text).map_err(Into::into)
    })
}

/// Runs a script on a fresh object of that name.
fn run(name: &str, script: &str) -> Result<(), String> {
    let url = url().map_err(|error| format!("{error:#}"))?;
    let on = format!("t/slt-{name}");
    let mut runner = Runner::new(|| async { Ok(Facet::new(&url, &on)) });
    runner.with_column_validator(strict_column_validator);
    let result = runner.run_script_with_name(script, name);
    result.map_err(|error| error.display(false).to_string())
}
