//! A script that is wrong fails: otherwise none of the others would say anything.

use libtest_mimic::Trial;

use super::run;

/// Name, a script, and a part of what must be said about it; none if it must pass.
const SCRIPTS: [(&str, &str, Option<&str>); 8] = [
    ("right", "query IT\nSELECT 1, 'a'\n----\n1 a\n", None),
    (
        "wrong-value",
        "query I\nSELECT 1\n----\n2\n",
        Some("query result mismatch"),
    ),
    (
        "wrong-type",
        "query T\nSELECT 1\n----\n1\n",
        Some("query columns mismatch"),
    ),
    (
        "row-too-many",
        "query I\nSELECT 1 UNION ALL SELECT 2\n----\n1\n",
        Some("query result mismatch"),
    ),
    (
        "row-too-few",
        "query I\nSELECT 1\n----\n1\n2\n",
        Some("query result mismatch"),
    ),
    (
        "unexpected-error",
        "statement ok\nSELECT nosuch\n",
        Some("no such column"),
    ),
    ("missing-error", "statement error\nSELECT 1\n", Some("expected to fail")),
    (
        "other-error",
        "statement error no such table\nSELECT nosuch\n",
        Some("no such column"),
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |&(name, script, complaint): &(&'static str, &'static str, Option<&'static str>)| {
        Trial::test(format!("proof::{name}"), move || {
            match (run(&format!("proof-{name}"), script), complaint) {
                (Ok(()), None) => Ok(()),
                (Err(said), Some(part)) if said.contains(part) => Ok(()),
                (result, complaint) => Err(format!("wanted {complaint:?}, got {result:?}").into()),
            }
        })
    };
    SCRIPTS.iter().map(trial).collect()
}
