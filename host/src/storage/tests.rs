//! The life of a database: creation, turns, crashes, identity, quota, copies. Each test says which rule it keeps.

use std::sync::Arc;

use super::journal::{MemoryJournal, Pages};
use super::{DbFile, FacetStore, InterruptCell, StorageError, Value, is_blank};
use crate::ids::{FileId, ObjectId};
use crate::sys::layout;

pub(super) const MIB: u64 = 1024 * 1024;

/// A directory of databases, and a journal in which all is durable at once.
pub(super) struct Dir(tempfile::TempDir, pub(super) Arc<MemoryJournal>);

impl Dir {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        layout::make_homes(dir.path()).unwrap();
        Self(dir, MemoryJournal::new())
    }

    pub(super) fn file(&self, id: u32) -> DbFile {
        DbFile {
            dir: self.0.path().into(),
            object: ObjectId([7; 32]),
            file: FileId(id),
        }
    }

    pub(super) fn store(&self, id: u32, stored: bool) -> FacetStore {
        self.store_with(id, stored, 1024 * MIB)
    }

    pub(super) fn store_with(&self, id: u32, stored: bool, quota_bytes: u64) -> FacetStore {
        let file = self.file(id);
        self.store_of(file, &format!("facet-{id}"), stored, quota_bytes, Arc::default())
    }

    pub(super) fn store_of(
        &self,
        file: DbFile,
        path: &str,
        stored: bool,
        quota_bytes: u64,
        interrupt: Arc<InterruptCell>,
    ) -> FacetStore {
        FacetStore::new(file, path.to_owned(), stored, quota_bytes, interrupt, self.1.clone())
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .file(0)
            .home()
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(super) fn sql(store: &mut FacetStore, text: &str) -> Result<Vec<Vec<Value>>, StorageError> {
    store.query(text, &[], 1000).map(|rows| rows.rows)
}

pub(super) fn one(store: &mut FacetStore, text: &str) -> i64 {
    match sql(store, text).unwrap()[0][0] {
        Value::Integer(number) => number,
        ref other => panic!("{other:?}"),
    }
}

/// Ends a turn that wrote, and queues its commit.
pub(super) fn committed(store: &mut FacetStore) -> Pages {
    let committed = store.end_turn().unwrap().expect("something was written");
    let pages = committed.pages.clone();
    store.record_alone(committed);
    pages
}

#[test]
fn reads_of_nothing_make_no_file() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    assert_eq!(store.kv_get("a").unwrap(), None);
    assert!(!store.kv_delete("a").unwrap());
    assert!(store.kv_list(&Default::default()).unwrap().is_empty());
    store.delete_all().unwrap();
    assert!(store.is_empty().unwrap() && !store.exists() && store.bytes() == 0);
    assert!(store.end_turn().unwrap().is_none());
    assert!(store.inspect(5).unwrap().is_empty());
    store.close().unwrap();
    assert!(dir.names().is_empty());
}

#[test]
fn a_turn_is_a_transaction_and_survives_closing() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    sql(&mut store, "CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    let first = committed(&mut store);
    assert!(first.whole && first.numbers[..2] == [1, 2]);
    store.kv_put("a", b"2").unwrap();
    store.discard_turn();
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    store.kv_put("a", b"3").unwrap();
    let second = committed(&mut store);
    assert!(!second.whole && second.numbers.len() < 4, "{second:?}");
    store.close().unwrap();
    assert_eq!(dir.names(), [format!("{}.1.sqlite", ObjectId([7; 32]))]);

    let mut store = dir.store(1, true);
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"3");
    assert_eq!(one(&mut store, "SELECT x FROM t"), 1);
    assert!(store.end_turn().unwrap().is_none(), "reading commits nothing");
}

#[test]
fn stock_sqlite_reads_a_closed_database() {
    let dir = Dir::new();
    let mut store = dir.store(0, false);
    sql(&mut store, "CREATE TABLE t(x); INSERT INTO t VALUES(41), (42)").unwrap();
    committed(&mut store);
    store.close().unwrap();
    let conn = rusqlite::Connection::open(dir.file(0).path()).unwrap();
    assert_eq!(
        conn.query_row("SELECT max(x) FROM t", (), |row| row.get::<_, i64>(0))
            .unwrap(),
        42
    );
    let check: String = conn.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn what_stays_the_same_is_not_written() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", &[5; 100_000]).unwrap();
    sql(&mut store, "CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    committed(&mut store);
    store.kv_put("a", &[5; 100_000]).unwrap();
    sql(&mut store, "UPDATE t SET x = 1").unwrap();
    sql(&mut store, "DELETE FROM t WHERE x = 9").unwrap();
    assert!(store.end_turn().unwrap().is_none());
}

#[test]
fn a_file_without_a_commit_is_removed() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "SELECT 1").unwrap();
    assert!(store.end_turn().unwrap().is_none());
    store.kv_put("a", b"1").unwrap();
    store.discard_turn();
    assert!(store.is_empty().unwrap() && !store.exists());
    store.close().unwrap();
    assert!(dir.names().is_empty());
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    drop(store);
    assert!(dir.names().is_empty(), "an abort in the first turn leaves nothing");
}

#[test]
fn a_file_that_no_index_names_is_neither_adopted_nor_overwritten() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("secret", b"1").unwrap();
    committed(&mut store);
    drop(store); // The WAL is there as well.
    assert_eq!(dir.names().len(), 2);
    let mut store = dir.store(1, false);
    assert_eq!(store.kv_put("mine", b"2").unwrap_err().code(), "identity");
    drop(store);
    assert_eq!(dir.store(1, true).kv_get("secret").unwrap().unwrap(), b"1");
}

#[test]
fn a_database_that_was_never_committed_to_is_told_from_one_that_was() {
    let dir = Dir::new();
    let mut store = dir.store(0, false);
    store.kv_put("k", b"1").unwrap();
    let path = dir.file(0).path();
    assert!(is_blank(&dir.file(0)).unwrap());
    let image = std::fs::read(&path).unwrap();
    committed(&mut store);
    store.close().unwrap();
    assert!(!is_blank(&dir.file(0)).unwrap());
    // What a power failure may leave of a file that was never synced.
    for torn in [&[][..], &image[..700], &image[..9000], &[0; 8192]] {
        std::fs::write(&path, torn).unwrap();
        assert!(is_blank(&dir.file(0)).unwrap(), "{} bytes", torn.len());
    }
    let mut holed = image.clone();
    holed[4096..8192].fill(0);
    std::fs::write(&path, &holed).unwrap();
    assert!(is_blank(&dir.file(0)).unwrap());
    // One sector of a page, and the rest of it.
    let mut holed = image.clone();
    holed[4096 + 512..4096 + 3584].fill(0);
    std::fs::write(&path, &holed).unwrap();
    assert!(is_blank(&dir.file(0)).unwrap());
    holed[5000] = 1;
    std::fs::write(&path, &holed).unwrap();
    assert!(!is_blank(&dir.file(0)).unwrap());
}

#[test]
fn a_connection_that_had_to_be_dropped_keeps_its_commits() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.kv_put("a", b"2").unwrap();
    // As when a turn cannot be rolled back.
    store.abandon();
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    store.close().unwrap();
    let mut store = dir.store(2, false);
    store.kv_put("a", b"1").unwrap();
    store.abandon();
    store.kv_put("a", b"2").unwrap();
    committed(&mut store);
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"2");
}

#[test]
fn a_dropped_store_keeps_its_commits_in_the_wal() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.kv_put("a", b"2").unwrap();
    drop(store);
    assert_eq!(dir.names().len(), 2, "{:?}", dir.names());
    let mut store = dir.store(1, true);
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    store.close().unwrap();
    assert_eq!(dir.names().len(), 1);
}

#[test]
fn another_facets_database_is_refused() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.close().unwrap();
    std::fs::copy(dir.file(1).path(), dir.file(2).path()).unwrap();
    let refused = |mut store: FacetStore| {
        let error = store.kv_get("a").unwrap_err();
        assert_eq!((error.kind(), error.code()), ("storage", "identity"), "{error}");
        let told = error.to_string();
        assert!(!told.contains(".sqlite"), "a path of the host: {told}");
        told
    };
    assert!(refused(dir.store(2, true)).contains("it is file 1 of the object, not 2"));
    let interrupt = Arc::default();
    let renamed = dir.store_of(dir.file(1), "other", true, MIB, interrupt);
    assert!(refused(renamed).contains("belongs to the facet \"facet-1\", not \"other\""));
    let object = DbFile {
        object: ObjectId([8; 32]),
        ..dir.file(1)
    };
    std::fs::copy(dir.file(1).path(), object.path()).unwrap();
    let told = refused(dir.store_of(object, "facet-1", true, MIB, Arc::default()));
    assert!(
        told.contains("it belongs to another object") && !told.contains("0707"),
        "{told}"
    );
    assert!(told.starts_with("the facet \"facet-1\": "), "{told}");
    rusqlite::Connection::open(dir.file(3).path())
        .unwrap()
        .execute_batch("CREATE TABLE t(x)")
        .unwrap();
    assert!(refused(dir.store(3, true)).contains("facetd did not make it"));
}

#[test]
fn a_lost_or_damaged_database_is_not_made_up() {
    let dir = Dir::new();
    let error = dir.store(1, true).kv_put("a", b"1").unwrap_err();
    assert_eq!(error.code(), "corrupt");
    assert!(dir.names().is_empty());
    std::fs::write(dir.file(1).path(), [9; 8192]).unwrap();
    let error = dir.store(1, true).kv_put("a", b"1").unwrap_err();
    assert_eq!(error.code(), "corrupt", "{error}");
    assert_eq!(std::fs::read(dir.file(1).path()).unwrap(), [9; 8192]);
}

#[test]
fn nested_transactions_s19b() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("kept", b"").unwrap();
    let outer = store.begin().unwrap();
    store.kv_put("outer", b"").unwrap();
    let inner = store.begin().unwrap();
    store.kv_put("inner", b"").unwrap();
    assert_eq!(store.commit(outer).unwrap_err().kind(), "invalid-argument");
    assert_eq!(store.delete_all().unwrap_err().kind(), "invalid-argument");
    store.rollback(inner).unwrap();
    assert_eq!(store.kv_get("inner").unwrap(), None);
    assert_eq!(store.commit(inner).unwrap_err().code(), "transaction-closed");
    store.rollback(inner).unwrap();
    store.drop_tx(inner);
    let second = store.begin().unwrap();
    store.kv_put("second", b"").unwrap();
    store.commit(second).unwrap();
    assert!(store.in_transaction());
    store.commit(outer).unwrap();
    assert!(!store.in_transaction());

    // Open at the end of the turn: undone from the outermost on, the rest is committed.
    let open = store.begin().unwrap();
    store.kv_put("lost", b"").unwrap();
    let inside = store.begin().unwrap();
    let cursor = store.open_cursor("VALUES(1), (2)", &[]).unwrap();
    committed(&mut store);
    for id in [open, inside] {
        assert_eq!(store.commit(id).unwrap_err().code(), "transaction-closed");
    }
    assert_eq!(store.cursor_next(cursor, 0, 0).unwrap_err().code(), "cursor-closed");
    let keys: Vec<_> = store
        .kv_list(&Default::default())
        .unwrap()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["kept", "outer", "second"]);
    // Rolling back the outer one ends the inner one.
    let outer = store.begin().unwrap();
    let inner = store.begin().unwrap();
    store.drop_tx(outer);
    assert_eq!(store.commit(inner).unwrap_err().code(), "transaction-closed");
}

#[test]
fn transactions_have_a_depth() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let ids: Vec<_> = (0..32).map(|_| store.begin().unwrap()).collect();
    let error = store.begin().unwrap_err();
    assert_eq!((error.kind(), error.code()), ("limit", "transactions"));
    store.rollback(ids[0]).unwrap();
    store.begin().unwrap();
}

#[test]
fn the_quota_is_full_and_the_turn_goes_on() {
    let dir = Dir::new();
    let mut store = dir.store_with(1, false, MIB);
    sql(&mut store, "CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB)").unwrap();
    committed(&mut store);
    let mut rows = 0;
    let error = loop {
        match sql(&mut store, "INSERT INTO t(x) VALUES(zeroblob(50000))") {
            Ok(_) => rows += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "full");
    assert!(!error.transaction_lost() && (15..=20).contains(&rows), "{rows}");
    assert_eq!(store.kv_put("a", &[1; 200_000]).unwrap_err().code(), "full");
    let error = store
        .kv_put_many(&[("b".into(), vec![1; 200_000]), ("c".into(), vec![1; 200_000])])
        .unwrap_err();
    assert_eq!(error.code(), "full");
    assert_eq!(one(&mut store, "SELECT count(*) FROM t"), rows);
    committed(&mut store);
    assert!(store.bytes() <= MIB + 65536);
    sql(&mut store, "DELETE FROM t WHERE id % 2").unwrap();
    sql(&mut store, "INSERT INTO t(x) VALUES(zeroblob(50000))").unwrap();
    store.kv_put("a", &[1; 200_000]).unwrap();
    committed(&mut store);
    // One statement far beyond the quota: SQLite ends the transaction, and says so.
    let text = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30) \
         INSERT INTO t(x) SELECT zeroblob(2000000) FROM n";
    let error = sql(&mut store, text).unwrap_err();
    assert_eq!(error.code(), "full");
    if error.transaction_lost() {
        assert!(store.kv_get("a").unwrap_err().transaction_lost());
        assert!(store.end_turn().unwrap_err().transaction_lost());
    }
    assert_eq!(store.kv_get("a").unwrap().unwrap().len(), 200_000);
    store.delete_all().unwrap();
    committed(&mut store);
    store.kv_put("a", &[1; 800_000]).unwrap();
}

#[test]
fn delete_all_empties_whatever_is_there() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(
        &mut store,
        "CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT, x UNIQUE);
         CREATE TABLE c(id REFERENCES p(id) ON DELETE RESTRICT);
         INSERT INTO p(x) VALUES(1), (2); INSERT INTO c(id) VALUES(1);
         CREATE VIEW v AS SELECT * FROM c JOIN nowhere;
         CREATE TRIGGER tr AFTER DELETE ON p BEGIN INSERT INTO p(x) VALUES(old.x + 100); END;
         CREATE VIRTUAL TABLE f USING fts5(a, b); INSERT INTO f VALUES('x', 'y');
         CREATE VIRTUAL TABLE r USING rtree(id, a, b); INSERT INTO r VALUES(1, 2, 3);
         CREATE TABLE \"we\"\"ird\"(x); ANALYZE;
         CREATE TABLE d(y REFERENCES gone(z), z REFERENCES p(nope));",
    )
    .unwrap();
    store.kv_put("k", b"v").unwrap();
    committed(&mut store);
    assert!(!store.is_empty().unwrap());
    let cursor = store.open_cursor("SELECT * FROM p", &[]).unwrap();
    sql(
        &mut store,
        "PRAGMA defer_foreign_keys = ON; INSERT INTO c(id) VALUES(77)",
    )
    .unwrap();
    store.delete_all().unwrap();
    assert_eq!(store.cursor_next(cursor, 1, 0).unwrap_err().code(), "cursor-closed");
    assert!(store.is_empty().unwrap());
    store.discard_turn();
    assert!(!store.is_empty().unwrap(), "it is a part of the turn");
    store.delete_all().unwrap();
    sql(&mut store, "CREATE TABLE p(x)").unwrap();
    committed(&mut store);
    assert_eq!(
        one(
            &mut store,
            "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '%facetd%' AND name NOT LIKE 'sqlite%'"
        ),
        1
    );
    store.delete_all().unwrap();
    committed(&mut store);
    assert!(store.is_empty().unwrap() && store.exists());
    sql(&mut store, "CREATE TABLE p(x); CREATE TABLE c(x REFERENCES p(x))").unwrap();
    assert_eq!(
        sql(&mut store, "INSERT INTO c VALUES(5)").unwrap_err().code(),
        "sql",
        "foreign keys are on again"
    );
}

#[test]
fn is_empty_means_no_keys_and_no_tables() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"").unwrap();
    committed(&mut store);
    assert!(!store.is_empty().unwrap());
    store.kv_delete("a").unwrap();
    committed(&mut store);
    assert!(store.is_empty().unwrap());
    sql(&mut store, "CREATE TABLE t(x)").unwrap();
    assert!(!store.is_empty().unwrap());
    sql(&mut store, "DROP TABLE t").unwrap();
    assert!(store.is_empty().unwrap());
    store.close().unwrap();
    assert!(dir.store(1, true).is_empty().unwrap());
}

#[test]
fn s12_what_is_emptied_and_rests_is_empty_when_the_facet_stops() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.kv_delete("a").unwrap();
    committed(&mut store);
    // Twice: in between it may have been called, and have had nothing to do here.
    store.rest().unwrap();
    store.rest().unwrap();
    assert!(store.close_for_good(true).unwrap());
    // What was written since counts, and what was never looked at is left alone.
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.abandon();
    assert!(!store.close_for_good(true).unwrap());
    assert!(!dir.store(1, true).close_for_good(true).unwrap());
}

#[test]
fn a_copy_is_what_fold_with_its_own_identity() {
    let dir = Dir::new();
    let mut source = dir.store(1, false);
    let target = dir.file(9);
    assert!(source.copy_committed_to(&target, "facet-9").unwrap().is_none());
    source.kv_put("a", &[3; 300_000]).unwrap();
    sql(&mut source, "CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    committed(&mut source);
    source.kv_put("a", b"later").unwrap();
    assert_eq!(
        source.copy_committed_to(&target, "facet-9").unwrap_err().kind(),
        "invalid-argument"
    );
    source.discard_turn();
    assert!(source.copy_committed_to(&target, "facet-9").unwrap().is_some());
    source.kv_put("a", b"later").unwrap();
    committed(&mut source);
    let mut copy = dir.store(9, true);
    assert_eq!(copy.kv_get("a").unwrap().unwrap(), [3; 300_000]);
    assert_eq!(one(&mut copy, "SELECT x FROM t"), 1);
    copy.kv_put("b", b"").unwrap();
    committed(&mut copy);
    assert_eq!(source.kv_get("b").unwrap(), None);
    drop(copy);
    let mut wrong = dir.store_of(target.clone(), "facet-1", true, MIB, Arc::default());
    assert_eq!(wrong.kv_get("a").unwrap_err().code(), "identity");
    // A closed source is opened for it, an emptied one gives nothing.
    source.close().unwrap();
    assert!(source.copy_committed_to(&dir.file(10), "facet-10").unwrap().is_some());
    assert_eq!(dir.store(10, true).kv_get("a").unwrap().unwrap(), b"later");
    source.delete_all().unwrap();
    committed(&mut source);
    assert!(source.copy_committed_to(&dir.file(11), "facet-11").unwrap().is_none());
    assert!(!dir.file(11).path().exists());
}

#[test]
fn an_interrupt_stops_a_statement_and_for_ever_all() {
    let dir = Dir::new();
    let interrupt = Arc::new(InterruptCell::default());
    let mut store = dir.store_of(dir.file(1), "facet-1", false, MIB, Arc::clone(&interrupt));
    store.kv_put("a", b"1").unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let stopper = Arc::clone(&interrupt);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        stopper.interrupt();
    });
    let error = sql(&mut store, endless).unwrap_err();
    assert!(error.code() == "interrupted" && !error.transaction_lost(), "{error}");
    thread.join().unwrap();
    committed(&mut store);
    store.kv_put("b", b"1").unwrap();
    interrupt.interrupt_for_ever();
    assert_eq!(sql(&mut store, "SELECT 1").unwrap_err().code(), "interrupted");
    assert_eq!(store.kv_get("a").unwrap_err().code(), "interrupted");
    assert!(
        store.end_turn().unwrap().is_some(),
        "a sealed turn is committed all the same"
    );
}

#[test]
fn a_lost_transaction_says_so() {
    let dir = Dir::new();
    let interrupt = Arc::new(InterruptCell::default());
    let mut store = dir.store_of(dir.file(1), "facet-1", false, 1024 * MIB, Arc::clone(&interrupt));
    sql(&mut store, "CREATE TABLE t(x)").unwrap();
    committed(&mut store);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        interrupt.interrupt();
    });
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n";
    let error = sql(&mut store, endless).unwrap_err();
    assert!(error.code() == "interrupted" && error.transaction_lost());
    thread.join().unwrap();
    assert!(store.kv_put("a", b"").unwrap_err().transaction_lost());
    assert!(store.end_turn().unwrap_err().transaction_lost());
    assert_eq!(one(&mut store, "SELECT count(*) FROM t"), 0);
}

/// Bytes of the log.
fn log_bytes(dir: &Dir) -> u64 {
    std::fs::metadata(dir.file(1).wal_path()).unwrap().len()
}

#[test]
fn a_long_log_is_checkpointed_once_it_is_durable() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let mut write = |round: u8| {
        store.kv_put("a", &vec![round; 400_000]).unwrap();
        committed(&mut store);
        assert!(store.checkpoint_between_turns().is_ok() || round == 0);
    };
    dir.1.hold();
    let before = {
        (0..20).for_each(&mut write);
        std::fs::metadata(dir.file(1).path()).unwrap().len()
    };
    assert!(before < 100_000, "nothing that is not durable reaches the database");
    assert!(log_bytes(&dir) > 1000 * 4120);
    dir.1.release();
    write(20);
    assert_eq!(log_bytes(&dir), 0);
    (0..200).for_each(&mut write);
    assert!(log_bytes(&dir) < 1200 * 4120);
}

#[test]
fn a_very_long_log_waits_for_durability() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    dir.1.hold();
    let journal = dir.1.clone();
    let slow = std::thread::spawn(move || {
        // Long after the writer below has stopped to wait.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        journal.release();
    });
    for round in 0..100_u8 {
        store.kv_put("a", &vec![round; 400_000]).unwrap();
        committed(&mut store);
        // As a facet does at the end of each turn.
        if store.must_checkpoint() {
            store.checkpoint().unwrap();
        }
    }
    slow.join().unwrap();
    assert!(log_bytes(&dir) < 8200 * 4120);
}

#[test]
fn a_full_journal_refuses_before_the_commit() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.kv_put("a", b"2").unwrap();
    dir.1.set_full(true);
    let error = store.end_turn().unwrap_err();
    assert_eq!((error.kind(), error.code()), ("storage", "journal-full"));
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1", "reading needs no room");
    assert!(store.end_turn().unwrap().is_none());
    dir.1.set_full(false);
    store.kv_put("a", b"3").unwrap();
    committed(&mut store);
}

#[test]
fn a_log_of_another_process_is_never_read() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"old").unwrap();
    committed(&mut store);
    let log = std::fs::read(dir.file(1).wal_path()).unwrap();
    store.kv_put("a", b"new").unwrap();
    committed(&mut store);
    store.close().unwrap();
    std::fs::write(dir.file(1).wal_path(), log).unwrap();
    let mut store = dir.store(1, true);
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"new");
}

#[test]
fn inspect_shows_tables_and_keys_but_nothing_internal() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    sql(
        &mut store,
        "CREATE TABLE t(x, y); INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c');
         CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES('hello');
         CREATE VIRTUAL TABLE spy USING fts5(value, content='_facetd_kv', content_rowid='key')",
    )
    .unwrap();
    committed(&mut store);
    let dumps = store.inspect(2).unwrap();
    let names: Vec<_> = dumps
        .iter()
        .map(|dump| (dump.name.as_str(), dump.rows.len(), dump.total))
        .collect();
    assert_eq!(names[0], ("keys", 1, 1));
    assert!(
        names.contains(&("t", 2, 3)) && names.contains(&("f", 1, 1)),
        "{names:?}"
    );
    let spy = dumps.iter().find(|dump| dump.name == "spy").unwrap();
    assert!(spy.error.is_some() && spy.rows.is_empty(), "{spy:?}");
    assert!(store.end_turn().unwrap().is_none());
}

#[test]
fn a_file_that_was_never_opened_here_stays_however_the_store_ends() {
    let dir = Dir::new();
    let file = dir.file(3);
    std::fs::write(file.path(), "somebody's").unwrap();
    dir.store(3, false).abandon();
    dir.store(3, false).forsake();
    drop(dir.store(3, false));
    assert!(!dir.store(3, false).close_for_good(true).unwrap());
    let mut refused = dir.store(3, false);
    assert!(sql(&mut refused, "CREATE TABLE t(x)").is_err());
    refused.abandon();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"somebody's");
}
