//! Lives of one object under a seed: the real tree, driven as `live` and `isolate` drive it, by everything around it in
//! memory. Whatever happens is compared at once with a short description of what is promised; and when a process has
//! ended, what the next one finds is what was promised after some unit, at or past the last that anybody was told of.

mod checks;
mod copying;
mod disk;
mod end;
mod events;
mod guest;
mod life;
mod promised;
mod random;
mod turn;
mod without;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::ids::{ClassDigest, ObjectId};
use crate::object::rules::Rule;
use crate::object::rules::tests::Without;
use crate::startup::{FailurePolicy, Payload, Startup, StartupLimits};
use promised::Snapshot;
use random::Random;
use world::{Call, Mail, Seen, Work, World};

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 500;
/// Set to a number: so many seeds.
const SEEDS_VARIABLE: &str = "FACETD_SIM_SEEDS";
/// Set to a number: that seed and no other.
const SEED_VARIABLE: &str = "FACETD_SIM_SEED";
/// Lines of what happened before a check failed.
const TRACE_LINES: usize = 60;
/// Set: all of them.
const TRACE_VARIABLE: &str = "FACETD_SIM_TRACE";

/// Processes that one object lives in.
const PROCESSES: usize = 3;
/// Steps in one of them, at most.
const STEPS_MAX: usize = 500;
/// Steps of a stop, at most, that does not come to its end.
const STOP_STEPS_MAX: usize = 80;
/// Lives of which one that can go on is looked for.
const TRIES: usize = 8;
/// In so many an object comes to rest.
const REST_STEPS_MAX: usize = 20_000;

const OBJECT: ObjectId = ObjectId([7; 32]);
/// Few, so that they collide.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a check says; an error is a promise that was broken.
type Checked<T = ()> = Result<T, String>;

fn check(holds: bool, why: impl FnOnce() -> String) -> Checked {
    match holds {
        true => Ok(()),
        false => Err(why()),
    }
}

/// A rule of those who carry out what the tree decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Missing {
    /// What was ended while its turn was sealed sends nothing.
    TheDeadSendNothing,
    /// What has been ended decides nothing.
    TheDeadDecideNothing,
    /// The tree hears of a turn that was lost.
    LostTurnsAreUndone,
    /// Units are queued under the lock under which they were decided.
    QueuedUnderTheLock,
    /// Files change when the unit that says so is durable.
    FilesFollowUnits,
    /// A client is told when everything it is shown is durable.
    RepliesWait,
    /// Who is told something depends on what that depends on.
    DepsAreInherited,
    /// An emptied facet is gone when its files are.
    FilesGoBeforeTheNext,
    /// A database is copied between two turns.
    CopiesAreBetweenTurns,
    /// The sources of a clone begin no turn before all of them are copied.
    SourcesArePaused,
    /// A copy that nobody waits for any more goes.
    UnwantedCopiesGo,
    /// The sources of a clone change no tree either.
    TreesAreHeld,
    /// What has gone since it was asked for is not held.
    GoneAreNotHeld,
    /// What has got an entry since the clone was asked for is held, too.
    NewSourcesAreHeld,
    /// The commit of a facet that was deleted between its seal and its record is in no unit.
    CommitsOfTheGoneAreForgotten,
    /// The first commit of a facet that was deleted meanwhile goes.
    WhatIsNamedByNobodyGoes,
    /// An object is not loaded again while its files say less than it has recorded.
    KeptUntilSettled,
    /// Who is ended answers its mail.
    MailIsAnswered,
}

/// What is done to a run.
#[derive(Clone, Copy, Default, Debug)]
struct Twist {
    without: Option<Missing>,
    without_rule: Option<Rule>,
    /// What guests do more often than else.
    often: &'static [guest::Act],
    /// Turns that have changed the tree take long.
    slow_turns: bool,
}

fn startup(number: u8) -> Startup {
    Startup {
        class: ClassDigest([number; 32]),
        props: Payload::empty(),
        id: None,
        limits: StartupLimits::default(),
        on_failure: match escalates(number) {
            true => FailurePolicy::Escalate,
            false => FailurePolicy::Isolate,
        },
        grants: Vec::new(),
        withheld: Vec::new(),
    }
}

fn number(startup: &Startup) -> u8 {
    startup.class.0[0]
}

fn escalates(startup: u8) -> bool {
    startup == 3
}

fn known(name: &str) -> &'static str {
    NAMES.iter().find(|known| **known == name).copied().unwrap_or("")
}

impl World {
    fn client_calls(&mut self) -> Checked {
        let call = self.calls.len();
        self.note(|_| format!("a client calls: {call}"));
        self.calls.push(Call {
            caller: None,
            released: true,
            answer: None,
            told: false,
        });
        let mail = Mail::Event {
            work: Work::Call(call),
            stubs: Vec::new(),
            dep: 0,
            shows: 0,
        };
        self.deliver(None, None, mail)
    }

    /// Some life goes on. False if none can.
    fn step_some(&mut self) -> Checked<bool> {
        if !self.copyings.is_empty() && self.random.one_in(4) {
            let nth = self.random.below(self.copyings.len());
            return self.step_copying(nth);
        }
        let lives: Vec<_> = self.lives.keys().copied().collect();
        for _ in 0..TRIES {
            if let Some(incarnation) = self.random.pick(&lives)
                && self.step_life(incarnation)?
            {
                return Ok(true);
            }
        }
        // Slow threads need not be waited for if nothing else happens.
        self.steps += TRIES as u64;
        if self.random.one_in(3) {
            self.client_calls()?;
        }
        Ok(false)
    }

    fn step(&mut self) -> Checked {
        self.steps += 1;
        match self.random.below(40) {
            0 if self.random.one_in(2) => self.client_calls()?,
            1 | 2 => {
                let waiting = self.journal.waiting();
                self.journal.acked += self.random.below(waiting + 1);
            }
            3 | 4 => drop(self.journal.settle(&mut self.disk, self.without)),
            5 | 9 => {
                self.now_ms += self.random.below(1_500) as u64;
                self.watch();
                self.ring()?;
            }
            6 if self.random.one_in(2) => self.tell_clients(),
            6 => self.ring_one()?,
            7 if self.random.one_in(6) => self.break_some(),
            8 if self.random.one_in(200) && self.journal.failed.is_none() => {
                self.note(|_| "the journal fails".to_owned());
                self.journal.failed = Some(self.journal.last());
            }
            _ => {
                if !self.step_some()? && self.lives.is_empty() {
                    match self.is_unloadable() && self.journal.failed.is_none() && self.random.one_in(3) {
                        true => self.load_again()?,
                        false => self.client_calls()?,
                    }
                }
            }
        }
        // Each second time is soon enough.
        match self.changed && self.random.one_in(2) {
            true => self.compare(),
            false => Ok(()),
        }
    }

    /// Nobody holds the object any more, and somebody asks for it.
    fn load_again(&mut self) -> Checked {
        self.note(|_| "the object is loaded again".to_owned());
        let promised = self.promised.snapshot();
        let mut disk = self.disk.clone();
        disk.files.retain(|_, file| file.rows.is_some());
        // The journal goes on as it is, but that what is not durable is as good as durable: it cannot be told apart here.
        self.journal.acked = self.journal.last();
        while self.journal.settle(&mut self.disk, None) {}
        self.no_unit_is_delayed();
        self.reopen(disk)?;
        same(&promised, &self.promised.snapshot())
    }

    /// Everything is done that has been begun.
    fn rest(&mut self) -> Checked {
        self.note(|_| "nothing new is begun".to_owned());
        self.quiet = true;
        self.seen.rests += 1;
        for _ in 0..REST_STEPS_MAX {
            self.no_unit_is_delayed();
            if self.journal.failed.is_none() {
                self.journal.acked = self.journal.last();
            }
            while self.journal.settle(&mut self.disk, self.without) {}
            let mut moved = false;
            for incarnation in self.lives.keys().copied().collect::<Vec<_>>() {
                moved |= self.step_life(incarnation)?;
                if self.changed {
                    self.compare()?;
                }
            }
            self.ring_one()?;
            for nth in 0..self.copyings.len() {
                moved |= self.step_copying(nth)?;
            }
            if !moved {
                if self.lives.is_empty() && self.copyings.is_empty() {
                    self.tell_clients();
                    self.quiet = false;
                    return Ok(());
                }
                self.now_ms += 31_000;
                self.watch();
            }
        }
        Err(format!(
            "it does not come to rest: {:?}",
            self.lives.values().map(|life| &life.stage).collect::<Vec<_>>()
        ))
    }

    /// As `Object::stop`.
    fn begin_stop(&mut self) -> Checked {
        self.note(|_| "the host stops".to_owned());
        self.seen.stops += 1;
        self.stopped = true;
        let cause = crate::object::Cause::Unavailable;
        let expected = self.promised.end_below(promised::ROOT, &cause);
        let mut kills = Vec::new();
        self.tree.end_all(cause, &mut kills);
        self.carry_out(kills, expected)
    }

    /// The process ends, now. What is there of the journal is chosen by the seed.
    fn crash(&mut self) -> Checked {
        let last = self.journal.failed.unwrap_or(self.journal.last());
        let upto = self.journal.acked + self.random.below(last - self.journal.acked + 1);
        self.note(|world| {
            format!(
                "the process ends; {upto} of {last} units are there, {} acknowledged",
                world.journal.acked
            )
        });
        self.seen.crashes += 1;
        check(self.observed <= upto, || {
            format!("a client was told of unit {}, and {upto} is the last", self.observed)
        })?;
        let promised = self.promised_at(upto).clone();
        let disk = self.journal.recovered(upto)?;
        self.forget_all();
        self.reopen(disk)?;
        same(&promised, &self.promised.snapshot())
    }

    fn forget_all(&mut self) {
        self.lives.clear();
        self.copyings.clear();
        self.loans.clear();
        self.pauses.clear();
        self.running.clear();
        self.no_unit_is_delayed();
    }

    /// From a start to an end of one process.
    fn process(&mut self, is_last: bool) -> Checked {
        for _ in 0..50 + self.random.below(STEPS_MAX - 50) {
            self.step()?;
        }
        if self.journal.failed.is_some() {
            return self.crash();
        }
        match self.random.below(4) {
            2 if !is_last => {
                // Some are on the way when the stop begins, and some after it.
                if self.random.one_in(3) {
                    self.begin_stop()?;
                    for _ in 0..self.random.below(STOP_STEPS_MAX) {
                        self.step()?;
                    }
                }
                self.crash()
            }
            3 if !is_last => self.crash(),
            choice => {
                if choice == 0 {
                    self.rest()?;
                    self.nothing_is_left_over()?;
                }
                self.begin_stop()?;
                self.rest()?;
                self.nothing_is_left_over()?;
                let promised = self.promised.snapshot();
                let disk = self.disk.clone();
                self.forget_all();
                self.reopen(disk)?;
                same(&promised, &self.promised.snapshot())
            }
        }
    }
}

fn same(promised: &Snapshot, found: &Snapshot) -> Checked {
    check(promised == found, || {
        format!("found is\n  {found:?}, and promised was\n  {promised:?}")
    })
}

/// One object from its beginning through some processes.
fn live(seed: u64, twist: Twist, traced: bool) -> Result<Seen, String> {
    let _without = Without::new(twist.without_rule);
    let mut trace = Vec::new();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(Random::new(seed), twist, traced)?;
        for process in 0..PROCESSES {
            let lived = catch_unwind(AssertUnwindSafe(|| world.process(process + 1 == PROCESSES)));
            trace = world.traced.clone().unwrap_or_default();
            match lived {
                Ok(lived) => lived?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(std::mem::take(&mut world.seen))
    }));
    let lived = lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("it panicked: {}", text.unwrap_or_default()))
    });
    lived.map_err(|why: String| {
        let from = match std::env::var_os(TRACE_VARIABLE) {
            Some(_) => 0,
            None => trace.len().saturating_sub(TRACE_LINES),
        };
        match traced {
            true => format!("{}\n{why}", trace[from..].join("\n")),
            false => why,
        }
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_is_promised_holds_in_every_life() {
    let seeds = match variable(SEED_VARIABLE) {
        Some(seed) => seed..seed + 1,
        None => 0..variable(SEEDS_VARIABLE).unwrap_or(SEEDS),
    };
    let many = seeds.end - seeds.start;
    let (next, total) = (Mutex::new(seeds), Mutex::new(Seen::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.lock().unwrap().next();
                    let Some(seed) = seed else { return };
                    match live(seed, Twist::default(), false) {
                        Ok(seen) => total.lock().unwrap().add(seen),
                        Err(_) => {
                            let why = live(seed, Twist::default(), true).unwrap_err();
                            panic!(
                                "{why}\nseed {seed}; replay it by\n{SEED_VARIABLE}={seed} cargo test -p facetd --lib \
                                 object::tests::sim::what -- --nocapture"
                            );
                        }
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap();
    println!("{total:?}");
    if many >= SEEDS {
        assert!(total.is_everything(), "something was never seen: {total:?}");
    }
}
