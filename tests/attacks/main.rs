//! Attacks on a host by those who may run code in it or reach its port. One attack is one test: it says what must happen to
//! the attacker, and after each the host must be unhurt (`arena.rs` says what that is).

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod alarms;
mod arena;
mod attack;
mod bombs;
mod bytes;
mod cache;
mod calls;
mod control;
mod exports;
mod handles;
mod liars;
mod loops;
mod memory;
mod names;
mod sizes;
mod sockets;
mod sql;
mod stack;
#[path = "../support/mod.rs"]
mod support;
mod trees;
mod uploads;
mod vitals;
mod wat;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use attack::Attack;

type Group = fn() -> Vec<Attack>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other: whatever the host has too much of afterwards is the last one's.
    arguments.test_threads = Some(1);
    let groups: [(&str, Group); 17] = [
        ("loops", loops::all),
        ("memory", memory::all),
        ("stack", stack::all),
        ("exports", exports::all),
        ("handles", handles::all),
        ("sizes", sizes::all),
        ("sql", sql::all),
        ("trees", trees::all),
        ("calls", calls::all),
        ("alarms", alarms::all),
        ("sockets", sockets::all),
        ("names", names::all),
        ("liars", liars::all),
        ("bombs", bombs::all),
        ("bytes", bytes::all),
        ("uploads", uploads::all),
        ("cache", cache::all),
    ];
    let trials = groups.into_iter().flat_map(|(group, all)| {
        all().into_iter().map(move |attack| {
            let name = format!("{group}::{}", attack.name);
            Trial::test(name.clone(), move || {
                arena::face(&name, attack).map_err(|error| format!("{error:#}").into())
            })
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    match arena::close() {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
