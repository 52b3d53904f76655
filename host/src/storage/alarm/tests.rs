//! The row against a model that knows nothing of rows: every short history of setting, trying, failing and deleting.

use super::super::tests::Dir;
use super::row::{AfterFailure, AlarmRow, Beginning, RETRIES_MAX};
use super::{ALARM_MS_MAX, AlarmChange, stored_alarm};
use crate::storage::{FacetStore, StorageError};

/// What can happen to an alarm. Times are in seconds, one passes with each step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Set for now, and for later.
    SetNow,
    SetLater,
    Delete,
    /// The scheduler asks.
    Fire,
    Succeed,
    Fail,
    /// The host dies: what runs never ends.
    Crash,
    /// The host stops cleanly.
    Stop,
}

use Step::{Crash, Delete, Fail, Fire, SetLater, SetNow, Stop, Succeed};

const STEPS: [Step; 8] = [SetNow, SetLater, Delete, Fire, Succeed, Fail, Crash, Stop];
/// Histories of this length are tried, all of them.
const LENGTH: u32 = 6;
const LATER_MS: u64 = 3_000;

/// What the contract says, in its words.
#[derive(Clone, Default, Debug)]
struct Model {
    /// Set, and not begun.
    set: Option<u64>,
    /// Begun before, and to be tried again: when at the earliest, for when it was set, after how many tries.
    again: Option<(u64, u64, u32)>,
    /// A try runs; false if its alarm was deleted or replaced meanwhile.
    running: Option<bool>,
    /// Of the alarm whose try runs.
    scheduled_ms: u64,
    tries: u32,
}

impl Model {
    fn due_ms(&self) -> Option<u64> {
        self.set.or(self.again.map(|(at_ms, ..)| at_ms))
    }

    fn set(&mut self, at_ms: u64) {
        self.set = Some(at_ms);
        self.again = None;
        self.running = self.running.map(|_| false);
    }

    fn delete(&mut self) {
        (self.set, self.again) = (None, None);
        self.running = self.running.map(|_| false);
    }

    /// What the handler is told, if it runs.
    fn fire(&mut self, now_ms: u64) -> Option<(u64, u32)> {
        let due = self.due_ms().filter(|due_ms| *due_ms <= now_ms)?;
        (self.scheduled_ms, self.tries) = match (self.set.take(), self.again.take()) {
            (Some(at_ms), _) => (at_ms, 0),
            (None, Some((_, scheduled_ms, tries))) => (scheduled_ms, tries),
            (None, None) => unreachable!("due at {due}"),
        };
        self.running = Some(true);
        self.tries += 1;
        Some((self.scheduled_ms, self.tries - 1))
    }

    fn end(&mut self, failed_at_ms: Option<u64>) {
        if let (Some(true), Some(now_ms)) = (self.running.take(), failed_at_ms)
            && self.tries <= RETRIES_MAX
        {
            let wait_ms = 2_000 * 2_u64.pow(self.tries - 1);
            self.again = Some((now_ms + wait_ms, self.scheduled_ms, self.tries));
        }
    }
}

fn begun(row: &mut Option<AlarmRow>, now_ms: u64) -> Option<(u64, u32)> {
    match AlarmRow::begin(*row, now_ms, None) {
        Beginning::NotDue(_) => None,
        Beginning::Exhausted(_) => {
            *row = None;
            None
        }
        Beginning::Begun(info, next) => {
            *row = Some(next);
            Some((info.scheduled_ms, info.retry))
        }
    }
}

fn check(history: &[Step]) {
    let (mut row, mut trying, mut model) = (None, false, Model::default());
    let mut now_ms = 1_000_000;
    let mut began_ms = 0;
    for step in history {
        now_ms += 1_000;
        match step {
            SetNow => {
                // Past times are now.
                row = Some(AlarmRow::set(now_ms - 500, now_ms));
                model.set(now_ms);
            }
            SetLater => {
                row = Some(AlarmRow::set(now_ms + LATER_MS, now_ms));
                model.set(now_ms + LATER_MS);
            }
            Delete => {
                row = None;
                model.delete();
            }
            // One at a time: nobody asks a facet whose handler runs.
            Fire if trying => {}
            Fire => {
                let found = begun(&mut row, now_ms);
                assert_eq!(found, model.fire(now_ms), "{history:?}");
                trying = found.is_some();
                began_ms = now_ms;
            }
            Succeed | Fail | Crash | Stop if !trying => {}
            Succeed => {
                row = AlarmRow::succeeded(row);
                model.end(None);
                trying = false;
            }
            Fail => {
                let before = row;
                let after = AlarmRow::failed(row, now_ms);
                row = match after {
                    AfterFailure::Nothing | AfterFailure::Dropped(_) => None,
                    AfterFailure::Replaced => before,
                    AfterFailure::Retry(next) => Some(next),
                };
                model.end(Some(now_ms));
                trying = false;
            }
            Crash => {
                // As a failure at the moment when the try began.
                model.end(Some(began_ms));
                trying = false;
            }
            Stop => {
                row = AlarmRow::interrupted(row, now_ms);
                if model.running.take() == Some(true) {
                    let (scheduled_ms, tries) = (model.scheduled_ms, model.tries - 1);
                    model.again = (tries > 0).then_some((now_ms, scheduled_ms, tries));
                    // An alarm that was not tried before is as it was set.
                    model.set = (tries == 0).then_some(scheduled_ms);
                }
                trying = false;
            }
        }
        let visible = row.and_then(|row| row.visible_ms(trying));
        let expected = if trying { model.set } else { model.due_ms() };
        assert_eq!(visible, expected, "{history:?} at {step:?}");
    }
}

#[test]
fn every_short_history_is_that_of_the_model() {
    let mut histories = 0;
    for number in 0..STEPS.len().pow(LENGTH) {
        let history: Vec<_> = (0..LENGTH)
            .map(|place| STEPS[number / STEPS.len().pow(place) % STEPS.len()])
            .collect();
        check(&history);
        histories += 1;
    }
    assert_eq!(histories, 262_144);
}

#[test]
fn waits_double_and_the_seventh_try_is_the_last() {
    let mut row = Some(AlarmRow::set(10_000, 0));
    let (mut now_ms, mut waits_ms) = (10_000, Vec::new());
    for retry in 0..=RETRIES_MAX {
        assert_eq!(begun(&mut row, now_ms), Some((10_000, retry)));
        match AlarmRow::failed(row, now_ms) {
            AfterFailure::Retry(next) => {
                assert_eq!(begun(&mut Some(next), next.due_ms - 1), None, "early");
                waits_ms.push(next.due_ms - now_ms);
                (row, now_ms) = (Some(next), next.due_ms);
            }
            AfterFailure::Dropped(_) => {
                assert_eq!(retry, RETRIES_MAX);
                assert_eq!(waits_ms, [2_000, 4_000, 8_000, 16_000, 32_000, 64_000]);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("it is tried for ever");
}

#[test]
fn crashes_in_every_try_end_too() {
    let mut row = Some(AlarmRow::set(0, 0));
    let mut tries = 0;
    while let Some(now_ms) = row.map(|row| row.due_ms) {
        tries += usize::from(begun(&mut row, now_ms).is_some());
        assert!(tries < 100, "a handler that takes the host with it is tried for ever");
    }
    assert_eq!(tries, 7);
}

fn alarm_of(store: &mut FacetStore) -> Option<AlarmChange> {
    let committed = store.end_turn().unwrap()?;
    let alarm = committed.alarm;
    store.record_alone(committed);
    alarm
}

#[test]
fn an_alarm_is_part_of_its_turn_and_told_with_its_commit() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    assert_eq!(store.alarm().unwrap(), None);
    store.delete_alarm().unwrap();
    assert_eq!(alarm_of(&mut store), None);
    assert!(!dir.file(1).path().exists(), "deleting no alarm makes a file");

    store.set_alarm(5_000, 1_000).unwrap();
    assert_eq!(store.alarm().unwrap(), Some(5_000));
    store.discard_turn();
    assert_eq!(store.alarm().unwrap(), None);
    assert_eq!(alarm_of(&mut store), None);

    store.set_alarm(5_000, 1_000).unwrap();
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::Due(5_000)));
    store.kv_put("k", b"v").unwrap();
    assert_eq!(alarm_of(&mut store), None, "a turn that left it alone says nothing");

    let outer = store.begin().unwrap();
    store.set_alarm(9_000, 1_000).unwrap();
    store.rollback(outer).unwrap();
    assert_eq!(store.alarm().unwrap(), Some(5_000));
    assert_ne!(alarm_of(&mut store), Some(AlarmChange::Due(9_000)));

    store.delete_alarm().unwrap();
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::None));
}

#[test]
fn a_try_is_seen_by_who_asks() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.set_alarm(5_000, 1_000).unwrap();
    alarm_of(&mut store);
    assert_eq!(store.begin_alarm(4_999, None).unwrap(), Beginning::NotDue(Some(5_000)));
    assert!(matches!(store.begin_alarm(5_000, None).unwrap(), Beginning::Begun(..)));
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::Trying(7_000)));
    assert_eq!(store.alarm().unwrap(), None, "in the handler");
    assert!(!store.is_empty().unwrap());

    assert!(matches!(store.fail_alarm(6_000).unwrap(), AfterFailure::Retry(_)));
    assert_eq!(store.alarm().unwrap(), Some(8_000));
    let (due_ms, wait_ms) = (8_000, 2_000);
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::Retry { due_ms, wait_ms }));

    // Set in the handler: it stays, whatever the handler answers.
    assert!(matches!(store.begin_alarm(8_000, None).unwrap(), Beginning::Begun(..)));
    store.set_alarm(20_000, 8_000).unwrap();
    assert_eq!(store.alarm().unwrap(), Some(20_000));
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::Due(20_000)));
    assert_eq!(store.fail_alarm(9_000).unwrap(), AfterFailure::Replaced);
    assert_eq!(store.alarm().unwrap(), Some(20_000));
    assert!(matches!(store.begin_alarm(20_000, None).unwrap(), Beginning::Begun(info, _) if info.retry == 0));
    store.end_alarm().unwrap();
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::None));
    assert!(
        store.close_for_good(false).unwrap(),
        "an alarm that is over is nothing stored"
    );
}

#[test]
fn an_alarm_alone_is_stored_and_is_found_by_who_makes_the_index() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.set_alarm(5_000, 1_000).unwrap();
    alarm_of(&mut store);
    assert!(!store.close_for_good(false).unwrap());
    assert_eq!(stored_alarm(&dir.file(1)).unwrap(), Some(5_000));
    let mut store = dir.store(1, true);
    store.delete_all().unwrap();
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::None));
    store.kv_put("k", b"v").unwrap();
    alarm_of(&mut store);
    store.close().unwrap();
    assert_eq!(stored_alarm(&dir.file(1)).unwrap(), None);
}

#[test]
fn a_copy_has_no_alarm() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.set_alarm(5_000, 1_000).unwrap();
    alarm_of(&mut store);
    assert!(
        store.copy_committed_to(&dir.file(2), "facet-2").unwrap().is_none(),
        "an alarm alone is nothing to copy"
    );
    assert!(!dir.file(2).path().exists());
    store.kv_put("k", b"v").unwrap();
    alarm_of(&mut store);
    assert!(store.copy_committed_to(&dir.file(2), "facet-2").unwrap().is_some());
    let mut copy = dir.store(2, true);
    assert_eq!(copy.alarm().unwrap(), None);
    assert_eq!(copy.kv_get("k").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(store.alarm().unwrap(), Some(5_000));
}

#[test]
fn an_alarm_can_be_set_where_the_quota_is_used_up() {
    let dir = Dir::new();
    let mut store = dir.store_with(1, false, 1 << 20);
    let mut keys = 0..;
    while store.kv_put(&format!("k{}", keys.next().unwrap()), &[1; 4096]).is_ok() {}
    store.set_alarm(5_000, 1_000).unwrap();
    assert_eq!(alarm_of(&mut store), Some(AlarmChange::Due(5_000)));
    assert!(matches!(store.begin_alarm(5_000, None).unwrap(), Beginning::Begun(..)));
    alarm_of(&mut store);
}

#[test]
fn times_of_another_unit_are_refused() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    // Nanoseconds.
    let error = store.set_alarm(1_700_000_000_000_000_000, 0).unwrap_err();
    assert!(matches!(error, StorageError::InvalidArgument(_)), "{error}");
    store.set_alarm(ALARM_MS_MAX, 0).unwrap();
    assert_eq!(store.alarm().unwrap(), Some(ALARM_MS_MAX));
    // What is past is now.
    store.set_alarm(1, 7_000).unwrap();
    assert_eq!(store.alarm().unwrap(), Some(7_000));
}

#[test]
fn a_retry_whose_wait_has_passed_is_due_whatever_the_clock_says() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.set_alarm(5_000, 1_000).unwrap();
    // An alarm that nobody has tried follows the clock alone.
    assert_eq!(
        store.begin_alarm(4_000, Some(5_000)).unwrap(),
        Beginning::NotDue(Some(5_000))
    );
    assert!(matches!(store.begin_alarm(5_000, None).unwrap(), Beginning::Begun(..)));
    let AfterFailure::Retry(row) = store.fail_alarm(6_000).unwrap() else {
        panic!("the first of several tries");
    };
    // The clock was set back.
    assert_eq!(
        store.alarm_is_due(100, Some(row.due_ms - 1)).unwrap(),
        Err(Some(row.due_ms))
    );
    assert_eq!(store.alarm_is_due(100, Some(row.due_ms)).unwrap(), Ok(()));
    assert!(matches!(
        store.begin_alarm(100, Some(row.due_ms)).unwrap(),
        Beginning::Begun(..)
    ));
}

#[test]
fn whoever_opens_a_database_is_told_of_its_alarm() {
    let dir = Dir::new();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut store = dir.store(1, false);
    let tell = std::sync::Arc::clone(&told);
    store.tell_alarm(move |due_ms| tell.lock().unwrap().push(due_ms));
    store.set_alarm(5_000, 1_000).unwrap();
    alarm_of(&mut store);
    store.close().unwrap();
    store.kv_get("k").unwrap();
    store.delete_alarm().unwrap();
    store.kv_put("k", b"v").unwrap();
    alarm_of(&mut store);
    store.close().unwrap();
    store.kv_get("k").unwrap();
    assert_eq!(*told.lock().unwrap(), [Some(5_000), None], "not of one that it makes");
}
