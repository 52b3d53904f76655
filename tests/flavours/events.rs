//! Events of an async facet interleave where it waits; a blocking facet takes one after the other (S16).

use anyhow::{Result, ensure};

use crate::steps::{Flavour, Stage};

type Test = (&'static str, fn(Flavour) -> Result<()>);

pub(crate) const TESTS: &[Test] = &[
    ("events::interleave_or_queue", interleave_or_queue),
    ("events::sleeps_overlap_or_queue", sleeps_overlap_or_queue),
    ("events::a_trap_ends_all", a_trap_ends_all),
    ("events::alarms_run_and_are_retried", alarms_run_and_are_retried),
];

/// While the first event waits for the bell, a second comes to the facet. Who writes last tells which came first.
fn interleave_or_queue(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    let to = format!("start {} x run", flavour.namespace());
    let first = "call_bell_b_hold_first,_put_last_first,_call_bell_b_ring_done";
    // From one sender in this order, and the bell rings behind them: then both are at the facet.
    let sent = online.run_in(
        "sender",
        &format!("{to} {first}; {to} put_last_second; call bell b ring sent"),
    )?;
    ensure!(sent.is_ok(), "{sent:?}");
    online.wait_for("first")?;
    if flavour == Flavour::Async {
        // Answered while the first waits, and behind the second.
        ensure!(
            online.get("last")?.as_deref() == Some("second"),
            "no event came between"
        );
    }
    online.ring("first-go")?;
    online.wait_for("done")?;
    let last = online.get("last")?;
    let expected = match flavour {
        Flavour::Async => "first",
        Flavour::Blocking => "second",
    };
    ensure!(last.as_deref() == Some(expected), "{last:?} wrote last");
    stage.host.stop()
}

/// Two sleeps and a call that needs no time.
fn sleeps_overlap_or_queue(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    // Compiled and connected, so that only the sleeps take time.
    online.done("call bell b ring warm")?;
    let sleepers = ["one", "two"].map(|name| {
        online.begin(&format!(
            "start bell b ring begun; start bell b ring {name}; sleep 1500; put {name} up"
        ))
    });
    let slept = |name| online.get(name).map(|up| up.is_some());
    match flavour {
        Flavour::Async => {
            online.wait_for("one")?;
            online.wait_for("two")?;
            ensure!(
                !slept("one")? && !slept("two")?,
                "the quick calls waited for the sleeps"
            );
        }
        Flavour::Blocking => {
            // One of them sleeps, and the quick calls are served behind it.
            online.wait_for("begun")?;
            let first = if slept("one")? { "one" } else { "two" };
            ensure!(slept(first)?, "a call was served while another slept");
        }
    }
    for sleeper in sleepers {
        let answer = sleeper.join().expect("clients do not panic")?;
        ensure!(answer.is_ok(), "{answer:?}");
    }
    ensure!(slept("one")? && slept("two")?);
    stage.host.stop()
}

/// An event that waits keeps its earlier turns when another event's trap takes the facet away.
fn a_trap_ends_all(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    let waiting = online.begin("put a before; call bell b hold a; put a after");
    online.wait_for("a")?;
    if flavour == Flavour::Blocking {
        // Nothing comes in while it waits, so the trap is its own neighbour in the queue.
        online.ring("a-go")?;
    }
    online.breaks("put b lost; trap")?;
    let answer = waiting.join().expect("clients do not panic")?;
    let (broke, a) = match flavour {
        Flavour::Async => (answer.is_err_and(|failure| failure.kind == "broken"), "before"),
        Flavour::Blocking => (answer.is_ok(), "after"),
    };
    ensure!(broke, "the event that waited got another answer");
    let found = (online.get("a")?, online.get("b")?);
    ensure!(found == (Some(a.to_owned()), None), "{found:?}");
    stage.host.stop()
}

/// The handler runs when its time has come, and again when it has answered an error (S22).
fn alarms_run_and_are_retried(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    online.done("put alarm put_a_1,_call_bell_b_ring_once,_no-such-step; alarm 20")?;
    online.wait_for("once")?;
    // For the retry, which is two seconds off.
    online.done("put alarm put_b_2,_call_bell_b_ring_again")?;
    online.wait_for("again")?;
    let found = (online.get("a")?, online.get("b")?);
    ensure!(found == (Some("1".into()), Some("2".into())), "{found:?}");
    stage.host.stop()
}
