//! Whatever waits in the journal has an end: what nobody lifts is lifted, who never comes to it is made to, and what cannot
//! get on fails with a reason.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::basic::{Data, create, put, put_only};
use super::random::Random;
use crate::ids::{FacetName, FileId};
use crate::index::TreeChange;
use crate::storage::journal::rules::Rule;
use crate::storage::journal::rules::tests::Without;
use crate::storage::journal::*;
use crate::storage::store::FacetStore;

/// Twice the journal's cap.
const MUCH: u64 = 128 << 20;
const VALUE_BYTES: usize = 1 << 20;

fn small() -> Data {
    let mut data = Data::new();
    data.options.segment_bytes = 4 << 20;
    data.options.cap_bytes = MUCH / 2;
    data
}

/// Somebody else's object.
fn stranger(data: &Data, journal: &Arc<LocalJournal>) -> FacetStore {
    let file = crate::storage::DbFile {
        object: crate::ids::ObjectId([8; 32]),
        ..data.file(0)
    };
    crate::sys::layout::make_homes(&data.file(0).dir).unwrap();
    FacetStore::new(file, String::new(), false, 1 << 30, Arc::default(), journal.clone())
}

/// Everybody else writes twice what the journal holds, and is never refused.
fn others_go_on(data: &Data, journal: &Arc<LocalJournal>) {
    let mut other = data.store(journal, 9, false);
    write_much(&mut other);
    other.close().unwrap();
}

fn write_much(store: &mut FacetStore) {
    let mut random = Random::new(1);
    for _ in 0..MUCH / VALUE_BYTES as u64 {
        put(store, &random.noise(VALUE_BYTES));
        store.checkpoint_between_turns().unwrap();
    }
}

#[test]
fn the_pin_of_a_closed_database_is_lifted() {
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    let mut child = data.store(&journal, 1, false);
    put(&mut child, b"1");
    child.kv_put("k", b"2").unwrap();
    let committed = child.end_turn().unwrap().unwrap();
    // Its database is removed, and only then its commit is queued: what `live` must not do.
    let removed = journal.append(Unit {
        removed: vec![FileId(1)],
        ..data.unit()
    });
    settle(&journal, removed);
    let late = journal.append(Unit {
        members: vec![committed],
        ..data.unit()
    });
    child.recorded(late);
    child.forsake();
    assert_eq!(journal.pins().oldest(), Some(late));
    others_go_on(&data, &journal);
    assert_eq!(journal.pins().oldest(), None);
    assert!(journal.close());
}

fn settle(journal: &LocalJournal, lsn: Lsn) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(wait_settled(journal.progress(), crate::ids::ObjectId([7; 32]), lsn));
}

#[test]
fn a_facet_that_is_always_in_a_turn_makes_room() {
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    let busy = Arc::new(Mutex::new(data.store(&journal, 1, false)));
    journal.pins().attend(&data.file(1), &busy);
    // In a turn whenever anybody looks; it ends one as the isolate does, and begins the next before it lets go.
    busy.lock().unwrap().kv_put("k", b"0").unwrap();
    let (over, ended) = (AtomicBool::new(false), Mutex::new(0_u64));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mut store = busy.lock().unwrap();
                let committed = store.end_turn().unwrap().expect("it has written");
                store.record_alone(committed);
                if store.must_checkpoint() {
                    store.checkpoint().unwrap();
                }
                *ended.lock().unwrap() += 1;
                store.kv_put("k", &ended.lock().unwrap().to_le_bytes()).unwrap();
            }
        });
        others_go_on(&data, &journal);
        over.store(true, Ordering::Relaxed);
    });
    assert!(*ended.lock().unwrap() > 0, "it has done nothing");
    busy.lock().unwrap().close().unwrap();
    assert!(journal.close());
}

#[test]
fn a_unit_that_no_journal_can_hold_fails_it() {
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    put(&mut data.store(&journal, 2, false), b"1");
    let TreeChange::Create { startup, .. } = create(1) else {
        unreachable!("that is what it makes")
    };
    let mut startup = crate::startup::Startup::clone(&startup);
    startup.props.body = Random::new(3).noise(64 << 10);
    let startup = Arc::new(startup);
    let changes = (1..=2_000).map(|file| TreeChange::Create {
        file: FileId(file),
        parent: FileId::ROOT,
        name: FacetName::new(&format!("f{file}")).unwrap(),
        startup: startup.clone(),
        has_database: true,
    });
    let append = TreeAppend::new(data.file(0).object, true, FileId(1), 1, &changes.collect::<Vec<_>>());
    // Also with the segment that the writer may have beyond the cap, and those that are released meanwhile.
    assert!(append.bytes() > data.options.cap_bytes * 3 / 2, "else it fits");
    let lsn = journal.append(Unit {
        tree: TreeUnit::Append(append),
        ..data.unit()
    });
    let failed = journal.progress().wait(lsn).unwrap_err().to_string();
    assert!(failed.contains("waited") && failed.contains("hold commits"), "{failed}");
    assert!(!journal.close());
}

#[test]
fn changes_of_trees_take_room_like_pages() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let piece_bytes = 64 << 10;
    let held: Vec<_> = std::iter::from_fn(|| journal.try_reserve(piece_bytes)).collect();
    let held_bytes = held.len() as u64 * piece_bytes;
    assert!(
        !held.is_empty() && held_bytes < data.options.cap_bytes,
        "{held_bytes} bytes"
    );
    drop(held);
    let room = journal.try_reserve(piece_bytes);
    assert!(room.is_some(), "it comes back");
    // A unit gives back what was set aside for it.
    let lsn = journal.append(Unit {
        room: room.into_iter().collect(),
        ..data.unit()
    });
    journal.progress().wait(lsn).unwrap();
    assert!(journal.close());
}

#[test]
fn a_facet_that_only_reads_makes_room_too() {
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    put_only(&mut store, b"1");
    let store = Arc::new(Mutex::new(store));
    journal.pins().attend(&data.file(1), &store);
    let mut reader = store.lock().unwrap();
    assert!(reader.kv_get("k").unwrap().is_some());
    assert!(!reader.must_checkpoint());
    journal.pins().press(Lsn::MAX, Lsn::ZERO);
    assert!(reader.end_turn().unwrap().is_none());
    assert!(reader.must_checkpoint());
    reader.checkpoint().unwrap();
    assert!(!reader.must_checkpoint());
    assert_eq!(journal.pins().oldest(), None);
}

/// A directory stands where the index of one object should be: the others go on, and what the object has said is not lost.
#[test]
fn an_object_whose_files_cannot_be_written_waits_by_itself() {
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    let index = crate::index::path(&data.file(0).dir, data.file(0).object);
    std::fs::create_dir(&index).unwrap();
    let mut last = Lsn::ZERO;
    for seq in 1..=3 {
        let append = TreeAppend::new(
            data.file(0).object,
            seq == 1,
            FileId(1),
            seq,
            &[create(u32::try_from(seq).unwrap())],
        );
        last = journal.append(Unit {
            tree: TreeUnit::Append(append),
            ..data.unit()
        });
    }
    journal.progress().wait(last).unwrap();
    while journal.stuck(data.file(0).object).is_none() {
        std::thread::yield_now();
    }
    // Who waits for its files to be removed hears that nobody knows when, and who waits for another's does not.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(wait_stuck(journal.progress(), data.file(0).object));
    let other = wait_stuck(journal.progress(), crate::ids::ObjectId([8; 32]));
    let waited = runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_millis(20), other).await });
    assert!(waited.is_err());
    let mut own = data.store(&journal, 1, false);
    own.kv_put("k", b"v").unwrap();
    assert_eq!(own.end_turn().unwrap_err().code(), "io");
    let mut store = stranger(&data, &journal);
    let mut random = Random::new(1);
    for _ in 0..MUCH / VALUE_BYTES as u64 {
        put(&mut store, &random.noise(VALUE_BYTES));
        store.checkpoint_between_turns().unwrap();
    }
    store.close().unwrap();
    // Without what is in its way all is there.
    let facets = |data: &Data| {
        let path = crate::index::path(&data.file(0).dir, data.file(0).object);
        crate::index::load(&path, data.file(0).object, crate::index::Unshown::Nothing)
            .unwrap()
            .unwrap()
            .entries
            .len()
    };
    std::fs::remove_dir(&index).unwrap();
    while journal.stuck(data.file(0).object).is_some() {
        std::thread::yield_now();
    }
    own.discard_turn();
    put(&mut own, b"v");
    own.close().unwrap();
    assert!(journal.close());
    assert_eq!(facets(&data), 3);
}

/// What a later unit has begun anew, or removed, stays so, though what came before it was written again behind it.
#[test]
fn what_is_written_again_comes_before_all_else() {
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    let object = data.file(0).object;
    let index = crate::index::path(&data.file(0).dir, object);
    std::fs::create_dir(&index).unwrap();
    let append = |seq: u64, anew: bool, file: u32| Unit {
        tree: TreeUnit::Append(TreeAppend::new(object, anew, FileId(9), seq, &[create(file)])),
        ..data.unit()
    };
    let fill = |other: &mut FacetStore, random: &mut Random, segments: usize| {
        let before = data.names(".log").last().cloned();
        let mut seen = 0;
        let mut last = before;
        while seen < segments {
            put(other, &random.noise(VALUE_BYTES));
            other.checkpoint_between_turns().unwrap();
            let now = data.names(".log").last().cloned();
            seen += usize::from(now != last);
            last = now;
        }
    };
    let mut other = stranger(&data, &journal);
    let mut random = Random::new(1);
    journal.append(append(1, true, 1));
    let old = journal.append(append(2, false, 2));
    journal.progress().wait(old).unwrap();
    // In a later segment: the file begins anew, with another facet.
    fill(&mut other, &mut random, 2);
    let anew = journal.append(append(3, true, 3));
    journal.progress().wait(anew).unwrap();
    // The first segments go: the first two units are at the head now.
    while data.names(".log").iter().any(|log| log.ends_with("0000000001.log")) {
        put(&mut other, &random.noise(VALUE_BYTES));
        other.checkpoint_between_turns().unwrap();
    }
    // As a kill leaves it: nothing of a journal that has failed goes, and when it is closed nobody touches a file any more.
    journal.fail("the test ends it");
    assert!(!journal.close());
    std::fs::remove_dir(&index).unwrap();
    let killed = data.killed();
    let (after, _) = killed.open(true).unwrap();
    let loaded = crate::index::load(
        &crate::index::path(&killed.file(0).dir, object),
        object,
        crate::index::Unshown::Nothing,
    );
    let entries: Vec<_> = loaded.unwrap().unwrap().entries.into_keys().collect();
    assert_eq!(entries, [FileId(3)]);
    drop(after);
    drop(other);
}

/// Whether somebody else is refused while an object whose files cannot be written has the tail of the journal.
fn is_refused_behind_a_stuck_object(without: Option<Rule>) -> bool {
    let data = small();
    let _without = Without::new(without, data.root());
    let (journal, _) = data.open(false).unwrap();
    std::fs::create_dir(crate::index::path(&data.file(0).dir, data.file(0).object)).unwrap();
    let append = TreeAppend::new(data.file(0).object, true, FileId(1), 1, &[create(1)]);
    journal.append(Unit {
        tree: TreeUnit::Append(append),
        ..data.unit()
    });
    is_refused(&journal, &mut stranger(&data, &journal))
}

/// Whether that is so when somebody writes twice what the journal holds.
fn is_refused(journal: &LocalJournal, other: &mut FacetStore) -> bool {
    let mut random = Random::new(1);
    (0..MUCH / VALUE_BYTES as u64).any(|_| {
        other.kv_put("k", &random.noise(VALUE_BYTES)).unwrap();
        match other.end_turn() {
            Ok(committed) => {
                let lsn = other.record_alone(committed.expect("it has written"));
                journal.progress().wait(lsn).unwrap();
                other.checkpoint_between_turns().unwrap();
                false
            }
            Err(error) => {
                assert_eq!(error.code(), "journal-full");
                true
            }
        }
    })
}

#[test]
fn what_is_stuck_is_moved() {
    assert!(!is_refused_behind_a_stuck_object(None));
    assert!(is_refused_behind_a_stuck_object(Some(Rule::StuckIsMoved)));
}

#[test]
fn a_stop_tries_what_is_stuck_once_more() {
    for _ in 0..20 {
        let data = small();
        let (journal, _) = data.open(false).unwrap();
        let index = crate::index::path(&data.file(0).dir, data.file(0).object);
        std::fs::create_dir(&index).unwrap();
        let append = TreeAppend::new(data.file(0).object, true, FileId(1), 1, &[create(1)]);
        journal.append(Unit {
            tree: TreeUnit::Append(append),
            ..data.unit()
        });
        while journal.stuck(data.file(0).object).is_none() {
            std::thread::yield_now();
        }
        // Until it has been tried again, just now or not.
        for _ in 0..200 {
            let lsn = journal.append(data.unit());
            journal.progress().wait(lsn).unwrap();
        }
        std::fs::remove_dir(&index).unwrap();
        assert!(journal.close(), "its files could be written");
    }
}

/// A database whose file cannot be written for long, while somebody else writes twice what the journal holds. Whether anybody has it open
/// then, and whether it can be written later or the host is killed.
fn is_unwritten_for_long(is_open: bool, is_killed: bool) {
    use crate::storage::vfs::faults::{Op, When, inject};
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    put(&mut store, b"first");
    store.kv_put("other", b"second").unwrap();
    let second = store.end_turn().unwrap().unwrap();
    let second = store.record_alone(second);
    journal.progress().wait(second).unwrap();
    let fault = inject(
        &data.file(1).path(),
        Op::Write,
        When::From(1),
        rusqlite::ffi::SQLITE_IOERR_WRITE,
    );
    let store = Arc::new(Mutex::new(store));
    journal.pins().attend(&data.file(1), &store);
    let store = is_open.then_some(store);
    if !is_open {
        journal.pins().leave(&data.file(1));
    }
    let mut other = stranger(&data, &journal);
    write_much(&mut other);
    other.close().unwrap();
    assert!(fault.fired(), "nobody has tried");
    let object = data.file(1).object;
    assert!(journal.stuck(object).is_some(), "its log would only grow");
    if is_killed {
        journal.fail("the test ends it");
        assert!(!journal.close());
        let killed = data.killed();
        drop(fault);
        let (journal, _) = killed.open(true).unwrap();
        let mut store = killed.store(&journal, 1, true);
        assert_eq!(store.kv_get("k").unwrap().unwrap(), b"first");
        assert_eq!(store.kv_get("other").unwrap().unwrap(), b"second");
        return;
    }
    drop(fault);
    // Somebody looks from time to time.
    while journal.stuck(object).is_some() {
        std::thread::yield_now();
    }
    let mut store = match store {
        Some(store) => Arc::into_inner(store).unwrap().into_inner().unwrap(),
        None => data.store(&journal, 1, true),
    };
    assert_eq!(store.kv_get("other").unwrap().unwrap(), b"second");
    put(&mut store, b"third");
    store.close().unwrap();
    drop(store);
    assert!(journal.close());
    drop(journal);
    let (journal, _) = data.open(false).unwrap();
    assert_eq!(data.store(&journal, 1, true).kv_get("k").unwrap().unwrap(), b"third");
}

/// Whether somebody else is refused while a database cannot be written.
fn is_refused_behind_an_unwritten_database(without: Option<Rule>) -> bool {
    use crate::storage::vfs::faults::{Op, When, inject};
    let data = small();
    let _without = Without::new(without, data.root());
    let (journal, _) = data.open(false).unwrap();
    let store = Arc::new(Mutex::new(data.store(&journal, 1, false)));
    put(&mut store.lock().unwrap(), b"first");
    journal.pins().attend(&data.file(1), &store);
    let _fault = inject(
        &data.file(1).path(),
        Op::Write,
        When::From(1),
        rusqlite::ffi::SQLITE_IOERR_WRITE,
    );
    is_refused(&journal, &mut stranger(&data, &journal))
}

#[test]
fn what_a_database_that_cannot_be_written_holds_is_moved() {
    assert!(!is_refused_behind_an_unwritten_database(None));
    assert!(is_refused_behind_an_unwritten_database(Some(Rule::UnwrittenIsMoved)));
}

#[test]
fn a_database_that_cannot_be_written_holds_nobody_up_and_loses_nothing() {
    for (is_open, is_killed) in [(true, true), (true, false), (false, true), (false, false)] {
        is_unwritten_for_long(is_open, is_killed);
    }
}

/// Whether a segment has gone though the index of alarms lacks what a unit in it did.
fn goes_before_alarms_follow(without: Option<Rule>) -> bool {
    struct Slow;
    impl Follow for Slow {
        fn catch_up(&self, _: Lsn) {}
    }
    let data = small();
    let _without = Without::new(without, data.root());
    let (journal, _) = data.open(false).unwrap();
    let slow: Arc<dyn Follow> = Arc::new(Slow);
    let dir = data.file(1).dir;
    journal.followers().join(&dir, Vec::new(), Arc::downgrade(&slow));
    let mut store = data.store(&journal, 1, false);
    store.set_alarm(5_000, 1_000).unwrap();
    let set = store.end_turn().unwrap().expect("an alarm was set");
    let set = store.record_alone(set);
    store.close().unwrap();
    assert_eq!(journal.followers().oldest(), Some(set));
    let is_there = || data.names(".log").iter().any(|log| log.ends_with("0000000001.log"));
    let mut other = stranger(&data, &journal);
    let mut random = Random::new(1);
    let mut write = || {
        put(&mut other, &random.noise(VALUE_BYTES));
        other.checkpoint_between_turns().unwrap();
        // The keeper has looked at what was filled by the time that this is settled.
        settle(&journal, journal.append(data.unit()));
    };
    for _ in 0..24 {
        // Whoever lacks it for long is given up: it has lacked it since a moment ago, each time.
        journal.followers().join(&dir, Vec::new(), Arc::downgrade(&slow));
        journal.followers().appended(&dir, set);
        write();
        if !is_there() && journal.followers().oldest() == Some(set) {
            return true;
        }
    }
    journal.followers().followed(&dir, [set]);
    while is_there() {
        write();
    }
    false
}

#[test]
fn a_segment_stays_until_the_index_of_alarms_has_followed() {
    assert!(!goes_before_alarms_follow(None));
    assert!(goes_before_alarms_follow(Some(Rule::FollowersHoldSegments)));
}

#[test]
fn a_removal_that_cannot_be_done_holds_nobody_up() {
    let data = small();
    let (journal, _) = data.open(false).unwrap();
    let mut child = data.store(&journal, 1, false);
    put(&mut child, b"1");
    drop(child);
    let path = data.file(1).path();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let removal = journal.append(Unit {
        removed: vec![FileId(1)],
        ..data.unit()
    });
    journal.progress().wait(removal).unwrap();
    let refused = is_refused(&journal, &mut stranger(&data, &journal));
    assert!(!refused, "{:?}", journal.pins().oldest_named());
}

#[test]
fn a_long_log_is_moved_as_well() {
    use crate::storage::vfs::faults::{Op, When, inject};
    for mib in [2, 40] {
        let mut data = Data::new();
        data.options.segment_bytes = 16 << 20;
        data.options.cap_bytes = 160 << 20;
        let (journal, _) = data.open(false).unwrap();
        let mut store = data.store(&journal, 1, false);
        put(&mut store, b"first");
        let _fault = inject(
            &data.file(1).path(),
            Op::Write,
            When::From(1),
            rusqlite::ffi::SQLITE_IOERR_WRITE,
        );
        let mut random = Random::new(5);
        for key in 0..mib {
            store.kv_put(&format!("key{key}"), &random.noise(1 << 20)).unwrap();
            let committed = store.end_turn().unwrap().unwrap();
            let lsn = store.record_alone(committed);
            journal.progress().wait(lsn).unwrap();
        }
        drop(store);
        let refused = is_refused(&journal, &mut stranger(&data, &journal));
        assert!(!refused, "{mib} MiB: {:?}", journal.pins().oldest_named());
        journal.fail("the test ends it");
    }
}
