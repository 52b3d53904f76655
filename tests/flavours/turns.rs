//! A turn ends where the guest waits, and nowhere else. wasmtime does not document when it polls what; these tests fail
//! if it changes, because each of them sees a turn's end from outside.

use anyhow::{Result, ensure};

use crate::steps::{Flavour, Stage};

type Test = (&'static str, fn(Flavour) -> Result<()>);

pub(crate) const TESTS: &[Test] = &[
    ("turns::a_call_ends_the_turn", a_call_ends_the_turn),
    ("turns::a_sleep_ends_the_turn", a_sleep_ends_the_turn),
    ("turns::what_a_child_reveals_is_kept", what_a_child_reveals_is_kept),
    ("turns::a_trap_undoes_its_turn", a_trap_undoes_its_turn),
    ("turns::a_trap_undoes_only_its_turn", a_trap_undoes_only_its_turn),
    (
        "turns::calls_of_a_lost_turn_never_leave",
        calls_of_a_lost_turn_never_leave,
    ),
    (
        "turns::calls_to_children_of_a_lost_turn",
        calls_to_children_of_a_lost_turn,
    ),
    ("turns::cpu_time_ends_no_turn", cpu_time_ends_no_turn),
    ("turns::those_that_wake_together", those_that_wake_together),
];

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The callee has the call, so the caller waits: what was written before is safe, what comes after has not happened.
fn a_call_ends_the_turn(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    let call = online.begin("put k before; call bell b hold begun; put k after");
    online.wait_for("begun")?;
    let found = stage.after_kill("k")?;
    ensure!(
        call.join().is_ok_and(|answer| answer.is_err()),
        "the call outlived the host"
    );
    ensure!(found == some("before"), "{found:?}");
    stage.host.stop()
}

/// The same with a wait that is no call. The bell is called without waiting, so its ringing tells of the turn's end.
fn a_sleep_ends_the_turn(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    let call = online.begin("put k before; start bell b ring begun; put l before; sleep 60000; put k after");
    online.wait_for("begun")?;
    let found = (stage.after_kill("k")?, stage.online()?.get("l")?);
    ensure!(
        call.join().is_ok_and(|answer| answer.is_err()),
        "the call outlived the host"
    );
    ensure!(found == (some("before"), some("before")), "{found:?}");
    stage.host.stop()
}

/// Inside an object nothing waits for the disk; what leaves it through a child waits for what its parent wrote.
fn what_a_child_reveals_is_kept(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    let call = online.begin("put k before; child-call c run call_bell_b_hold_begun; put k after");
    online.wait_for("begun")?;
    let found = stage.after_kill("k")?;
    ensure!(
        call.join().is_ok_and(|answer| answer.is_err()),
        "the call outlived the host"
    );
    ensure!(found == some("before"), "{found:?}");
    stage.host.stop()
}

fn a_trap_undoes_its_turn(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    online.breaks("put k 1; put l 1; trap")?;
    ensure!(
        online.get("k")?.is_none() && online.get("l")?.is_none(),
        "a part of the turn is there"
    );
    // In a turn of its own, and over a row that is there.
    online.done("put k kept")?;
    online.breaks("put k lost; trap")?;
    ensure!(online.get("k")? == some("kept"), "the lost turn is there");
    let found = stage.after_kill("k")?;
    ensure!(found == some("kept"), "after a kill: {found:?}");
    stage.host.stop()
}

fn a_trap_undoes_only_its_turn(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    for (key, wait) in [
        ("sleep", "sleep 1"),
        ("no-sleep", "sleep 0"),
        ("sync", "sync"),
        ("call", "call bell b ring once"),
        ("child", "child-call c run put_x_y"),
    ] {
        online.breaks(&format!(
            "put {key} first; {wait}; put {key} second; put {key}-2 second; trap"
        ))?;
        let found = (online.get(key)?, online.get(&format!("{key}-2"))?);
        ensure!(found == (some("first"), None), "{wait}: {found:?}");
    }
    let found = (stage.after_kill("sleep")?, stage.online()?.get("call")?);
    ensure!(found == (some("first"), some("first")), "after a kill: {found:?}");
    stage.host.stop()
}

fn calls_of_a_lost_turn_never_leave(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    online.breaks("start bell b ring lost; put k 1; trap")?;
    // The next one takes the same way, and its answer has come back.
    online.done("call bell b ring fence")?;
    online.never_rung("lost", "fence")?;
    // A call of the turn before has left, whatever becomes of the next turn.
    online.breaks("start bell b ring released; sleep 1; start bell b ring lost; trap")?;
    online.wait_for("released")?;
    online.done("call bell b ring fence-2")?;
    online.never_rung("lost", "fence-2")?;
    stage.host.stop()
}

/// Inside an object calls take another way than between objects.
fn calls_to_children_of_a_lost_turn(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    online.done("child-call c run put_a_b")?;
    online.breaks("child-start c run call_bell_b_ring_lost; put k 1; trap")?;
    online.done("child-call c run call_bell_b_ring_fence")?;
    online.never_rung("lost", "fence")?;
    // A child that this turn made: it has never been.
    online.breaks("child-start new run call_bell_b_ring_lost; trap")?;
    online.done("child-call new run call_bell_b_ring_fence-2")?;
    online.never_rung("lost", "fence-2")?;
    stage.host.stop()
}

/// The host takes the CPU away from a guest every few milliseconds. That is no wait, so nothing is committed or released.
fn cpu_time_ends_no_turn(flavour: Flavour) -> Result<()> {
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    online.breaks("put k lost; start bell b ring lost; spin 100; put l lost; trap")?;
    online.done("call bell b ring fence")?;
    online.never_rung("lost", "fence")?;
    ensure!(
        online.get("k")?.is_none() && online.get("l")?.is_none(),
        "a part of the turn is there"
    );
    // Nor is a transaction that is open then rolled back.
    online.breaks("begin; put k lost; spin 100; put l lost; trap")?;
    ensure!(
        online.get("k")?.is_none() && online.get("l")?.is_none(),
        "a part of the turn is there"
    );
    stage.host.stop()
}

/// Many events wake in the same moment, so that wasmtime resumes one after the other. If it went from one to the next
/// without ending the turn between, they would share one, and the transactions that some leave open would take the writes
/// of the others along.
fn those_that_wake_together(flavour: Flavour) -> Result<()> {
    const EACH: usize = 8;
    let mut stage = Stage::new(flavour)?;
    let online = stage.online()?;
    let to = format!("start {} x run", flavour.namespace());
    let both = (0..EACH).map(|i| {
        let open = format!("{to} sleep_40,_begin,_put_open-{i}_x,_start_bell_b_ring_open-{i}");
        let plain = format!("{to} sleep_40,_put_plain-{i}_x,_start_bell_b_ring_plain-{i}");
        format!("{open}; {plain}")
    });
    // Sent in one turn, they arrive together, and begin to sleep in the same millisecond or the next.
    let sent = online.run_in("sender", &both.collect::<Vec<_>>().join("; "))?;
    ensure!(sent.is_ok(), "{sent:?}");
    for i in 0..EACH {
        online.wait_for(&format!("open-{i}"))?;
        online.wait_for(&format!("plain-{i}"))?;
    }
    for i in 0..EACH {
        ensure!(
            online.get(&format!("open-{i}"))?.is_none(),
            "an open transaction was kept"
        );
        ensure!(
            online.get(&format!("plain-{i}"))?.is_some(),
            "another event's rollback took a write along"
        );
    }
    stage.host.stop()
}
