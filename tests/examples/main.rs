//! What a README shows is what happens: its commands are run as they stand there, against the binary under test, and their
//! output is compared. A command that this runner does not know fails, so that nothing is skipped in silence.
//!
//! | block | what is done |
//! | --- | --- |
//! | `sh server` | `cargo run --release -- dev PATH`: a host on an empty data directory; all later blocks talk to it |
//! | `sh` | commands, each has to succeed: `cargo run --release -- call ...` or `tree ...`, `curl -s [--data-binary @FILE] URL` |
//! | `text` | what the commands of the block before print; `...` stands for anything in a line, or for any lines |
//! | `sh ignore` | not run, nor compared |
//! | other languages, none | not run |

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod checks;
mod output;
mod readme;
mod run;
mod shell;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};

use support::repository;

fn main() -> ExitCode {
    let mut trials = checks::trials();
    match readmes() {
        Ok(readmes) => {
            for (name, readme) in readmes {
                trials.push(trial(name, move || example(&readme)));
            }
        }
        Err(error) => trials.push(trial("examples".into(), || Err(error))),
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: String, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, || test().map_err(|e| format!("{e:#}").into()))
}

/// One for every folder in `examples`, whether it has one or not, and the one at the top if it shows a host.
fn readmes() -> Result<Vec<(String, PathBuf)>> {
    let mut readmes = Vec::new();
    for entry in fs::read_dir(repository().join("examples"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(path.is_dir(), "examples/{name} is no folder");
        readmes.push((name, path.join("README.md")));
    }
    ensure!(!readmes.is_empty(), "no examples at all");
    let top = repository().join("README.md");
    if fs::read_to_string(&top).is_ok_and(|text| text.contains("```sh server")) {
        readmes.push(("README.md".into(), top));
    }
    readmes.sort();
    Ok(readmes)
}

/// Runs a README; an error if it shows nothing that could be run.
fn example(readme: &Path) -> Result<()> {
    let text = fs::read_to_string(readme)
        .with_context(|| format!("{}: every example has a README that can be run", readme.display()))?;
    let run = readme::blocks(&text).and_then(|blocks| run::run(&blocks));
    let compared = run.with_context(|| readme.display().to_string())?;
    ensure!(
        compared > 0,
        "{}: no command whose output is shown; a ```sh server block, ```sh and ```text make one",
        readme.display()
    );
    Ok(())
}
