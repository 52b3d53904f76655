//! Every file in `cases/` is a test that passes, fails or is counted as pending: none is skipped in silence.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod case;
mod compare;
mod compare_checks;
mod run;
#[path = "../support/mod.rs"]
mod support;

/// What the Rust puppet can do of the abilities that a case may need.
const ABILITIES: &[&str] = &["async"];

/// Cases mostly wait, so that more of them than cores run at a time.
const THREADS: usize = 4;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance")
}

/// The namespaces and classes that the cases speak of.
fn config() -> PathBuf {
    directory().join("facetd.toml")
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let mut trials = compare_checks::trials();
    trials.extend(case_trials());
    let conclusion = libtest_mimic::run(&arguments, trials);
    match run::stop_shared() {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn case_trials() -> Vec<Trial> {
    let (mut pending, mut trials) = match read_pending() {
        Ok(pending) => (pending, Vec::new()),
        Err(error) => (BTreeMap::new(), vec![failing("pending.json", error)]),
    };
    match read_cases() {
        Ok(cases) => trials.extend(
            cases
                .into_iter()
                .map(|(stem, text)| trial(pending.remove(&stem), stem, text)),
        ),
        Err(error) => trials.push(failing("cases", error)),
    }
    if !pending.is_empty() {
        trials.push(failing("pending.json", format!("no such cases: {:?}", pending.keys())));
    }
    trials
}

fn trial(pending: Option<String>, stem: String, text: String) -> Trial {
    let case = match case::Case::parse(&text) {
        Ok(case) => case,
        Err(error) => return failing(&stem, format!("{stem}.json is no case: {error:#}")),
    };
    let lacking = case.needs.iter().find(|need| !ABILITIES.contains(&need.as_str()));
    let ignored = pending
        .map(|reason| format!("pending: {reason}"))
        .or(lacking.map(|need| format!("needs {need}")));
    let name = format!("{stem}::{}", case.semantics.join("_"));
    let trial = Trial::test(name, move || {
        run::run(&stem, &text, &config()).map_err(|e| format!("{e:#}").into())
    });
    match ignored {
        Some(reason) => trial.with_ignored_flag(true).with_kind(reason),
        None => trial,
    }
}

fn failing(name: &str, error: String) -> Trial {
    Trial::test(format!("{name}::file"), move || Err(error.into()))
}

/// Reasons by case.
fn read_pending() -> Result<BTreeMap<String, String>, String> {
    let text = fs::read_to_string(directory().join("pending.json")).map_err(|e| format!("pending.json: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("pending.json: {e}"))
}

/// Texts by file stem, in order.
fn read_cases() -> Result<BTreeMap<String, String>, String> {
    let mut cases = BTreeMap::new();
    for entry in fs::read_dir(directory().join("cases")).map_err(|e| format!("cases: {e}"))? {
        let path = entry.map_err(|e| format!("cases: {e}"))?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "json") {
            return Err(format!("cases/{} is not a .json file", path.display()));
        }
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        cases.insert(stem, text);
    }
    if cases.is_empty() {
        Err("no cases at all".to_owned())
    } else {
        Ok(cases)
    }
}
