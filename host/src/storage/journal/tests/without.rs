//! Each rule is there for a reason: without it, some life of a directory ends with something lost, and the checker sees it.

use std::sync::{Arc, Condvar, Mutex};

use super::basic::{Data, put};
use super::failures::{Twist, live, options, temporary};
use super::model::db_file;
use super::random::Random;
use super::world::namespace;
use crate::ids::FileId;
use crate::storage::journal::batch::BLOCK_BYTES;
use crate::storage::journal::disk::{Op, Probe};
use crate::storage::journal::recovery::JournalError;
use crate::storage::journal::rules::Rule;
use crate::storage::journal::rules::tests::Without;
use crate::storage::journal::{Disk, Journal, JournalOptions, LocalJournal, Unit, segment};
use crate::storage::store::FacetStore;
use crate::sys::layout;

/// Lives in which the loss must be seen.
const LIVES_MAX: u64 = 400;

/// The first life that breaks a promise, and what it says. Where a rule is seldom missed, it begins with a life in which it
/// was: which threads run when is not up to the seed.
fn broken(twist: Twist, from: u64) -> Option<(u64, String)> {
    (from..from + LIVES_MAX).find_map(|seed| {
        let lived = std::panic::catch_unwind(|| live(seed, twist));
        match lived {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some((seed, why)),
            Err(_) => Some((seed, "it panicked".to_owned())),
        }
    })
}

fn is_missed(rule: Rule, from: u64) {
    let twist = Twist {
        without: Some(rule),
        ..Twist::default()
    };
    is_missed_in(twist, from);
}

fn is_missed_in(twist: Twist, from: u64) {
    let (seed, why) = broken(twist, from).unwrap_or_else(|| panic!("nobody misses it in {LIVES_MAX} lives: {twist:?}"));
    println!("{twist:?}: life {seed}: {why}");
}

#[test]
fn a_batch_is_synced() {
    is_missed(Rule::BatchIsSynced, 0);
}

#[test]
fn a_unit_is_acknowledged_after_it_was_written() {
    is_missed(Rule::AckAfterWrite, 0);
}

#[test]
fn a_failure_is_final() {
    let twist = Twist {
        without: Some(Rule::FailureIsFinal),
        fails_writes: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn only_durable_pages_reach_a_database() {
    is_missed(Rule::CheckpointAfterDurable, 0);
}

#[test]
fn a_segment_is_released_behind_a_barrier() {
    is_missed(Rule::BarrierBeforeRelease, 0);
}

#[test]
fn a_pin_holds_its_segment() {
    is_missed(Rule::PinsHoldSegments, 0);
}

/// Writes of the journal wait while it is held.
#[derive(Default)]
struct Held(Mutex<bool>, Condvar);

impl Held {
    fn hold(&self, hold: bool) {
        *self.0.lock().unwrap() = hold;
        self.1.notify_all();
    }
}

impl Probe for Held {
    fn before(&self, op: Op<'_>) -> std::io::Result<()> {
        if matches!(op, Op::WriteSynced { .. }) {
            drop(self.1.wait_while(self.0.lock().unwrap(), |held| *held).unwrap());
        }
        Ok(())
    }

    fn after(&self, _: Op<'_>) {}
}

/// True if the journal keeps the pages of a database that is removed, and closed, while its removal may still not have been.
fn is_held_while_removed(without: Option<Rule>) -> bool {
    let (mut data, held) = (Data::new(), Arc::new(Held::default()));
    data.options.disk = Disk::probed(held.clone());
    let _without = Without::new(without, data.root());
    let (journal, _) = data.open(false).unwrap();
    let mut child = data.store(&journal, 1, false);
    put(&mut child, b"1");
    held.hold(true);
    let removed = journal.append(Unit {
        removed: vec![FileId(1)],
        ..data.unit()
    });
    child.forsake();
    let pins = journal.pins();
    pins.lift_closed(removed, journal.progress().durable());
    let is_held = pins.oldest().is_some();
    held.hold(false);
    journal.progress().wait(removed).unwrap();
    pins.lift_closed(removed, removed);
    assert_eq!(pins.oldest(), None, "it holds the journal for ever");
    assert!(journal.close());
    is_held
}

#[test]
fn a_removed_database_is_kept_until_that_is_durable() {
    assert!(is_held_while_removed(None));
    assert!(!is_held_while_removed(Some(Rule::RemovalHoldsPin)));
}

#[test]
fn files_show_a_unit_before_its_segment_goes() {
    // One thread does both in order, so only a change of files that fails can be overtaken.
    let twist = Twist {
        without: Some(Rule::SettledBeforeRelease),
        fails_writes: true,
        writes_much: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn all_frames_of_a_commit_are_shipped() {
    is_missed(Rule::AllFramesAreShipped, 0);
}

#[test]
fn a_log_of_another_process_is_never_read() {
    is_missed(Rule::StrangeLogIsRemoved, 0);
}

#[test]
fn the_first_commit_is_whole() {
    is_missed(Rule::FirstCommitIsWhole, 0);
}

#[test]
fn pages_belong_to_one_generation() {
    is_missed(Rule::GenerationsAreApart, 0);
}

#[test]
fn files_follow_units() {
    is_missed(Rule::FilesFollowUnits, 0);
}

#[test]
fn a_copy_is_durable_before_its_unit() {
    is_missed(Rule::CopyIsSynced, 0);
}

#[test]
fn a_copy_is_announced() {
    is_missed(Rule::CopyIsAnnounced, 0);
}

#[test]
fn a_segment_has_a_new_id_each_time() {
    let twist = Twist {
        without: Some(Rule::SegmentHasNewId),
        writes_much: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn a_segment_is_named_before_it_is_used() {
    is_missed(Rule::SegmentIsNamed, 0);
}

#[test]
fn a_released_segment_has_lost_its_name() {
    let twist = Twist {
        without: Some(Rule::ReleasedIsUnnamed),
        writes_much: true,
        fails_at_names: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn a_file_says_how_far_a_history_has_come_before_its_units_go() {
    let twist = Twist {
        without: Some(Rule::HeadsAreShown),
        writes_much: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn a_release_is_written_before_a_segment_goes() {
    let twist = Twist {
        without: Some(Rule::ReleaseIsWritten),
        writes_much: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn a_segment_that_is_needed_is_missed() {
    let twist = Twist {
        without: Some(Rule::MissingIsRefused),
        loses_segments: true,
        writes_much: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn no_block_is_written_twice() {
    is_missed(Rule::BlockIsWrittenOnce, 0);
}

#[test]
fn what_was_read_is_durable_before_it_is_acted_upon() {
    let twist = Twist {
        without: Some(Rule::ReadIsSynced),
        fails_in_recovery: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn the_last_batch_is_written_again() {
    let twist = Twist {
        without: Some(Rule::LastIsWrittenAgain),
        fails_writes: true,
        fails_in_recovery: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn what_was_redone_is_durable_before_the_journal_goes() {
    is_missed(Rule::RedoIsSynced, 0);
}

#[test]
fn a_tree_and_its_databases_are_one_unit() {
    let twist = Twist {
        splits_units: true,
        ..Twist::default()
    };
    is_missed_in(twist, 0);
}

#[test]
fn damage_is_refused() {
    let root = temporary();
    let open = |was_dirty| LocalJournal::open(root.path(), was_dirty, &options(8 << 20, Disk::new()), |_| Ok(()));
    let (journal, _) = open(false).unwrap();
    layout::make_homes(&namespace(root.path())).unwrap();
    let mut store = FacetStore::new(
        db_file(&namespace(root.path()), 1, 0),
        String::new(),
        false,
        1 << 30,
        Arc::default(),
        Arc::new(journal),
    );
    for round in 0..5_u8 {
        store.kv_put("k", &[round; 100]).unwrap();
        let committed = store.end_turn().unwrap().unwrap();
        let lsn = store.record_alone(committed);
        store.journal.progress().wait(lsn).unwrap();
    }
    let log = segment::path(&root.path().join("journal"), 1);
    let mut bytes = std::fs::read(&log).unwrap();
    let mut batch = (BLOCK_BYTES..bytes.len())
        .step_by(BLOCK_BYTES)
        .filter(|at| bytes[*at..].starts_with(b"fbat"));
    let second = batch.nth(1).unwrap();
    bytes[second + 100] ^= 1;
    let changed = temporary();
    std::fs::create_dir(changed.path().join("journal")).unwrap();
    layout::make_homes(&namespace(changed.path())).unwrap();
    std::fs::write(segment::path(&changed.path().join("journal"), 1), &bytes).unwrap();
    let open = || LocalJournal::open(changed.path(), true, &options(8 << 20, Disk::new()), |_| Ok(()));
    assert!(matches!(open(), Err(JournalError::Damaged { .. })));
    let _without = Without::new(Some(Rule::DamageIsRefused), changed.path());
    let (_, recovered) = open().unwrap();
    assert_eq!(
        recovered.units, 1,
        "four units that were acknowledged are gone, and nobody says so"
    );
}

/// Commits so much that the journal has no room for it while another database holds its first segment. True if that was
/// refused before the COMMIT; false if it was committed, and cannot become durable by itself.
fn is_refused_when_full(without: Option<Rule>) -> bool {
    let root = temporary();
    let _without = Without::new(without, root.path());
    let options = JournalOptions {
        segment_bytes: 8 << 20,
        cap_bytes: 24 << 20,
        disk: Disk::new(),
        ..JournalOptions::default()
    };
    let (journal, _) = LocalJournal::open(root.path(), false, &options, |_| Ok(())).unwrap();
    let journal = Arc::new(journal);
    layout::make_homes(&namespace(root.path())).unwrap();
    let store = |number| {
        let file = db_file(&namespace(root.path()), number, 0);
        FacetStore::new(file, String::new(), false, 1 << 30, Arc::default(), journal.clone())
    };
    let mut random = Random::new(1);
    let (mut idle, mut busy) = (store(1), store(2));
    idle.kv_put("k", b"held").unwrap();
    let held = idle.end_turn().unwrap().unwrap();
    idle.record_alone(held);
    for key in 0..15 {
        busy.kv_put(&format!("{key}"), &random.noise(2 << 20)).unwrap();
    }
    let committed = match busy.end_turn() {
        Err(error) => {
            assert_eq!(error.code(), "journal-full");
            return true;
        }
        Ok(committed) => committed.unwrap(),
    };
    let lsn = busy.record_alone(committed);
    // It is queued: the writer waits for room, or has found some.
    while journal.queue_is_full().is_none() && journal.progress().durable() < lsn {
        std::thread::yield_now();
    }
    journal.fail("the test is over");
    false
}

#[test]
fn there_is_room_before_a_commit() {
    assert!(is_refused_when_full(None));
    assert!(!is_refused_when_full(Some(Rule::RoomBeforeCommit)));
}
