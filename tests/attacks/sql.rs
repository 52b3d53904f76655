//! Statements without end or measure. They are interrupted by the event's time, by the quota and by SQLite's own limits.

use serde_json::json;

use crate::attack::{Attack, Must};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

pub(crate) fn all() -> Vec<Attack> {
    let text = |text: String| json!({"do": "sql", "text": text, "deep": 0});
    let cpu = || Must::Either(vec![Must::broken("cpu"), Must::refused("limit", "")]);
    // The time may be up before.
    let or_cpu = |must: Must| Must::Either(vec![must, cpu()]);
    let storage = |word| Must::refused("storage", word);
    let rows: Vec<(&str, String, Must)> = vec![
        ("endless-count", format!("{ENDLESS} SELECT count(*) FROM n"), cpu()),
        (
            "endless-sort",
            format!("{ENDLESS} SELECT i FROM n ORDER BY random()"),
            or_cpu(storage("")),
        ),
        (
            "huge-sort",
            format!("{ENDLESS}, m AS (SELECT i FROM n LIMIT 3000000) SELECT i FROM m ORDER BY hex(randomblob(100))"),
            or_cpu(storage("")),
        ),
        (
            "endless-distinct",
            format!("{ENDLESS} SELECT count(DISTINCT randomblob(1000)) FROM n"),
            or_cpu(storage("")),
        ),
        (
            "endless-group-concat",
            format!("{ENDLESS} SELECT group_concat(i) FROM n"),
            or_cpu(storage("")),
        ),
        (
            "endless-json",
            format!("{ENDLESS} SELECT json_group_array(i) FROM n"),
            or_cpu(storage("")),
        ),
        (
            "endless-insert",
            format!("CREATE TABLE t(x); {ENDLESS} INSERT INTO t SELECT randomblob(1000) FROM n"),
            Must::Either(vec![cpu(), storage(""), Must::broken("commit")]),
        ),
        ("randomblob", "SELECT randomblob(2000000000)".to_owned(), storage("")),
        (
            "zeroblob",
            "SELECT length(zeroblob(2000000000))".to_owned(),
            storage(""),
        ),
        (
            "zeroblob-squared",
            "SELECT hex(hex(hex(hex(zeroblob(4000000)))))".to_owned(),
            storage(""),
        ),
        (
            "doubled-text",
            "WITH RECURSIVE d(t) AS (SELECT 'aaaaaaaa' UNION ALL SELECT t || t FROM d) SELECT length(t) FROM d"
                .to_owned(),
            storage(""),
        ),
        (
            "printf-wide",
            "SELECT printf('%2000000000d', 1)".to_owned(),
            Must::Either(vec![storage(""), Must::Answer(json!(1))]),
        ),
        (
            "replace-blow-up",
            "SELECT length(replace(replace(hex(zeroblob(50000)), '0', 'aaaaaaaaaa'), 'a', 'bbbbbbbbbb'))".to_owned(),
            storage(""),
        ),
        (
            "like-bomb",
            format!("SELECT hex(zeroblob(4000000)) LIKE '{}x'", "%0".repeat(24)),
            or_cpu(Must::Answer(json!(1))),
        ),
        (
            "like-too-long",
            format!("SELECT 'a' LIKE '{}'", "%a".repeat(100)),
            storage(""),
        ),
        (
            "glob-bomb",
            format!("SELECT hex(zeroblob(4000000)) GLOB '{}x'", "*0".repeat(24)),
            or_cpu(Must::Answer(json!(1))),
        ),
        (
            "cross-join",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) \
             SELECT count(*) FROM n a, n b, n c, n d"
                .to_owned(),
            cpu(),
        ),
        ("many-terms", format!("SELECT {}1", "1+".repeat(40_000)), storage("")),
        ("many-columns", format!("SELECT {}1", "1,".repeat(40_000)), storage("")),
        (
            "many-unions",
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(4_000)),
            storage(""),
        ),
        (
            "many-joins",
            format!("SELECT 1 FROM (SELECT 1){}", ", (SELECT 1)".repeat(4_000)),
            storage(""),
        ),
        ("attach", "ATTACH '/etc/passwd' AS x".to_owned(), storage("")),
        ("vacuum-into", "VACUUM INTO '/tmp/stolen'".to_owned(), storage("")),
        (
            "load-extension",
            "SELECT load_extension('/tmp/x.so')".to_owned(),
            storage(""),
        ),
        ("readfile", "SELECT readfile('/etc/passwd')".to_owned(), storage("")),
        ("writable-schema", "PRAGMA writable_schema = 1".to_owned(), storage("")),
        (
            "the-hosts-own-table",
            "DELETE FROM _facetd_alarm".to_owned(),
            storage(""),
        ),
        ("page-size", "PRAGMA page_size = 512".to_owned(), storage("")),
        ("journal-mode", "PRAGMA journal_mode = DELETE".to_owned(), storage("")),
        (
            "trigger-that-triggers",
            "CREATE TABLE r(x); PRAGMA recursive_triggers = 1; \
             CREATE TRIGGER g AFTER INSERT ON r BEGIN INSERT INTO r VALUES (NEW.x + 1); END; INSERT INTO r VALUES (1)"
                .to_owned(),
            storage(""),
        ),
    ];
    let mut all: Vec<_> = rows
        .into_iter()
        .map(|(name, statement, must)| Attack::deed(name, text(statement), must))
        .collect();
    all.push(Attack::deed(
        "storm",
        json!({"do": "sql-storm", "text": "CREATE TABLE IF NOT EXISTS s(x); INSERT INTO s VALUES (1); DELETE FROM s"}),
        cpu(),
    ));
    all.push(Attack::deed(
        "fill-the-quota",
        json!({"do": "write", "bytes": 4 << 20}),
        Must::Either(vec![
            storage(""),
            Must::broken_later("cpu"),
            Must::broken_later("wall"),
            Must::broken_later("commit"),
        ]),
    ));
    all
}
