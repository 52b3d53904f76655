//! What ordinary toolchains import is there and closed (S24): clocks, randomness and a log; nothing of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::host::Host;

pub(crate) const TESTS: &[crate::Plain] = &[
    ("wasi::shows_nothing_of_the_machine", shows_nothing_of_the_machine),
    ("wasi::output_is_logged_in_lines", output_is_logged_in_lines),
    ("wasi::output_is_not_lost", output_is_not_lost),
    (
        "wasi::waits_and_ends_are_those_of_turns",
        waits_and_ends_are_those_of_turns,
    ),
];

/// Clocks are rounded down to whole milliseconds.
const STEP_NS: u64 = 1_000_000;
/// Between the guest's look at the clock and the test's, on a machine that is loaded.
const CLOCKS_APART_S: u64 = 120;

struct Guest {
    host: Host,
    url: String,
}

impl Guest {
    fn new() -> Result<Self> {
        let mut host = Host::new(&crate::config())?;
        let url = host.url()?;
        Ok(Self { host, url })
    }

    fn call(&self, method: &str) -> Result<Value> {
        let answer = Client::new().rpc(&self.url, "wasi/x", method, &json!(["hello"]))?;
        answer.map_err(|failure| anyhow!("{method}: {failure:?}"))
    }

    /// Lines of the log that hold all of `parts`.
    fn logged(&self, parts: &[&str]) -> Vec<String> {
        let log = self.host.whole_log();
        let lines = log.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.map(str::to_owned).collect()
    }
}

fn shows_nothing_of_the_machine() -> Result<()> {
    let mut guest = Guest::new()?;
    let seen = guest.call("look")?;
    for (what, nothing) in [
        ("environment", json!(0)),
        ("arguments", json!(0)),
        ("directory", json!("")),
        ("preopens", json!(0)),
        ("stdin", json!("closed")),
        ("random", json!(16)),
        ("random_differs", json!(true)),
    ] {
        ensure!(seen[what] == nothing, "{what}: {seen}");
    }
    let number = |what: &str| seen[what].as_u64().ok_or_else(|| anyhow!("{what}: {seen}"));
    let here = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    ensure!(
        number("wall_s")?.abs_diff(here) < CLOCKS_APART_S,
        "the time is {here}: {seen}"
    );
    for what in ["wall_ns", "monotonic_ns"] {
        ensure!(
            number(what)? % STEP_NS == 0,
            "{what} is finer than a millisecond: {seen}"
        );
    }
    guest.host.stop()
}

fn output_is_logged_in_lines() -> Result<()> {
    let mut guest = Guest::new()?;
    ensure!(guest.call("say")? == true);
    // The namespace and the beginning of the object's id are how the log names a facet.
    let said = guest.logged(&["said: [\"hello\"]", "facet=", "wasi/"]);
    ensure!(said.len() == 1 && said[0].contains("INFO"), "{}", guest.host.log());
    let complained = guest.logged(&["and complained", "facet=", "wasi/"]);
    ensure!(
        complained.len() == 1 && complained[0].contains("WARN"),
        "{}",
        guest.host.log()
    );
    guest.host.stop()
}

/// Handles that are dropped in the middle of a line, and a last line without an end.
fn output_is_not_lost() -> Result<()> {
    let mut guest = Guest::new()?;
    ensure!(guest.call("mumble")? == true);
    guest.host.stop()?;
    for part in ["half ", "and half", "no ", "end"] {
        ensure!(
            !guest.logged(&["facet=", "wasi/", part]).is_empty(),
            "{part:?} is lost: {}",
            guest.host.log()
        );
    }
    Ok(())
}

fn waits_and_ends_are_those_of_turns() -> Result<()> {
    let mut guest = Guest::new()?;
    let slept_ns = guest.call("nap")?;
    ensure!(slept_ns.as_u64() >= Some(19 * STEP_NS), "slept {slept_ns} ns");
    // `exit` ends the facet like a trap.
    ensure!(guest.call("write-exit").is_err());
    ensure!(guest.call("written")? == false, "the write of a lost turn is there");
    ensure!(guest.call("write-nap-exit").is_err());
    ensure!(guest.call("written")? == true, "the wait did not end the turn");
    guest.host.stop()
}
