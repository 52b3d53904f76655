//! Alarms that never stop.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};

/// How long a storm goes on before it is told to stop.
const STORM: Duration = Duration::from_millis(1_500);

pub(crate) fn all() -> Vec<Attack> {
    vec![
        Attack::new("sets-itself-at-once", |arena| storm(arena, "one-alarm", 1)),
        Attack::new("forty-set-themselves-at-once", |arena| storm(arena, "alarms", 40)),
        Attack::deed(
            "handler-that-is-not-there",
            json!({"do": "alarm"}),
            Must::Answer(Value::Null),
        ),
    ]
}

/// Others are served while it rages, and it ends when its facets say so.
fn storm(arena: &Arena, name: &str, objects: u32) -> Result<()> {
    let on = |n: u32| format!("{}-{n}", object(name));
    for n in 0..objects {
        Must::Answer(Value::Null).check(arena.rpc(&on(n), "on_alarm", &json!([{"do": "alarm"}]))?)?;
    }
    let begun = Instant::now();
    while begun.elapsed() < STORM {
        arena.control.wait_for_answers(5, STORM * 4)?;
    }
    for n in 0..objects {
        let answer = arena.villain(&on(n), &json!({"do": "rest"}))?;
        ensure!(answer.is_ok(), "in the storm: {answer:?}");
    }
    Ok(())
}
