//! SQL means what it says: a setting is carried out or refused, ends with its turn and is nobody else's; what the host does
//! on the guest's connection does not show; an error says what it is (S23).

use crate::storage::tests::{Dir, committed, one, sql};
use crate::storage::{Cell, allow};
use crate::storage::{FacetStore, StorageError, Value};

fn code(result: Result<Vec<Vec<Value>>, StorageError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

fn refused(store: &mut FacetStore, text: &str) -> String {
    let error = sql(store, text).expect_err(text);
    assert_eq!(error.code(), "denied", "{text}: {error}");
    assert!(!error.transaction_lost());
    error.to_string()
}

/// What each setting changes, as a query that tells 0 while it is as it was made.
const SETTINGS: [(&str, &str); 4] = [
    ("ignore_check_constraints", "PRAGMA ignore_check_constraints"),
    ("legacy_alter_table", "PRAGMA legacy_alter_table"),
    ("recursive_triggers", "PRAGMA recursive_triggers"),
    (
        "reverse_unordered_selects",
        "SELECT (SELECT x FROM (SELECT x FROM two)) = 2 FROM pragma_reverse_unordered_selects WHERE 1",
    ),
];

#[test]
fn settings_end_with_their_turn() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(
        &mut store,
        "CREATE TABLE two(x CHECK (x < 10)); INSERT INTO two VALUES(1), (2)",
    )
    .unwrap();
    committed(&mut store);
    let all = allow::PRAGMAS
        .iter()
        .filter(|(_, argument)| *argument == allow::PragmaArgument::Setting)
        .map(|(name, _)| *name);
    assert!(all.eq(SETTINGS.map(|(name, _)| name)), "every setting is tried here");
    type End = fn(&mut FacetStore);
    let ends: [End; 4] = [
        |store| assert!(store.end_turn().unwrap().is_none()),
        |store| {
            store.kv_put("a", b"1").unwrap();
            committed(store);
            store.kv_delete("a").unwrap();
            committed(store);
        },
        FacetStore::discard_turn,
        |store| {
            // The same text as before: what was kept of it is not what it does.
            let error = sql(
                store,
                "INSERT OR ROLLBACK INTO two VALUES(1), (99) RETURNING nothing(x)",
            );
            assert!(error.is_err());
            store.discard_turn();
        },
    ];
    for (name, told) in SETTINGS {
        for end in ends {
            assert_eq!(one(&mut store, told), 0, "{name}");
            sql(&mut store, &format!("PRAGMA {name} = ON")).unwrap();
            assert_eq!(one(&mut store, told), 1, "{name}");
            end(&mut store);
            assert_eq!(one(&mut store, told), 0, "{name}");
            end(&mut store);
        }
    }
    for end in ends {
        sql(&mut store, "PRAGMA defer_foreign_keys = ON").unwrap();
        end(&mut store);
        assert_eq!(one(&mut store, "PRAGMA defer_foreign_keys"), 0);
        end(&mut store);
    }
    // Kept statements are compiled anew, with the settings of their turn.
    let insert = "INSERT INTO two VALUES(99)";
    assert_eq!(code(sql(&mut store, insert)), "constraint");
    sql(&mut store, "PRAGMA ignore_check_constraints = ON").unwrap();
    sql(&mut store, insert).unwrap();
    committed(&mut store);
    assert_eq!(code(sql(&mut store, insert)), "constraint");
}

#[test]
fn a_setting_takes_no_other_word_than_a_boolean() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    for text in [
        "PRAGMA recursive_triggers = 2",
        "PRAGMA recursive_triggers = maybe",
        "PRAGMA foreign_keys = 'off; x'",
        "PRAGMA user_version = 'a'",
        "PRAGMA user_version = 2147483648",
        "PRAGMA user_version = 1.5",
    ] {
        refused(&mut store, text);
    }
}

#[test]
fn a_pragma_that_is_refused_names_what_to_use() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    for (text, word) in [
        ("PRAGMA case_sensitive_like = ON", "GLOB"),
        ("PRAGMA case_sensitive_like", "GLOB"),
        ("PRAGMA integrity_check", "quick_check"),
        ("PRAGMA journal_mode = WAL", "journal"),
        ("PRAGMA page_count", "statistics"),
        ("PRAGMA application_id = 7", "user_version"),
        ("PRAGMA database_list", "one database"),
        ("PRAGMA no_such_thing", "docs/limits.md"),
    ] {
        let told = refused(&mut store, text);
        assert!(told.contains(word), "{text}: {told}");
    }
    assert!(
        allow::REFUSED.is_sorted() && allow::REFUSED.iter().all(|(name, _)| allow::pragma(name).is_none()),
        "what is refused is not allowed"
    );
}

#[test]
fn user_version_is_the_guests() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    assert_eq!(one(&mut store, "PRAGMA user_version"), 0);
    sql(&mut store, "PRAGMA user_version = -7").unwrap();
    assert_eq!(one(&mut store, "SELECT user_version FROM pragma_user_version"), -7);
    committed(&mut store);
    assert!(!store.is_empty().unwrap(), "a number is something");
    sql(&mut store, "PRAGMA user_version = 8").unwrap();
    store.discard_turn();
    assert_eq!(one(&mut store, "PRAGMA user_version"), -7);
    let transaction = store.begin().unwrap();
    sql(&mut store, "PRAGMA user_version = 9").unwrap();
    store.rollback(transaction).unwrap();
    assert_eq!(one(&mut store, "PRAGMA user_version"), -7);
    store.close().unwrap();
    assert_eq!(one(&mut store, "PRAGMA user_version"), -7);
    store.delete_all().unwrap();
    assert_eq!(one(&mut store, "PRAGMA user_version"), 0);
    committed(&mut store);
    assert!(store.is_empty().unwrap());
}

/// A parent and a child that goes with it.
fn family(store: &mut FacetStore, action: &str) {
    let text = format!(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) {action});
         INSERT INTO p VALUES(1), (2); INSERT INTO c VALUES(1, 1), (2, 2)"
    );
    sql(store, &text).unwrap();
    committed(store);
}

const REBUILD: &str = "CREATE TABLE np(id INTEGER PRIMARY KEY, more); INSERT INTO np SELECT id, 0 FROM p; DROP TABLE p;
    ALTER TABLE np RENAME TO p";

#[test]
fn a_table_that_others_reference_can_be_rebuilt() {
    for action in [
        "",
        "ON DELETE CASCADE",
        "ON DELETE SET NULL",
        "ON DELETE RESTRICT",
        "DEFERRABLE INITIALLY DEFERRED",
    ] {
        for end in ["", "; PRAGMA foreign_keys = ON"] {
            let dir = Dir::new();
            let mut store = dir.store(1, false);
            family(&mut store, action);
            sql(&mut store, &format!("PRAGMA foreign_keys=OFF; {REBUILD}{end}")).unwrap();
            let on = i64::from(!end.is_empty());
            assert_eq!(one(&mut store, "PRAGMA foreign_keys"), on);
            committed(&mut store);
            assert_eq!(one(&mut store, "SELECT count(p) FROM c"), 2, "{action}");
            assert_eq!(one(&mut store, "PRAGMA foreign_keys"), 1, "on again");
            let refused = code(sql(&mut store, "INSERT INTO c VALUES(3, 3)")) == "constraint";
            assert!(refused || store.end_turn().is_err(), "{action}");
            store.discard_turn();
            // Statement by statement, too, and after reading.
            assert_eq!(one(&mut store, "PRAGMA user_version"), 0);
            sql(&mut store, "PRAGMA foreign_keys = 0").unwrap();
            for text in REBUILD.split(';') {
                sql(&mut store, text).unwrap();
            }
            committed(&mut store);
            assert_eq!(one(&mut store, "SELECT count(p) FROM c"), 2, "{action}");
        }
    }
}

#[test]
fn foreign_keys_are_switched_off_before_anything_is_written_or_not_at_all() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    family(&mut store, "ON DELETE CASCADE");
    store.kv_put("a", b"1").unwrap();
    let told = refused(&mut store, "PRAGMA foreign_keys = OFF");
    assert!(told.contains("before anything is written"), "{told}");
    assert_eq!(one(&mut store, "PRAGMA foreign_keys"), 1);
    store.discard_turn();
    let transaction = store.begin().unwrap();
    refused(&mut store, "PRAGMA foreign_keys = OFF");
    store.rollback(transaction).unwrap();
    store.discard_turn();
    // On is what they are: that is always true.
    store.kv_put("a", b"1").unwrap();
    sql(&mut store, "PRAGMA foreign_keys = ON").unwrap();
    committed(&mut store);
    // A turn that is lost, and one that only read, leave them on, as does emptying the facet.
    for end in [FacetStore::discard_turn, |store: &mut FacetStore| {
        assert!(store.end_turn().unwrap().is_none());
    }] {
        sql(&mut store, "PRAGMA foreign_keys = OFF").unwrap();
        end(&mut store);
        assert_eq!(one(&mut store, "PRAGMA foreign_keys"), 1);
        store.end_turn().unwrap();
    }
    sql(&mut store, "PRAGMA foreign_keys = OFF").unwrap();
    store.delete_all().unwrap();
    assert_eq!(one(&mut store, "PRAGMA foreign_keys"), 0);
    committed(&mut store);
    assert_eq!(one(&mut store, "PRAGMA foreign_keys"), 1);
}

#[test]
fn a_turn_that_leaves_a_reference_to_nothing_is_lost() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    family(&mut store, "ON DELETE CASCADE");
    let broken = "PRAGMA foreign_keys = OFF; DELETE FROM p WHERE id = 2";
    sql(&mut store, broken).unwrap();
    let error = store.end_turn().unwrap_err();
    let told = error.to_string();
    assert_eq!(error.code(), "constraint");
    assert!(error.transaction_lost());
    for word in ["\"c\"", "\"p\"", "row 2"] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(one(&mut store, "SELECT count(*) FROM p"), 2);
    store.end_turn().unwrap();
    // Switched on again too early: the statement says so, and they stay off.
    sql(&mut store, broken).unwrap();
    assert_eq!(code(sql(&mut store, "PRAGMA foreign_keys = ON")), "constraint");
    assert_eq!(one(&mut store, "PRAGMA foreign_keys"), 0);
    sql(&mut store, "INSERT INTO p VALUES(2)").unwrap();
    sql(&mut store, "PRAGMA foreign_keys = ON").unwrap();
    committed(&mut store);
    // SQLite forgets what it has counted when the deferral is switched off.
    sql(
        &mut store,
        "PRAGMA defer_foreign_keys = ON; INSERT INTO c VALUES(9, 9); PRAGMA defer_foreign_keys = OFF",
    )
    .unwrap();
    assert_eq!(store.end_turn().unwrap_err().code(), "constraint");
    // A reference that makes no sense is told as SQLite tells it.
    sql(
        &mut store,
        "PRAGMA foreign_keys = OFF; CREATE TABLE d(x REFERENCES c(p)); INSERT INTO d VALUES(1)",
    )
    .unwrap();
    let error = store.end_turn().unwrap_err();
    assert!(error.to_string().contains("mismatch"), "{error}");
    assert_eq!(one(&mut store, "SELECT count(*) FROM c"), 2);
}

#[test]
fn counters_are_the_guests_and_begin_with_the_turn() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let counters = |store: &mut FacetStore| {
        let rows = sql(store, "SELECT last_insert_rowid(), changes(), total_changes()").unwrap();
        rows[0]
            .clone()
            .into_iter()
            .map(|value| match value {
                Value::Integer(number) => number,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    sql(
        &mut store,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(39, 'a'), (40, 'b'), (41, 'c')",
    )
    .unwrap();
    type Step = fn(&mut FacetStore);
    let of_the_host: [Step; 9] = [
        |store| store.kv_put("a", b"1").unwrap(),
        |store| store.kv_put("a", b"1").unwrap(),
        |store| {
            store
                .kv_put_many(&[("b".into(), vec![]), ("c".into(), vec![])])
                .unwrap()
        },
        |store| assert!(store.kv_delete("b").unwrap()),
        |store| assert!(!store.kv_delete("b").unwrap()),
        |store| store.set_alarm(5_000, 0).unwrap(),
        |store| store.delete_alarm().unwrap(),
        |store| {
            let transaction = store.begin().unwrap();
            store.rollback(transaction).unwrap();
        },
        |store| drop(sql(store, "CREATE TABLE u(x); DROP TABLE u").unwrap()),
    ];
    for step in of_the_host {
        step(&mut store);
        assert_eq!(counters(&mut store), [41, 3, 3]);
    }
    sql(&mut store, "UPDATE t SET x = 0 WHERE id < 41").unwrap();
    assert_eq!(counters(&mut store), [41, 2, 5]);
    store.kv_put("d", b"1").unwrap();
    assert_eq!(counters(&mut store), [41, 2, 5]);
    // As many as the host's, and none.
    sql(&mut store, "UPDATE t SET x = 1 WHERE id = 41").unwrap();
    assert_eq!(counters(&mut store), [41, 1, 6]);
    assert!(!store.kv_delete("z").unwrap());
    sql(&mut store, "DELETE FROM t WHERE id = 0").unwrap();
    assert_eq!(counters(&mut store), [41, 0, 6]);
    // In a trigger, after a write of the host's.
    store.kv_put("e", b"1").unwrap();
    sql(
        &mut store,
        "CREATE TABLE log(x); CREATE TRIGGER tr AFTER INSERT ON t BEGIN
         UPDATE t SET x = 2 WHERE id < 41; INSERT INTO log VALUES(changes()); END;
         INSERT INTO t VALUES(50, 0)",
    )
    .unwrap();
    assert_eq!(one(&mut store, "SELECT x FROM log"), 2);
    sql(&mut store, "DROP TRIGGER tr").unwrap();
    committed(&mut store);
    // What was before does not show, nor does the identity, which the first commit writes.
    for _ in 0..2 {
        assert_eq!(counters(&mut store), [0, 0, 0]);
        sql(&mut store, "INSERT INTO t(x) VALUES(7), (8)").unwrap();
        let counted = counters(&mut store);
        assert_eq!(counted[1..], [2, 2]);
        assert_eq!(counted[0], one(&mut store, "SELECT max(id) FROM t"));
        store.discard_turn();
    }
    // A kept statement is asked anew.
    assert_eq!(counters(&mut store), [0, 0, 0]);
}

#[test]
fn the_time_is_utc_wherever_the_host_is() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let found = sql(
        &mut store,
        "SELECT datetime(0, 'unixepoch', 'localtime'), datetime('1970-01-01', 'utc'), datetime('2026-07-01', 'localtime'),
         datetime('1850-01-01', 'localtime'), datetime('9000-07-01 12:30:00', 'utc'), strftime('%s', '2040-02-29', 'utc')",
    )
    .unwrap();
    let texts: Vec<_> = [
        "1970-01-01 00:00:00",
        "1970-01-01 00:00:00",
        "2026-07-01 00:00:00",
        "1850-01-01 00:00:00",
        "9000-07-01 12:30:00",
        "2214086400",
    ]
    .map(|text| Value::Text(text.to_owned()))
    .into();
    assert_eq!(found[0], texts);
}

#[test]
fn text_that_is_not_utf_8_is_given_as_far_as_it_is() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(
        &mut store,
        "CREATE TABLE t(x); INSERT INTO t VALUES('good'), (CAST(x'61ff62' AS TEXT)), (char(55296)), ('end')",
    )
    .unwrap();
    for (text, given) in [
        ("SELECT CAST(x'61ff62' AS TEXT)", "a\u{fffd}b"),
        (r#"SELECT '{"name":"\ud800"}' ->> 'name'"#, "\u{fffd}\u{fffd}\u{fffd}"),
        ("SELECT printf('%.5s', 'abcd\u{e9}')", "abcd\u{fffd}"),
        ("SELECT 'a' || x'ff'", "a\u{fffd}"),
        ("SELECT upper(x'ff')", "\u{fffd}"),
        ("SELECT substr(CAST(x'c3a9' AS TEXT), 1)", "\u{e9}"),
    ] {
        assert_eq!(
            sql(&mut store, text).unwrap()[0][0],
            Value::Text(given.to_owned()),
            "{text}"
        );
    }
    assert_eq!(sql(&mut store, "SELECT x FROM t").unwrap().len(), 4);
    let cursor = store.open_cursor("SELECT x FROM t", &[]).unwrap();
    let mut read = 0;
    loop {
        let rows = store.cursor_next(cursor, 1, 0).unwrap();
        read += rows.rows.len();
        if !rows.more {
            break;
        }
    }
    assert_eq!(read, 4);
    let rows = store
        .query("INSERT INTO t VALUES(CAST(x'fe' AS TEXT)) RETURNING x", &[], 9)
        .unwrap();
    assert_eq!(rows.rows[0][0], Value::Text("\u{fffd}".to_owned()));
    committed(&mut store);
    // The operator sees what it is.
    let tables = store.inspect(10).unwrap();
    assert_eq!((tables[0].total, tables[0].error.as_deref()), (5, None));
    assert_eq!(tables[0].rows[0][0], Cell::Value(Value::Text("good".into())));
    assert_eq!(tables[0].rows[1][0], Cell::NotUtf8(b"a\xffb".to_vec()));
}

#[test]
fn a_table_without_a_number_left_is_no_full_disk() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(
        &mut store,
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, x UNIQUE); INSERT INTO t(id) VALUES(9223372036854775807)",
    )
    .unwrap();
    committed(&mut store);
    // SQLite can undo this one by itself, so the turn goes on.
    store.kv_put("a", b"1").unwrap();
    let error = sql(&mut store, "INSERT INTO t(x) VALUES(1), (2)").unwrap_err();
    assert_eq!(error.code(), "sql", "{error}");
    assert!(error.to_string().contains("sqlite_sequence"), "{error}");
    assert!(!error.transaction_lost());
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    sql(&mut store, "INSERT INTO t(id) VALUES(7)").unwrap();
    // This one it cannot.
    let error = sql(&mut store, "INSERT INTO t DEFAULT VALUES").unwrap_err();
    assert!(error.to_string().contains("sqlite_sequence"), "{error}");
    assert!(error.transaction_lost(), "SQLite gave the transaction up");
    store.discard_turn();
    // What the message says helps.
    sql(
        &mut store,
        "DELETE FROM t; UPDATE sqlite_sequence SET seq = 1; INSERT INTO t(x) VALUES(1)",
    )
    .unwrap();
    assert_eq!(one(&mut store, "SELECT id FROM t"), 2);
    committed(&mut store);
}

#[test]
fn an_index_behind_its_content_is_no_damaged_file() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(
        &mut store,
        "CREATE TABLE d(id INTEGER PRIMARY KEY, x); CREATE VIRTUAL TABLE f USING fts5(x, content='d', content_rowid='id');
         INSERT INTO d VALUES(1, 'hello'); INSERT INTO f(f) VALUES('rebuild'); DELETE FROM d",
    )
    .unwrap();
    for text in [
        "SELECT * FROM f WHERE f MATCH 'hello'",
        "INSERT INTO f(f, rank) VALUES('integrity-check', 1)",
    ] {
        let error = sql(&mut store, text).unwrap_err();
        assert_eq!(error.code(), "sql", "{text}: {error}");
        let told = error.to_string();
        assert!(told.contains("'rebuild'") && !told.contains("backup"), "{told}");
    }
    sql(&mut store, "INSERT INTO f(f) VALUES('rebuild')").unwrap();
    assert!(
        sql(&mut store, "SELECT * FROM f WHERE f MATCH 'hello'")
            .unwrap()
            .is_empty()
    );
    committed(&mut store);
}

#[test]
fn limits_of_sqlite_say_which_they_are() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    for (text, value) in [
        (format!("SELECT 'a' LIKE '{}'", "a".repeat(51)), "50"),
        (format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(50)), "50"),
        (format!("SELECT 1{}", " OR 1".repeat(120)), "100"),
    ] {
        let error = sql(&mut store, &text).unwrap_err();
        assert!(error.to_string().contains(value), "{error}");
    }
}
