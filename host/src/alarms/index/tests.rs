//! The index on a real file system: what is brought to it, what it answers in which order, and that it is begun anew where it
//! cannot be relied upon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;

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
fn an_index_that_was_not_closed_is_believed_and_the_journal_repeats_the_rest() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut index = AlarmIndex::open(dir.path()).unwrap();
    index
        .apply(&[update(key(1, 2), Some(30)), update(key(3, 0), Some(70))])
        .unwrap();
    index.set_compared(5).unwrap();
    for path in files(dir.path()).iter().filter(|path| path.exists()) {
        std::fs::copy(path, other.path().join(path.file_name().unwrap())).unwrap();
    }
    let said = [update(key(1, 2), None), update(key(4, 0), Some(9))];
    for _ in 0..2 {
        AlarmIndex::repeat(other.path(), &said).unwrap();
    }
    let index = AlarmIndex::open(other.path()).unwrap();
    assert_eq!(all(&index), [place(9, key(4, 0)), place(70, key(3, 0))]);
    assert_eq!(index.compared_ms().unwrap(), 5);
    drop(index);
    // One that cannot be used is made anew anyway.
    std::fs::write(other.path().join(FILE_NAME), "no database").unwrap();
    AlarmIndex::repeat(other.path(), &said).unwrap();
    assert!(files(other.path()).iter().all(|path| !path.exists()));
    AlarmIndex::repeat(other.path(), &said).unwrap();
    assert!(files(other.path()).iter().all(|path| !path.exists()));
}

#[test]
fn it_is_begun_anew_where_it_is_missing_damaged_or_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let is_new = |what: &str| {
        let index = AlarmIndex::open(dir.path()).unwrap();
        assert_eq!((all(&index), index.compared_ms().unwrap()), (vec![], 0), "{what}");
        index
    };
    is_new("missing");
    std::fs::write(&path, "no database at all").unwrap();
    is_new("no SQLite file");
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE alarm(x)").unwrap();
    drop(other);
    is_new("another database");
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let mut index = is_new("another format");
    index
        .apply(&[update(key(1, 2), Some(30)), update(key(3, 0), Some(70))])
        .unwrap();
    index.set_compared(5).unwrap();
    index.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for at in (4096..bytes.len()).step_by(64) {
        let mut hurt = bytes.clone();
        hurt[at] ^= 0x55;
        std::fs::write(&path, &hurt).unwrap();
        // Bytes in unused parts of a page may change without harm.
        let found = all(&AlarmIndex::open(dir.path()).unwrap());
        assert!(found.len() <= 2, "{found:?}");
    }
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
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    WITHOUT_ROOM.lock().unwrap().insert(path.clone());
    let mut index = AlarmIndex::open(dir.path()).unwrap();
    // It takes what is set meanwhile.
    index.apply(&[update(key(1, 2), Some(2_000))]).unwrap();
    assert_eq!(all(&index), [place(2_000, key(1, 2))]);
    index.close().unwrap();
    assert!(
        !path.exists(),
        "an index that is behind the databases would be believed"
    );
    WITHOUT_ROOM.lock().unwrap().remove(&path);
    let index = AlarmIndex::open(dir.path()).unwrap();
    assert_eq!(
        (all(&index), index.compared_ms().unwrap()),
        (vec![], 0),
        "the next start compares all databases"
    );
    assert!(path.exists());
}
