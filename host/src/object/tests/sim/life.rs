//! The life of one incarnation, step by step, as `isolate` lives it: wait for those before, launch, start, take events, seal
//! turns, end. Between any two steps anything else may happen.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::{Lsn, Member};
use super::promised::{self, Rows, Uid};
use super::world::{CallId, Control, Ending, Stub, World, joined};
use super::{Checked, Missing, check, number};
use crate::error::CallError;
use crate::ids::FileId;
use crate::object::{Cause, IncarnationId, TurnChanges};

/// How long an event may take.
const WALL_MS: u64 = 30_000;
/// When an alarm whose handler has failed is due again.
pub(super) const RETRY_MS: u64 = 2_000;
/// Steps for which a thread may be slow.
const STALL_STEPS_MAX: usize = 40;
/// The class with a start hook.
const CLASS_WITH_HOOK: u8 = 2;

#[derive(Debug)]
pub(super) enum Stage {
    Waiting(Vec<IncarnationId>),
    Loading,
    Running,
    /// In an import, past the look whether the facet is alive.
    Deciding(super::guest::Decision),
    /// `Sealing`; COMMIT is next.
    Committing,
    /// COMMIT is done; the object's lock is next.
    Recording(Option<Member>),
    /// Databases are copied before the turn can end.
    Copying,
    Undo(End),
    Tell(End),
    Answer(End),
    /// What becomes of an alarm whose handler was lost is committed.
    SettleAlarm(Member),
    AwaitDurable,
    Close,
    Emptied,
    AwaitSettled(Lsn),
    Gone,
}

#[derive(Clone, Debug)]
pub(super) enum End {
    Idle,
    Killed(Arc<Cause>),
    Broken(&'static str),
    StartFailed,
    NoPlace,
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    Call(CallId, Stub, Vec<Stub>),
    Answer(CallId, Result<Vec<Stub>, CallError>),
    AlarmEnded(FileId),
}

/// What a guest does with its database, for some events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mood {
    Abstains,
    Writes,
    WritesAndErases,
}

/// What the running turn has done.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// It may have changed the database or children.
    pub(super) open: bool,
    pub(super) touched: bool,
    pub(super) changes: TurnChanges,
    pub(super) effects: Vec<Effect>,
    pub(super) adopted: Vec<FileId>,
}

impl Turn {
    pub(super) fn is_nothing(&self) -> bool {
        !self.touched && self.effects.is_empty() && self.changes.is_empty()
    }
}

/// As `FacetStore`.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) file: FileId,
    pub(super) path: Arc<str>,
    pub(super) stored: bool,
    pub(super) open: bool,
    /// Nothing was in it when it was closed, and nobody has opened it since.
    pub(super) closed_empty: bool,
    pub(super) committed: Rows,
    /// What the running turn has written.
    pub(super) written: Option<Rows>,
    /// The newest commit is not queued yet.
    pub(super) unrecorded: bool,
    pub(super) closed: bool,
}

impl Store {
    /// What the guest sees.
    pub(super) fn rows(&self) -> Rows {
        self.written.unwrap_or(self.committed)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    Start,
    Call(CallId),
    Alarm(FileId),
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) pending: Pending,
    pub(super) entered_in: u64,
    pub(super) deadline_ms: u64,
    /// What it still has to do.
    pub(super) left: usize,
    pub(super) waits: Option<CallId>,
    pub(super) returned: bool,
}

pub(super) struct Life {
    pub(super) incarnation: IncarnationId,
    /// A stub of itself.
    pub(super) own: Stub,
    pub(super) stage: Stage,
    pub(super) store: Option<Store>,
    pub(super) turn: Turn,
    pub(super) turns: u64,
    pub(super) events: BTreeMap<u64, Event>,
    pub(super) next_event: u64,
    /// Whose turn it is.
    pub(super) runs: Option<u64>,
    pub(super) stubs: Vec<Stub>,
    pub(super) dep: Lsn,
    /// The newest unit of which the guest has seen anything.
    pub(super) shows: Lsn,
    pub(super) started: bool,
    pub(super) depth: usize,
    pub(super) mood: Mood,
    /// Its thread is slow: nothing happens before that step.
    pub(super) stalls_until: u64,
    pub(super) evict: bool,
    pub(super) idle_since_ms: Option<u64>,
}

impl Life {
    pub(super) fn new(incarnation: IncarnationId, own: Stub, after: Vec<IncarnationId>) -> Self {
        Self {
            incarnation,
            own,
            stage: Stage::Waiting(after),
            store: None,
            turn: Turn::default(),
            turns: 0,
            events: BTreeMap::new(),
            next_event: 1,
            runs: None,
            stubs: Vec::new(),
            dep: 0,
            shows: 0,
            started: false,
            depth: 0,
            mood: Mood::Writes,
            stalls_until: 0,
            evict: false,
            idle_since_ms: None,
        }
    }

    pub(super) fn uid(&self) -> Uid {
        self.own.uid
    }

    /// A turn is open, or its commit is not recorded.
    pub(super) fn is_in_turn(&self) -> bool {
        self.turn.open || self.turn.touched || self.store.as_ref().is_some_and(|store| store.unrecorded)
    }

    pub(super) fn enter(&mut self, now_ms: u64, pending: Pending, left: usize) {
        let event = Event {
            pending,
            entered_in: self.turns,
            deadline_ms: now_ms + WALL_MS,
            left,
            waits: None,
            returned: false,
        };
        self.events.insert(self.next_event, event);
        self.next_event += 1;
    }
}

/// What an incarnation that was ended ends with.
fn ended_from_outside(control: &Control) -> End {
    match &control.ending {
        Some(Ending::Killed(cause)) => End::Killed(cause.clone()),
        Some(Ending::Broken(code)) => End::Broken(code),
        None => End::Killed(Arc::new(Cause::Unavailable)),
    }
}

impl World {
    pub(super) fn control(&mut self, incarnation: IncarnationId) -> &mut Control {
        self.controls.get_mut(&incarnation).expect("every incarnation has one")
    }

    /// One step of one life. False if it has to wait.
    pub(super) fn step_life(&mut self, incarnation: IncarnationId) -> Checked<bool> {
        let Some(mut life) = self.lives.remove(&incarnation) else {
            return Ok(false);
        };
        if life.stalls_until > self.steps && !self.quiet {
            self.lives.insert(incarnation, life);
            return Ok(false);
        }
        let stepped = self.step_stage(&mut life);
        let stalls = match life.stage {
            Stage::Committing | Stage::Recording(_) | Stage::Undo(_) | Stage::Deciding(_) => self.random.one_in(4),
            Stage::Running if life.turn.changes.is_empty() => false,
            Stage::Running | Stage::Copying => self.slow_turns || self.random.one_in(3),
            Stage::Waiting(_)
            | Stage::Loading
            | Stage::Tell(_)
            | Stage::Answer(_)
            | Stage::SettleAlarm(_)
            | Stage::AwaitDurable
            | Stage::Close
            | Stage::Emptied
            | Stage::AwaitSettled(_)
            | Stage::Gone => self.random.one_in(20),
        };
        if stalls {
            let slow = self.slow_turns && !life.turn.changes.is_empty();
            let steps_max = if slow { 4 * STALL_STEPS_MAX } else { STALL_STEPS_MAX };
            life.stalls_until = self.steps + self.random.below(steps_max) as u64;
        }
        if !matches!(life.stage, Stage::Gone) || !self.is_gone(incarnation) {
            self.lives.insert(incarnation, life);
        }
        stepped
    }

    pub(super) fn step_stage(&mut self, life: &mut Life) -> Checked<bool> {
        let incarnation = life.incarnation;
        let stage = std::mem::replace(&mut life.stage, Stage::Gone);
        life.stage = match stage {
            Stage::Waiting(after) => {
                if after.iter().any(|before| !self.is_gone(*before)) {
                    life.stage = Stage::Waiting(after);
                    return Ok(false);
                }
                self.launch(life)?
            }
            Stage::Loading => self.load(life),
            Stage::Running => return self.run(life),
            Stage::Deciding(decision) => {
                life.stage = Stage::Running;
                self.decide(life, decision)?;
                return Ok(true);
            }
            Stage::Committing => self.commit(life)?,
            Stage::Recording(member) => self.end_turn(life, member)?,
            Stage::Copying => {
                if self.controls[&incarnation].ending.is_some() {
                    self.copies_are_unwanted(incarnation);
                    Stage::Undo(self.end_of(life))
                } else {
                    life.stage = Stage::Copying;
                    return self.step_copies(life);
                }
            }
            Stage::Undo(end) => {
                self.note(|_| format!("{incarnation:?} loses its turn"));
                if let Some(store) = &mut life.store {
                    store.written = None;
                }
                let turn = std::mem::take(&mut life.turn);
                self.drop_effects(life, turn.effects)?;
                self.undo(incarnation, turn.changes)?;
                life.stubs.clear();
                Stage::Tell(end)
            }
            Stage::Tell(end) => {
                self.tell(life, &end)?;
                Stage::Answer(end)
            }
            Stage::Answer(end) => self.answer_all(life, &end)?,
            Stage::SettleAlarm(member) => {
                let rows = member.rows;
                if let Some(lsn) = self.record_alone(life.uid(), member)? {
                    let store = life.store.as_mut().expect("it had an alarm");
                    (store.committed, life.dep) = (rows, life.dep.max(lsn));
                } else if let Some(store) = &mut life.store {
                    // The facet was deleted, and the commit goes with its file.
                    store.open = false;
                }
                Stage::AwaitDurable
            }
            Stage::AwaitDurable if !self.journal.is_durable(life.dep) && self.journal.failed.is_none() => {
                life.stage = Stage::AwaitDurable;
                return Ok(false);
            }
            Stage::AwaitDurable => Stage::Close,
            // A clone copies it as it is.
            Stage::Close if self.is_paused(incarnation) => {
                life.stage = Stage::Close;
                return Ok(false);
            }
            Stage::Close => self.close(life),
            Stage::Emptied => {
                let file = life.store.as_ref().map_or(FileId::ROOT, |store| store.file);
                self.note(|_| format!("{incarnation:?} has emptied {file:?}"));
                match self.emptied(life.uid(), file) {
                    Some(lsn) if !self.lacks(Missing::FilesGoBeforeTheNext) => Stage::AwaitSettled(lsn),
                    Some(_) | None => Stage::Gone,
                }
            }
            Stage::AwaitSettled(lsn)
                if self.journal.settled < lsn && !self.stopped && self.journal.failed.is_none() =>
            {
                life.stage = Stage::AwaitSettled(lsn);
                return Ok(false);
            }
            Stage::AwaitSettled(_) => Stage::Gone,
            Stage::Gone => {
                self.gone(incarnation);
                Stage::Gone
            }
        };
        Ok(true)
    }

    /// Those before it are gone.
    pub(super) fn launch(&mut self, life: &mut Life) -> Checked<Stage> {
        let incarnation = life.incarnation;
        if self.random.one_in(60) {
            return Ok(Stage::Tell(match self.controls[&incarnation].ending {
                Some(_) => self.end_of(life),
                None => End::NoPlace,
            }));
        }
        let Some(stored) = self.tree.launch(incarnation) else {
            return Ok(Stage::Tell(self.end_of(life)));
        };
        self.changed = true;
        self.seen.starts += 1;
        let path: Arc<str> = joined(&stored.path).into();
        self.note(|_| format!("{incarnation:?} is launched at {path:?} with {:?}", stored.file));
        let all = self.promised.all();
        let uid = life.uid();
        check(promised::path(&all, uid) == *path, || {
            format!("{uid:?} is launched at {path:?}")
        })?;
        let mut lineage: Vec<_> = stored.lineage.iter().map(|startup| number(startup)).collect();
        let mut at = Some(uid);
        while let Some(facet) = at.and_then(|uid| all.get(&uid)) {
            check(lineage.pop() == Some(facet.startup), || {
                format!("{path:?} has a wrong lineage")
            })?;
            at = facet.parent;
        }
        let others = self.lives.values().filter_map(|other| other.store.as_ref());
        let meets = others
            .filter(|store| !store.closed)
            .any(|store| store.file == stored.file || store.path == path);
        check(!meets, || format!("two isolates of {path:?} at a time"))?;
        let lent = self.loans.values().any(|loan| loan.open && loan.file == stored.file);
        check(!lent, || format!("{path:?} starts while its database is open"))?;
        let other = *self.files.entry(stored.file).or_insert(uid);
        check(other == uid, || {
            format!("{:?} was the file of {other:?} and is that of {uid:?}", stored.file)
        })?;
        let found = self.disk.files.get(&stored.file);
        let promised = all[&uid].database;
        if stored.has_database {
            let found = found.ok_or_else(|| format!("the database of {path:?} is missing"))?;
            check(found.path == path && found.rows == promised, || {
                format!("{path:?} finds {found:?}, not {promised:?}")
            })?;
        } else {
            let is_free = found.is_none() && !self.journal.is_to_remove(stored.file);
            // Where the journal has failed nothing is removed any more; the database is refused then.
            check(is_free || self.journal.failed.is_some(), || {
                format!("{:?} of {path:?} is used already", stored.file)
            })?;
            check(promised.is_none(), || {
                format!("{path:?} begins anew, though it has {promised:?}")
            })?;
            if !is_free {
                return Ok(Stage::Undo(End::StartFailed));
            }
        }
        life.depth = stored.path.len();
        life.mood = self.some_mood(life);
        life.store = Some(Store {
            file: stored.file,
            path,
            stored: stored.has_database,
            open: false,
            closed_empty: false,
            committed: promised.unwrap_or_default(),
            written: None,
            unrecorded: false,
            closed: false,
        });
        Ok(Stage::Loading)
    }

    pub(super) fn load(&mut self, life: &mut Life) -> Stage {
        if self.controls[&life.incarnation].ending.is_some() {
            return Stage::Undo(self.end_of(life));
        }
        if self.random.one_in(30) {
            return Stage::Undo(End::StartFailed);
        }
        let all = self.promised.all();
        let class = all.get(&life.uid()).map_or(0, |facet| facet.startup);
        life.started = class != CLASS_WITH_HOOK;
        if !life.started {
            let left = self.random.below(4);
            life.enter(self.now_ms, Pending::Start, left);
        }
        Stage::Running
    }

    /// How it ends: what breaks before it has started raises no epoch.
    pub(super) fn end_of(&mut self, life: &Life) -> End {
        match ended_from_outside(&self.controls[&life.incarnation]) {
            End::Broken(_) if !life.started => End::StartFailed,
            end => end,
        }
    }

    /// It breaks by itself.
    pub(super) fn broken(&mut self, life: &Life, code: &'static str) -> Stage {
        self.note(|_| format!("{:?} breaks: {code}", life.incarnation));
        Stage::Undo(match &self.controls[&life.incarnation].ending {
            Some(_) => self.end_of(life),
            None if life.started => End::Broken(code),
            None => End::StartFailed,
        })
    }
}
