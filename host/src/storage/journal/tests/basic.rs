//! Durability follows order, what is acknowledged is read again, and what cannot be is refused.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::{ClassDigest, FacetName, FileId, ObjectId};
use crate::index::{self, TreeChange};
use crate::startup::Startup;
use crate::storage::file::DbFile;
use crate::storage::journal::batch::BLOCK_BYTES;
use crate::storage::journal::disk::{Op, Probe};
use crate::storage::journal::recovery::JournalError;
use crate::storage::journal::*;
use crate::storage::store::FacetStore;
use crate::sys::{clock, layout};

const OBJECT: ObjectId = ObjectId([7; 32]);

/// A data directory and how its journal is opened.
pub(super) struct Data {
    dir: tempfile::TempDir,
    pub(super) options: JournalOptions,
}

impl Data {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        layout::make_homes(&dir.path().join("t")).unwrap();
        let options = JournalOptions {
            segment_bytes: 8 << 20,
            cap_bytes: 64 << 20,
            ..JournalOptions::default()
        };
        Self { dir, options }
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn open(&self, was_dirty: bool) -> Result<(Arc<LocalJournal>, Recovered), JournalError> {
        LocalJournal::open(self.root(), was_dirty, &self.options, |_| Ok(()))
            .map(|(journal, found)| (Arc::new(journal), found))
    }

    pub(super) fn file(&self, file: u32) -> DbFile {
        DbFile {
            dir: self.root().join("t").into(),
            object: OBJECT,
            file: FileId(file),
        }
    }

    pub(super) fn store(&self, journal: &Arc<LocalJournal>, file: u32, stored: bool) -> FacetStore {
        let path = format!("f{file}");
        FacetStore::new(self.file(file), path, stored, 1 << 30, Arc::default(), journal.clone())
    }

    /// A unit that does nothing.
    pub(super) fn unit(&self) -> Unit {
        Unit::of(self.file(0).dir, OBJECT)
    }

    /// The journal's files that end so, oldest first.
    pub(super) fn names(&self, end: &str) -> Vec<std::path::PathBuf> {
        let found = std::fs::read_dir(self.root().join("journal")).unwrap();
        let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| path.to_string_lossy().ends_with(end));
        found.sort();
        found
    }

    /// A copy of everything as it is now: what a kill leaves.
    pub(super) fn killed(&self) -> Self {
        let copy = Self::new();
        let home = self.file(0).home();
        for from in [home.strip_prefix(self.root()).unwrap(), "journal".as_ref()] {
            let to = copy.root().join(from);
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(self.root().join(from)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        copy
    }
}

pub(super) fn create(file: u32) -> TreeChange {
    let startup = Startup::of(ClassDigest([1; 32]));
    TreeChange::Create {
        file: FileId(file),
        parent: FileId::ROOT,
        name: FacetName::new(&format!("f{file}")).unwrap(),
        startup: startup.into(),
        has_database: true,
    }
}

fn tree_unit(data: &Data, seq: u64, change: TreeChange) -> Unit {
    Unit {
        tree: TreeUnit::Append(TreeAppend::new(OBJECT, seq == 1, FileId(1), seq, &[change])),
        ..data.unit()
    }
}

/// Commits one key and waits until it is durable.
pub(super) fn put(store: &mut FacetStore, value: &[u8]) -> Lsn {
    let lsn = put_only(store, value);
    store.journal.progress().wait(lsn).unwrap();
    lsn
}

pub(super) fn put_only(store: &mut FacetStore, value: &[u8]) -> Lsn {
    store.kv_put("k", value).unwrap();
    let committed = store.end_turn().unwrap().expect("something was written");
    store.record_alone(committed)
}

pub(super) fn value(data: &Data, journal: &Arc<LocalJournal>, file: u32) -> Vec<u8> {
    data.store(journal, file, true)
        .kv_get("k")
        .unwrap()
        .expect("it was written")
}

#[test]
fn what_is_durable_is_there_after_a_kill() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut stores: Vec<_> = (1..=3).map(|file| data.store(&journal, file, false)).collect();
    for round in 0..20_u8 {
        for store in &mut stores {
            put(store, &[round; 5000]);
        }
    }
    let killed = data.killed();
    let (journal, recovered) = killed.open(true).unwrap();
    assert_eq!((recovered.units, recovered.databases), (60, 3));
    for file in 1..=3 {
        assert!(
            !killed.file(file).wal_path().exists(),
            "a log of another process is removed"
        );
        assert_eq!(value(&killed, &journal, file), [19; 5000]);
    }
}

#[test]
fn recovery_changes_nothing_when_done_again() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    for round in 0..10_u8 {
        put(&mut store, &[round; 9000]);
    }
    let (first, second) = (data.killed(), data.killed());
    // As if the first try had been killed before its segment was named.
    let redone = first.killed();
    let read = || recovery::read(&redone.root().join("journal"), |_, _| Ok(())).unwrap();
    assert_eq!(read().units, 10);
    let (journal, _) = first.open(true).unwrap();
    drop(journal);
    for segment in std::fs::read_dir(redone.root().join("journal")).unwrap() {
        let segment = segment.unwrap();
        std::fs::copy(segment.path(), first.root().join("journal").join(segment.file_name())).unwrap();
    }
    let (journal, _) = second.open(true).unwrap();
    assert_eq!(value(&second, &journal, 1), [9; 9000]);
    assert_eq!(
        std::fs::read(first.file(1).path()).unwrap(),
        std::fs::read(second.file(1).path()).unwrap()
    );
}

#[test]
fn a_clean_close_leaves_files_that_need_no_journal() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    let last = put(&mut store, b"1");
    store.close().unwrap();
    assert!(journal.close());
    let (journal, recovered) = data.open(false).unwrap();
    assert_eq!((recovered.units, data.names(".log").len()), (0, 1));
    let mut store = data.store(&journal, 1, true);
    assert!(put(&mut store, b"2") > last, "numbers go on");
}

#[test]
fn segments_fill_and_go_when_nothing_needs_them() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let (mut busy, mut idle) = (data.store(&journal, 1, false), data.store(&journal, 2, false));
    put(&mut idle, b"held");
    let mut noise = 1_u64;
    let mut unpackable = || {
        let bytes = std::iter::repeat_with(|| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) as u8
        });
        bytes.take(1 << 20).collect::<Vec<_>>()
    };
    let mut last = Vec::new();
    for _ in 0..24 {
        last = unpackable();
        put(&mut busy, &last);
    }
    assert!(
        data.names(".log").len() >= 3,
        "the idle one pins the oldest: {:?}",
        data.names(".log")
    );
    let killed = data.killed();
    let (other, recovered) = killed.open(true).unwrap();
    assert!(recovered.units >= 25);
    assert_eq!(
        (value(&killed, &other, 1), value(&killed, &other, 2)),
        (last.clone(), b"held".to_vec())
    );
    idle.close().unwrap();
    for _ in 0..40 {
        last = unpackable();
        put(&mut busy, &last);
        busy.checkpoint_between_turns().unwrap();
    }
    busy.close().unwrap();
    assert!(journal.close());
    assert_eq!(data.names(".log").len(), 1);
    let (journal, _) = data.open(false).unwrap();
    assert_eq!(
        (value(&data, &journal, 1), value(&data, &journal, 2)),
        (last, b"held".to_vec())
    );
}

#[test]
fn a_unit_longer_than_a_segment_is_one_unit() {
    let mut data = Data::new();
    data.options.segment_bytes = 4 << 20;
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    let zeros = vec![0x5a; 1 << 20];
    for key in 0..16 {
        // Packs badly enough to span segments.
        let noise: Vec<u8> = (0..1_u32 << 18)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(key).to_le_bytes())
            .collect();
        store.kv_put(&format!("{key}"), &noise).unwrap();
    }
    store.kv_put("k", &zeros).unwrap();
    let committed = store.end_turn().unwrap().unwrap();
    assert!(
        committed.pages.bytes.len() > 8 << 20,
        "it packs to {}",
        committed.pages.bytes.len()
    );
    let lsn = store.record_alone(committed);
    journal.progress().wait(lsn).unwrap();
    let killed = data.killed();
    let (journal, recovered) = killed.open(true).unwrap();
    assert_eq!(recovered.units, 1);
    assert_eq!(value(&killed, &journal, 1), zeros);
}

#[test]
fn trees_follow_the_journal_and_removed_files_go() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    journal.append(tree_unit(&data, 1, create(1)));
    let created = journal.append(tree_unit(&data, 2, create(2)));
    put(&mut store, b"1");
    store.close().unwrap();
    let killed = data.killed();
    let removed = Unit {
        removed: vec![FileId(1)],
        ..tree_unit(&data, 3, TreeChange::Delete { file: FileId(1) })
    };
    let last = journal.append(removed);
    assert!(last > created);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(wait_settled(journal.progress(), OBJECT, last));
    assert!(!data.file(1).path().exists());
    let index = index::path(&data.file(0).dir, OBJECT);
    let entries = |path: &Path| {
        index::load(path, OBJECT, index::Unshown::Nothing)
            .unwrap()
            .map(|found| found.entries.len())
    };
    assert_eq!(entries(&index), Some(1));
    let earlier = index::path(&killed.file(0).dir, OBJECT);
    // Whatever of it had reached the disk.
    std::fs::write(&earlier, b"").unwrap();
    killed.open(true).unwrap();
    assert_eq!(entries(&earlier), Some(2));
    // A file that was removed and lies there again is removed again.
    let killed = data.killed();
    std::fs::write(killed.file(1).path(), b"an old page").unwrap();
    killed.open(true).unwrap();
    assert!(!killed.file(1).path().exists());
    let gone = journal.append(Unit {
        tree: TreeUnit::Removed,
        room: Vec::new(),
        again: Lsn::ZERO,
        ..tree_unit(&data, 4, create(9))
    });
    runtime.block_on(wait_settled(journal.progress(), OBJECT, gone));
    assert!(!index.exists());
    let killed = data.killed();
    std::fs::write(index::path(&killed.file(0).dir, OBJECT), b"an old one").unwrap();
    killed.open(true).unwrap();
    assert_eq!(entries(&index::path(&killed.file(0).dir, OBJECT)), None);
}

#[test]
fn a_torn_end_is_left_behind_and_damage_is_refused() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    for round in 0..6_u8 {
        put(&mut store, &[round; 100]);
    }
    let log = data.names(".log")[0].clone();
    let bytes = std::fs::read(&log).unwrap();
    let batches: Vec<_> = (BLOCK_BYTES..bytes.len())
        .step_by(BLOCK_BYTES)
        .filter(|at| bytes[*at..].starts_with(b"fbat"))
        .collect();
    assert_eq!(batches.len(), 6);
    for (nth, at) in batches.iter().enumerate() {
        for within in [0, 5, 9, 33, 41, 60, 100] {
            let killed = data.killed();
            let mut torn = bytes.clone();
            torn[at + within] ^= 0x10;
            std::fs::write(&killed.names(".log")[0], &torn).unwrap();
            let opened = killed.open(true);
            if nth + 1 == batches.len() {
                let (journal, recovered) = opened.unwrap();
                assert_eq!(recovered.units, 5, "the last one may never have been acknowledged");
                assert_eq!(value(&killed, &journal, 1), [4; 100]);
            } else {
                let error = opened.map(|_| ()).unwrap_err().to_string();
                assert!(
                    error.contains("was acknowledged"),
                    "batch {nth}, byte {within}: {error}"
                );
                assert_eq!(
                    std::fs::read(&killed.names(".log")[0]).unwrap(),
                    torn,
                    "it is left as it is"
                );
            }
        }
    }
    let killed = data.killed();
    std::fs::write(&killed.names(".log")[0], &bytes[..100]).unwrap();
    assert!(killed.open(true).is_ok_and(|(_, found)| found.units == 0) || killed.names(".log").len() == 1);
    let killed = data.killed();
    std::fs::remove_dir_all(killed.root().join("journal")).unwrap();
    assert!(matches!(killed.open(true), Err(JournalError::Missing(_))));
}

/// Fails the calls that it is told to.
#[derive(Default)]
struct Failing(Mutex<Option<Fails>>);

type Fails = fn(Op<'_>) -> bool;

impl Probe for Failing {
    fn before(&self, op: Op<'_>) -> std::io::Result<()> {
        match *self.0.lock().unwrap() {
            Some(fails) if fails(op) => Err(std::io::Error::other("a test says so")),
            Some(_) | None => Ok(()),
        }
    }

    fn after(&self, _: Op<'_>) {}
}

#[test]
fn after_one_failed_write_nothing_is_acknowledged() {
    let mut data = Data::new();
    let failing = Arc::new(Failing::default());
    data.options.disk = Disk::probed(failing.clone());
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    let durable = put(&mut store, b"1");
    *failing.0.lock().unwrap() = Some(|op| matches!(op, Op::WriteSynced { .. }));
    let lost = put_only(&mut store, b"2");
    assert!(
        journal
            .progress()
            .wait(lost)
            .unwrap_err()
            .to_string()
            .contains("a test says so")
    );
    *failing.0.lock().unwrap() = None;
    assert_eq!(journal.progress().durable(), durable);
    store.kv_put("k", b"3").unwrap();
    assert_eq!(store.end_turn().unwrap_err().code(), "journal-full");
    assert!(
        store.checkpoint().is_err(),
        "what is not durable does not reach the database"
    );
    drop(store);
    assert!(!journal.close());
    let killed = data.killed();
    let (journal, _) = killed.open(true).unwrap();
    assert_eq!(value(&killed, &journal, 1), b"1");
}

#[test]
fn a_change_of_files_that_fails_is_tried_again() {
    let mut data = Data::new();
    let failing = Arc::new(Failing::default());
    data.options.disk = Disk::probed(failing.clone());
    let (journal, _) = data.open(false).unwrap();
    *failing.0.lock().unwrap() =
        Some(|op| matches!(op, Op::Write(path) if path.extension().is_some_and(|e| e == "facets")));
    let lsn = journal.append(tree_unit(&data, 1, create(1)));
    journal.progress().wait(lsn).unwrap();
    assert!(!journal.progress().is_settled(OBJECT, lsn));
    *failing.0.lock().unwrap() = None;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(wait_settled(journal.progress(), OBJECT, lsn));
    assert!(index::path(&data.file(0).dir, OBJECT).exists());
    assert!(journal.close());
}

#[test]
fn a_journal_that_cannot_grow_says_so_before_the_commit() {
    let mut data = Data::new();
    data.options.segment_bytes = 12 << 20;
    data.options.cap_bytes = 24 << 20;
    let (journal, _) = data.open(false).unwrap();
    // Nobody can ask this one for a checkpoint.
    let mut idle = data.store(&journal, 2, false);
    put(&mut idle, b"held");
    let mut store = data.store(&journal, 1, false);
    let mut round = 0_u32;
    let full = loop {
        round += 1;
        assert!(round < 100, "it never gets full");
        let noise: Vec<u8> = (0..1_u32 << 18)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(round << 7).to_le_bytes())
            .collect();
        store.kv_put("k", &noise).unwrap();
        match store.end_turn() {
            Ok(committed) => {
                store.record_alone(committed.unwrap());
            }
            Err(error) => break error,
        }
    };
    assert_eq!(full.code(), "journal-full");
    assert!(store.kv_get("k").unwrap().is_some(), "reading needs no room");
    // Deletes do not wait for room.
    let lsn = journal.append(tree_unit(&data, 1, create(1)));
    journal.progress().wait(lsn).unwrap();
    idle.close().unwrap();
    store.kv_put("k", b"there is room again").unwrap();
    let committed = store.end_turn().unwrap().expect("something was written");
    store.record_alone(committed);
    store.close().unwrap();
    assert!(journal.close());
}

/// Fails the first call that it is told to.
#[derive(Default)]
struct FailingOnce(Mutex<Option<Fails>>);

impl Probe for FailingOnce {
    fn before(&self, op: Op<'_>) -> std::io::Result<()> {
        let mut fails = self.0.lock().unwrap();
        match *fails {
            Some(which) if which(op) => {
                *fails = None;
                Err(std::io::Error::other("a test says so, once"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn after(&self, _: Op<'_>) {}
}

#[test]
fn after_one_failed_barrier_no_segment_goes() {
    let mut data = Data::new();
    let failing = Arc::new(FailingOnce::default());
    data.options.disk = Disk::probed(failing.clone());
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    put(&mut store, b"1");
    store.close().unwrap();
    *failing.0.lock().unwrap() = Some(|op| matches!(op, Op::SyncAll(_)));
    let mut store = data.store(&journal, 2, false);
    for round in 0..12_u32 {
        let noise: Vec<u8> = (0..1_u32 << 18)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(round << 7).to_le_bytes())
            .collect();
        store.kv_put("k", &noise).unwrap();
        let Ok(committed) = store.end_turn() else { break };
        let lsn = store.record_alone(committed.unwrap());
        if journal.progress().wait(lsn).is_err() || store.checkpoint_between_turns().is_err() {
            break;
        }
    }
    assert!(failing.0.lock().unwrap().is_none(), "no barrier was tried");
    drop(store);
    assert!(!journal.close(), "what the barrier lost is nowhere else");
    assert!(data.names(".log").len() >= 2);
}

#[test]
fn a_change_of_files_that_fails_half_way_is_not_done_twice() {
    let mut data = Data::new();
    let failing = Arc::new(FailingOnce::default());
    data.options.disk = Disk::probed(failing.clone());
    let (journal, _) = data.open(false).unwrap();
    journal.append(tree_unit(&data, 1, create(1)));
    *failing.0.lock().unwrap() =
        Some(|op| matches!(op, Op::Remove(path) if path.extension().is_some_and(|e| e == "sqlite")));
    let lsn = journal.append(Unit {
        removed: vec![FileId(1)],
        ..tree_unit(&data, 2, TreeChange::Delete { file: FileId(1) })
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(wait_settled(journal.progress(), OBJECT, lsn));
    assert!(failing.0.lock().unwrap().is_none(), "nothing failed");
    let loaded = index::load(&index::path(&data.file(0).dir, OBJECT), OBJECT, index::Unshown::Nothing)
        .unwrap()
        .unwrap();
    assert_eq!(loaded.next_seq, 3);
}

#[test]
fn one_object_whose_files_cannot_be_written_stops_no_other() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let stuck = index::path(&data.file(0).dir, OBJECT);
    std::fs::create_dir(&stuck).unwrap();
    journal.append(tree_unit(&data, 1, create(1)));
    let other = ObjectId([8; 32]);
    let mut unit = tree_unit(&data, 1, create(1));
    unit.object = other;
    unit.tree = TreeUnit::Append(TreeAppend::new(other, true, FileId(1), 1, &[create(1)]));
    let lsn = journal.append(unit);
    let path = index::path(&data.file(0).dir, other);
    journal.progress().wait(lsn).unwrap();
    for _ in 0..200 {
        if path.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(path.exists());
    assert!(!journal.progress().is_settled(OBJECT, lsn));
    std::fs::remove_dir(&stuck).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(wait_settled(journal.progress(), OBJECT, lsn));
    assert!(journal.close());
}

/// Counts what is written to indexes, none of which can be.
#[derive(Default)]
struct Tries(AtomicU64);

impl Probe for Tries {
    fn before(&self, op: Op<'_>) -> std::io::Result<()> {
        if matches!(op, Op::Write(path) if path.extension().is_some_and(|end| end == "facets")) {
            self.0.fetch_add(1, Ordering::SeqCst);
            return Err(std::io::Error::other("a test says so"));
        }
        Ok(())
    }

    fn after(&self, _: Op<'_>) {}
}

#[test]
fn what_is_stuck_is_tried_again_by_time_and_not_by_traffic() {
    let mut data = Data::new();
    let tries = Arc::new(Tries::default());
    data.options.disk = Disk::probed(tries.clone());
    let (journal, _) = data.open(false).unwrap();
    let begun = clock::now();
    journal.append(tree_unit(&data, 1, create(1)));
    let file = DbFile {
        object: ObjectId([8; 32]),
        ..data.file(0)
    };
    let mut other = FacetStore::new(file, String::new(), false, 1 << 30, Arc::default(), journal.clone());
    for round in 0..1_000_u32 {
        put(&mut other, &round.to_le_bytes());
    }
    let (tried, ms) = (
        tries.0.load(Ordering::SeqCst),
        clock::now().duration_since(begun).as_millis(),
    );
    // Every ten milliseconds here; and the first time.
    assert!(
        tried > 0 && u128::from(tried) <= ms / 10 + 3,
        "{tried} tries in {ms} ms"
    );
    other.close().unwrap();
    assert!(!journal.close());
}

#[test]
fn a_store_that_could_not_be_closed_loses_nothing() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    put(&mut store, b"1");
    put(&mut store, b"2");
    // As after a checkpoint that failed.
    store.abandon();
    let mut next = data.store(&journal, 1, true);
    assert_eq!(next.kv_get("k").unwrap().unwrap(), b"2");
    put(&mut next, b"3");
    drop(next);
    assert_eq!(value(&data, &journal, 1), b"3");
    // Nobody opens it again: the last log is folded when the journal is closed.
    assert!(journal.close());
    assert!(!data.file(1).wal_path().exists());
    let (journal, recovered) = data.open(false).unwrap();
    assert_eq!(recovered.units, 0);
    assert_eq!(value(&data, &journal, 1), b"3");
}

#[test]
fn a_directory_that_was_never_used_needs_no_journal() {
    let data = Data::new();
    assert!(
        matches!(data.open(true), Err(JournalError::Missing(_))),
        "a namespace was served"
    );
    std::fs::remove_dir_all(data.root().join("t")).unwrap();
    // As when the power fails while the host is started for the first time.
    data.open(true).unwrap();
    for segment in data.names(".log") {
        std::fs::remove_file(segment).unwrap();
    }
    data.open(true).unwrap();
}

#[test]
fn a_log_whose_database_is_gone_goes_as_well() {
    let data = Data::new();
    let (journal, recovered) = data.open(false).unwrap();
    let (dir, home) = (data.root().join("t"), data.file(3).home());
    for name in ["-wal", "-journal", "-tmp-0", "-tmp-12"] {
        std::fs::write(
            home.join(format!("{OBJECT}.3.sqlite{name}")),
            b"what a deleted facet held",
        )
        .unwrap();
    }
    std::fs::write(home.join("notes-wal"), b"somebody else's").unwrap();
    crate::offline::clear_orphans(&dir, &recovered, true, &Disk::new()).unwrap();
    let left: Vec<_> = std::fs::read_dir(&home)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["notes-wal"]);
    drop(journal);
}

#[test]
fn a_clean_close_leaves_no_logs() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    for checkpoints in [true, false] {
        let mut store = data.store(&journal, 1 + u32::from(checkpoints), false);
        put(&mut store, b"1");
        if checkpoints {
            store.checkpoint().unwrap();
        }
        // Its store is not closed, as after an error.
        drop(store);
    }
    assert!(journal.close());
    for file in [1, 2] {
        assert!(data.file(file).path().exists() && !data.file(file).wal_path().exists());
    }
}

#[test]
fn an_old_store_that_goes_does_not_hide_the_new_one() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let file = data.file(1);
    let old = Arc::new(Mutex::new(data.store(&journal, 1, false)));
    journal.pins().attend(&file, &old);
    put(&mut old.lock().unwrap(), b"1");
    old.lock().unwrap().close().unwrap();
    let new = Arc::new(Mutex::new(data.store(&journal, 1, true)));
    journal.pins().attend(&file, &new);
    // Whoever asked it for a checkpoint held it a little longer.
    drop(old);
    let lsn = put(&mut new.lock().unwrap(), b"2");
    journal.pins().press(lsn, journal.progress().durable());
    assert_eq!(journal.pins().oldest(), None, "the new one was asked for a checkpoint");
}

#[test]
fn what_is_left_of_released_segments_follows_each_other() {
    let fails: [Fails; 2] = [
        |op| matches!(op, Op::Remove(path) if path.ends_with("0000000001.log")),
        |op| matches!(op, Op::Rename(path) if path.ends_with("0000000001.log")),
    ];
    for fails in fails {
        let mut data = Data::new();
        let failing = Arc::new(Failing::default());
        data.options.disk = Disk::probed(failing.clone());
        let (journal, _) = data.open(false).unwrap();
        let (mut busy, mut idle) = (data.store(&journal, 1, false), data.store(&journal, 2, false));
        put(&mut idle, b"held");
        let mut random = super::random::Random::new(1);
        while data.names(".log").len() < 4 {
            put(&mut busy, &random.noise(1 << 20));
        }
        // The oldest cannot go: none of the others may either.
        *failing.0.lock().unwrap() = Some(fails);
        idle.close().unwrap();
        busy.checkpoint().unwrap();
        for _ in 0..40 {
            put(&mut busy, &random.noise(1 << 20));
        }
        let killed = data.killed();
        let (journal, _) = killed.open(true).unwrap();
        assert_eq!(value(&killed, &journal, 2), b"held");
    }
}

#[test]
fn a_journal_that_has_failed_is_kept() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    put(&mut store, b"1");
    store.kv_put("k", b"2").unwrap();
    // It was committed, and the journal was never told.
    store.end_turn().unwrap().unwrap();
    journal.fail("a test says so");
    drop(store);
    assert!(!journal.close(), "the next start recovers");
    let killed = data.killed();
    let (journal, recovered) = killed.open(true).unwrap();
    assert_eq!(recovered.units, 1);
    assert_eq!(value(&killed, &journal, 1), b"1");
}

#[test]
fn after_a_failed_barrier_the_journal_is_kept() {
    let mut data = Data::new();
    let failing = Arc::new(Failing::default());
    data.options.disk = Disk::probed(failing.clone());
    let (journal, _) = data.open(false).unwrap();
    *failing.0.lock().unwrap() = Some(|op| matches!(op, Op::SyncAll(_)));
    let mut store = data.store(&journal, 1, false);
    let mut random = super::random::Random::new(1);
    while !matches!(&*journal.progress().durability().borrow(), Durability::Failed(_)) {
        if store.kv_put("k", &random.noise(1 << 20)).is_err() || store.checkpoint_between_turns().is_err() {
            break;
        }
        match store.end_turn() {
            Ok(committed) => drop(store.record_alone(committed.unwrap())),
            Err(_) => break,
        }
    }
    *failing.0.lock().unwrap() = None;
    drop(store);
    let kept = data.names(".log").len();
    assert!(kept > 1 && !journal.close());
    assert_eq!(data.names(".log").len(), kept);
}

#[test]
fn a_log_is_folded_when_all_of_it_is_durable() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    let first = put(&mut store, b"1");
    let last = put(&mut store, b"2");
    // Nobody has it open now, as after an error.
    drop(store);
    journal.pins().press(last, first);
    assert_eq!(
        journal.pins().oldest(),
        Some(first),
        "the second commit may yet be lost"
    );
    assert!(data.file(1).wal_path().exists());
    journal.pins().press(first, last);
    assert_eq!(journal.pins().oldest(), None);
    assert!(!data.file(1).wal_path().exists());
}

#[test]
fn after_a_failure_nothing_is_moved_into_a_database() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    put(&mut store, b"1");
    store.kv_put("k", b"2").unwrap();
    let committed = store.end_turn().unwrap().unwrap();
    journal.fail("the test says so");
    store.record_alone(committed);
    store.abandon();
    // Whoever opens it next has made none of these commits.
    let mut next = data.store(&journal, 1, true);
    assert_eq!(next.kv_get("k").unwrap().unwrap(), b"2");
    next.end_turn().unwrap();
    assert!(next.close_for_good(true).is_err());
    drop((store, next));
    assert!(!journal.close());
    drop(journal);
    let (journal, _) = data.open(true).unwrap();
    assert_eq!(value(&data, &journal, 1), b"1");
}

/// A log that was left and opened again, whose checkpoint moves all pages and then cannot cut it, so that SQLite begins it anew:
/// a commit has all of its pages in its unit, whatever is longer.
#[test]
fn a_log_that_begins_anew_after_it_was_opened_again_is_shipped_whole() {
    use crate::storage::vfs::faults::{Op, When, inject};
    for many in [2, 6, 9] {
        let data = Data::new();
        let (journal, _) = data.open(false).unwrap();
        let mut store = data.store(&journal, 1, false);
        for round in 0..3_u8 {
            put(&mut store, &[round; 3000]);
        }
        drop(store);
        let mut store = data.store(&journal, 1, true);
        assert!(store.kv_get("k").unwrap().is_some());
        store.end_turn().unwrap();
        let fault = inject(
            &data.file(1).wal_path(),
            Op::Truncate,
            When::Only(1),
            rusqlite::ffi::SQLITE_IOERR_TRUNCATE,
        );
        assert!(store.checkpoint().is_err());
        assert!(fault.fired());
        drop(fault);
        for nth in 0..many {
            store.kv_put(&format!("x{nth}"), &vec![nth; 3000]).unwrap();
        }
        let committed = store.end_turn().unwrap().expect("it has written");
        let lsn = store.record_alone(committed);
        journal.progress().wait(lsn).unwrap();
        let killed = data.killed();
        let (after, _) = killed.open(true).unwrap();
        let mut found = killed.store(&after, 1, true);
        for nth in 0..many {
            let key = format!("x{nth}");
            assert_eq!(found.kv_get(&key).unwrap(), Some(vec![nth; 3000]), "{key} of {many}");
        }
        std::mem::forget(store);
    }
}

/// Two segments with acknowledged units, and what a start says without the first.
#[test]
fn a_segment_that_is_missing_and_needed_is_told() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut held = data.store(&journal, 1, false);
    put(&mut held, b"only in the first segment");
    let mut other = data.store(&journal, 2, false);
    let mut random = super::random::Random::new(1);
    while data.names(".log").len() < 2 {
        put(&mut other, &random.noise(1 << 20));
    }
    let killed = data.killed();
    let logs = killed.names(".log");
    std::fs::rename(&logs[0], killed.root().join("first")).unwrap();
    let refused = killed.open(true).err().expect("it is missing").to_string();
    assert!(refused.contains("segment 1 is missing"), "{refused}");
    std::fs::rename(killed.root().join("first"), &logs[0]).unwrap();
    let (after, _) = killed.open(true).unwrap();
    assert_eq!(value(&killed, &after, 1), b"only in the first segment");
}

/// One that was let go is not missed, though nothing was written since.
#[test]
fn a_segment_that_was_released_is_not_missed() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    let mut random = super::random::Random::new(1);
    while data.names(".log").len() < 2 {
        put(&mut store, &random.noise(1 << 20));
    }
    // Nothing pins the first any more; a spare is wanted, so the keeper looks.
    while data.names(".log").len() > 1 {
        store.checkpoint().unwrap();
        put(&mut store, &random.noise(1 << 20));
    }
    let killed = data.killed();
    let (after, _) = killed.open(true).unwrap();
    assert!(!value(&killed, &after, 1).is_empty());
}
