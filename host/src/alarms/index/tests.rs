//! The index on a real file system: what is brought to it, what it answers in which order, and that it is made anew where it
//! cannot be relied upon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::*;
use crate::storage::journal::MemoryJournal;
use crate::storage::{FacetStore, InterruptCell};
use crate::sys::layout;

fn key(object: u8, file: u32) -> AlarmKey {
    AlarmKey {
        object: ObjectId([object; 32]),
        file: FileId(file),
    }
}

fn update(key: AlarmKey, due_ms: Option<u64>) -> AlarmUpdate {
    AlarmUpdate { key, due_ms }
}

fn place(due_ms: u64, key: AlarmKey) -> Place {
    Place { due_ms, key }
}

/// A stored facet with an alarm, closed.
fn store(dir: &Path, AlarmKey { object, file }: AlarmKey, stored: bool) -> FacetStore {
    layout::make_homes(dir).unwrap();
    let dir = dir.into();
    let database = DbFile { dir, object, file };
    FacetStore::new(
        database,
        String::new(),
        stored,
        1 << 30,
        Arc::new(InterruptCell::default()),
        MemoryJournal::new(),
    )
}

fn facet(dir: &Path, key: AlarmKey, due_ms: u64) {
    let mut store = store(dir, key, false);
    store.set_alarm(due_ms, 0).unwrap();
    let committed = store.end_turn().unwrap().expect("an alarm was written");
    store.record_alone(committed);
    store.close().unwrap();
}

fn all(index: &AlarmIndex) -> Vec<Place> {
    index.due(Place::default(), u64::MAX, 1_000).unwrap()
}

#[test]
fn changes_come_in_order_and_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = AlarmIndex::open(dir.path()).unwrap();
    let batch = [
        update(key(1, 0), Some(50)),
        update(key(2, 7), Some(20)),
        update(key(1, 3), Some(20)),
        update(key(1, 0), Some(10)),
        update(key(9, 9), Some(1)),
        update(key(9, 9), None),
    ];
    let expected = [place(10, key(1, 0)), place(20, key(1, 3)), place(20, key(2, 7))];
    for _ in 0..3 {
        index.apply(&batch).unwrap();
        assert_eq!(all(&index), expected);
    }
    assert_eq!(index.due_of(key(1, 3)).unwrap(), Some(20));
    assert_eq!(index.due_of(key(9, 9)).unwrap(), None);
    // Strictly behind a place, up to a time, as many as asked for.
    assert_eq!(index.due(expected[0], 20, 1).unwrap(), expected[1..2]);
    assert_eq!(index.due(expected[1], 20, 9).unwrap(), expected[2..]);
    assert_eq!(index.due(expected[2], u64::MAX, 9).unwrap(), []);
    assert_eq!(index.due(Place::default(), 19, 9).unwrap(), expected[..1]);
    assert_eq!(index.next_after(10).unwrap(), Some(20));
    assert_eq!(index.next_after(20).unwrap(), None);
}

#[test]
fn what_was_closed_is_one_ordinary_file_and_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = AlarmIndex::open(dir.path()).unwrap();
    index.apply(&[update(key(1, 2), Some(30))]).unwrap();
    index.close().unwrap();
    let names: Vec<_> = dir.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [FILE_NAME]);
    // Not made anew: no database says so.
    assert_eq!(all(&AlarmIndex::open(dir.path()).unwrap()), [place(30, key(1, 2))]);
}

#[test]
fn an_index_that_was_not_closed_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    facet(dir.path(), key(3, 0), 70);
    let mut index = AlarmIndex::open(dir.path()).unwrap();
    index.apply(&[update(key(1, 2), Some(30))]).unwrap();
    index.close().unwrap();
    // Closed once, and opened again by a host that is killed.
    let mut index = AlarmIndex::open(dir.path()).unwrap();
    index.apply(&[update(key(1, 2), Some(31))]).unwrap();
    layout::make_homes(other.path()).unwrap();
    let own = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let databases = layout::walk(dir.path()).map(|file| file.unwrap().path);
    for path in own.filter(|path| path.is_file()).chain(databases) {
        std::fs::copy(&path, other.path().join(path.strip_prefix(dir.path()).unwrap())).unwrap();
    }
    assert_eq!(all(&AlarmIndex::open(other.path()).unwrap()), [place(70, key(3, 0))]);
}

/// Copies a file over another one, as old as it was: `cp -p`.
fn put_back(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    std::fs::File::options()
        .write(true)
        .open(to)
        .unwrap()
        .set_modified(old)
        .unwrap();
}

fn path(dir: &Path, AlarmKey { object, file }: AlarmKey) -> PathBuf {
    let dir = dir.into();
    DbFile { dir, object, file }.path()
}

#[test]
fn a_database_that_was_put_back_is_believed_and_not_the_index() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (same, later, sooner, none, some) = (key(1, 0), key(2, 0), key(3, 4), key(4, 0), key(5, 0));
    for (key, was_ms, is_ms) in [(same, 10, 10), (later, 90, 20), (sooner, 5, 30)] {
        facet(old.path(), key, was_ms);
        facet(dir.path(), key, is_ms);
    }
    facet(old.path(), some, 50);
    facet(dir.path(), none, 40);
    let index = AlarmIndex::open(dir.path()).unwrap();
    assert_eq!(all(&index).len(), 4);
    index.close().unwrap();
    for key in [later, sooner, some] {
        put_back(&path(old.path(), key), &path(dir.path(), key));
    }
    // Without an alarm.
    std::fs::copy(path(dir.path(), none), path(old.path(), none)).unwrap();
    let mut store = store(old.path(), none, true);
    store.delete_alarm().unwrap();
    store.kv_put("k", b"else it would be empty").unwrap();
    let committed = store.end_turn().unwrap().expect("an alarm was deleted");
    store.record_alone(committed);
    store.close().unwrap();
    put_back(&path(old.path(), none), &path(dir.path(), none));
    let before: Vec<_> = [later, none]
        .map(|key| std::fs::read(path(dir.path(), key)).unwrap())
        .into();
    let expected = [place(5, sooner), place(10, same), place(50, some), place(90, later)];
    // What `facetd check` sees, and what a start makes of it.
    assert_eq!(AlarmIndex::read_unchanged(dir.path()).unwrap().unwrap().len(), 4);
    let index = AlarmIndex::open(dir.path()).unwrap();
    assert_eq!(all(&index), expected);
    index.close().unwrap();
    let after: Vec<_> = [later, none]
        .map(|key| std::fs::read(path(dir.path(), key)).unwrap())
        .into();
    assert_eq!(before, after, "reading changes nothing");
    // Nothing has changed since: what is in the index is believed.
    let mut index = AlarmIndex::open(dir.path()).unwrap();
    index.apply(&[update(same, Some(11))]).unwrap();
    std::fs::copy(dir.path().join(FILE_NAME), old.path().join(FILE_NAME)).unwrap();
    index.close().unwrap();
    let index = AlarmIndex::open(dir.path()).unwrap();
    assert_eq!(index.due_of(same).unwrap(), Some(11));
    index.close().unwrap();
    // An index of another time: what came after it is read.
    let known = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
    std::fs::remove_file(path(dir.path(), some)).unwrap();
    facet(dir.path(), some, 51);
    std::fs::write(dir.path().join(FILE_NAME), known).unwrap();
    assert_eq!(AlarmIndex::open(dir.path()).unwrap().due_of(some).unwrap(), Some(51));
}

#[test]
fn it_is_made_anew_where_it_is_missing_damaged_or_another() {
    let dir = tempfile::tempdir().unwrap();
    let (root, child) = (key(1, 0), key(1, 4));
    facet(dir.path(), root, 900);
    facet(dir.path(), child, 400);
    let path = dir.path().join(FILE_NAME);
    // Names that are no databases of facets.
    for name in ["x.sqlite", "readme", &format!("{}.4.sqlite.orphan1", ObjectId([1; 32]))] {
        std::fs::write(dir.path().join(name), "no database").unwrap();
        std::fs::write(dir.path().join("01").join(name), "no database").unwrap();
    }
    // A database that cannot be read is left out, and left alone.
    let broken = layout::database(dir.path(), ObjectId([1; 32]), FileId(5));
    std::fs::write(&broken, "no database").unwrap();

    let expected = [place(400, child), place(900, root)];
    let reopened = || all(&AlarmIndex::open(dir.path()).unwrap());
    assert_eq!(reopened(), expected, "missing");

    std::fs::write(&path, "no database at all").unwrap();
    assert_eq!(reopened(), expected, "no SQLite file");

    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE alarm(x)").unwrap();
    drop(other);
    assert_eq!(reopened(), expected, "another database");

    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert_eq!(reopened(), expected, "another format");

    let bytes = std::fs::read(&path).unwrap();
    for at in (4096..bytes.len()).step_by(64) {
        let mut hurt = bytes.clone();
        hurt[at] ^= 0x55;
        std::fs::write(&path, &hurt).unwrap();
        // Bytes in unused parts of a page may change without harm.
        let found = reopened();
        assert!(found.len() <= 2, "{found:?}");
    }

    AlarmIndex::forget(dir.path()).unwrap();
    assert!(!path.exists());
    assert_eq!(reopened(), expected, "forgotten");
    assert_eq!(std::fs::read(broken).unwrap(), b"no database");
}

/// Indexes that get no room on their disk.
static WITHOUT_ROOM: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

pub(super) fn refuse_room(path: &Path) -> Result<(), rusqlite::Error> {
    match WITHOUT_ROOM.lock().unwrap().contains(path) {
        true => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
            None,
        )),
        false => Ok(()),
    }
}

#[test]
fn without_room_it_is_kept_in_memory_and_made_by_a_later_start() {
    for was_there in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        layout::make_homes(dir.path()).unwrap();
        facet(dir.path(), key(1, 1), 1_000);
        let path = dir.path().join(FILE_NAME);
        if was_there {
            AlarmIndex::open(dir.path()).unwrap().close().unwrap();
        }
        WITHOUT_ROOM.lock().unwrap().insert(path.clone());
        let mut index = AlarmIndex::open(dir.path()).unwrap();
        assert_eq!(all(&index), [place(1_000, key(1, 1))]);
        // It takes what is set meanwhile.
        index.apply(&[update(key(1, 2), Some(2_000))]).unwrap();
        assert_eq!(all(&index).len(), 2);
        index.close().unwrap();
        assert!(
            !path.exists(),
            "an index that is behind the databases would be believed"
        );
        WITHOUT_ROOM.lock().unwrap().remove(&path);
        let index = AlarmIndex::open(dir.path()).unwrap();
        assert_eq!(all(&index), [place(1_000, key(1, 1))]);
        assert!(path.exists());
    }
}
