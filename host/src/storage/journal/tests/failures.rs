//! Lives of a data directory, from one failure to the next. After each: everything acknowledged is there, and all that is
//! there is what was committed up to one unit, for all databases and trees at once.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::model::{self, History};
use super::power::{Crash, Kind, Place, Power};
use super::random::Random;
use super::shadow::{Left, Shadow};
use super::world::{Host, Object, Refused, namespace};
use crate::storage::journal::rules::Rule;
use crate::storage::journal::rules::tests::Without;
use crate::storage::journal::{Disk, Journal, JournalOptions, LocalJournal, Lsn, recovery};
use crate::sys::layout;

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 24;
/// Set to a number: that seed and no other.
const SEED_VARIABLE: &str = "FACETD_POWER_SEED";
/// How many seeds, or how often the one.
const ROUNDS_VARIABLE: &str = "FACETD_POWER_ROUNDS";
/// Set: each call to the disk is printed when a check fails.
const TRACE_VARIABLE: &str = "FACETD_POWER_TRACE";

/// Failures of one directory.
const FAILURES: usize = 6;
const OBJECTS: u8 = 3;
/// Steps of one object between two failures, at most.
const STEPS_MAX: usize = 60;

/// What is done to a run.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Twist {
    /// A rule that does not hold.
    pub(super) without: Option<Rule>,
    /// Members and trees in units of their own.
    pub(super) splits_units: bool,
    /// Writes fail at random moments.
    pub(super) fails_writes: bool,
    /// Most turns write much, into segments that have one spare.
    pub(super) writes_much: bool,
    /// Every other failure is a kill in the middle of a write, and the next comes before that is recovered.
    pub(super) fails_in_recovery: bool,
    /// The oldest segment is lost by each power failure.
    pub(super) loses_segments: bool,
    /// Power fails only between the header of a segment and the sync of its name.
    pub(super) fails_at_names: bool,
}

/// What was seen.
#[derive(Default, Debug)]
pub(super) struct Seen {
    pub(super) failures: u64,
    pub(super) units: u64,
    pub(super) refused: u64,
    pub(super) clean: u64,
    pub(super) in_recovery: u64,
    /// Segments that were lost, and missed.
    pub(super) missed: u64,
}

/// In memory, where there is such a place: nothing needs to be durable but what the simulator says.
pub(super) fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

pub(super) fn options(segment_bytes: u64, disk: Disk) -> JournalOptions {
    JournalOptions {
        segment_bytes,
        cap_bytes: 40 << 20,
        disk,
        ..JournalOptions::default()
    }
}

/// One directory from its beginning through some failures. An error is a promise that was broken.
pub(super) fn live(seed: u64, twist: Twist) -> Result<Seen, String> {
    let mut random = Random::new(seed);
    let mut seen = Seen::default();
    let history = Arc::new(Mutex::new(History::default()));
    let mut root = temporary();
    let mut shadow = Shadow::new(root.path());
    let (mut floor, mut was_dirty, mut was_killed) = (Lsn::ZERO, false, false);
    let segment_bytes = match twist.writes_much {
        true => 8 << 20,
        false => *random.pick(&[4 << 20, 6 << 20]),
    };
    let mut before: Vec<String> = Vec::new();
    for failure in 0..=FAILURES {
        let is_last = failure == FAILURES;
        let crash_at = match random.below(5) {
            _ if is_last => u64::MAX,
            // What a kill has left is lost before it is recovered.
            _ if was_killed && (twist.fails_in_recovery || random.one_in(2)) => random.below(60) as u64,
            _ if twist.fails_in_recovery => 60 + random.below(60) as u64,
            0 => random.below(30) as u64,
            1 => random.below(120) as u64,
            _ => random.below(700) as u64,
        };
        let kind = match twist.fails_in_recovery {
            true => [Kind::Kill, Kind::PowerFailure][failure % 2],
            false if !twist.fails_at_names && random.one_in(4) => Kind::Kill,
            false => Kind::PowerFailure,
        };
        let place = match kind {
            Kind::Kill if !twist.fails_in_recovery && random.one_in(3) => Place::Anywhere,
            Kind::Kill => Place::InWrite,
            Kind::PowerFailure if twist.fails_at_names => Place::AtName,
            // The last moment at which what was read can still be lost.
            Kind::PowerFailure if twist.fails_in_recovery && random.one_in(2) => Place::AtBarrier,
            Kind::PowerFailure => Place::Anywhere,
        };
        let crash_at = match place {
            Place::AtBarrier => 0,
            Place::Anywhere | Place::InWrite | Place::AtName => crash_at,
        };
        let power = Power::new(shadow, random.fork(), crash_at, kind, place);
        if twist.fails_writes && random.one_in(2) {
            power.fail_from(random.below(100) as u64);
        }
        let _without = Without::new(twist.without, root.path());
        let life = Life {
            root: root.path(),
            power: &power,
            history: &history,
            floor,
            was_dirty,
            is_last,
            twist,
            segment_bytes,
            fails: twist.fails_writes,
            sweeps: random.one_in(4),
            steps: STEPS_MAX,
        };
        let lived = life.live(&mut random, &mut seen);
        let crash = match lived {
            Ok((crash, clean)) => {
                was_dirty = !clean;
                crash
            }
            Err(why) => {
                let mut why = format!("life {failure}: {why}");
                if std::env::var_os(TRACE_VARIABLE).is_some() {
                    let own = power.end().trace;
                    for dir in super::shadow::DIRS {
                        let mut names: Vec<_> = std::fs::read_dir(root.path().join(dir))
                            .map(|found| found.map(|entry| entry.unwrap()).collect())
                            .unwrap_or_default();
                        names.sort_by_key(std::fs::DirEntry::file_name);
                        for entry in names {
                            why += &format!("\n{dir} {:?} {}", entry.file_name(), entry.metadata().unwrap().len());
                        }
                    }
                    let now = self::History::clone(&history.lock().unwrap());
                    why += &format!("\nunits {:?}", now.summary());
                    why += &format!("\nbefore:\n{}\nsince:\n{}", before.join("\n"), own.join("\n"));
                }
                return Err(why);
            }
        };
        if is_last {
            break;
        }
        if let Some(durable) = crash.durable {
            floor = durable;
        }
        seen.failures += 1;
        was_killed = crash.kind == Kind::Kill;
        before.extend(crash.trace);
        before.push(format!("{:?}", crash.kind));
        let next = temporary();
        let left = match twist.loses_segments {
            true => without_oldest(crash.left, twist, &mut seen),
            false => crash.left,
        };
        shadow = left.restore(next.path());
        root = next;
    }
    Ok(seen)
}

/// What is left if the oldest segment is lost, too, and nobody says so; else all of it, for it was refused.
fn without_oldest(left: Left, twist: Twist, seen: &mut Seen) -> Left {
    let mut less = left.clone();
    if !less.lose_oldest("journal", ".log") {
        return left;
    }
    let place = temporary();
    less.clone().restore(place.path());
    let _without = Without::new(twist.without, place.path());
    match recovery::read(&place.path().join("journal"), |_, _| Ok(())) {
        Ok(_) => less,
        Err(_) => {
            seen.missed += 1;
            left
        }
    }
}

struct Life<'a> {
    root: &'a Path,
    power: &'a Arc<Power>,
    history: &'a Arc<Mutex<History>>,
    /// What was acknowledged.
    floor: Lsn,
    was_dirty: bool,
    is_last: bool,
    twist: Twist,
    segment_bytes: u64,
    /// Its disk fails.
    fails: bool,
    /// It begins with `facetd recover`.
    sweeps: bool,
    /// Of each object, at most.
    steps: usize,
}

impl Life<'_> {
    /// From the start of a host to its end. True if that was a clean stop.
    fn live(&self, random: &mut Random, seen: &mut Seen) -> Result<(Crash, bool), String> {
        let disk = Disk::probed(self.power.clone());
        let dir = namespace(self.root);
        let opened = LocalJournal::open(
            self.root,
            self.was_dirty,
            &options(self.segment_bytes, disk.clone()),
            // `facetd recover` looks at everything, a start does not.
            |recovered| match self.was_dirty && self.sweeps && dir.exists() {
                true => crate::offline::clear_orphans(&dir, recovered, true, &disk),
                false => Ok(()),
            },
        );
        let (journal, recovered) = match opened {
            Ok(opened) => opened,
            // A disk that fails.
            Err(_) if self.fails && self.twist.without.is_none() => return Ok((self.power.end(), false)),
            Err(error) => return Err(format!("it cannot be opened: {error}")),
        };
        let journal = Arc::new(journal);
        seen.units += recovered.units;
        let is_served = self.power.watch(journal.progress());
        layout::make_homes(&dir).unwrap();
        // Each time: the life that made it may have ended before this.
        if let Err(error) = disk.sync_dir(&dir).and_then(|()| disk.sync_dir(self.root)) {
            return match self.fails {
                true => Ok((self.power.end(), false)),
                false => Err(error.to_string()),
            };
        }
        if !self.was_dirty && recovered.units != 0 {
            return Err("a clean stop has left units".to_owned());
        }
        let last = journal.progress().durable();
        let found = model::look(&dir, self.twist.without == Some(Rule::StrangeLogIsRemoved))?;
        {
            let mut history = self.history.lock().unwrap();
            if last < self.floor {
                return Err(format!(
                    "unit {} was acknowledged, and {} is the last",
                    self.floor, last
                ));
            }
            if let Some(difference) = model::difference(&history.at(last), &found) {
                return Err(format!(
                    "after unit {} (acknowledged: {}): {difference}",
                    last, self.floor
                ));
            }
            if is_served {
                history.cut(last, found.clone());
            }
        }
        if !is_served {
            seen.in_recovery += 1;
            return Ok((self.power.end(), false));
        }
        let host = Host {
            dir,
            disk,
            journal: journal.clone(),
            history: self.history.clone(),
            power: Some(self.power.clone()),
            splits_units: self.twist.splits_units,
            writes_much: self.twist.writes_much,
        };
        let none = model::Stored::default();
        let mut objects: Vec<Object> = (1..=OBJECTS)
            .map(|number| Object::load(&host, number, found.get(&number).unwrap_or(&none), random.fork()))
            .collect();
        let steps = if self.is_last { 10 } else { 1 + random.below(self.steps) };
        let refused = match random.below(3) {
            0 => self.together(&mut objects, steps),
            _ => self.in_turn(&mut objects, steps, random),
        };
        self.power.hold(false);
        for Refused(why) in refused {
            // After a failure of the disk, nothing more is promised in this life; a full journal says so.
            if !why.starts_with("journal-full") && !self.fails && !self.power.is_over() {
                return Err(format!("refused: {why}"));
            }
            seen.refused += 1;
        }
        let stops = self.is_last || random.one_in(3);
        let mut clean = false;
        if stops && !self.power.is_over() {
            let stopped: Result<(), Refused> = objects.iter_mut().try_for_each(Object::stop);
            drop(objects);
            let closed = journal.close();
            // As a host: whatever could not be closed, the journal says whether it is needed.
            clean = closed && !self.power.is_over();
            if !clean && !self.power.is_over() && !self.fails {
                return Err(format!("it could not be stopped: {stopped:?}, {closed}"));
            }
            seen.clean += u64::from(clean);
            return Ok((self.power.end(), clean));
        }
        let crash = self.power.end();
        drop(objects);
        Ok((crash, clean))
    }

    /// A thread for each object.
    fn together(&self, objects: &mut [Object], steps: usize) -> Vec<Refused> {
        let power = self.power;
        std::thread::scope(|scope| {
            let threads: Vec<_> = objects
                .iter_mut()
                .map(|object| {
                    scope.spawn(move || {
                        let mut refused = Vec::new();
                        for _ in 0..steps {
                            if power.is_over() {
                                break;
                            }
                            refused.extend(object.step().err());
                        }
                        refused
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn in_turn(&self, objects: &mut [Object], steps: usize, random: &mut Random) -> Vec<Refused> {
        let mut refused = Vec::new();
        for _ in 0..steps * objects.len() {
            if self.power.is_over() {
                break;
            }
            if random.one_in(4) {
                self.power.hold(random.one_in(2));
            }
            let object = random.below(objects.len());
            refused.extend(objects[object].step().err());
        }
        refused
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on two threads; the first failure ends it.
fn seeds(twist: Twist, salt: u64) {
    let seeds: Vec<u64> = match variable(SEED_VARIABLE) {
        Some(seed) => vec![seed; variable(ROUNDS_VARIABLE).unwrap_or(1) as usize],
        None => (0..variable(ROUNDS_VARIABLE).unwrap_or(SEEDS))
            .map(|nth| salt + nth)
            .collect(),
    };
    let next = Mutex::new(seeds.into_iter());
    let total = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(seed) = next.lock().unwrap().next() else {
                        return;
                    };
                    match live(seed, twist) {
                        Ok(seen) => {
                            let mut total = total.lock().unwrap();
                            total.failures += seen.failures;
                            total.units += seen.units;
                            total.refused += seen.refused;
                            total.clean += seen.clean;
                            total.in_recovery += seen.in_recovery;
                            total.missed += seen.missed;
                        }
                        Err(why) => panic!("seed {seed} ({SEED_VARIABLE}={seed} replays it): {why}"),
                    }
                }
            });
        }
    });
    println!("{:?}", total.lock().unwrap());
}

#[test]
fn what_was_acknowledged_survives_power_failures() {
    seeds(Twist::default(), 1000);
}

#[test]
fn what_was_acknowledged_survives_a_disk_that_fails() {
    let twist = Twist {
        fails_writes: true,
        ..Twist::default()
    };
    seeds(twist, 2_000_000);
}

#[test]
fn a_segment_that_is_lost_is_missed_if_it_is_needed() {
    let twist = Twist {
        loses_segments: true,
        writes_much: true,
        ..Twist::default()
    };
    seeds(twist, 3_000_000);
}

#[test]
fn what_was_acknowledged_survives_a_power_failure_after_a_write_that_failed() {
    let twist = Twist {
        fails_writes: true,
        fails_in_recovery: true,
        ..Twist::default()
    };
    seeds(twist, 9_000_000);
}

/// One life in which one call to the disk fails, and after a kill or a power failure another one in which none does. Answers
/// how many calls the first one made.
fn live_with_fault(seed: u64, nth: u64) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let mut seen = Seen::default();
    let history = Arc::new(Mutex::new(History::default()));
    let (root, next) = (temporary(), temporary());
    let kind = [Kind::Kill, Kind::PowerFailure][(nth % 2) as usize];
    let power = Power::new(Shadow::new(root.path()), random.fork(), u64::MAX, kind, Place::Anywhere);
    power.fail_call(nth);
    let life = Life {
        root: root.path(),
        power: &power,
        history: &history,
        floor: Lsn::ZERO,
        was_dirty: false,
        is_last: false,
        twist: Twist::default(),
        segment_bytes: 4 << 20,
        fails: true,
        sweeps: false,
        steps: 30,
    };
    let (crash, clean) = life.live(&mut random, &mut seen)?;
    let calls = power.calls();
    let floor = crash.durable.unwrap_or(Lsn::ZERO);
    let power = Power::new(
        crash.left.restore(next.path()),
        random.fork(),
        u64::MAX,
        kind,
        Place::Anywhere,
    );
    let life = Life {
        root: next.path(),
        power: &power,
        floor,
        was_dirty: !clean,
        is_last: true,
        fails: false,
        ..life
    };
    life.live(&mut random, &mut seen)?;
    Ok(calls)
}

/// A life that ends by a power failure or a kill; a recovery in which one call to the disk fails, and which ends so, too; and
/// a life in which none does. Answers how many calls that recovery made.
fn recover_with_fault(seed: u64, nth: u64) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let mut seen = Seen::default();
    let history = Arc::new(Mutex::new(History::default()));
    let (root, second, third) = (temporary(), temporary(), temporary());
    let kind = [Kind::PowerFailure, Kind::Kill][(seed % 2) as usize];
    let power = Power::new(Shadow::new(root.path()), random.fork(), u64::MAX, kind, Place::Anywhere);
    let life = Life {
        root: root.path(),
        power: &power,
        history: &history,
        floor: Lsn::ZERO,
        was_dirty: false,
        is_last: false,
        twist: Twist::default(),
        segment_bytes: 4 << 20,
        fails: false,
        sweeps: false,
        steps: 30,
    };
    let (crash, clean) = life.live(&mut random, &mut seen)?;
    if clean {
        return Ok(0);
    }
    let floor = crash.durable.unwrap_or(Lsn::ZERO);
    let left = crash.left.restore(second.path());
    let power = Power::new(left, random.fork(), u64::MAX, Kind::PowerFailure, Place::Anywhere);
    power.fail_call(nth);
    let dir = namespace(second.path());
    let disk = Disk::probed(power.clone());
    let recovered = LocalJournal::open(
        second.path(),
        true,
        &options(4 << 20, disk.clone()),
        |recovered| match dir.exists() {
            true => crate::offline::clear_orphans(&dir, recovered, true, &disk),
            false => Ok(()),
        },
    );
    let calls = power.calls();
    let refused = recovered.as_ref().err().map(ToString::to_string);
    drop(recovered);
    let left = power.end().left.restore(third.path());
    let power = Power::new(left, random.fork(), u64::MAX, kind, Place::Anywhere);
    let life = Life {
        root: third.path(),
        power: &power,
        floor,
        was_dirty: true,
        is_last: true,
        ..life
    };
    life.live(&mut random, &mut seen)
        .map_err(|why| format!("(it was refused: {refused:?}) {why}"))?;
    Ok(calls)
}

/// Seeds of recoveries of which each call fails once; some make several hundred.
const RECOVERY_SEEDS: u64 = 3;

#[test]
fn any_call_of_a_recovery_may_fail() {
    for seed in 0..variable(ROUNDS_VARIABLE).unwrap_or(RECOVERY_SEEDS) {
        for nth in 1.. {
            match recover_with_fault(seed, nth) {
                Ok(calls) if calls < nth => break,
                Ok(_) => {}
                Err(why) => panic!("seed {seed}, call {nth} of its recovery: {why}"),
            }
        }
    }
}

#[test]
fn any_call_may_fail() {
    // SQLite's own calls fail in the tests of its file layer.
    let seeds = variable(ROUNDS_VARIABLE).unwrap_or(1);
    for seed in 0..seeds {
        for nth in 1.. {
            match live_with_fault(seed, nth) {
                Ok(calls) if calls < nth => break,
                Ok(_) => {}
                Err(why) => panic!("seed {seed}, call {nth}: {why}"),
            }
        }
    }
}
