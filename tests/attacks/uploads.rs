//! Many components, and components that never come.

use anyhow::{Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};
use crate::wat::harmless_with;

pub(crate) fn all() -> Vec<Attack> {
    vec![
        Attack::new("a-hundred-classes", |arena| {
            let answer = arena.rpc("lab/uploads", "uploads", &json!([bytes(&harmless_with(""))?, 100]))?;
            Must::Answer(json!(100)).check(answer)
        }),
        Attack::new("classes-without-end", |arena| {
            let answer = arena.rpc("hoard/uploads", "uploads", &json!([bytes(&harmless_with(""))?, 1000]))?;
            Must::refused("limit", "classes").check(answer)
        }),
        Attack::new("by-thirty-clients-at-once", at_once),
        Attack::new("large-classes-that-nobody-runs", large_classes),
        Attack::deed(
            "never-finished",
            json!({"do": "unfinished", "n": 200, "bytes": 1 << 20}),
            Must::Either(vec![
                Must::broken_later("cpu"),
                Must::broken_later("wall"),
                Must::broken("cpu"),
                Must::broken("memory"),
                Must::refused("limit", ""),
            ]),
        ),
        Attack::deed(
            "too-long",
            json!({"do": "unfinished", "n": 1, "bytes": 65 << 20}),
            Must::Either(vec![Must::refused("limit", "component"), Must::broken("cpu")]),
        ),
    ]
}

/// Some 20 MiB of native code each, run once and left: the host keeps a few of them, not all.
fn large_classes(arena: &Arena) -> Result<()> {
    for n in 0..8 {
        let functions = format!("(func (result i32) i32.const {n})").repeat(20_000);
        let component = bytes(&harmless_with(&format!("(core module {functions})")))?;
        let told = arena.rpc("lab/large", "run", &json!([component]))?;
        ensure!(told.as_ref().is_ok_and(|told| told["call"]["ok"] == 0), "{told:?}");
    }
    Ok(())
}

fn bytes(text: &str) -> Result<Value> {
    let component = base64::engine::general_purpose::STANDARD.encode(wat::parse_str(text)?);
    Ok(json!({"$b64": component}))
}

/// Each has another component compiled; they take turns, and other namespaces do not wait.
fn at_once(arena: &Arena) -> Result<()> {
    let answers = arena.at_once(30, |n| {
        let component = bytes(&harmless_with(&format!(
            "(core module (func (result i32) i32.const {n}))"
        )))?;
        arena.rpc(
            &format!("{}-{n}", object("upload").replace("evil", "lab")),
            "run",
            &json!([component]),
        )
    })?;
    for answer in answers {
        ensure!(answer.as_ref().is_ok_and(|told| told["call"]["ok"] == 0), "{answer:?}");
    }
    Ok(())
}
