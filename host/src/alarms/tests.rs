//! The tasks on a clock that the test moves: what is due when, how many at a time, what reaches the index, and how it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::run::{Clock, Slots, keep_index, run};
use super::schedule::Moment;
use super::*;
use crate::storage::Durability;

const START_MS: u64 = 1_000_000;
const START: Moment = Moment {
    unix_ms: START_MS,
    steady_ms: 77,
};
/// Nothing here takes long; this ends what hangs.
const HANG: Duration = Duration::from_secs(60);

/// Stands still unless it is moved.
struct TestClock(watch::Sender<Moment>);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.borrow().unix_ms
    }

    fn steady_ms(&self) -> u64 {
        self.0.borrow().steady_ms
    }

    async fn sleep_until(&self, ms: u64) {
        let mut now = self.0.subscribe();
        let begun = *now.borrow();
        let until_ms = begun.steady_ms.saturating_add(ms.saturating_sub(begun.unix_ms));
        let _ = now.wait_for(|now| now.steady_ms >= until_ms).await;
    }
}

type Order = (AlarmKey, u64, oneshot::Sender<Delivered>);

/// Hands each delivery to the test, which says how it ends.
struct TestDeliver {
    orders: mpsc::UnboundedSender<Order>,
    clock: Arc<TestClock>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    waited: Mutex<Vec<Option<u64>>>,
}

impl Deliver for TestDeliver {
    async fn deliver(&self, key: AlarmKey, waited_ms: Option<u64>) -> Delivered {
        self.waited.lock().unwrap().push(waited_ms);
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let (tell, told) = oneshot::channel();
        let _ = self.orders.send((key, self.clock.now_ms(), tell));
        let delivered = told.await.unwrap_or(Delivered::Not);
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        delivered
    }
}

struct Rig {
    dir: tempfile::TempDir,
    alarms: Arc<Alarms>,
    clock: Arc<TestClock>,
    deliver: Arc<TestDeliver>,
    orders: mpsc::UnboundedReceiver<Order>,
    durability: watch::Sender<Durability>,
    lsn: u64,
}

fn key(file: u32) -> AlarmKey {
    let object = ObjectId([7; 32]);
    let file = FileId(file);
    AlarmKey { object, file }
}

impl Rig {
    fn new(slots: usize) -> Self {
        Self::at(tempfile::tempdir().unwrap(), slots)
    }

    fn at(dir: tempfile::TempDir, slots: usize) -> Self {
        Self::with(dir, Slots::new(Arc::new(Semaphore::new(slots)), 0))
    }

    fn with(dir: tempfile::TempDir, slots: Slots) -> Self {
        let alarms = Alarms::open(dir.path(), &Arc::default()).unwrap();
        let clock = Arc::new(TestClock(watch::channel(START).0));
        let (sender, orders) = mpsc::unbounded_channel();
        let deliver = Arc::new(TestDeliver {
            orders: sender,
            clock: clock.clone(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            waited: Mutex::default(),
        });
        let durability = watch::channel(Durability::UpTo(Lsn::local(0))).0;
        tokio::spawn(keep_index(alarms.clone(), durability.subscribe()));
        tokio::spawn(run(alarms.clone(), clock.clone(), deliver.clone(), slots));
        Self {
            dir,
            alarms,
            clock,
            deliver,
            orders,
            durability,
            lsn: 0,
        }
    }

    fn commit(&mut self, file: u32, change: AlarmChange) {
        self.lsn += 1;
        let AlarmKey { object, file } = key(file);
        self.alarms
            .committed(object, Lsn::local(self.lsn), &[(file, change)], &[]);
    }

    fn durable(&self) {
        self.durability.send_replace(Durability::UpTo(Lsn::local(self.lsn)));
    }

    async fn order(&mut self) -> Order {
        tokio::time::timeout(HANG, self.orders.recv())
            .await
            .expect("no delivery")
            .unwrap()
    }

    fn later(&self, ms: u64) {
        self.clock.0.send_modify(|now| {
            now.unix_ms += ms;
            now.steady_ms += ms;
        });
    }

    /// Somebody sets the clock.
    fn set_clock(&self, unix_ms: u64) {
        self.clock.0.send_modify(|now| now.unix_ms = unix_ms);
    }

    /// Nothing is delivered, and nothing will be before something else happens: both tasks have nothing to do.
    async fn quiet(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let order = self.orders.try_recv();
        assert!(order.is_err(), "{:?}", order.map(|order| order.0));
    }

    /// What the index says once everything durable is in it.
    async fn stop(self) -> (tempfile::TempDir, HashMap<u32, u64>) {
        self.alarms.stop();
        self.alarms.close(Lsn::local(self.lsn)).unwrap();
        let index = AlarmIndex::open(self.dir.path()).unwrap();
        let all = index.due(index::Place::default(), u64::MAX, 100).unwrap();
        index.close().unwrap();
        let all = all.into_iter().map(|place| (place.key.file.0, place.due_ms)).collect();
        (self.dir, all)
    }
}

#[tokio::test]
async fn alarms_come_in_their_order_and_not_early() {
    let mut rig = Rig::new(10);
    rig.commit(1, AlarmChange::Due(START_MS + 300));
    rig.commit(2, AlarmChange::Due(START_MS + 200));
    rig.commit(3, AlarmChange::Due(START_MS + 100));
    rig.commit(3, AlarmChange::None);
    rig.quiet().await;
    rig.later(199);
    rig.quiet().await;
    rig.later(1);
    let (second, at_ms, tell) = rig.order().await;
    assert_eq!((second, at_ms), (key(2), START_MS + 200));
    // Replaced by an earlier one while somebody sleeps for it.
    rig.commit(1, AlarmChange::Due(START_MS + 250));
    rig.later(50);
    let (first, at_ms, tell_first) = rig.order().await;
    assert_eq!((first, at_ms), (key(1), START_MS + 250));
    for (file, tell) in [(2, tell), (1, tell_first)] {
        rig.commit(file, AlarmChange::None);
        tell.send(Delivered::Ran).unwrap();
    }
    rig.quiet().await;
}

#[tokio::test]
async fn one_at_a_time_for_a_facet_and_so_many_in_all() {
    let mut rig = Rig::new(3);
    for file in 1..=10 {
        rig.commit(file, AlarmChange::Due(START_MS));
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(rig.order().await);
    }
    rig.quiet().await;
    assert_eq!(rig.alarms.running(), 3);
    // Set again while it runs: not before that has ended.
    let (running, _, tell) = told.remove(0);
    rig.commit(running.file.0, AlarmChange::Due(START_MS));
    rig.quiet().await;
    tell.send(Delivered::Ran).unwrap();
    let mut again = 0;
    for _ in 0..8 {
        let (key, _, tell) = rig.order().await;
        again += usize::from(key == running);
        rig.commit(key.file.0, AlarmChange::None);
        tell.send(Delivered::Ran).unwrap();
    }
    assert_eq!(again, 1);
    assert_eq!(rig.deliver.most_at_once.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_namespace_that_takes_all_slots_leaves_others_their_own() {
    let shared = Arc::new(Semaphore::new(3));
    let rig = || Rig::with(tempfile::tempdir().unwrap(), Slots::new(shared.clone(), 2));
    let (mut greedy, mut other) = (rig(), rig());
    for file in 1..=10 {
        greedy.commit(file, AlarmChange::Due(START_MS));
    }
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(greedy.order().await);
    }
    greedy.quiet().await;
    for file in 1..=3 {
        other.commit(file, AlarmChange::Due(START_MS));
    }
    held.push(other.order().await);
    held.push(other.order().await);
    other.quiet().await;
    // What somebody gives back of the shared ones anybody may have.
    let (first, _, tell) = held.remove(0);
    greedy.commit(first.file.0, AlarmChange::None);
    tell.send(Delivered::Ran).unwrap();
    let next = tokio::select! {
        next = greedy.order() => next,
        next = other.order() => next,
    };
    drop(next);
}

#[tokio::test]
async fn the_index_gets_what_is_durable_and_nothing_else() {
    let mut rig = Rig::new(10);
    rig.commit(1, AlarmChange::Due(START_MS + 10_000));
    rig.commit(2, AlarmChange::Trying(START_MS + 20_000));
    rig.durable();
    rig.commit(2, AlarmChange::Due(START_MS + 90_000));
    // Written by whoever knows that the journal has come so far.
    rig.alarms.settle(Lsn::local(2)).unwrap();
    let index = rig.alarms.index().take().unwrap();
    assert_eq!(index.due_of(key(1)).unwrap(), Some(START_MS + 10_000));
    assert_eq!(index.due_of(key(2)).unwrap(), Some(START_MS + 20_000));
    *rig.alarms.index() = Some(index);
    // Who asks gets the newest all the same, but for a handler that runs.
    assert_eq!(rig.alarms.due_ms(key(1)), Some(START_MS + 10_000));
    assert_eq!(rig.alarms.due_ms(key(2)), Some(START_MS + 90_000));
    rig.commit(1, AlarmChange::Trying(START_MS + 30_000));
    assert_eq!(rig.alarms.due_ms(key(1)), None);
    rig.durable();
    let (_, all) = rig.stop().await;
    assert_eq!(all, HashMap::from([(1, START_MS + 30_000), (2, START_MS + 90_000)]));
}

#[tokio::test]
async fn what_is_not_durable_at_a_stop_is_left_to_the_journal() {
    let mut rig = Rig::new(10);
    rig.commit(1, AlarmChange::Due(START_MS + 10_000));
    rig.durable();
    rig.commit(2, AlarmChange::Due(START_MS + 10_000));
    rig.alarms.stop();
    rig.alarms.close(Lsn::local(1)).unwrap();
    let index = AlarmIndex::open(rig.dir.path()).unwrap();
    assert_eq!(index.due_of(key(1)).unwrap(), Some(START_MS + 10_000));
    assert_eq!(index.due_of(key(2)).unwrap(), None);
}

/// The journal keeps what the index lacks, and nothing that it does not.
#[tokio::test]
async fn the_journal_waits_for_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let followers = Arc::<Followers>::default();
    let alarms = Alarms::open(dir.path(), &followers).unwrap();
    let object = ObjectId([7; 32]);
    let follow = |lsn, changes: &[(FileId, AlarmChange)], removed: &[FileId]| {
        followers.appended(dir.path(), Lsn::local(lsn));
        alarms.committed(object, Lsn::local(lsn), changes, removed);
    };
    // Nothing was ever set here: nothing is going to be written.
    follow(1, &[], &[FileId(1)]);
    assert_eq!(followers.oldest(), None);
    follow(2, &[(FileId(1), AlarmChange::Due(9))], &[]);
    follow(3, &[], &[FileId(1)]);
    assert_eq!(followers.oldest(), Some(Lsn::local(2)));
    alarms.settle(Lsn::local(2)).unwrap();
    assert_eq!(followers.oldest(), Some(Lsn::local(3)));
    // One that the index has not been told of yet.
    followers.appended(dir.path(), Lsn::local(4));
    alarms.settle(Lsn::local(4)).unwrap();
    assert_eq!(followers.oldest(), Some(Lsn::local(4)));
    alarms.committed(object, Lsn::local(4), &[(FileId(2), AlarmChange::Due(9))], &[]);
    alarms.catch_up(Lsn::local(4));
    assert_eq!(followers.oldest(), None);
    alarms.close(Lsn::local(4)).unwrap();
}

#[tokio::test]
async fn what_is_far_off_is_read_from_the_index_in_time() {
    let mut rig = Rig::new(10);
    let far_ms = START_MS + 10 * WINDOW_MS;
    rig.commit(1, AlarmChange::Due(far_ms));
    rig.commit(2, AlarmChange::Due(far_ms + 5));
    rig.durable();
    let (dir, all) = rig.stop().await;
    assert_eq!(all.len(), 2);
    // Another host on the same directory, and one that is set while it runs.
    let mut rig = Rig::at(dir, 10);
    rig.commit(3, AlarmChange::Due(far_ms + 3));
    rig.durable();
    rig.quiet().await;
    rig.later(10 * WINDOW_MS - 1);
    rig.quiet().await;
    for (ms, file) in [(1, 1), (3, 3), (2, 2)] {
        rig.later(ms);
        let (found, at_ms, tell) = rig.order().await;
        assert_eq!(found, key(file));
        assert!(at_ms >= far_ms);
        rig.commit(file, AlarmChange::None);
        tell.send(Delivered::Ran).unwrap();
    }
    rig.durable();
    assert_eq!(rig.stop().await.1.len(), 0);
}

#[tokio::test]
async fn a_facet_that_says_not_now_corrects_the_index() {
    let mut rig = Rig::new(10);
    rig.commit(1, AlarmChange::Due(START_MS));
    rig.commit(2, AlarmChange::Due(START_MS));
    rig.durable();
    for _ in 0..2 {
        let (found, _, tell) = rig.order().await;
        let due_ms = (found == key(1)).then_some(START_MS + 500);
        tell.send(Delivered::NotDue(due_ms)).unwrap();
    }
    rig.quiet().await;
    rig.later(500);
    let (found, _, tell) = rig.order().await;
    assert_eq!(found, key(1));
    drop(tell);
    assert_eq!(rig.stop().await.1, HashMap::from([(1, START_MS + 500)]));
}

#[tokio::test]
async fn a_facet_that_is_not_reached_is_tried_again_later() {
    let mut rig = Rig::new(1);
    rig.commit(1, AlarmChange::Due(START_MS));
    for (delivered, wait_ms) in [(Delivered::Not, 250), (Delivered::Not, 500), (Delivered::NoRoom, 1_250)] {
        let (found, _, tell) = rig.order().await;
        assert_eq!(found, key(1));
        tell.send(delivered).unwrap();
        rig.quiet().await;
        // Without room the slot is kept for a while first.
        if delivered == Delivered::NoRoom {
            rig.later(250);
            rig.quiet().await;
            rig.later(wait_ms - 251);
        } else {
            rig.later(wait_ms - 1);
        }
        rig.quiet().await;
        rig.later(1);
    }
    let (found, _, tell) = rig.order().await;
    assert_eq!(found, key(1));
    tell.send(Delivered::Ran).unwrap();
}

#[tokio::test]
async fn databases_that_go_take_their_alarms_along() {
    let mut rig = Rig::new(10);
    // Nothing was ever set here: nothing to look for.
    rig.alarms
        .committed(ObjectId([7; 32]), Lsn::local(1), &[], &[FileId(1)]);
    assert!(rig.alarms.state().unsettled.is_empty());
    rig.commit(1, AlarmChange::Due(START_MS + 100));
    rig.commit(2, AlarmChange::Due(START_MS + 100));
    rig.alarms
        .committed(ObjectId([7; 32]), Lsn::local(3), &[], &[FileId(1), FileId(5)]);
    rig.lsn = 3;
    rig.durable();
    rig.later(100);
    let (found, _, tell) = rig.order().await;
    assert_eq!(found, key(2));
    rig.commit(2, AlarmChange::None);
    tell.send(Delivered::Ran).unwrap();
    rig.quiet().await;
    assert_eq!(rig.stop().await.1.len(), 0);
}

#[tokio::test]
async fn nothing_is_delivered_after_the_stop() {
    let mut rig = Rig::new(10);
    rig.commit(1, AlarmChange::Due(START_MS + 10));
    rig.quiet().await;
    rig.alarms.stop();
    rig.later(10);
    rig.quiet().await;
}

#[tokio::test]
async fn a_retry_waits_as_long_as_it_is_to_if_the_clock_is_set() {
    let mut rig = Rig::new(1);
    rig.commit(1, AlarmChange::Due(START_MS));
    let (_, _, tell) = rig.order().await;
    let due_ms = START_MS + 2_000;
    rig.commit(1, AlarmChange::Retry { due_ms, wait_ms: 2_000 });
    tell.send(Delivered::Ran).unwrap();
    rig.quiet().await;
    rig.set_clock(START_MS / 2);
    rig.quiet().await;
    rig.later(1_999);
    rig.quiet().await;
    rig.later(1);
    let (found, at_ms, tell) = rig.order().await;
    assert_eq!((found, at_ms), (key(1), START_MS / 2 + 2_000));
    assert_eq!(*rig.deliver.waited.lock().unwrap(), [None, Some(due_ms)]);
    // The index says what the row says.
    rig.durable();
    drop(tell);
    assert_eq!(rig.stop().await.1, HashMap::from([(1, due_ms)]));
}

#[tokio::test]
async fn an_alarm_without_handler_waits_for_one() {
    let mut rig = Rig::new(1);
    rig.commit(1, AlarmChange::Due(START_MS));
    let mut wait_ms = 250;
    for _ in 0..12 {
        let (_, _, tell) = rig.order().await;
        tell.send(Delivered::NoHandler).unwrap();
        rig.quiet().await;
        rig.later(wait_ms - 1);
        rig.quiet().await;
        rig.later(1);
        wait_ms = (2 * wait_ms).min(64_000);
    }
    let (_, _, tell) = rig.order().await;
    rig.commit(1, AlarmChange::None);
    tell.send(Delivered::Ran).unwrap();
    rig.quiet().await;
}

#[tokio::test]
async fn what_an_opened_database_says_corrects_the_index_both_ways() {
    let mut rig = Rig::new(10);
    let far_ms = START_MS + 10 * WINDOW_MS;
    for file in 1..=4 {
        rig.commit(file, AlarmChange::Due(far_ms));
    }
    rig.durable();
    let (dir, _) = rig.stop().await;
    let mut rig = Rig::at(dir, 10);
    rig.quiet().await;
    // As it was known, earlier, later, gone, and one that was not known.
    rig.alarms.found(key(1), Some(far_ms));
    rig.alarms.found(key(2), Some(START_MS + 5));
    rig.alarms.found(key(3), Some(far_ms + 9));
    rig.alarms.found(key(4), None);
    rig.alarms.found(key(5), Some(START_MS));
    let (found, _, tell) = rig.order().await;
    assert_eq!(found, key(5));
    rig.commit(5, AlarmChange::None);
    tell.send(Delivered::Ran).unwrap();
    rig.later(5);
    let (found, _, tell) = rig.order().await;
    assert_eq!(found, key(2));
    rig.commit(2, AlarmChange::None);
    tell.send(Delivered::Ran).unwrap();
    // A commit that comes before anybody has looked is newer.
    rig.alarms.found(key(6), Some(START_MS));
    rig.commit(6, AlarmChange::Due(far_ms));
    rig.quiet().await;
    rig.durable();
    // And what nobody has looked at when the host stops is not lost.
    rig.alarms.found(key(7), Some(far_ms));
    let (_, all) = rig.stop().await;
    let expected = [(1, far_ms), (3, far_ms + 9), (6, far_ms), (7, far_ms)];
    assert_eq!(all, HashMap::from(expected));
}

#[tokio::test]
async fn nobody_looks_where_no_alarm_ever_was() {
    let rig = Rig::new(10);
    rig.alarms.found(key(1), None);
    assert!(rig.alarms.state().found.is_empty());
}
