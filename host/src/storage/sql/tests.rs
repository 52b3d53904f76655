//! What guest SQL gets, and what it does not (S23). Everything runs on as little stack as a component has.

mod meaning;

use super::*;
use crate::storage::tests::{Dir, committed, one, sql};

/// Runs on a stack of 512 KiB, which is what a guest's fiber has.
fn on_small_stack(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn_scoped(scope, run)
            .unwrap();
        thread.join().unwrap();
    });
}

fn code(result: Result<Vec<Vec<Value>>, StorageError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

/// Statements and the code they fail with.
const HOSTILE: &[(&str, &str)] = &[
    // Internal tables, by every way to name them.
    ("SELECT * FROM _facetd_kv", "denied"),
    ("SELECT * FROM main._FACETD_meta", "denied"),
    ("SELECT * FROM \"_facetd_kv\"", "denied"),
    ("SELECT count(*) FROM [_Facetd_KV]", "denied"),
    ("SELECT (SELECT path FROM _facetd_meta)", "denied"),
    ("WITH x AS (SELECT * FROM _facetd_kv) SELECT 1 FROM x", "denied"),
    ("INSERT INTO _facetd_kv VALUES('a', 'b')", "denied"),
    ("REPLACE INTO _facetd_meta VALUES(1, 1, x'00', 1, '')", "denied"),
    ("UPDATE _facetd_meta SET path = ''", "denied"),
    ("DELETE FROM _facetd_kv", "denied"),
    ("DROP TABLE _facetd_kv", "denied"),
    ("ALTER TABLE _facetd_kv RENAME TO mine", "denied"),
    ("ALTER TABLE _facetd_kv ADD COLUMN x", "denied"),
    ("ALTER TABLE t RENAME TO _facetd_t", "denied"),
    ("ALTER TABLE t RENAME TO _FaCeTd", "denied"),
    ("ALTER TABLE f RENAME TO _facetd_f", "denied"),
    ("CREATE TABLE _facetd_x(a)", "denied"),
    ("CREATE TABLE _FACETD(a)", "denied"),
    ("CREATE TABLE x AS SELECT * FROM _facetd_kv", "denied"),
    ("CREATE VIEW _facetd_v AS SELECT 1", "denied"),
    ("CREATE VIEW v AS SELECT * FROM _facetd_kv; SELECT * FROM v", "denied"),
    ("CREATE INDEX i ON _facetd_kv(value)", "denied"),
    ("CREATE INDEX _facetd_i ON t(a)", "denied"),
    (
        "CREATE TRIGGER tr AFTER INSERT ON _facetd_kv BEGIN SELECT 1; END",
        "denied",
    ),
    (
        "CREATE TRIGGER _facetd_tr AFTER INSERT ON t BEGIN SELECT 1; END",
        "denied",
    ),
    (
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM _facetd_kv; END; INSERT INTO t VALUES(1)",
        "denied",
    ),
    (
        "CREATE TABLE child(k REFERENCES _facetd_kv(key)); INSERT INTO child VALUES('a')",
        "denied",
    ),
    ("CREATE VIRTUAL TABLE _facetd_f USING fts5(a)", "denied"),
    (
        "CREATE VIRTUAL TABLE spy USING fts5(path, content='_facetd_meta'); SELECT * FROM spy",
        "denied",
    ),
    (
        "CREATE VIRTUAL TABLE spy USING fts5(path, content='_facetd_meta'); INSERT INTO spy(spy) VALUES('rebuild')",
        "denied",
    ),
    ("SELECT * FROM pragma_table_info('_facetd_kv')", "denied"),
    ("PRAGMA table_info(_facetd_kv)", "denied"),
    ("PRAGMA index_list('_FACETD_kv')", "denied"),
    ("REINDEX _facetd_kv; SELECT * FROM _facetd_kv", "denied"),
    // Schema.
    ("UPDATE sqlite_schema SET sql = ''", "sql"),
    ("DELETE FROM sqlite_master WHERE name = '_facetd_kv'", "sql"),
    (
        "INSERT INTO sqlite_schema VALUES('table', 'x', 'x', 2, 'CREATE TABLE x(a)')",
        "sql",
    ),
    ("PRAGMA writable_schema = ON", "denied"),
    ("INSERT INTO f_data VALUES(1, x'00')", "sql"),
    ("SELECT sqlite_rename_table(1, 2, 3, 4, 5, 6, 7)", "sql"),
    // Other databases, files, code.
    ("ATTACH 'other.db' AS other", "denied"),
    ("ATTACH ':memory:' AS other", "denied"),
    ("DETACH main", "denied"),
    ("VACUUM", "denied"),
    ("/* x */ VaCuUm INTO '/tmp/stolen.db'", "denied"),
    ("SELECT * FROM temp.t", "sql"),
    ("CREATE TEMP TABLE x(a)", "denied"),
    ("CREATE TABLE temp.x(a)", "denied"),
    ("CREATE TEMP VIEW x AS SELECT 1", "denied"),
    ("CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", "denied"),
    ("CREATE VIRTUAL TABLE temp.x USING fts5(a)", "denied"),
    ("SELECT load_extension('x')", "sql"),
    ("SELECT fts3_tokenizer('simple')", "denied"),
    ("SELECT sqlite_offset(1)", "sql"),
    ("SELECT sqlite_compileoption_get(1)", "denied"),
    ("SELECT readfile('/etc/passwd')", "sql"),
    ("CREATE VIRTUAL TABLE x USING fts3(a)", "denied"),
    ("CREATE VIRTUAL TABLE x USING fts4(a)", "denied"),
    ("CREATE VIRTUAL TABLE x USING dbstat", "denied"),
    ("CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')", "denied"),
    ("SELECT * FROM dbstat", "sql"),
    ("SELECT * FROM sqlite_dbpage", "sql"),
    ("SELECT * FROM bytecode('SELECT 1')", "sql"),
    ("SELECT * FROM sqlite_stmt", "sql"),
    // Transactions and settings.
    ("BEGIN", "denied"),
    ("BEGIN IMMEDIATE", "denied"),
    ("COMMIT", "denied"),
    ("END", "denied"),
    ("ROLLBACK", "denied"),
    ("SAVEPOINT x", "denied"),
    ("RELEASE _facetd_write", "denied"),
    ("ROLLBACK TO _facetd_write", "denied"),
    ("CREATE TABLE one(a); COMMIT", "denied"),
    ("PRAGMA journal_mode = DELETE", "denied"),
    ("PRAGMA journal_mode", "denied"),
    ("PRAGMA synchronous = OFF", "denied"),
    ("PRAGMA locking_mode = NORMAL", "denied"),
    ("PRAGMA wal_checkpoint(TRUNCATE)", "denied"),
    ("PRAGMA wal_autocheckpoint = 1", "denied"),
    ("PRAGMA max_page_count = 1000000000", "denied"),
    ("PRAGMA main.max_page_count = 1000000000", "denied"),
    ("PRAGMA cache_size = 1000000", "denied"),
    ("PRAGMA mmap_size = 1000000000", "denied"),
    ("PRAGMA temp_store = MEMORY", "denied"),
    ("PRAGMA temp_store_directory = '/'", "denied"),
    ("PRAGMA trusted_schema = ON", "denied"),
    ("PRAGMA user_version = x", "denied"),
    ("PRAGMA case_sensitive_like = 1", "denied"),
    ("PRAGMA application_id = 3", "denied"),
    ("PRAGMA hard_heap_limit = 1", "denied"),
    ("PRAGMA encoding = 'UTF-16'", "denied"),
    ("PRAGMA integrity_check", "denied"),
    ("PRAGMA foreign_keys(_facetd_kv)", "denied"),
    ("PRAGMA incremental_vacuum", "denied"),
    // Sizes.
    ("SELECT zeroblob(9000000)", "too-big"),
    ("SELECT printf('%9000000d', 1)", "too-big"),
    (
        "SELECT replace(hex(zeroblob(4000)), '0', hex(zeroblob(4000)))",
        "too-big",
    ),
    ("SELECT ?1001", "sql"),
];

#[test]
fn hostile_statements_are_refused_and_the_store_works_on() {
    on_small_stack(|| {
        let dir = Dir::new();
        let mut store = dir.store(1, false);
        sql(&mut store, "CREATE TABLE t(a); CREATE VIRTUAL TABLE f USING fts5(a)").unwrap();
        store.kv_put("key", b"value").unwrap();
        store.end_turn().unwrap();
        for (text, expected) in HOSTILE {
            match sql(&mut store, text) {
                Ok(rows) => panic!("{text}: was allowed and answered {rows:?}"),
                Err(error) => {
                    assert_eq!(error.code(), *expected, "{text}: {error}");
                    assert!(!error.transaction_lost(), "{text}");
                }
            }
            // What came before it in the text, a trigger for instance, has happened.
            store.discard_turn();
            assert_eq!(store.kv_get("key").unwrap().unwrap(), b"value", "{text}");
            sql(&mut store, "INSERT INTO t VALUES(1); DELETE FROM t").unwrap();
            store.discard_turn();
        }
        assert!(store.end_turn().unwrap().is_none());
        let names = "SELECT count(*) FROM sqlite_schema WHERE lower(name) LIKE '\\_facetd%' ESCAPE '\\'";
        assert_eq!(one(&mut store, names), 3);
    });
}

#[test]
fn depth_is_bounded_before_the_stack_is() {
    on_small_stack(|| {
        let dir = Dir::new();
        let mut store = dir.store(1, false);
        sql(&mut store, "CREATE TABLE t(a)").unwrap();
        let nested = |open: &str, inner: &str, close: &str, depth: usize| {
            format!("SELECT {}{inner}{}", open.repeat(depth), close.repeat(depth))
        };
        for text in [
            nested("(", "1", ")", 20_000),
            nested("-", "1", "", 20_000),
            nested("NOT ", "1", "", 20_000),
            nested("(SELECT ", "1", ")", 9_000),
            nested("* FROM (SELECT ", "1", ")", 6_000),
            nested("abs(", "1", ")", 9_000),
            nested("CASE WHEN 1 THEN ", "1", " END", 4_000),
            nested("1 IN (", "1", ")", 9_000),
            nested("EXISTS(SELECT ", "1", ")", 6_000),
            format!("SELECT 1{}", "+1".repeat(40_000)),
            format!("SELECT 1{}", " AND 1".repeat(15_000)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(5_000)),
            format!("SELECT 'a'{}", "||'a'".repeat(15_000)),
            format!("WITH {} SELECT 1", vec!["a AS (WITH"; 7_000].join(" ")),
            format!("SELECT * FROM {}", vec!["t"; 1_000].join(" JOIN ")),
            format!("SELECT * FROM {}t{}", "(".repeat(20_000), ")".repeat(20_000)),
            format!("SELECT {}", vec!["1"; 30_000].join(",")),
            format!("SELECT max({})", vec!["1"; 30_000].join(",")),
            format!("SELECT '{}'", "x".repeat(200_000)),
        ] {
            let error = sql(&mut store, &text).unwrap_err();
            assert!(["sql", "too-big"].contains(&error.code()), "{}: {error}", &text[..60]);
        }
        // Long chains of views, triggers and foreign keys.
        for index in 0..300 {
            let below = if index == 0 {
                "t".to_owned()
            } else {
                format!("v{}", index - 1)
            };
            sql(&mut store, &format!("CREATE VIEW v{index} AS SELECT * FROM {below}")).unwrap();
            sql(
                &mut store,
                &format!(
                    "CREATE TABLE c{index}(a PRIMARY KEY, b REFERENCES c{}(a) ON DELETE CASCADE)",
                    index.max(1) - 1
                ),
            )
            .unwrap();
            let after = index + 1;
            sql(
                &mut store,
                &format!(
                    "CREATE TRIGGER tr{index} AFTER INSERT ON c{index} BEGIN INSERT INTO c{after}(a) VALUES(1); END"
                ),
            )
            .unwrap();
        }
        assert_eq!(code(sql(&mut store, "SELECT * FROM v299")), "sql");
        assert_eq!(code(sql(&mut store, "INSERT INTO c0(a) VALUES(1)")), "sql");
        assert_eq!(code(sql(&mut store, "DELETE FROM c0")), "sql");
        committed(&mut store);
        store.close().unwrap();
        // A new connection has no view's columns in memory yet.
        assert_eq!(code(sql(&mut store, "SELECT * FROM v299")), "sql");
        // Functions that recurse.
        let deep = "[".repeat(999) + &"]".repeat(999);
        for function in ["json", "jsonb", "json_pretty", "json_valid"] {
            sql(&mut store, &format!("SELECT {function}('{deep}')")).unwrap();
        }
        sql(&mut store, &format!("SELECT count(*) FROM json_tree('{deep}')")).unwrap();
        sql(&mut store, &format!("SELECT json_patch('{deep}', '{deep}')")).unwrap();
        sql(
            &mut store,
            &format!("SELECT '{}' LIKE '{}'", "a".repeat(999), "%a".repeat(25)),
        )
        .unwrap();
        sql(&mut store, "CREATE VIRTUAL TABLE f USING fts5(a)").unwrap();
        let query = "(".repeat(5_000) + "a" + &")".repeat(5_000);
        assert_eq!(code(sql(&mut store, &format!("SELECT * FROM f('{query}')"))), "sql");
        let query = vec!["a"; 5_000].join(" AND ");
        sql(&mut store, &format!("SELECT * FROM f('{query}')")).unwrap();
        assert_eq!(one(&mut store, "SELECT 1"), 1);
    });
}

#[test]
fn what_workerd_allows_is_allowed() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    for text in [
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT AS (a || 'x') STORED) STRICT",
        "CREATE INDEX i ON t(a) WHERE a > 'b'",
        "INSERT INTO t(a) VALUES('x') ON CONFLICT DO UPDATE SET a = 1 RETURNING id",
        "ALTER TABLE t ADD COLUMN c INTEGER",
        "ALTER TABLE t RENAME COLUMN c TO d",
        "ALTER TABLE t DROP COLUMN d",
        "ALTER TABLE t RENAME TO t2; ALTER TABLE t2 RENAME TO t",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE t SET a = lower(new.a) WHERE id = new.id; END",
        "SELECT rank() OVER (ORDER BY a), a -> '$' FROM t WHERE 0",
        "ANALYZE",
        "PRAGMA optimize",
        "PRAGMA table_info(t)",
        "PRAGMA table_list",
        "PRAGMA foreign_key_check",
        "PRAGMA quick_check",
        "PRAGMA defer_foreign_keys = on",
        "SELECT * FROM pragma_table_info('t')",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
        "SELECT name FROM sqlite_schema",
        "REINDEX",
        "CREATE VIRTUAL TABLE f USING fts5(a, tokenize = 'porter unicode61')",
        "INSERT INTO f VALUES('running dogs'); SELECT highlight(f, 0, '<', '>'), bm25(f) FROM f('run') ORDER BY rank",
        "CREATE VIRTUAL TABLE fv USING fts5vocab(f, row); SELECT * FROM fv",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 2, 3); SELECT rtreecheck('r')",
        "DROP TABLE r; DROP TABLE fv; DROP TABLE f",
        "SELECT value FROM json_each('[1,2]')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10) SELECT sum(i) FROM n",
        "SELECT current_timestamp, datetime('now'), random(), sqlite_version(), unixepoch('subsec')",
        "-- nothing",
        "",
        " ; ;; /* x */ SELECT 1; -- end",
    ] {
        if let Err(error) = sql(&mut store, text) {
            panic!("{text}: {error}");
        }
    }
    store.end_turn().unwrap();
}

#[test]
fn values_are_exact_and_parameters_are_counted() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let values = [
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Integer(9_007_199_254_740_993),
        Value::Real(0.1),
        Value::Text("a\0ü".to_owned()),
        Value::Text(String::new()),
        Value::Blob(vec![]),
        Value::Blob(vec![0, 255]),
    ];
    let rows = store.query("SELECT ?, ?, ?, ?, ?, ?, ?, ?", &values, 1).unwrap();
    assert_eq!(rows.rows[0], values);
    for (text, params) in [
        ("SELECT ?", 0),
        ("SELECT ?", 2),
        ("SELECT ?; SELECT ?", 1),
        ("SELECT 1; -- x", 1),
        ("", 1),
    ] {
        let error = store.query(text, &vec![Value::Null; params], 1).unwrap_err();
        assert_eq!(error.code(), "sql", "{text}: {error}");
    }
    let rows = store.query(
        "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2); SELECT ?1 + a AS s FROM t",
        &[Value::Integer(1)],
        9,
    );
    assert_eq!(
        rows.unwrap(),
        Rows {
            columns: vec!["s".to_owned()],
            rows: vec![vec![Value::Integer(2)], vec![Value::Integer(3)]],
            more: false
        }
    );
    assert_eq!(code(sql(&mut store, "SELECT 1\0; DROP TABLE t")), "sql");
    assert_eq!(code(sql(&mut store, "SELECT \"misspelt\"")), "sql");
    // A statement that fails has changed nothing, though its rows are the reason.
    assert_eq!(
        code(sql(&mut store, "INSERT INTO t VALUES(3) RETURNING json('{')")),
        "sql"
    );
    assert_eq!(one(&mut store, "SELECT count(*) FROM t"), 2);
    sql(&mut store, "CREATE TABLE u(a UNIQUE)").unwrap();
    assert_eq!(code(sql(&mut store, "INSERT INTO u VALUES(1), (2), (1)")), "constraint");
    assert_eq!(one(&mut store, "SELECT count(*) FROM u"), 0);
}

#[test]
fn results_are_bounded() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000) SELECT i";
    let rows = store.query(&format!("{count} FROM n"), &[], 10).unwrap();
    assert!(rows.rows.len() == 10 && rows.more);
    let rows = store.query(&format!("{count} FROM n WHERE i <= 10"), &[], 10).unwrap();
    assert!(rows.rows.len() == 10 && !rows.more);
    let rows = store.query(&format!("{count} FROM n"), &[], 0).unwrap();
    assert!(rows.rows.is_empty() && rows.more && rows.columns == ["i"]);
    let rows = store
        .query(&format!("{count}, zeroblob(1000000) FROM n"), &[], 100)
        .unwrap();
    assert!(rows.rows.len() == 8 && rows.more);
    let rows = store
        .query(&format!("{count}, zeroblob(8388000) FROM n"), &[], 100)
        .unwrap();
    assert!(rows.rows.len() == 1 && rows.more);

    let cursor = store.open_cursor(&format!("{count} FROM n"), &[]).unwrap();
    let mut seen = 0;
    loop {
        let rows = store.cursor_next(cursor, 0, 0).unwrap();
        assert!(rows.rows.len() <= CURSOR_ROWS_MAX as usize);
        for row in &rows.rows {
            seen += 1;
            assert_eq!(row[0], Value::Integer(seen));
        }
        if !rows.more {
            break;
        }
    }
    assert_eq!(seen, 30_000);
    assert_eq!(store.cursor_next(cursor, 0, 0).unwrap().rows.len(), 0);
    let cursor = store
        .open_cursor(&format!("{count}, zeroblob(1000) FROM n"), &[])
        .unwrap();
    assert_eq!(store.cursor_next(cursor, 100, 1).unwrap().rows.len(), 1);
    let rows = store.cursor_next(cursor, 100, 5000).unwrap().rows;
    assert_eq!((rows.len(), &rows[0][0]), (4, &Value::Integer(2)));
    store.close_cursor(cursor);
    assert_eq!(store.cursor_next(cursor, 1, 0).unwrap_err().code(), "cursor-closed");
}

#[test]
fn answers_end_exactly_at_their_limits() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "CREATE TABLE t(a, b)").unwrap();
    // A row of one value counts 64 bytes more than the value.
    let half = RESULT_BYTES_MAX / 2 - 64;
    for (more, rows) in [(-1, 2), (0, 2), (1, 1)] {
        let text = format!("SELECT zeroblob({half}) UNION ALL SELECT zeroblob({half} + {more})");
        let answer = store.query(&text, &[], 10).unwrap();
        assert_eq!((answer.rows.len(), answer.more), (rows, rows == 1), "{text}");
        let cursor = store.open_cursor(&text, &[]).unwrap();
        let piece = store.cursor_next(cursor, 0, 0).unwrap();
        assert_eq!((piece.rows.len(), piece.more), (rows, rows == 1), "{text}");
        store.close_cursor(cursor);
        let text = format!("INSERT INTO t VALUES(0, {half}), (1, {half} + {more}) RETURNING zeroblob(b)");
        match store.open_cursor(&text, &[]) {
            Ok(cursor) => {
                assert_eq!((store.cursor_next(cursor, 0, 0).unwrap().rows.len(), rows), (2, 2));
                store.close_cursor(cursor);
            }
            Err(error) => assert_eq!((error.code(), rows), ("too-big", 1)),
        }
    }
    for (rows, more) in [(-1, false), (0, false), (1, true)] {
        let rows = i64::from(CURSOR_ROWS_MAX) + rows;
        let text =
            format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) SELECT i FROM n");
        let cursor = store.open_cursor(&text, &[]).unwrap();
        assert_eq!(store.cursor_next(cursor, 0, 0).unwrap().more, more, "{rows}");
        let rest = usize::from(more);
        assert_eq!(store.cursor_next(cursor, 0, 0).unwrap().rows.len(), rest, "{rows}");
        store.close_cursor(cursor);
    }
}

/// Each statement of so much of something, the most of it, and the code of one more.
#[test]
fn sqlites_own_limits_are_those_that_are_documented() {
    type Built = fn(usize) -> String;
    let rows: [(&str, usize, &str, Built); 11] = [
        ("text", 100 << 10, "too-big", |n| {
            format!("SELECT 1 --{}", "x".repeat(n - 11))
        }),
        ("blob", 8 << 20, "too-big", |n| format!("SELECT zeroblob({n})")),
        ("value", 8 << 20, "too-big", |n| {
            format!("SELECT CAST(zeroblob({n}) AS TEXT)")
        }),
        ("columns of a result", 500, "sql", |n| {
            format!("SELECT {}", vec!["1"; n].join(","))
        }),
        ("columns of a table", 500, "sql", |n| {
            let columns: Vec<_> = (0..n).map(|i| format!("c{i}")).collect();
            format!("CREATE TABLE w({})", columns.join(","))
        }),
        ("columns of an index", 500, "sql", |n| {
            format!(
                "CREATE TABLE w(a); CREATE INDEX i ON w({})",
                vec!["a || 1"; n].join(",")
            )
        }),
        ("depth", 100, "sql", |n| format!("SELECT {}1", "NOT ".repeat(n - 1))),
        ("parts", 50, "sql", |n| vec!["SELECT 1"; n].join(" UNION ALL ")),
        ("arguments", 127, "sql", |n| {
            format!("SELECT max({})", vec!["1"; n].join(","))
        }),
        ("statements of a trigger", 100, "sql", |n| {
            let statements = "DELETE FROM t;".repeat(n);
            format!("CREATE TRIGGER tr AFTER INSERT ON t BEGIN {statements} END")
        }),
        ("pattern", 50, "sql", |n| {
            format!("SELECT 'x' LIKE '{0}', 'x' GLOB '{0}'", "x".repeat(n))
        }),
    ];
    on_small_stack(|| {
        let dir = Dir::new();
        let mut store = dir.store(1, false);
        sql(&mut store, "CREATE TABLE t(a)").unwrap();
        store.end_turn().unwrap();
        let mut wrong = Vec::new();
        for (what, most, refused, built) in rows {
            for (n, expected) in [(most - 1, "ok"), (most, "ok"), (most + 1, refused)] {
                let got = code(sql(&mut store, &built(n)));
                if got != expected {
                    wrong.push(format!("{what}: {n}: {got}"));
                }
                store.discard_turn();
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        // A parenthesis takes one place of the parser's stack, and what is around them some.
        for (n, expected) in [(480, "ok"), (500, "sql")] {
            let text = format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
            assert_eq!(code(sql(&mut store, &text)), expected, "{n} parentheses");
        }
        for (n, expected) in [(999, "ok"), (1_000, "ok"), (1_001, "sql")] {
            let answer = store.query(&format!("SELECT ?{n}"), &vec![Value::Null; n], 1);
            assert_eq!(code(answer.map(|rows| rows.rows)), expected, "{n} parameters");
        }
        // One trigger sets the next one off.
        for (n, expected) in [(9, "ok"), (10, "ok"), (11, "sql")] {
            for i in 0..n {
                let next = format!("BEGIN INSERT INTO c{} VALUES(1); END", i + 1);
                let text = format!("CREATE TABLE c{i}(a); CREATE TRIGGER tr{i} AFTER INSERT ON c{i} {next}");
                sql(&mut store, &text).unwrap();
            }
            sql(&mut store, &format!("CREATE TABLE c{n}(a)")).unwrap();
            assert_eq!(
                code(sql(&mut store, "INSERT INTO c0 VALUES(1)")),
                expected,
                "{n} triggers"
            );
            store.discard_turn();
        }
        // Five are the host's, one is the table above. Views are the cheapest.
        for i in 6..2_000 {
            sql(&mut store, &format!("CREATE VIEW v{i} AS SELECT 1")).unwrap_or_else(|error| panic!("{i}: {error}"));
        }
        for text in [
            "CREATE VIEW more AS SELECT 1",
            "CREATE TABLE more(a)",
            "CREATE INDEX more ON t(a)",
        ] {
            let error = sql(&mut store, text).unwrap_err();
            assert!(error.code() == "sql" && !error.transaction_lost(), "{text}: {error}");
            assert!(error.to_string().contains("drop some"), "{text}: {error}");
            sql(&mut store, "INSERT INTO t VALUES(1)").unwrap();
        }
        assert_eq!(
            one(&mut store, "SELECT count(*) FROM sqlite_schema WHERE name = 'more'"),
            0
        );
        committed(&mut store);
        store.close().unwrap();
        assert_eq!(one(&mut store, "SELECT count(*) FROM t"), 3);
        sql(&mut store, "DROP VIEW v6; CREATE INDEX more ON t(a)").unwrap();
    });
}

#[test]
fn cursors_are_counted_and_live_beside_writes() {
    let dir = Dir::new();
    let mut store = dir.store_with(1, false, 1024 * 1024);
    sql(&mut store, "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2), (3)").unwrap();
    let reader = store.open_cursor("SELECT a FROM t", &[]).unwrap();
    assert_eq!(store.cursor_next(reader, 1, 0).unwrap().rows.len(), 1);
    let writer = store
        .open_cursor("INSERT INTO t VALUES(4), (5) RETURNING a", &[])
        .unwrap();
    let outer = store.begin().unwrap();
    store.kv_put("k", b"v").unwrap();
    assert_eq!(store.cursor_next(writer, 1, 0).unwrap().rows, [[Value::Integer(4)]]);
    store.commit(outer).unwrap();
    let last = store.cursor_next(writer, 1, 0).unwrap();
    assert!(last.rows == [[Value::Integer(5)]] && !last.more);
    assert!(store.cursor_next(reader, 1, 0).unwrap().more);
    assert_eq!(code(sql(&mut store, "DROP TABLE t")), "sql", "the reader is still open");
    store.close_cursor(reader);
    let big = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300) \
         UPDATE t SET a = 7 FROM n WHERE a = 4 RETURNING zeroblob(8388000)";
    assert!(store.open_cursor(big, &[]).is_ok());
    assert_eq!(
        store
            .open_cursor("UPDATE t SET a = 8 RETURNING zeroblob(3000000)", &[])
            .unwrap_err()
            .code(),
        "too-big"
    );
    assert_eq!(one(&mut store, "SELECT count(*) FROM t WHERE a = 8"), 0);
    store.close_cursor(writer);
    store.end_turn().unwrap();
    let cursors: Vec<_> = (0..CURSORS_MAX)
        .map(|_| store.open_cursor("SELECT 1", &[]).unwrap())
        .collect();
    let error = store.open_cursor("SELECT 1", &[]).unwrap_err();
    assert_eq!((error.kind(), error.code()), ("limit", "cursors"));
    store.close_cursor(cursors[0]);
    store.open_cursor("SELECT 1", &[]).unwrap();
}

#[test]
fn a_kept_statement_sees_the_schema_change() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "CREATE TABLE t(a); INSERT INTO t VALUES(1)").unwrap();
    for columns in 1..5 {
        let rows = store.query("SELECT * FROM t", &[], 1).unwrap();
        assert_eq!((rows.columns.len(), rows.rows[0].len()), (columns, columns));
        sql(&mut store, &format!("ALTER TABLE t ADD COLUMN b{columns}")).unwrap();
    }
    sql(&mut store, "DROP TABLE t").unwrap();
    assert_eq!(code(sql(&mut store, "SELECT * FROM t")), "sql");
    // A kept statement is checked again when the schema changes under it.
    sql(&mut store, "CREATE VIEW t AS SELECT 1; SELECT * FROM t").unwrap();
    sql(&mut store, "SELECT * FROM t").unwrap();
    sql(&mut store, "DROP VIEW t; CREATE VIEW t AS SELECT * FROM _facetd_kv").unwrap();
    assert_eq!(code(sql(&mut store, "SELECT * FROM t")), "denied");
}

#[test]
fn usage_is_counted() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2), (3)").unwrap();
    let before = store.statistics();
    assert_eq!(before.rows_written, 3);
    sql(&mut store, "SELECT * FROM t WHERE a = 3").unwrap();
    let after = store.statistics();
    assert!((2..=4).contains(&(after.rows_read - before.rows_read)), "{after:?}");
    assert!(after.database_bytes >= 4 * 4096);
}

#[test]
fn columns_have_declared_types() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(
        &mut store,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL, \"odd type\" \"my type\", bare, made TEXT AS (name || 'x'));
         CREATE VIEW v AS SELECT id AS i, count(*) AS c FROM t",
    )
    .unwrap();
    let mut columns = |text: &str| -> Vec<String> {
        let cursor = store.open_cursor(text, &[]).unwrap();
        let columns = store.cursor_columns(cursor).unwrap();
        let names = store.cursor_next(cursor, 0, 0).unwrap().columns;
        assert_eq!(
            names,
            columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>()
        );
        let with_types = columns
            .into_iter()
            .map(|column| format!("{}: {}", column.name, column.declared.as_deref().unwrap_or("-")));
        let with_types = with_types.collect();
        assert!(store.cursor_columns(cursor).is_ok(), "also after the last row");
        store.close_cursor(cursor);
        with_types
    };
    assert_eq!(
        columns("SELECT * FROM t"),
        [
            "id: INTEGER",
            "name: VARCHAR(20)",
            "odd type: my type",
            "bare: -",
            "made: TEXT"
        ]
    );
    assert_eq!(
        columns("SELECT i, c, i + 1, (SELECT name FROM t) FROM v"),
        ["i: INTEGER", "c: -", "i + 1: -", "(SELECT name FROM t): VARCHAR(20)"]
    );
    assert_eq!(
        columns("INSERT INTO t(name) VALUES('x') RETURNING id, upper(name) AS u, bare"),
        ["id: INTEGER", "u: -", "bare: -"]
    );
    assert!(columns("DELETE FROM t").is_empty() && columns("").is_empty());
    let cursor = store.open_cursor("SELECT 1", &[]).unwrap();
    store.end_turn().unwrap();
    assert_eq!(store.cursor_columns(cursor).unwrap_err().code(), "cursor-closed");
}
