//! A connection reaches its own files and no other; what is counted is counted right; faults strike where they are told.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::CStr;

use super::faults::{Fault, Op, When, inject, temporary};
use super::*;
use crate::storage::tests::{Dir, MIB, committed, one, sql};
use crate::storage::{FacetStore, StorageError};

/// Rows of 1,000 bytes.
fn rows(count: u64) -> String {
    format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count})")
}

fn account(store: &FacetStore) -> Arc<Account> {
    Arc::clone(store.open.as_ref().unwrap().vfs.account())
}

#[test]
fn only_the_own_files_can_be_opened() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    let other = dir.file(2).path();
    std::fs::write(&other, "canary").unwrap();
    let vfs = &store.open.as_ref().unwrap().vfs;
    let shim = vfs.0.as_ptr().cast::<ffi::sqlite3_vfs>();
    let mut memory = vec![0_u64; 64];
    let file: *mut ffi::sqlite3_file = memory.as_mut_ptr().cast();
    let own = dir.file(1).path();
    let foreign = [
        other.to_str().unwrap().to_owned(),
        "/etc/passwd".to_owned(),
        format!("{}-shm", own.display()),
        format!("{}-walx", own.display()),
        format!("{}x", own.display()),
        format!("{}-mj0123", own.display()),
        format!("{}-tmp-0", own.display()),
        String::new(),
    ];
    for name in foreign {
        let name = CString::new(name).unwrap();
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_MAIN_DB;
        let (mut exists, mut out) = (1, 0);
        // SAFETY: the memory is larger than `szOsFile`, which is checked, and the names live on.
        unsafe {
            assert!((*shim).szOsFile as usize <= memory.len() * 8);
            assert_eq!(
                open_file(shim, name.as_ptr(), file, flags, &raw mut out),
                ffi::SQLITE_CANTOPEN,
                "{name:?}"
            );
            assert!((*file).pMethods.is_null());
            assert_eq!(delete(shim, name.as_ptr(), 0), ffi::SQLITE_IOERR_DELETE, "{name:?}");
            assert_eq!(access(shim, name.as_ptr(), 0, &raw mut exists), ffi::SQLITE_OK);
            assert_eq!(exists, 0, "{name:?}");
        }
    }
    let name = CString::new(own.to_str().unwrap()).unwrap();
    // SAFETY: as above.
    unsafe {
        assert_eq!(
            delete(shim, name.as_ptr(), 0),
            ffi::SQLITE_IOERR_DELETE,
            "not even its own database"
        );
        let mut exists = 0;
        access(shim, name.as_ptr(), 0, &raw mut exists);
        assert_eq!(exists, 1);
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"canary");
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
}

#[test]
fn sqlite_forgets_the_name_and_the_object_goes_with_the_connection() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    let name = {
        // SAFETY: the store is open.
        let shim = unsafe { store.open.as_ref().unwrap().vfs.0.as_ref() };
        assert_eq!(shim.open_files.load(Ordering::SeqCst), 2, "the database and its log");
        shim.name.clone()
    };
    // SAFETY: the name is NUL-terminated.
    assert!(unsafe { ffi::sqlite3_vfs_find(name.as_ptr()) }.is_null());
    let account = account(&store);
    store.discard_turn();
    store.close().unwrap();
    assert_eq!(Arc::strong_count(&account), 1, "the object was freed");
}

#[test]
fn temporary_files_lie_nowhere_and_are_bounded() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "CREATE TABLE t(x)").unwrap();
    committed(&mut store);
    store.kv_put("kept", b"1").unwrap();
    // A sort that goes to disk: 20 MiB.
    let names = dir.names();
    let text = format!("{} SELECT i, randomblob(1000) AS b FROM n ORDER BY b", rows(20_000));
    let cursor = store.open_cursor(&text, &[]).unwrap();
    let account = account(&store);
    assert!(account.temporary_bytes() > 15 * MIB, "{}", account.temporary_bytes());
    assert_eq!(dir.names(), names, "a temporary file has no name");
    store.close_cursor(cursor);
    assert_eq!(account.temporary_bytes(), 0);
    // Far too much, in a statement that reads: it fails, the turn goes on.
    let text = format!(
        "{} SELECT max(b) FROM (SELECT randomblob(1000) AS b, i FROM n ORDER BY b LIMIT -1 OFFSET 1)",
        rows(280_000)
    );
    let error = sql(&mut store, &text).unwrap_err();
    assert!(error.code() == "full" && !error.transaction_lost(), "{error}");
    assert!(error.to_string().contains("temporary files"), "{error}");
    assert_eq!(account.temporary_bytes(), 0);
    assert_eq!(store.kv_get("kept").unwrap().unwrap(), b"1");
    committed(&mut store);
    // A materialised subquery.
    let text = format!(
        "{}, m AS MATERIALIZED (SELECT DISTINCT randomblob(1000) AS b FROM n) SELECT count(*) FROM m",
        rows(280_000)
    );
    let error = sql(&mut store, &text).unwrap_err();
    assert!(error.code() == "full" && !error.transaction_lost(), "{error}");
    // In a statement that writes: it has changed nothing, with or without the turn.
    let text = format!(
        "{} INSERT INTO t SELECT randomblob(1000) AS b FROM n ORDER BY b",
        rows(280_000)
    );
    let error = sql(&mut store, &text).unwrap_err();
    assert!(
        error.code() == "full" && error.to_string().contains("temporary"),
        "{error}"
    );
    store.discard_turn();
    assert_eq!(one(&mut store, "SELECT count(*) FROM t"), 0);
    assert_eq!(account.temporary_bytes(), 0);
    assert_eq!(dir.names(), names);
}

#[test]
fn a_transaction_is_bounded() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB)").unwrap();
    committed(&mut store);
    // Statement by statement: the one too many is undone, the facet lives.
    let insert = "INSERT INTO t(x) VALUES(zeroblob(1000000))";
    let mut done = 0;
    let error = loop {
        match sql(&mut store, insert) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.code()), ("limit", "transaction"));
    assert!(
        !error.transaction_lost() && (60..=66).contains(&done),
        "{done}: {error}"
    );
    assert_eq!(store.kv_put("a", &[1; 1_000_000]).unwrap_err().code(), "transaction");
    assert_eq!(one(&mut store, "SELECT count(*) FROM t"), done);
    let many: Vec<_> = (0..7).map(|i| (format!("k{i}"), vec![i; 1_000_000])).collect();
    assert_eq!(store.kv_put_many(&many).unwrap_err().code(), "transaction");
    committed(&mut store);
    assert!(account(&store).transaction_bytes() == 0);
    assert_eq!(one(&mut store, "SELECT count(*) FROM t"), done);
    // What an explicit transaction wrote and undid does not count.
    for _ in 0..4 {
        let transaction = store.begin().unwrap();
        for _ in 0..40 {
            sql(&mut store, insert).unwrap();
        }
        store.rollback(transaction).unwrap();
    }
    store.kv_put("a", &[2; 1_000_000]).unwrap();
    // Nor what a turn wrote that was discarded.
    store.discard_turn();
    for _ in 0..40 {
        sql(&mut store, insert).unwrap();
    }
    store.discard_turn();
    for _ in 0..40 {
        sql(&mut store, insert).unwrap();
    }
    committed(&mut store);
    // The same pages again and again do not make it longer.
    for _ in 0..10 {
        sql(&mut store, "UPDATE t SET x = randomblob(1000000) WHERE id <= 12").unwrap();
    }
    committed(&mut store);
    // One statement far beyond: SQLite drops the transaction, and it is said why.
    let text = format!("{} INSERT INTO t(x) SELECT zeroblob(1000) FROM n", rows(100_000));
    let error = sql(&mut store, &text).unwrap_err();
    assert_eq!((error.kind(), error.code()), ("limit", "transaction"));
    assert!(error.transaction_lost());
    assert_eq!(store.end_turn().unwrap_err().code(), "transaction");
    assert_eq!(one(&mut store, "SELECT count(*) FROM t"), done + 40);
    let log = std::fs::metadata(dir.file(1).wal_path()).unwrap().len();
    store.discard_turn();
    store.checkpoint().unwrap();
    assert!(log < 200 * MIB, "{log}");
    sql(&mut store, insert).unwrap();
    committed(&mut store);
    // A log that was there when the database was opened is not this transaction's.
    drop(store);
    let mut store = dir.store(1, true);
    for _ in 0..50 {
        sql(&mut store, insert).unwrap();
    }
    committed(&mut store);
}

fn struck(fault: &Fault, result: Result<impl std::fmt::Debug, StorageError>, code: &str) {
    let error = result.unwrap_err();
    assert!(fault.fired() && error.code() == code, "{error}");
}

/// A commit that cannot be read back costs its turn where nothing else is in the log, and the host where something is.
#[test]
fn a_commit_that_cannot_be_read_back_is_undone_if_it_is_alone_in_the_log() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let log = dir.file(1).wal_path();
    let unread = |store: &mut crate::storage::FacetStore, value: &[u8]| {
        store.kv_put("a", value).unwrap();
        let fault = inject(&log, Op::Read, When::From(1), ffi::SQLITE_IOERR_READ);
        let error = store.end_turn().unwrap_err();
        assert!(fault.fired() && error.transaction_lost(), "{error}");
        store.discard_turn();
        error
    };
    // The first one of all.
    unread(&mut store, b"0");
    assert_eq!(store.kv_get("a").unwrap(), None);
    assert!(store.journal.progress().is_whole().is_ok());
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.checkpoint().unwrap();
    unread(&mut store, b"2");
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    assert!(store.journal.progress().is_whole().is_ok());
    store.kv_put("a", b"3").unwrap();
    committed(&mut store);
    store.kv_put("a", b"4").unwrap();
    let fault = inject(&log, Op::Read, When::From(1), ffi::SQLITE_IOERR_READ);
    assert!(store.end_turn().is_err() && fault.fired());
    assert!(
        store.journal.progress().is_whole().is_err(),
        "what was acknowledged is in that log"
    );
}

#[test]
fn faults_strike_where_they_are_told() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "CREATE TABLE t(x)").unwrap();
    committed(&mut store);
    let (database, log) = (dir.file(1).path(), dir.file(1).wal_path());
    {
        let fault = inject(&log, Op::Write, When::Only(1), ffi::SQLITE_IOERR_WRITE);
        store.kv_put("a", b"1").unwrap();
        struck(&fault, store.end_turn(), "io");
        store.kv_put("a", b"1").unwrap();
        committed(&mut store);
        assert!(fault.calls() > 2);
    }
    {
        let fault = inject(&log, Op::Write, When::From(2), ffi::SQLITE_FULL);
        store.kv_put("a", b"2").unwrap();
        struck(&fault, store.end_turn(), "full");
        store.kv_put("a", b"2").unwrap();
        struck(&fault, store.end_turn(), "full");
    }
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    store.discard_turn();
    for (path, op, rc) in [
        (&database, Op::Write, ffi::SQLITE_FULL),
        (&log, Op::Truncate, ffi::SQLITE_IOERR_TRUNCATE),
    ] {
        store.kv_put("a", &[op as u8; 5000]).unwrap();
        committed(&mut store);
        let fault = inject(path, op, When::Only(1), rc);
        let code = if rc == ffi::SQLITE_FULL { "full" } else { "io" };
        struck(&fault, store.checkpoint(), code);
        assert_eq!(store.kv_get("a").unwrap().unwrap(), [op as u8; 5000]);
        store.discard_turn();
    }
    let fault = inject(&temporary(&database), Op::Open, When::Only(1), ffi::SQLITE_IOERR);
    let text = format!("{} SELECT randomblob(1000) AS b FROM n ORDER BY b", rows(5_000));
    struck(&fault, store.query(&text, &[], 1), "io");
    drop(fault);
    store.discard_turn();
    store.query(&text, &[], 1).unwrap();
    store.close().unwrap();
    {
        let opened = open(&database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        let sync = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=FULL; INSERT INTO t VALUES(7)";
        let fault = inject(&log, Op::Sync, When::Only(1), ffi::SQLITE_IOERR_FSYNC);
        let error = opened.conn.execute_batch(sync).unwrap_err();
        assert!(fault.fired(), "{error}");
    }
    let fault = inject(&database, Op::Read, When::From(1), ffi::SQLITE_IOERR_READ);
    struck(&fault, store.kv_get("a"), "io");
    drop(fault);
    assert_eq!(store.kv_get("a").unwrap().unwrap().len(), 5000);
}

#[test]
fn a_name_left_by_a_killed_process_is_in_nobodys_way() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    for number in 0..4 {
        let mut name = temporary(&dir.file(1).path()).into_os_string();
        name.push(number.to_string());
        std::fs::write(name, "").unwrap();
    }
    let text = format!("{} SELECT randomblob(1000) AS b FROM n ORDER BY b", rows(5_000));
    store.query(&text, &[], 1).unwrap();
    let left = dir.names().into_iter().filter(|name| name.contains("-tmp-")).count();
    assert!(left < 4, "{left}");
}

#[test]
fn own_names_are_told_by_their_ends() {
    let opened = {
        let dir = Dir::new();
        let mut store = dir.store(1, false);
        store.kv_put("a", b"1").unwrap();
        committed(&mut store);
        store.close().unwrap();
        open(&dir.file(1).path(), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
    };
    // SAFETY: the VFS lives.
    let shim = unsafe { opened.vfs.0.as_ref() };
    let own = shim.own.get().unwrap().to_str().unwrap();
    let kind = |name: String| shim.own_kind(CStr::from_bytes_with_nul(format!("{name}\0").as_bytes()).unwrap());
    assert_eq!(kind(own.to_owned()), Some(Kind::Database));
    assert_eq!(kind(format!("{own}-wal")), Some(Kind::Log));
    assert_eq!(kind(format!("{own}-journal")), None);
    assert_eq!(kind(format!("x{own}")), None);
}

/// Told to a process of its own, since the limit is the whole process's.
const LIMITED_VARIABLE: &str = "FACETD_TEST_FILE_LIMIT";

#[test]
fn a_write_beyond_the_limit_on_files_is_an_error_and_not_the_end() {
    if std::env::var_os(LIMITED_VARIABLE).is_none() {
        let name = "storage::vfs::tests::a_write_beyond_the_limit_on_files_is_an_error_and_not_the_end";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact", "--nocapture"]).env(LIMITED_VARIABLE, "1");
        let done = child.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        return;
    }
    let limit = rustix::process::Rlimit {
        current: Some(2 * MIB),
        maximum: None,
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    crate::sys::signals::survive_file_limit();
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    let mut put = |number| store.kv_put(&format!("big{number}"), &[7; 2 << 20]);
    let put = put(0).and_then(|()| put(1));
    let error = put.and_then(|()| store.end_turn()).unwrap_err();
    assert!(
        error.code() == "full" && error.to_string().contains("File too large"),
        "{error}"
    );
    store.discard_turn();
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    store.kv_put("a", b"2").unwrap();
    committed(&mut store);
}

#[test]
fn another_program_is_told_that_the_database_is_locked_and_so_are_we() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    let path = dir.file(1).path();
    for _ in 0..2 {
        // Whoever comes and goes takes no lock of ours along.
        let other = Connection::open(&path).unwrap();
        other.busy_timeout(std::time::Duration::ZERO).unwrap();
        let count = other.query_row("SELECT count(*) FROM _facetd_kv", (), |row| row.get::<_, i64>(0));
        let refused = count.unwrap_err().sqlite_error_code();
        assert_eq!(refused, Some(rusqlite::ErrorCode::DatabaseBusy));
    }
    store.close().unwrap();
    let other = open(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let reads = "PRAGMA locking_mode=EXCLUSIVE; SELECT * FROM _facetd_kv";
    other.conn.execute_batch(reads).unwrap();
    let error = store.kv_get("a").unwrap_err();
    assert!(
        error.code() == "io" && error.to_string().contains("is locked"),
        "{error}"
    );
    drop(other);
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
}

#[test]
fn only_the_database_itself_must_be_no_link() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    committed(&mut store);
    store.close().unwrap();
    let file = dir.file(1);
    let above = tempfile::tempdir().unwrap();
    let linked = above.path().join("linked");
    std::os::unix::fs::symlink(&*file.dir, &linked).unwrap();
    let through = crate::storage::DbFile {
        dir: linked.into(),
        ..file.clone()
    };
    let mut store = dir.store_of(through, "facet-1", true, MIB, Arc::default());
    assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
    store.close().unwrap();
    let link = dir.file(2).path();
    std::fs::rename(file.path(), &link).unwrap();
    std::os::unix::fs::symlink(&link, file.path()).unwrap();
    let error = dir.store(1, true).kv_get("a").unwrap_err();
    assert!(
        error.code() == "io" && error.to_string().contains("symbolic links"),
        "{error}"
    );
}

/// Measured by hand: `cargo test --release -p facetd --lib many_databases -- --ignored --nocapture`.
#[test]
#[ignore = "takes 19,000 descriptors; it tells how long opening and copying one takes"]
fn many_databases_are_open_at_once() {
    const MANY: u32 = 9_500;
    const FEW: u32 = 1_000;
    let dir = Dir::new();
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    };
    let mut stores = Vec::new();
    let before = resident();
    for upto in [FEW, MANY] {
        let begun = crate::sys::clock::now();
        let first = stores.len() as u32;
        for number in first..upto {
            let mut store = dir.store(number, false);
            store.kv_put("a", b"1").unwrap();
            committed(&mut store);
            stores.push(store);
        }
        let made = begun.elapsed().as_micros() / u128::from(upto - first);
        let kib = (resident() - before) / u64::from(upto);
        for store in &mut stores[..500] {
            store.close().unwrap();
        }
        let mut took: Vec<_> = stores[..500]
            .iter_mut()
            .map(|store| {
                let begun = crate::sys::clock::now();
                store.kv_get("a").unwrap();
                let took = begun.elapsed();
                store.discard_turn();
                took
            })
            .collect();
        took.sort();
        println!(
            "{upto} open: {kib} KiB each, {made} us to make one, {:?} to open one",
            took[250]
        );
    }
    for store in &mut stores[..1_000] {
        store.close().unwrap();
    }
    let begun = crate::sys::clock::now();
    let copies: Vec<_> = (MANY..MANY + 1_000).map(|number| dir.file(number)).collect();
    for (store, copy) in stores.iter_mut().zip(&copies) {
        assert!(store.copy_committed_to(copy, "copy").unwrap().is_some());
    }
    crate::storage::sync_copies(&crate::storage::Disk::new(), &copies).unwrap();
    println!("{} us to copy one", begun.elapsed().as_micros() / 1_000);
}
