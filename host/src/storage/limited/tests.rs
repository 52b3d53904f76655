//! Each form does what the same statement with a subquery, written by hand, does.

use super::*;
use crate::storage::tests::{Dir, sql};
use crate::storage::{FacetStore, Value};

const SCHEMA: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT); CREATE INDEX ta ON t(a);
    CREATE TABLE \"we\"\"ird table\"(rowid TEXT, \"limit\" INT, [order] INT);
    CREATE TABLE wr(x TEXT, y INT, z, PRIMARY KEY(x, y)) WITHOUT ROWID;
    CREATE TABLE hidden(rowid, oid, _rowid_);
    CREATE VIEW v AS SELECT * FROM t;
    CREATE TRIGGER tv INSTEAD OF DELETE ON v BEGIN DELETE FROM t WHERE id = old.id; END;
    CREATE VIRTUAL TABLE f USING fts5(a);
    CREATE TABLE log(x);
    CREATE TRIGGER tlog AFTER DELETE ON t BEGIN INSERT INTO log VALUES(old.id); END;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30) INSERT INTO t SELECT i, i % 7, 'row ' || i FROM n;
    INSERT INTO \"we\"\"ird table\" SELECT a, id, b FROM t;
    INSERT INTO wr SELECT b, a, id FROM t;
    INSERT INTO f SELECT b FROM t;";
const STATE: &str = "SELECT json_group_array(json_array(k, x, y, z)) FROM (
    SELECT 1 AS k, id AS x, a AS y, b AS z FROM t UNION ALL SELECT 2, rowid, \"limit\", [order] FROM \"we\"\"ird table\"
    UNION ALL SELECT 3, x, y, z FROM wr UNION ALL SELECT 4, rowid, a, NULL FROM f UNION ALL SELECT 5, x, NULL, NULL FROM log
    ORDER BY 1, 2, 3)";

/// A statement, and what it stands for.
const SAME: &[(&str, &str)] = &[
    (
        "DELETE FROM t LIMIT 3",
        "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT 3)",
    ),
    (
        "DELETE FROM t ORDER BY id DESC LIMIT 4",
        "DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id DESC LIMIT 4)",
    ),
    (
        "delete from main.t where a > 2 order by a, id desc limit 2 offset 3",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE a > 2 ORDER BY a, id DESC LIMIT 2 OFFSET 3)",
    ),
    (
        "DELETE FROM t WHERE a = 3 ORDER BY id LIMIT 1, 2",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE a = 3 ORDER BY id LIMIT 1, 2)",
    ),
    ("DELETE FROM t LIMIT -1", "DELETE FROM t"),
    ("DELETE FROM t LIMIT 0", "SELECT 1"),
    (
        "DELETE FROM t AS q WHERE q.a IN (SELECT a FROM t WHERE id < q.id) ORDER BY q.id LIMIT 2",
        "DELETE FROM t WHERE id IN (SELECT q.id FROM t AS q WHERE q.a IN (SELECT a FROM t WHERE id < q.id) ORDER BY q.id LIMIT 2)",
    ),
    (
        "DELETE FROM t INDEXED BY ta WHERE a = 1 ORDER BY id LIMIT 1",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE a = 1 ORDER BY id LIMIT 1)",
    ),
    (
        "DELETE FROM t NOT INDEXED WHERE NOT a = 1 AND b IS NOT NULL ORDER BY id LIMIT 1",
        "DELETE FROM t WHERE id = (SELECT min(id) FROM t WHERE a <> 1)",
    ),
    (
        "DELETE FROM t WHERE b LIKE '%limit 1; order by' OR a = 2 ORDER BY id /* LIMIT 9 */ LIMIT 2 -- LIMIT 7",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE a = 2 ORDER BY id LIMIT 2)",
    ),
    (
        "DELETE FROM t WHERE id > (SELECT id FROM t ORDER BY id LIMIT 1 OFFSET 5) ORDER BY id LIMIT 2",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE id > 6 ORDER BY id LIMIT 2)",
    ),
    (
        "WITH few AS (SELECT id FROM t WHERE a = 4 LIMIT 3) DELETE FROM t WHERE id IN few ORDER BY id DESC LIMIT 1",
        "DELETE FROM t WHERE id = (SELECT max(id) FROM (SELECT id FROM t WHERE a = 4 LIMIT 3))",
    ),
    (
        "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a LIMIT 3), b AS NOT MATERIALIZED (SELECT x FROM a) \
         DELETE FROM t WHERE id IN (SELECT x FROM b) ORDER BY id LIMIT 2",
        "DELETE FROM t WHERE id IN (1, 2)",
    ),
    (
        "DELETE FROM t WHERE a = 5 RETURNING id, b AS c ORDER BY id LIMIT 2",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE a = 5 ORDER BY id LIMIT 2) RETURNING id, b AS c",
    ),
    (
        "UPDATE t SET a = 99 ORDER BY id DESC LIMIT 3",
        "UPDATE t SET a = 99 WHERE id IN (SELECT id FROM t ORDER BY id DESC LIMIT 3)",
    ),
    (
        "UPDATE t SET (a, b) = (SELECT 1, 'x' ORDER BY 1 LIMIT 1), id = id + 100 WHERE a = 2 ORDER BY id LIMIT 2 RETURNING 1",
        "error",
    ),
    (
        "UPDATE t SET (a, b) = (SELECT 1, 'x' ORDER BY 1 LIMIT 1), id = id + 100 WHERE a = 2 RETURNING id, a ORDER BY id LIMIT 2",
        "UPDATE t SET (a, b) = (1, 'x'), id = id + 100 WHERE id IN (SELECT id FROM t WHERE a = 2 ORDER BY id LIMIT 2) RETURNING id, a",
    ),
    (
        "UPDATE OR IGNORE t SET id = 1 ORDER BY id LIMIT 5",
        "UPDATE OR IGNORE t SET id = 1 WHERE id IN (SELECT id FROM t ORDER BY id LIMIT 5)",
    ),
    (
        "UPDATE or replace t as q SET id = 1 WHERE q.id > 5 ORDER BY q.id LIMIT 1",
        "UPDATE OR REPLACE t SET id = 1 WHERE id = 6",
    ),
    (
        "UPDATE t SET a = a IS NOT DISTINCT FROM 3, b = CASE WHEN a THEN 'x' ELSE 'y' END ORDER BY id LIMIT 9",
        "UPDATE t SET a = a IS 3, b = CASE WHEN a THEN 'x' ELSE 'y' END WHERE id <= 9",
    ),
    (
        "UPDATE \"we\"\"ird table\" SET \"limit\" = 0 WHERE [order] > '' ORDER BY [order], \"limit\" LIMIT 4",
        "UPDATE \"we\"\"ird table\" SET \"limit\" = 0 WHERE oid IN (SELECT oid FROM \"we\"\"ird table\" ORDER BY [order], \"limit\" LIMIT 4)",
    ),
    (
        "DELETE FROM [we\"ird table] ORDER BY `limit` LIMIT 4",
        "DELETE FROM \"we\"\"ird table\" WHERE oid IN (SELECT oid FROM \"we\"\"ird table\" ORDER BY \"limit\" LIMIT 4)",
    ),
    ("DELETE FROM 't' ORDER BY id LIMIT 1", "DELETE FROM t WHERE id = 1"),
    (
        "DELETE FROM wr WHERE y > 1 ORDER BY z DESC LIMIT 5",
        "DELETE FROM wr WHERE z IN (SELECT z FROM wr WHERE y > 1 ORDER BY z DESC LIMIT 5)",
    ),
    (
        "UPDATE wr AS q SET y = y + 100 ORDER BY q.x LIMIT 3",
        "UPDATE wr SET y = y + 100 WHERE x IN (SELECT x FROM wr ORDER BY x LIMIT 3)",
    ),
    (
        "DELETE FROM f WHERE f MATCH 'row' ORDER BY rowid LIMIT 3",
        "DELETE FROM f WHERE rowid <= 3",
    ),
    (
        "DELETE FROM t ORDER BY id LIMIT 1; DELETE FROM t ORDER BY id LIMIT 1; INSERT INTO t VALUES(500, 'a;b', 'c')",
        "DELETE FROM t WHERE id <= 2; INSERT INTO t VALUES(500, 'a;b', 'c')",
    ),
    (
        "INSERT INTO log VALUES('x'); UPDATE t SET a = 'y' WHERE id IN (SELECT id FROM t ORDER BY id LIMIT 2) ORDER BY id LIMIT 1;;",
        "INSERT INTO log VALUES('x'); UPDATE t SET a = 'y' WHERE id = 1",
    ),
    (
        "DELETE FROM t WHERE a = abs(-1) COLLATE NOCASE AND (id IN (1, 8) OR b = ')') ORDER BY (SELECT max(a) FROM t), id LIMIT (SELECT 1)",
        "DELETE FROM t WHERE id = 1",
    ),
    // What is wrong stays wrong.
    ("DELETE FROM t ORDER BY id", "error"),
    ("UPDATE t SET a = 1 ORDER BY id", "error"),
    ("DELETE FROM nowhere LIMIT 1", "error"),
    ("DELETE FROM t WHERE nothing = 1 LIMIT 1", "error"),
    ("DELETE FROM t LIMIT", "error"),
    ("DELETE FROM t ORDER id LIMIT 1", "error"),
    ("DELETE FROM t LIMIT 1 WHERE a = 1", "error"),
    ("DELETE FROM t LIMIT 1 LIMIT 1", "error"),
    ("DELETE FROM t LIMIT 1) --", "error"),
    ("DELETE FROM t WHERE 0 LIMIT 1) OR (1", "error"),
    ("DELETE FROM t WHERE 0 ORDER BY (id LIMIT 1", "error"),
    ("DELETE FROM t WHERE 0 LIMIT 1 /* open", "error"),
    ("DELETE t LIMIT 1", "error"),
    ("DELETE FROM v LIMIT 1", "error"),
    ("DELETE FROM hidden LIMIT 1", "error"),
    ("UPDATE t SET a = q.a FROM t AS q LIMIT 1", "error"),
    ("UPDATE t LIMIT 1", "error"),
    ("DELETE FROM _facetd_kv LIMIT 1", "error"),
    ("DELETE FROM sqlite_schema LIMIT 1", "error"),
    ("INSERT INTO t VALUES(1, 2, 3) LIMIT 1", "error"),
    ("SELECT 1 LIMIT 1 ORDER BY 1", "error"),
    (
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t LIMIT 1; END",
        "error",
    ),
];

fn store(dir: &Dir) -> FacetStore {
    let mut store = dir.store(1, false);
    sql(&mut store, SCHEMA).unwrap();
    crate::storage::tests::committed(&mut store);
    store
}

#[test]
fn limits_do_what_subqueries_do() {
    let dir = Dir::new();
    let mut store = store(&dir);
    let mut after = |text: &str| {
        let answer = sql(&mut store, text).map_err(|error| error.code().to_owned());
        let state = sql(&mut store, STATE).unwrap();
        let lost = store.is_lost();
        store.discard_turn();
        assert!(!lost, "{text}");
        (answer, state)
    };
    let untouched = after("SELECT 1").1;
    for (limited, meant) in SAME {
        let (answer, state) = after(limited);
        if *meant == "error" {
            assert!(answer.is_err(), "{limited}: {answer:?}");
            assert!(state == untouched, "{limited}");
            continue;
        }
        let mut answer = answer.unwrap_or_else(|error| panic!("{limited}: {error}"));
        let (expected, meant_state) = after(meant);
        let mut expected = expected.unwrap();
        if *meant == "SELECT 1" {
            expected.clear();
        }
        let order = |rows: &mut Vec<Vec<Value>>| rows.sort_by_key(|row| format!("{row:?}"));
        order(&mut answer);
        order(&mut expected);
        assert_eq!(answer, expected, "{limited}");
        assert!(state == meant_state, "{limited}");
    }
}

#[test]
fn parameters_keep_their_order() {
    let dir = Dir::new();
    let mut store = store(&dir);
    let integers = |numbers: &[i64]| numbers.iter().map(|number| Value::Integer(*number)).collect::<Vec<_>>();
    for _ in 0..3 {
        let rows = store.query(
            "UPDATE t SET b = ? WHERE a = :a AND id > @id RETURNING id ORDER BY id + ? LIMIT ? OFFSET ?",
            &integers(&[70, 3, 4, 0, 1, 1]),
            9,
        );
        assert_eq!(rows.unwrap().rows, [[Value::Integer(17)]]);
    }
    let rows = store.query(
        "DELETE FROM t WHERE a = ?2 RETURNING id + ?1, ?3 ORDER BY id LIMIT ?3",
        &integers(&[1000, 3, 1]),
        9,
    );
    assert_eq!(rows.unwrap().rows, [integers(&[1003, 1])]);
    for text in [
        "DELETE FROM t RETURNING ? LIMIT ?",
        "DELETE FROM t RETURNING (SELECT :x) ORDER BY id LIMIT (1 + ?)",
    ] {
        let error = store.query(text, &integers(&[1, 1]), 9).unwrap_err();
        assert!(error.to_string().contains("number them"), "{text}: {error}");
    }
    let rows = store
        .query("DELETE FROM t RETURNING ?, 7 LIMIT 1", &integers(&[5]), 9)
        .unwrap();
    assert_eq!(rows.rows, [integers(&[5, 7])]);
    assert_eq!(
        store.query("DELETE FROM t LIMIT ?", &[], 9).unwrap_err().code(),
        "sql",
        "values are counted"
    );
    // The table changes its kind under the same text.
    for table in ["CREATE TABLE k(x PRIMARY KEY) WITHOUT ROWID", "CREATE TABLE k(x)"] {
        sql(&mut store, &format!("{table}; INSERT INTO k VALUES(1), (2), (3)")).unwrap();
        sql(&mut store, "DELETE FROM k ORDER BY x DESC LIMIT 2").unwrap();
        assert_eq!(sql(&mut store, "SELECT x FROM k").unwrap(), [integers(&[1])]);
        sql(&mut store, "DROP TABLE k").unwrap();
    }
}

#[test]
fn tokens_are_those_of_sqlite() {
    let words = |text| Tokens::of(text).map(|token| token.text()).collect::<Vec<_>>();
    assert_eq!(
        words("a -- b\n/* c */'d''e' \"f\"\"g\" [h i] `j``k` (l (m) ')') n;o"),
        ["a", "'d''e'", "\"f\"\"g\"", "[h i]", "`j``k`", "n", ";", "o"]
    );
    assert_eq!(
        words("1.5e3+x'00' ?1 ?(:a) $b::c é<=@d /* open"),
        [
            "1", ".", "5e3", "+", "x", "'00'", "?1", "?", ":a", "$b", ":", ":c", "é", "<", "=", "@d"
        ]
    );
    assert_eq!(words("'open"), ["'open"]);
    assert_eq!(words("[open"), ["[open"]);
}
