//! A database that loses its name under a running host: nothing is written to what has no name, nor to what has it now, and
//! the journal keeps what was acknowledged.

use std::path::{Path, PathBuf};

use super::basic::{Data, put};
use crate::storage::error::StorageError;
use crate::storage::journal::*;
use crate::storage::turn::WAL_FRAMES_SOFT;

fn aside(data: &Data) -> PathBuf {
    data.root().join("aside")
}

fn is_told(error: &StorageError) -> bool {
    let private = error.for_operator();
    error.code() == "io" && private.contains("removed, renamed or replaced") && private.contains(".sqlite")
}

/// Takes the name away, and gives it to another file perhaps.
fn take_away(path: &Path, aside: &Path, replaced_by: Option<&[u8]>) {
    std::fs::rename(path, aside).unwrap();
    if let Some(bytes) = replaced_by {
        std::fs::write(path, bytes).unwrap();
    }
}

/// A database with a commit that is in its file, one that is not, and the bytes of its file before that.
fn begun(data: &Data, journal: &Arc<LocalJournal>) -> (crate::storage::FacetStore, Vec<u8>) {
    let mut store = data.store(journal, 1, false);
    put(&mut store, b"old");
    store.close().unwrap();
    let old = std::fs::read(data.file(1).path()).unwrap();
    put(&mut store, b"new");
    (store, old)
}

#[test]
fn what_has_lost_its_name_is_told_and_kept_in_the_journal() {
    for replaced in [false, true] {
        let data = Data::new();
        let (journal, _) = data.open(false).unwrap();
        let (mut store, old) = begun(&data, &journal);
        let path = data.file(1).path();
        take_away(&path, &aside(&data), replaced.then_some(&old));
        let error = store.close_for_good(true).unwrap_err();
        assert!(is_told(&error), "{error:?}");
        assert!(store.is_closed());
        // Nor by the next store, nor by the keeper.
        let error = data.store(&journal, 1, true).kv_get("k").unwrap_err();
        assert_eq!(error.code(), "io", "{error}");
        journal.pins().press(Lsn::MAX, journal.progress().durable());
        assert!(journal.pins().oldest().is_some());
        assert_eq!(std::fs::read(&path).ok(), replaced.then_some(old));
        // Put back, it is complete.
        std::fs::rename(aside(&data), &path).unwrap();
        assert_eq!(super::basic::value(&data, &journal, 1), b"new");
        assert!(journal.close());
    }
}

#[test]
fn a_stop_is_not_clean_while_a_database_has_lost_its_name() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let (store, old) = begun(&data, &journal);
    let path = data.file(1).path();
    // Not closed, as after an error; the keeper is who folds it.
    drop(store);
    take_away(&path, &aside(&data), Some(&old));
    assert!(!journal.close());
    assert_eq!(std::fs::read(&path).unwrap(), old);
    let (journal, recovered) = data.open(true).unwrap();
    assert_eq!(recovered.units, 2);
    assert_eq!(super::basic::value(&data, &journal, 1), b"new");
    assert!(journal.close());
}

#[test]
fn a_log_that_is_gone_with_commits_in_it_is_missed() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let (store, _) = begun(&data, &journal);
    drop(store);
    let log = data.file(1).wal_path();
    std::fs::rename(&log, aside(&data)).unwrap();
    let error = data.store(&journal, 1, true).kv_get("k").unwrap_err();
    assert_eq!(error.code(), "io", "{error}");
    std::fs::rename(aside(&data), &log).unwrap();
    assert_eq!(super::basic::value(&data, &journal, 1), b"new");
    assert!(journal.close());
}

#[test]
fn a_turn_does_not_begin_in_a_database_that_was_just_found_gone() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let (mut store, _) = begun(&data, &journal);
    let mut more = 0_u64;
    while store.open.as_ref().is_some_and(|open| open.frames < WAL_FRAMES_SOFT) {
        more += 1;
        put(&mut store, &more.to_le_bytes());
    }
    std::fs::remove_file(data.file(1).path()).unwrap();
    let error = store.kv_put("k", b"nowhere").unwrap_err();
    assert_eq!(error.code(), "io", "{error}");
    drop(store);
    assert!(!journal.close());
    // All of what was acknowledged is in the journal still.
    let (journal, _) = data.open(true).unwrap();
    assert_eq!(super::basic::value(&data, &journal, 1), more.to_le_bytes());
    assert!(journal.close());
}

/// An object of which nothing was stored any more gives its file ids again.
#[test]
fn a_removed_database_is_another_one_than_that_which_has_its_name_later() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let (store, _) = begun(&data, &journal);
    // Not closed as it should be, as after an error.
    drop(store);
    // So that the next file is another one for sure.
    std::fs::hard_link(data.file(1).path(), aside(&data)).unwrap();
    let removed = journal.append(Unit {
        removed: vec![crate::ids::FileId(1)],
        ..data.unit()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(wait_settled(journal.progress(), data.file(1).object, removed));
    let mut store = data.store(&journal, 1, false);
    put(&mut store, b"another");
    store.close().unwrap();
    drop(store);
    assert_eq!(super::basic::value(&data, &journal, 1), b"another");
    assert!(journal.close());
}
