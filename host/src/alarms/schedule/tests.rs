//! The schedule against a model of facets and an index, over random histories: no alarm is lost, early, or delivered twice
//! at once. The random numbers have a seed, so a failure can be had again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ids::{FileId, ObjectId};

fn key(file: u32) -> AlarmKey {
    AlarmKey {
        object: ObjectId([7; 32]),
        file: FileId(file),
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Everything around a schedule: facets with their rows, the index on disk, changes on their way to it.
struct World {
    schedule: Schedule,
    rows: BTreeMap<AlarmKey, u64>,
    index: BTreeSet<Place>,
    of: BTreeMap<AlarmKey, u64>,
    on_their_way: Vec<(AlarmKey, Version, Option<u64>)>,
    running: BTreeMap<AlarmKey, Version>,
    now_ms: u64,
    ran: u64,
}

impl World {
    fn new() -> Self {
        Self {
            schedule: Schedule::new(),
            rows: BTreeMap::new(),
            index: BTreeSet::new(),
            of: BTreeMap::new(),
            on_their_way: Vec::new(),
            running: BTreeMap::new(),
            now_ms: 1_000_000,
            ran: 0,
        }
    }

    /// A commit of the facet.
    fn commit(&mut self, key: AlarmKey, due_ms: Option<u64>) {
        match due_ms {
            Some(due_ms) => self.rows.insert(key, due_ms),
            None => self.rows.remove(&key),
        };
        let change = due_ms.map_or(AlarmChange::None, AlarmChange::Due);
        let (version, _) = self.schedule.changed(key, change);
        self.on_their_way.push((key, version, due_ms));
    }

    fn write(&mut self, key: AlarmKey, due_ms: Option<u64>) {
        if let Some(before_ms) = self.of.remove(&key) {
            self.index.remove(&Place { due_ms: before_ms, key });
        }
        if let Some(due_ms) = due_ms {
            self.of.insert(key, due_ms);
            self.index.insert(Place { due_ms, key });
        }
    }

    /// The journal is durable up to some commit.
    fn settle(&mut self, many: usize) {
        let done: Vec<_> = self.on_their_way.drain(..many).collect();
        for (key, _, due_ms) in &done {
            self.write(*key, *due_ms);
        }
        for (key, version, _) in done {
            self.schedule.settled(key, version);
        }
    }

    fn read_ahead(&mut self) {
        while let Some(after) = self.schedule.wants(self.now_ms) {
            let until_ms = self.now_ms + WINDOW_MS;
            let behind = self
                .index
                .range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
            let found: Vec<_> = behind
                .take_while(|p| p.due_ms <= until_ms)
                .take(FULL_LEN)
                .copied()
                .collect();
            let next_ms = self.index.range(Place::last_at(until_ms)..).next().map(|p| p.due_ms);
            self.schedule.read(&found, next_ms, self.now_ms);
        }
    }

    fn take(&mut self) -> bool {
        self.read_ahead();
        let Some(Taken { key, version, .. }) = self.schedule.take(self.now_ms) else {
            return false;
        };
        assert!(
            self.running.insert(key, version).is_none(),
            "{key:?} is delivered twice at once"
        );
        true
    }

    /// What the facet does with it.
    fn deliver(&mut self, key: AlarmKey, fate: u64) {
        let version = self.running.remove(&key).unwrap();
        match self.rows.get(&key).copied() {
            _ if fate == 0 => drop(self.schedule.undelivered(key, self.now_ms)),
            Some(due_ms) if due_ms <= self.now_ms => {
                self.ran += 1;
                match fate {
                    1 => self.commit(key, Some(self.now_ms + 2_000)),
                    2 => self.commit(key, Some(self.now_ms + 3 * WINDOW_MS)),
                    _ => self.commit(key, None),
                }
                self.schedule.ran(key);
            }
            not_due => {
                if let Some((_, version)) = self.schedule.stale(key, version, not_due) {
                    self.on_their_way.push((key, version, not_due));
                }
            }
        }
    }

    /// Lets time pass until nothing is left to do: everything that is set must run, at its time.
    fn drain(&mut self) {
        let mut steps = 0;
        while !self.rows.is_empty() || !self.running.is_empty() {
            let running: Vec<_> = self.running.keys().copied().collect();
            running.into_iter().for_each(|key| self.deliver(key, 9));
            self.settle(self.on_their_way.len());
            if !self.take() && !self.rows.is_empty() {
                let next_ms = self.schedule.next_ms();
                let next_ms = next_ms.unwrap_or_else(|| panic!("lost: {:?}", self.rows.iter().next()));
                // What was not reached waits for at most a minute and a bit; everything else comes when it is due.
                let first_ms = self.rows.values().min().copied().unwrap_or(0);
                let wait_ms = if self.schedule.again == 0 { 0 } else { 64_000 };
                assert!(
                    next_ms <= first_ms.max(self.now_ms) + wait_ms,
                    "late: {first_ms}, {next_ms}"
                );
                self.now_ms = self.now_ms.max(next_ms);
            }
            steps += 1;
            assert!(steps < 1_000_000, "it does not end; set: {:?}", self.rows.iter().next());
        }
    }
}

#[test]
fn random_histories_lose_nothing() {
    for seed in 0..150 {
        let mut random = Random(seed);
        let mut world = World::new();
        // As left by an earlier host: what is in the index alone, and what is only in a facet is not (rebuilding saw to it).
        for file in 0..random.below(40) as u32 {
            let due_ms = world.now_ms - 5_000 + random.below(4 * WINDOW_MS);
            world.rows.insert(key(file), due_ms);
            world.write(key(file), Some(due_ms));
        }
        for _ in 0..400 {
            let one = key(random.below(60) as u32);
            match random.below(12) {
                0..3 => {
                    let due_ms = world.now_ms + [0, 10, 5_000, WINDOW_MS, 5 * WINDOW_MS][random.below(5) as usize];
                    world.commit(one, Some(due_ms));
                }
                3 => world.commit(one, None),
                4..6 => world.settle(random.below(world.on_their_way.len() as u64 + 1) as usize),
                6..8 => drop(world.take()),
                8..11 => {
                    let running: Vec<_> = world.running.keys().copied().collect();
                    if !running.is_empty() {
                        let key = running[random.below(running.len() as u64) as usize];
                        world.deliver(key, random.below(6));
                    }
                }
                _ => world.now_ms += random.below(WINDOW_MS / 2),
            }
        }
        world.drain();
        world.settle(world.on_their_way.len());
        assert!(
            world.index.is_empty(),
            "seed {seed}: the index remembers {:?}",
            world.index.first()
        );
        assert_eq!(world.schedule.len(), 0, "seed {seed}: memory is not given back");
        assert_eq!(world.schedule.again, 0);
        assert!(world.ran > 0);
    }
}

#[test]
fn memory_holds_a_window_of_what_is_in_the_index() {
    let many = 10 * WINDOW_LEN;
    let mut world = World::new();
    for file in 0..many {
        let due_ms = world.now_ms + u64::from(file % 977);
        world.rows.insert(key(file), due_ms);
        world.write(key(file), Some(due_ms));
    }
    world.now_ms += 1_000;
    let mut most = 0;
    while !world.rows.is_empty() {
        assert!(world.take());
        most = most.max(world.schedule.len());
        let running = *world.running.keys().next().unwrap();
        world.deliver(running, 9);
        world.settle(world.on_their_way.len());
    }
    assert_eq!(world.ran, u64::from(many));
    assert!(most <= FULL_LEN + LOW_LEN + 2, "{most} in memory");
}

#[test]
fn alarms_that_are_set_faster_than_they_come_due_go_back_to_the_index() {
    let many = 6 * WINDOW_LEN;
    let mut world = World::new();
    world.read_ahead();
    for file in 0..many {
        // Within the window, and in an order that has nothing to do with time.
        let due_ms = world.now_ms + 1_000 + u64::from(file.wrapping_mul(2_654_435_761) % 50) * 1_000;
        world.commit(key(file), Some(due_ms));
        if file % 1_000 == 0 {
            world.settle(world.on_their_way.len());
        }
    }
    world.settle(world.on_their_way.len());
    world.commit(key(many), Some(world.now_ms + 5 * WINDOW_MS));
    world.settle(1);
    assert!(
        world.schedule.len() <= HIGH_LEN + FULL_LEN,
        "{} in memory",
        world.schedule.len()
    );
    world.drain();
    assert_eq!(world.ran, u64::from(many) + 1);
}

#[test]
fn what_a_delivery_finds_out_does_not_undo_a_commit_that_came_meanwhile() {
    let mut world = World::new();
    world.commit(key(1), Some(world.now_ms));
    world.rows.remove(&key(1));
    assert!(world.take());
    let (_, taken) = world.running.pop_first().unwrap();
    // The facet has said "none"; then it sets one; then its answer arrives.
    world.commit(key(1), Some(world.now_ms + 10));
    assert_eq!(world.schedule.stale(key(1), taken, None), None);
    assert_eq!(world.schedule.known(key(1)), Some(AlarmChange::Due(world.now_ms + 10)));
}

#[test]
fn deliveries_that_do_not_arrive_wait_longer_each_time_and_not_for_ever() {
    let mut schedule = Schedule::new();
    schedule.changed(key(1), AlarmChange::Due(0));
    let (mut now_ms, mut waits) = (1_000, Vec::new());
    for _ in 0..12 {
        schedule.take(now_ms).unwrap();
        schedule.undelivered(key(1), now_ms);
        let next_ms = schedule.next_ms().unwrap();
        assert!(schedule.take(next_ms - 1).is_none());
        waits.push(next_ms - now_ms);
        now_ms = next_ms;
    }
    assert_eq!(waits[..4], [250, 500, 1_000, 2_000]);
    assert_eq!(waits[8..], [64_000; 4]);
    // One that arrives begins anew.
    schedule.take(now_ms).unwrap();
    schedule.ran(key(1));
    schedule.changed(key(1), AlarmChange::Due(now_ms));
    schedule.take(now_ms).unwrap();
    schedule.undelivered(key(1), now_ms);
    assert_eq!(schedule.next_ms(), Some(now_ms + 250));
}

#[test]
fn many_that_do_not_arrive_do_not_keep_the_others_in_the_index() {
    let mut world = World::new();
    for file in 0..3 * WINDOW_LEN {
        world.rows.insert(key(file), 0);
        world.write(key(file), Some(world.now_ms - 1));
    }
    for _ in 0..2 * WINDOW_LEN {
        assert!(world.take());
        let running = *world.running.keys().next().unwrap();
        world.deliver(running, 0);
    }
    assert!(world.take(), "there are others that are due");
}

fn moment(unix_ms: u64, steady_ms: u64) -> Moment {
    Moment { unix_ms, steady_ms }
}

const HOUR_MS: u64 = 3_600_000;

#[test]
fn waits_are_as_long_as_was_said_however_the_clock_is_set() {
    let begun_ms = 10 * HOUR_MS;
    for set_to_ms in [9 * HOUR_MS, 11 * HOUR_MS, begun_ms] {
        let mut schedule = Schedule::new();
        schedule.tick(moment(begun_ms, 500));
        schedule.changed(key(1), AlarmChange::Due(begun_ms));
        schedule.take(begun_ms).unwrap();
        let due_ms = begun_ms + 2_000;
        let wait_ms = 2_000;
        schedule.changed(key(1), AlarmChange::Retry { due_ms, wait_ms });
        schedule.ran(key(1));
        schedule.changed(key(2), AlarmChange::Due(0));
        schedule.take(begun_ms).unwrap();
        schedule.undelivered(key(2), 500);
        // One that was set for a time is due when the clock says so.
        schedule.changed(key(3), AlarmChange::Due(begun_ms + 1_000));
        schedule.tick(moment(begun_ms, 500));
        assert_eq!(schedule.next_ms(), Some(begun_ms + 250));
        schedule.tick(moment(set_to_ms + 1, 501));
        assert!(
            schedule.take(set_to_ms + 1).is_none_or(|taken| taken.key == key(3)),
            "nobody has waited yet"
        );
        schedule.tick(moment(set_to_ms + 250, 750));
        let next = schedule.take(set_to_ms + 250).unwrap();
        assert_eq!((next.key, next.waited_ms), (key(2), None));
        schedule.tick(moment(set_to_ms + 1_999, 2_499));
        assert!(
            schedule.take(set_to_ms + 1_999).is_none_or(|taken| taken.key == key(3)),
            "not yet"
        );
        schedule.tick(moment(set_to_ms + 2_000, 2_500));
        let next = schedule.take(set_to_ms + 2_000).unwrap();
        assert_eq!((next.key, next.waited_ms), (key(1), Some(due_ms)));
    }
}

#[test]
fn a_clock_that_is_set_before_the_wait_is_noted_makes_it_no_longer() {
    let mut schedule = Schedule::new();
    schedule.tick(moment(10 * HOUR_MS, 0));
    let due_ms = 10 * HOUR_MS + 2_000;
    let (_, wakes) = schedule.changed(key(1), AlarmChange::Retry { due_ms, wait_ms: 2_000 });
    assert!(wakes, "somebody must look at the clock");
    schedule.tick(moment(9 * HOUR_MS, 1));
    assert_eq!(schedule.next_ms(), Some(9 * HOUR_MS + 2_000));
    // It stays in memory, whatever the index knows: that would forget that it is a wait.
    let (version, _) = schedule.changed(key(1), AlarmChange::Retry { due_ms, wait_ms: 2_000 });
    schedule.settled(key(1), version);
    assert!(schedule.known(key(1)).is_some());
}

#[test]
fn what_a_database_says_is_compared_with_what_is_known() {
    let mut schedule = Schedule::new();
    assert_eq!(schedule.found(key(1), Some(5)), Found::Unknown);
    schedule.changed(key(1), AlarmChange::Due(5));
    assert_eq!(schedule.found(key(1), Some(5)), Found::Known);
    assert_eq!(schedule.found(key(1), None), Found::Differs);
    assert_eq!(schedule.found(key(1), Some(4)), Found::Differs);
    // One that could not be reached and has been opened need not wait any longer.
    schedule.take(5).unwrap();
    schedule.undelivered(key(1), 5);
    assert!(schedule.take(6).is_none());
    assert_eq!(schedule.found(key(1), Some(5)), Found::Known);
    assert_eq!(schedule.take(6).unwrap().key, key(1));
    // Not while it is being reached: that is how it was opened.
    assert_eq!(schedule.found(key(1), Some(5)), Found::Known);
    assert_eq!(schedule.undelivered(key(1), 6), 1);
    assert!(schedule.take(7).is_none());
}
