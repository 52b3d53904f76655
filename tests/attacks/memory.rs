//! Memory without end. What a facet has is bounded, and so is what all of a tree and of a namespace have.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};

pub(crate) fn all() -> Vec<Attack> {
    let memory = || Must::broken("memory");
    vec![
        Attack::deed(
            "small-steps",
            json!({"do": "hoard", "step": 100}),
            Must::Either(vec![memory(), Must::broken("cpu")]),
        ),
        Attack::deed("pages", json!({"do": "hoard", "step": 65_536}), memory()),
        Attack::deed("halves", json!({"do": "hoard", "step": 16 << 20}), memory()),
        Attack::deed("all-at-once", json!({"do": "hoard", "step": 2_000_000_000}), memory()),
        Attack::child("child", json!(null), json!({"do": "hoard", "step": 65_536}), memory()),
        Attack::child(
            "in-start",
            json!({"do": "hoard", "step": 65_536}),
            json!({"do": "answer", "bytes": 1}),
            Must::Fail("broken", "start", "not-applied"),
        ),
        Attack::new("many-objects-together", many_objects),
        Attack::deed(
            "bodies-in-the-host",
            json!({"do": "handles", "what": "big-bodies"}),
            Must::Either(vec![
                memory(),
                Must::broken("trap"),
                Must::broken("cpu"),
                Must::broken_later("cpu"),
            ]),
        ),
        Attack::deed(
            "uploads-in-the-host",
            json!({"do": "unfinished", "n": 100, "bytes": 32 << 20}),
            Must::Either(vec![
                Must::refused("limit", ""),
                memory(),
                Must::broken("cpu"),
                Must::broken("wall"),
            ]),
        ),
    ]
}

/// 32 objects that want 30 MiB each of 256: some get them, the others are told why not, and nobody else is hurt.
fn many_objects(arena: &Arena) -> Result<()> {
    let answers = arena.at_once(32, |n| {
        let on = format!("{}-{n}", object("many-objects"));
        arena.villain(&on, &json!({"do": "hold-memory", "bytes": 28 << 20, "ms": 1_000}))
    })?;
    let mut held = 0;
    for answer in answers {
        match answer {
            Ok(_) => held += 1,
            Err(failure) => ensure!(
                failure.kind == "broken" && ["memory", "start", "cpu"].contains(&failure.code.as_str()),
                "{failure:?}"
            ),
        }
    }
    ensure!((1..=9).contains(&held), "{held} of them had 28 MiB at a time, of 256");
    Ok(())
}
