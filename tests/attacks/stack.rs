//! Stacks, the guest's and the one on which the host answers it. The end of the first is a trap; at the end of the second
//! the host would die, so nothing may ever come there.

use serde_json::{Value, json};

use crate::attack::{Attack, Must};

/// As deep as a guest gets with frames of this size, or a little less.
const DEEP: [u32; 3] = [100, 400, 550];

fn built(before: &str, open: &str, middle: &str, close: &str, after: &str, n: usize, deep: u32) -> Value {
    json!({
        "do": "sql-built", "before": before, "open": open, "middle": middle, "close": close, "after": after,
        "n": n, "deep": deep,
    })
}

pub(crate) fn all() -> Vec<Attack> {
    let mut all = vec![
        Attack::deed("recursion", json!({"do": "recurse"}), Must::broken("trap")),
        Attack::child(
            "recursion-in-a-child",
            json!(null),
            json!({"do": "recurse"}),
            Must::broken("trap"),
        ),
        Attack::child(
            "recursion-in-start",
            json!({"do": "recurse"}),
            json!({"do": "answer", "bytes": 1}),
            Must::Fail("broken", "start", "not-applied"),
        ),
        Attack::deed(
            "recursion-to-the-end-and-sql",
            built("SELECT ", "(", "1", ")", "", 50, 1_000_000),
            Must::broken("trap"),
        ),
    ];
    let too_deep = || Must::refused("storage", "");
    // Parts, how many of them are just allowed, how many are not.
    let shapes: [(&str, [&str; 5], usize, usize); 6] = [
        ("parentheses", ["SELECT ", "(", "1", ")", ""], 90, 20_000),
        ("negations", ["SELECT ", "- ", "1", "", ""], 90, 20_000),
        ("functions", ["SELECT ", "abs(", "1", ")", ""], 45, 10_000),
        ("subqueries", ["", "SELECT (", "SELECT 1", ")", ""], 8, 8_000),
        ("froms", ["SELECT 1", " FROM (SELECT 1", "", ")", ""], 40, 6_000),
        ("cases", ["SELECT ", "CASE WHEN 1 THEN ", "1", " END", ""], 45, 4_000),
    ];
    for (name, [before, open, middle, close, after], fits, too_many) in shapes {
        for deep in DEEP {
            all.push(Attack::deed(
                &format!("sql-{name}-at-the-limit-{deep}-down"),
                built(before, open, middle, close, after, fits, deep),
                Must::Answer(json!(1)),
            ));
            all.push(Attack::deed(
                &format!("sql-{name}-beyond-{deep}-down"),
                built(before, open, middle, close, after, too_many, deep),
                too_deep(),
            ));
        }
    }
    // JSON inside SQL has a depth of its own, 1,000.
    for deep in DEEP {
        let json_of = |n| built("SELECT json_pretty(json_patch('", "[", "", "]", "','{}'))", n, deep);
        let objects = |n| {
            built(
                "SELECT json_patch('",
                "{\"a\":",
                "1",
                "}",
                "', '{\"a\":{\"a\":{\"a\":1}}}')",
                n,
                deep,
            )
        };
        all.push(Attack::deed(
            &format!("json-at-the-limit-{deep}-down"),
            json_of(990),
            Must::Answer(json!(1)),
        ));
        all.push(Attack::deed(
            &format!("json-beyond-{deep}-down"),
            json_of(40_000),
            too_deep(),
        ));
        all.push(Attack::deed(
            &format!("json-objects-{deep}-down"),
            objects(990),
            Must::Answer(json!(1)),
        ));
        all.push(Attack::deed(
            &format!("like-{deep}-down"),
            built("SELECT replace('a','a','b') LIKE '", "%_", "x", "", "'", 20, deep),
            Must::Answer(json!(1)),
        ));
    }
    all
}
