//! Facets that make facets. A tree has a depth and a number, and its namespace a part of the host.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};

pub(crate) fn all() -> Vec<Attack> {
    let mut all = vec![
        Attack::deed(
            "deeper-than-a-tree-may-be",
            json!({"do": "fork", "width": 1, "depth": 40}),
            Must::refused("limit", ""),
        ),
        Attack::deed(
            "as-deep-as-a-tree-may-be",
            json!({"do": "fork", "width": 1, "depth": 15}),
            Must::Answer(json!(15)),
        ),
        Attack::new("fork-bomb", |arena| fork(arena, "fork-bomb", 2, 12)),
        Attack::new("wide-fork-bomb", |arena| fork(arena, "wide-fork-bomb", 40, 3)),
        Attack::new("thousands-of-names", |arena| {
            let answer = arena.villain(&object("thousands-of-names"), &json!({"do": "names", "n": 5_000}))?;
            ended_in_time(answer)
        }),
        Attack::new("many-objects", |arena| {
            ended_in_time(arena.villain(&object("many-objects"), &json!({"do": "objects", "n": 600}))?)
        }),
    ];
    for how in ["abort", "delete", "clone"] {
        let name = format!("churn-by-{how}");
        let on = object(&name);
        all.push(Attack::new(&name, move |arena| {
            ended_in_time(arena.villain(&on, &json!({"do": "churn", "how": how, "n": 100_000}))?)
        }));
    }
    all
}

/// It cannot be finished with the limits that there are; what it is refused is its own business.
fn fork(arena: &Arena, name: &str, width: u32, depth: u32) -> Result<()> {
    ended_in_time(arena.villain(&object(name), &json!({"do": "fork", "width": width, "depth": depth}))?)
}

/// Answered, or ended by a limit: of the facet itself, or of one that it waited for.
fn ended_in_time(answer: Result<Value, crate::support::client::Failure>) -> Result<()> {
    const CODES: [&str; 7] = ["broken", "limit", "deadline", "unavailable", "cpu", "wall", "facets"];
    let fits = |failure: &crate::support::client::Failure| {
        ["broken", "failed", "limit", "unavailable"].contains(&failure.kind.as_str())
            && CODES.contains(&failure.code.as_str())
    };
    ensure!(answer.as_ref().map_or_else(fits, |_| true), "{answer:?}");
    Ok(())
}
