//! A disk without room: the journal can be closed and opened still, and what makes room is taken.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::basic::create;
use crate::ids::{FileId, ObjectId};
use crate::index::TreeChange;
use crate::startup::Startup;
use crate::storage::file::DbFile;
use crate::storage::journal::disk::{Op, Probe};
use crate::storage::journal::recovery::JournalError;
use crate::storage::journal::{Disk, Journal, JournalOptions, LocalJournal, Lsn, TreeAppend, TreeUnit, Unit};
use crate::storage::store::FacetStore;
use crate::storage::vfs::faults;
use crate::sys::layout;

const OBJECT: ObjectId = ObjectId([7; 32]);
const SEGMENT_BYTES: u64 = 8 << 20;

/// Files are refused room, from now on: so many, behind so many that are not.
#[derive(Default)]
struct FullDisk {
    allowed: AtomicU64,
    refused: AtomicU64,
    /// Each file is refused so often; the next length that is tried is shorter.
    too_long: AtomicU64,
    tried: Mutex<HashMap<PathBuf, u64>>,
    /// Nothing has room before the ends of all these are cut off.
    uncut: Mutex<BTreeSet<PathBuf>>,
}

impl FullDisk {
    fn is_too_long(&self, path: &Path) -> bool {
        let mut tried = self.tried.lock().unwrap();
        let times = tried.entry(path.to_owned()).or_default();
        *times += 1;
        *times <= self.too_long.load(Ordering::SeqCst)
    }
}

impl Probe for FullDisk {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        let take = |left: &AtomicU64| {
            let less = |left: u64| left.checked_sub(1);
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
        };
        let is_refused = match op {
            Op::Allocate(path) => {
                self.is_too_long(path)
                    || !self.uncut.lock().unwrap().is_empty()
                    || (!take(&self.allowed) && take(&self.refused))
            }
            Op::Write(path) => {
                self.uncut.lock().unwrap().remove(path);
                false
            }
            Op::WriteSynced { .. }
            | Op::SyncFile(_)
            | Op::SyncDir(_)
            | Op::SyncAll(_)
            | Op::Rename(_)
            | Op::Remove(_) => false,
        };
        match is_refused {
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
        let lengths = self.names("log").into_iter().map(|path| path.metadata().unwrap().len());
        lengths.collect()
    }

    /// Files of the journal that end so.
    fn names(&self, end: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.dir.path().join("journal")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|found| found == end));
        names.sort();
        names
    }

    fn delete(&self) -> Unit {
        Unit {
            removed: vec![FileId::ROOT],
            ..Unit::of(self.dir.path().join("t").into(), OBJECT)
        }
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
    let lsn = journal.append(data.delete());
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

#[test]
fn deletes_go_into_segments_as_long_as_there_is_room_for() {
    let data = Data::new();
    data.refuse(4);
    let journal = data.open(false).unwrap();
    assert_eq!(data.segments(), [64 << 10]);
    // 8 MiB twice, and 2.
    data.full.too_long.store(3, Ordering::SeqCst);
    for _ in 0..40 {
        let lsn = journal.append(data.delete());
        journal.progress().wait(lsn).unwrap();
    }
    assert!(data.segments().contains(&(512 << 10)), "{:?}", data.segments());
    data.full.too_long.store(0, Ordering::SeqCst);
    assert!(journal.close());
}

/// A turn of 5 MiB.
fn put_much(store: &mut FacetStore, seed: u64) {
    let mut random = super::random::Random::new(seed);
    for key in ["a", "b", "c", "d", "e"] {
        store.kv_put(key, &random.noise(1 << 20)).unwrap();
    }
    let committed = store.end_turn().unwrap().unwrap();
    let lsn = store.record_alone(committed);
    store.journal.progress().wait(lsn).unwrap();
}

#[test]
fn a_start_on_a_full_disk_gives_back_the_ends_of_all_segments() {
    let data = Data::new();
    let journal = data.open(false).unwrap();
    let mut store = data.put(&journal, false);
    // Each fills more than half of a segment.
    (0..3).for_each(|seed| put_much(&mut store, seed));
    drop(store);
    std::mem::forget(journal);
    data.names("spare")
        .iter()
        .for_each(|spare| std::fs::remove_file(spare).unwrap());
    let segments = data.names("log");
    assert!(segments.len() > 1, "{segments:?}");
    data.full.uncut.lock().unwrap().extend(segments);
    let journal = data.open(true).unwrap();
    assert!(data.is_kept(&journal) && journal.close());
}

#[test]
fn a_stop_on_a_full_disk_gives_back_the_end_of_the_last_segment() {
    let data = Data::new();
    let journal = data.open(false).unwrap();
    data.put(&journal, false).close().unwrap();
    assert!(data.names("spare").is_empty());
    data.full.uncut.lock().unwrap().extend(data.names("log"));
    assert!(journal.close(), "not a clean stop");
    let journal = data.open(false).unwrap();
    assert!(data.is_kept(&journal) && journal.close());
}

/// Pages that a checkpoint moves need room, too.
#[test]
fn a_stop_on_a_full_disk_gives_the_room_of_spares_to_databases() {
    let data = Data::new();
    let journal = data.open(false).unwrap();
    let mut store = data.put(&journal, false);
    // So that a spare is made.
    put_much(&mut store, 1);
    while data.names("spare").is_empty() {
        std::thread::yield_now();
    }
    let path = store.file.path();
    store.abandon();
    // The first try of the keeper has no room, the second has that of the spare.
    let fault = faults::inject(
        &path,
        faults::Op::Write,
        faults::When::Only(1),
        rusqlite::ffi::SQLITE_FULL,
    );
    assert!(journal.close(), "not a clean stop");
    assert!(fault.fired() && fault.calls() > 1);
    let journal = data.open(false).unwrap();
    assert!(data.is_kept(&journal) && journal.close());
}

#[test]
fn a_batch_goes_into_as_many_short_segments_as_it_takes_and_over_the_end_of_none() {
    let data = Data::new();
    let journal = data.open(false).unwrap();
    // 8 MiB twice, 2 MiB, 512 KiB and 128 KiB: what is made from now on is as short as it may be.
    data.full.too_long.store(5, Ordering::SeqCst);
    let TreeChange::Create {
        startup,
        file,
        parent,
        name,
        has_database,
    } = create(1)
    else {
        unreachable!("that is what it makes")
    };
    let mut startup = Startup::clone(&startup);
    startup.props.body = vec![7; 40_000];
    let startup = Arc::new(startup);
    let create = TreeChange::Create {
        startup,
        file,
        parent,
        name,
        has_database,
    };
    let append = TreeAppend::new(OBJECT, true, FileId(1), 1, &[create]);
    let mut last = Lsn::ZERO;
    for _ in 0..600 {
        // As deletes do: nothing is set aside, and all of them wait for the writer together.
        last = journal.append(Unit {
            removed: Vec::new(),
            tree: TreeUnit::Append(append.clone()),
            ..data.delete()
        });
    }
    let allowed: BTreeSet<_> = (0..8)
        .map(|times| (SEGMENT_BYTES >> (2 * times)).max(64 << 10))
        .collect();
    while journal.progress().durable() < last {
        let whole = journal.progress().is_whole();
        assert!(whole.is_ok(), "{whole:?}");
        for path in data.names("log") {
            // It may go meanwhile.
            if let Ok(found) = path.metadata() {
                assert!(
                    allowed.contains(&found.len()),
                    "{} has {} bytes",
                    path.display(),
                    found.len()
                );
            }
        }
    }
}
