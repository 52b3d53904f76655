//! Every flavour of guest is a full facet: async and blocking, Rust, C and TypeScript, with WASI and without, keep the same
//! promises about turns, and the two halves of the contract say the same.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod deadlines;
mod events;
mod guests;
mod imports;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod turns;
mod twins;
mod wasi;

use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

use steps::Flavour;

/// Tests mostly wait, so that more of them than cores run at a time.
const THREADS: usize = 4;

fn config() -> PathBuf {
    support::repository().join("tests/flavours/facetd.toml")
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let mut trials = Vec::new();
    for flavour in [Flavour::Async, Flavour::Blocking] {
        for (name, test) in turns::TESTS.iter().chain(events::TESTS).chain(deadlines::TESTS) {
            let name = format!("{}::{name}", flavour.namespace());
            trials.push(trial(name, move || test(flavour)));
        }
    }
    for (name, test) in [guests::TESTS, wasi::TESTS, imports::TESTS, twins::TESTS].concat() {
        trials.push(trial(name.to_owned(), test));
    }
    let typescript = || guests::typescript().map_err(|e| format!("{e:#}").into());
    trials.push(Trial::ignorable_test("guests::typescript", typescript));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that needs nothing.
type Plain = (&'static str, fn() -> anyhow::Result<()>);

fn trial(name: String, test: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, || test().map_err(|e| format!("{e:#}").into()))
}

/// What a test with prerequisites from outside answers where they are missing.
fn cannot(reason: &str) -> Completion {
    Completion::ignored_with(reason)
}
