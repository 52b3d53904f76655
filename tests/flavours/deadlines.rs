//! What an event waits for ends with the event's time; the facet goes on, and what it wrote stays (S17).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::steps::{Flavour, Online, Stage};

type Test = (&'static str, fn(Flavour) -> Result<()>);

pub(crate) const TESTS: &[Test] = &[
    ("deadlines::calls_inherit_them", calls_inherit_them),
    ("deadlines::nothing_is_sent_after_them", nothing_is_sent_after_them),
    ("deadlines::syncs_inherit_them", syncs_inherit_them),
    ("deadlines::timers_run_on", timers_run_on),
];

/// Only to end a test that would never end.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Compiled and started, so that the time of an event is its own.
fn warm(flavour: Flavour) -> Result<(Stage, Online)> {
    warm_with(flavour, None)
}

/// The same on a disk that takes so long for each sync.
fn warm_with(flavour: Flavour, sync_delay_ms: Option<&str>) -> Result<(Stage, Online)> {
    let mut stage = Stage::new(flavour)?;
    if let Some(ms) = sync_delay_ms {
        stage.host.set_env("FACETD_TEST_SYNC_DELAY_MS", ms);
    }
    let online = stage.online()?;
    online.done("call bell b ring warm")?;
    let to = online.namespace();
    let started = online.run_in("caller", &format!("call {to} x run get_a"))?;
    ensure!(started.is_ok(), "{started:?}");
    Ok((stage, online))
}

/// Has `x` carry out steps as an event with so much time. The caller has none itself.
fn within(online: &Online, ms: u32, steps: &str) -> Result<()> {
    let steps = steps.replace(' ', "_").replace(';', ",");
    let to = online.namespace();
    let answer = online.run_in("caller", &format!("within {ms}; call {to} x run {steps}"))?;
    // By its own time or by that of `x`, which is up in the same moment.
    ensure!(answer.is_err(), "the time was not up: {answer:?}");
    Ok(())
}

/// Asks again and again: an event whose time is up has no other way to tell.
fn until_written(online: &Online, key: &str) -> Result<()> {
    let begun = Instant::now();
    while online.get(key)?.is_none() {
        ensure!(begun.elapsed() < HANGS_AFTER, "{key:?} is not written");
    }
    Ok(())
}

/// Nobody ever lets the call return, so only the time of the event that made it ends it.
fn calls_inherit_them(flavour: Flavour) -> Result<()> {
    let (mut stage, online) = warm(flavour)?;
    within(&online, 500, "put a 1; call bell b hold x; put b 1")?;
    online.wait_for("x")?;
    if flavour == Flavour::Blocking {
        // Behind the event, which holds the facet for as long as it waits.
        ensure!(online.get("a")?.as_deref() == Some("1"));
    }
    // Of its own, the event would wait for ever; a new one finds it gone as soon as its call has failed.
    ensure!(online.get("b")?.is_none(), "the call came back");
    online.done("call bell b ring alive")?;
    stage.host.stop()
}

/// Time that is up before a call is made is as good as a call that was not made.
fn nothing_is_sent_after_them(flavour: Flavour) -> Result<()> {
    let (mut stage, online) = warm(flavour)?;
    within(
        &online,
        300,
        "start bell b ring before; sleep 600; put a 1; call bell b ring late; put b 1",
    )?;
    online.wait_for("before")?;
    until_written(&online, "a")?;
    online.done("call bell b ring fence")?;
    online.never_rung("late", "fence")?;
    ensure!(online.get("b")?.is_none(), "a call came back after the time was up");
    stage.host.stop()
}

/// What was written before a sync that was given up stays.
fn syncs_inherit_them(flavour: Flavour) -> Result<()> {
    // What is durable at once is answered however late it is: the disk takes its time, so that it is not.
    let (mut stage, online) = warm_with(flavour, Some("200"))?;
    within(&online, 300, "sleep 600; put a 1; sync; put b 1")?;
    until_written(&online, "a")?;
    online.done("sync")?;
    ensure!(online.get("b")?.is_none(), "the sync was waited for");
    stage.host.stop()
}

/// They have nobody to tell, and one that ended early would make a loop that waits one that spins.
fn timers_run_on(flavour: Flavour) -> Result<()> {
    let (mut stage, online) = warm(flavour)?;
    let begun = Instant::now();
    within(&online, 200, "sleep 1000; put a 1")?;
    until_written(&online, "a")?;
    let took_ms = begun.elapsed().as_millis();
    ensure!(took_ms >= 1000, "the timer ended after {took_ms} ms");
    stage.host.stop()
}
