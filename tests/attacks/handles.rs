//! Handles that are never given back. Each kind ends at the facet's limit, by an error or by its end.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};

pub(crate) fn all() -> Vec<Attack> {
    let mut all = Vec::new();
    // Those that have a result to refuse with: kind, code, and the most of them.
    for (what, code, most) in [
        ("children", "handles", 1_000),
        ("classes", "handles", 1_000),
        ("cursors", "cursors", 64),
        ("transactions", "transactions", 32),
    ] {
        let on = object(what);
        all.push(Attack::new(what, move |arena| refused(arena, &on, what, code, most)));
    }
    for what in ["stubs", "startups", "bodies", "pipes", "uploads"] {
        let deed = json!({"do": "handles", "what": what});
        all.push(Attack::deed(what, deed, Must::broken("trap")));
    }
    all.push(Attack::new("calls-that-wait", |arena| {
        let deed = json!({"do": "handles", "what": "calls"});
        let answer = arena.villain(&object("calls-that-wait"), &deed)?;
        ensure!(
            answer.as_ref().is_ok_and(|told| told[0].as_u64().is_some())
                || answer.as_ref().is_err_and(|failure| failure.kind == "broken"),
            "{answer:?}"
        );
        Ok(())
    }));
    all.push(Attack::deed(
        "gate-held",
        json!({"do": "gate", "drop": false}),
        Must::broken_later("wall"),
    ));
    all.push(Attack::deed(
        "gate-dropped",
        json!({"do": "gate", "drop": true}),
        Must::broken("gate"),
    ));
    all
}

/// All of them are taken, the next one is refused, and the facet lives with what it holds.
fn refused(arena: &Arena, on: &str, what: &str, code: &str, most: u64) -> Result<()> {
    let told = match arena.villain(on, &json!({"do": "handles", "what": what}))? {
        Ok(told) => told,
        Err(failure) => anyhow::bail!("{failure:?}"),
    };
    let got = told[0].as_u64().unwrap_or_default();
    ensure!(
        told[1] == "limit" && told[2] == code && got <= most && got >= most - most / 10,
        "expected limit / {code} after {most}, not {told}"
    );
    Must::Answer(Value::from("pong")).check(arena.rpc(on, "ping", &json!([]))?)
}
