//! The command line is used here as a person would: everything the tests assume of its form stands in this file.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::components::FACETD;
use super::process::{Output, run};

/// Names the host that `call` and `tree` talk to.
pub(crate) const URL_OPTION: &str = "--url";
/// Subcommands that have to be there, with the options that their help has to mention.
pub(crate) const SUBCOMMANDS: &[(&str, &[&str])] = &[
    ("serve", &["--config", "--data", "--listen"]),
    ("build", &[]),
    ("call", &[URL_OPTION, "--token"]),
    ("tree", &[URL_OPTION, "--json", "--data", "--config", "--token"]),
    ("token", &[]),
    ("check", &["--data", "--usage"]),
    ("recover", &["--data"]),
];
/// No command that a smoke test runs has much to do, but a debug build may have to compile a component.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Words with which an error says what to do, what was expected or what there is instead.
const HINTS: &[&str] = &[
    "hint",
    "help",
    "try",
    "use ",
    "run ",
    "check",
    "expected",
    "known",
    "must",
    "see ",
    "start ",
    "there are",
    "name ",
    "link ",
    "at most",
    "should",
    "needs",
];
/// What only somebody who reads the source could make sense of.
const DEBRIS: &[&str] = &[
    "panicked",
    "RUST_BACKTRACE",
    "stack backtrace",
    "Error {",
    "Err(",
    "Os {",
];

/// `facetd call NS/OBJECT METHOD ARGS --url URL`.
pub(crate) fn call(url: &str, object: &str, method: &str, args: &str) -> Result<Output> {
    facetd(&["call", object, method, args, URL_OPTION, url])
}

pub(crate) fn facetd(args: &[&str]) -> Result<Output> {
    run(Command::new(FACETD).args(args), COMMAND_LIMIT, |_| ())
}

pub(crate) fn limited(command: &mut Command) -> Result<Output> {
    run(command, COMMAND_LIMIT, |_| ())
}

/// Failed by an exit code, with text on stderr that names what is wrong and says what to do.
pub(crate) fn explains(output: &Output, names: &[&str]) -> Result<()> {
    let text = &output.stderr;
    ensure!(
        output.status.code().is_some_and(|code| code != 0),
        "{}, not an exit code that tells: {text}",
        output.status
    );
    for name in names {
        ensure!(text.contains(name), "does not mention {name:?}: {text}");
    }
    if let Some(debris) = DEBRIS.iter().find(|debris| text.contains(*debris)) {
        anyhow::bail!("not for people ({debris:?}): {text}");
    }
    let lower = text.to_lowercase();
    ensure!(
        HINTS.iter().any(|hint| lower.contains(hint)),
        "does not say what to do: {text}"
    );
    ensure!(text.split_whitespace().count() >= 5, "not a sentence: {text}");
    Ok(())
}
