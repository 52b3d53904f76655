//! Code that never ends. It is stopped by its own limits, wherever it loops.

use anyhow::ensure;
use serde_json::json;

use crate::attack::{Attack, Must, object};

pub(crate) fn all() -> Vec<Attack> {
    let cpu = || Must::broken("cpu");
    // Waking costs processor time, which may be up first.
    let either = || Must::Either(vec![Must::broken_later("cpu"), Must::broken_later("wall")]);
    let mut all = vec![
        Attack::deed("plain", json!({"do": "spin"}), cpu()),
        Attack::deed("memory-fill", json!({"do": "fill"}), cpu()),
        Attack::deed("memory-copy", json!({"do": "copy"}), cpu()),
        Attack::deed("memory-grow-refused", json!({"do": "ask-for-memory"}), cpu()),
        Attack::deed("doze", json!({"do": "doze"}), either()),
        Attack::deed(
            "sleep",
            json!({"do": "sleep", "ms": 3_600_000}),
            Must::broken_later("wall"),
        ),
        Attack::deed(
            "tasks-that-never-end",
            json!({"do": "tasks"}),
            Must::Either(vec![
                Must::broken_later("cpu"),
                Must::broken_later("wall"),
                Must::broken_later("memory"),
                Must::broken_later("trap"),
            ]),
        ),
        Attack::child("child-plain", json!(null), json!({"do": "spin"}), Must::broken("cpu")),
        // Fifty at a time: each of them has its own limit.
        Attack::new("fifty-spinners", |arena| {
            let ended = arena.at_once(50, |n| {
                let on = format!("{}-{n}", object("fifty-spinners"));
                // They share the processors, so that the wall may come first.
                Must::Either(vec![Must::broken("cpu"), Must::broken("wall")])
                    .check(arena.villain(&on, &json!({"do": "spin"}))?)
            })?;
            ensure!(ended.len() == 50);
            Ok(())
        }),
    ];
    for what in ["clock", "random", "kv", "self-stub", "usage", "transactions", "cursors"] {
        let name = format!("host-{what}");
        all.push(Attack::deed(&name, json!({"do": "host", "what": what}), cpu()));
    }
    all
}
