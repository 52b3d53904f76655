//! What a host finds out about alarms beside its work, on a real file system.

use std::path::PathBuf;

use super::*;
use crate::alarms::index::{AlarmIndex, FILE_NAME, Place};
use crate::alarms::{AlarmKey, AlarmUpdate};
use crate::ids::{FileId, ObjectId};
use crate::storage::journal::MemoryJournal;
use crate::storage::{FacetStore, InterruptCell};
use crate::sys::layout;

fn key(object: u8, file: u32) -> AlarmKey {
    AlarmKey {
        object: ObjectId([object; 32]),
        file: FileId(file),
    }
}

fn place(due_ms: u64, key: AlarmKey) -> Place {
    Place { due_ms, key }
}

fn database(dir: &Path, AlarmKey { object, file }: AlarmKey) -> DbFile {
    let dir = dir.into();
    DbFile { dir, object, file }
}

fn path(dir: &Path, key: AlarmKey) -> PathBuf {
    database(dir, key).path()
}

/// A stored facet with an alarm, closed.
fn store(dir: &Path, key: AlarmKey, stored: bool) -> FacetStore {
    layout::make_homes(dir).unwrap();
    FacetStore::new(
        database(dir, key),
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

/// As a host does it; what its index says then, when it has been closed.
fn surveyed_with(dir: &Path, pins: &Pins) -> Vec<Place> {
    let journal = MemoryJournal::new();
    let alarms = Alarms::open(dir, &Arc::default()).unwrap();
    alarms.survey(pins, journal.progress());
    alarms.close(journal.progress().durable()).unwrap();
    let index = AlarmIndex::open(dir).unwrap();
    index.due(Place::default(), u64::MAX, 1_000).unwrap()
}

fn surveyed(dir: &Path) -> Vec<Place> {
    surveyed_with(dir, &Pins::default())
}

/// Copies a file over another one, as old as it was: `cp -p`.
fn put_back(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let file = std::fs::File::options().write(true).open(to).unwrap();
    file.set_modified(old).unwrap();
}

fn spoil(dir: &Path, update: AlarmUpdate) {
    let mut index = AlarmIndex::open(dir).unwrap();
    index.apply(&[update]).unwrap();
    index.close().unwrap();
}

#[test]
fn a_new_index_is_made_of_all_databases_and_a_start_reads_none() {
    let dir = tempfile::tempdir().unwrap();
    let (root, child) = (key(1, 0), key(1, 4));
    facet(dir.path(), root, 900);
    facet(dir.path(), child, 400);
    // Names that are no databases of facets.
    for name in ["x.sqlite", "readme", &format!("{}.4.sqlite.orphan1", ObjectId([1; 32]))] {
        std::fs::write(dir.path().join(name), "no database").unwrap();
        std::fs::write(dir.path().join("01").join(name), "no database").unwrap();
    }
    // A database that cannot be read is left out, and left alone; the next start looks again.
    let broken = layout::database(dir.path(), ObjectId([1; 32]), FileId(5));
    std::fs::write(&broken, "no database").unwrap();
    let alarms = Alarms::open(dir.path(), &Arc::default()).unwrap();
    assert_eq!(alarms.due_ms(root), None, "a start has read a database");
    drop(alarms);
    let expected = [place(400, child), place(900, root)];
    for _ in 0..2 {
        assert_eq!(surveyed(dir.path()), expected);
        assert_eq!(AlarmIndex::open(dir.path()).unwrap().compared_ms().unwrap(), 0);
    }
    assert_eq!(std::fs::read(&broken).unwrap(), b"no database");
    std::fs::remove_file(&broken).unwrap();
    assert_eq!(surveyed(dir.path()), expected);
    assert_ne!(AlarmIndex::open(dir.path()).unwrap().compared_ms().unwrap(), 0);
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
    assert_eq!(surveyed(dir.path()).len(), 4);
    for key in [later, sooner, some] {
        put_back(&path(old.path(), key), &path(dir.path(), key));
    }
    // Without an alarm.
    std::fs::copy(path(dir.path(), none), path(old.path(), none)).unwrap();
    let mut emptied = store(old.path(), none, true);
    emptied.delete_alarm().unwrap();
    emptied.kv_put("k", b"else it would be empty").unwrap();
    let committed = emptied.end_turn().unwrap().expect("an alarm was deleted");
    emptied.record_alone(committed);
    emptied.close().unwrap();
    put_back(&path(old.path(), none), &path(dir.path(), none));
    let contents = || [later, none].map(|key| std::fs::read(path(dir.path(), key)).unwrap());
    let before = contents();
    let expected = [place(5, sooner), place(10, same), place(50, some), place(90, later)];
    // What `facetd check` sees, and what a host makes of it.
    assert_eq!(AlarmIndex::read_unchanged(dir.path()).unwrap().unwrap().len(), 4);
    assert_eq!(surveyed(dir.path()), expected);
    assert_eq!(before, contents(), "reading changes nothing");
    // An index of another time: what came after it is read.
    let known = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
    std::fs::remove_file(path(dir.path(), some)).unwrap();
    facet(dir.path(), some, 51);
    std::fs::write(dir.path().join(FILE_NAME), known).unwrap();
    let found = surveyed(dir.path());
    assert_eq!(found[2], place(51, some));
}

#[test]
fn what_is_open_or_was_not_changed_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (open, idle) = (key(1, 0), key(2, 0));
    facet(dir.path(), open, 10);
    facet(dir.path(), idle, 20);
    let pins = Pins::default();
    pins.open(&database(dir.path(), open));
    assert_eq!(surveyed_with(dir.path(), &pins), [place(20, idle)]);
    // It has been compared: what is in the index is believed until the file is changed.
    let due_ms = Some(21);
    std::thread::sleep(std::time::Duration::from_millis(2 * GRAIN_MS));
    assert_eq!(surveyed_with(dir.path(), &pins).len(), 1);
    spoil(dir.path(), AlarmUpdate { key: idle, due_ms });
    assert_eq!(surveyed(dir.path()), [place(21, idle)]);
}
