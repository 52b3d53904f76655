//! A disk without room: the journal can be closed and opened still, and what makes room is taken.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::{FileId, ObjectId};
use crate::storage::file::DbFile;
use crate::storage::journal::disk::{Op, Probe};
use crate::storage::journal::recovery::JournalError;
use crate::storage::journal::{Disk, Journal, JournalOptions, LocalJournal, TreeUnit, Unit};
use crate::storage::store::FacetStore;
use crate::sys::layout;

const OBJECT: ObjectId = ObjectId([7; 32]);
const SEGMENT_BYTES: u64 = 8 << 20;

/// Files are refused room, from now on: so many, behind so many that are not.
#[derive(Default)]
struct FullDisk {
    allowed: AtomicU64,
    refused: AtomicU64,
}

impl Probe for FullDisk {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        let take = |left: &AtomicU64| {
            let less = |left: u64| left.checked_sub(1);
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
        };
        match matches!(op, Op::Allocate(_)) && !take(&self.allowed) && take(&self.refused) {
            true => Err(rustix::io::Errno::NOSPC.into()),
            false => Ok(()),
        }
    }

    fn after(&self, _: Op<'_>) {}
}

struct Data {
    dir: tempfile::TempDir,
    full: Arc<FullDisk>,
}

impl Data {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        layout::make_homes(&dir.path().join("t")).unwrap();
        Self {
            dir,
            full: Arc::default(),
        }
    }

    /// The next so many files get no room.
    fn refuse(&self, many: u64) {
        self.full.refused.store(many, Ordering::SeqCst);
    }

    fn open(&self, was_dirty: bool) -> Result<Arc<LocalJournal>, JournalError> {
        let options = JournalOptions {
            segment_bytes: SEGMENT_BYTES,
            cap_bytes: 64 << 20,
            disk: Disk::probed(self.full.clone()),
            ..JournalOptions::default()
        };
        LocalJournal::open(self.dir.path(), was_dirty, &options, |_| Ok(())).map(|(journal, _)| Arc::new(journal))
    }

    fn store(&self, journal: &Arc<LocalJournal>, stored: bool) -> FacetStore {
        let file = DbFile {
            dir: self.dir.path().join("t").into(),
            object: OBJECT,
            file: FileId::ROOT,
        };
        FacetStore::new(file, String::new(), stored, 1 << 30, Arc::default(), journal.clone())
    }

    fn put(&self, journal: &Arc<LocalJournal>, stored: bool) -> FacetStore {
        let mut store = self.store(journal, stored);
        store.kv_put("k", b"kept").unwrap();
        let committed = store.end_turn().unwrap().unwrap();
        let lsn = store.record_alone(committed);
        journal.progress().wait(lsn).unwrap();
        store
    }

    /// Lengths of the journal's segments.
    fn segments(&self) -> Vec<u64> {
        let files = std::fs::read_dir(self.dir.path().join("journal")).unwrap();
        let files = files.map(|file| file.unwrap());
        let logs = files.filter(|file| Path::new(&file.file_name()).extension().is_some_and(|end| end == "log"));
        logs.map(|file| file.metadata().unwrap().len()).collect()
    }

    fn is_kept(&self, journal: &Arc<LocalJournal>) -> bool {
        let mut store = self.store(journal, true);
        let kept = store.kv_get("k").unwrap().is_some_and(|value| value == b"kept");
        store.close().unwrap();
        kept
    }
}

#[test]
fn a_clean_start_makes_no_segment() {
    let data = Data::new();
    let journal = data.open(false).unwrap();
    data.put(&journal, false).close().unwrap();
    assert!(journal.close());
    data.refuse(u64::MAX);
    let journal = data.open(false).unwrap();
    assert!(data.is_kept(&journal) && journal.close());
    assert_eq!(data.segments().len(), 1);
}

#[test]
fn a_full_disk_lets_a_journal_be_closed_and_opened_and_takes_deletes() {
    let data = Data::new();
    let journal = data.open(false).unwrap();
    let mut store = data.put(&journal, false);
    store.close().unwrap();
    // Neither 8 MiB nor 2.
    data.refuse(2);
    assert!(journal.close(), "not a clean stop");
    assert_eq!(data.segments(), [512 << 10]);
    data.refuse(4);
    let journal = data.open(false).unwrap();
    assert_eq!(data.segments(), [64 << 10]);
    assert!(data.is_kept(&journal));
    let lsn = journal.append(Unit {
        dir: data.dir.path().join("t").into(),
        object: OBJECT,
        members: Vec::new(),
        adopted: Vec::new(),
        removed: vec![FileId::ROOT],
        room: Vec::new(),
        again: crate::storage::Lsn::ZERO,
        tree: TreeUnit::Unchanged,
    });
    journal.progress().wait(lsn).unwrap();
    assert!(journal.close());
    assert!(!layout::database(&data.dir.path().join("t"), OBJECT, FileId::ROOT).exists());
}

#[test]
fn a_full_disk_after_a_kill_uses_what_the_last_segment_does_not() {
    // For the last batch, which is written again; or for the next segment, of which five lengths are tried.
    for (allowed, refused) in [(0, 1), (1, 5)] {
        let data = Data::new();
        let journal = data.open(false).unwrap();
        drop(data.put(&journal, false));
        // What a kill leaves: nothing is closed.
        std::mem::forget(journal);
        data.full.allowed.store(allowed, Ordering::SeqCst);
        data.refuse(refused);
        let journal = data.open(true).unwrap();
        assert_eq!(data.full.refused.load(Ordering::SeqCst), 0);
        assert_eq!(data.segments(), [SEGMENT_BYTES]);
        assert!(data.is_kept(&journal) && journal.close());
    }
}

#[test]
fn without_any_room_nothing_is_changed_and_the_reason_is_told() {
    let data = Data::new();
    data.refuse(u64::MAX);
    let why = data.open(false).map(drop).unwrap_err();
    assert!(matches!(why, JournalError::NoRoom(_)), "{why}");
    assert!(why.to_string().contains("make room"), "{why}");
    data.refuse(0);
    let journal = data.open(false).unwrap();
    drop(data.put(&journal, false));
    std::mem::forget(journal);
    data.refuse(u64::MAX);
    assert!(matches!(data.open(true).map(drop), Err(JournalError::NoRoom(_))));
    data.refuse(0);
    let journal = data.open(true).unwrap();
    assert!(data.is_kept(&journal) && journal.close());
}

#[test]
fn who_watches_over_a_host_hears_of_a_journal_that_is_full_or_has_failed() {
    let data = Data::new();
    data.refuse(4);
    let journal = data.open(false).unwrap();
    assert_eq!(journal.trouble(), None);
    data.refuse(u64::MAX);
    let mut store = data.store(&journal, false);
    store.kv_put("k", b"kept").unwrap();
    let refused = store.end_turn().unwrap_err();
    assert_eq!(refused.code(), "journal-full");
    let whole = refused.for_operator();
    assert!(whole.contains("No space left"), "{whole}");
    assert!(journal.trouble().is_some_and(|why| why.contains("full")));
    // It is tried again for as long as somebody has waited.
    data.refuse(0);
    while journal.trouble().is_some() {
        std::thread::yield_now();
    }
    store.kv_put("k", b"kept").unwrap();
    let committed = store.end_turn().unwrap().unwrap();
    store.record_alone(committed);
    journal.fail("a test says so");
    assert!(journal.trouble().is_some_and(|why| why.contains("failed")));
}
