//! The life of one incarnation, step by step, as `isolate` lives it: wait for those before, launch, start, take events, seal
//! turns, end. Between any two steps anything else may happen.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::{File, Lsn, Member, Unit};
use super::promised::{self, Rows, Uid};
use super::world::{Answer, CallId, Control, Ending, Mail, State, Stub, Work, World, joined};
use super::{Checked, Missing, check, number};
use crate::error::{CallError, Kind, Outcome};
use crate::ids::FileId;
use crate::object::{Cause, Copy, IncarnationId, TurnChanges};

/// Events of one facet that have begun.
const IN_FLIGHT_MAX: usize = 3;
/// How long a facet lies idle.
const IDLE_EVICT_MS: u64 = 1_000;
/// How long an event may take.
const WALL_MS: u64 = 30_000;
/// When an alarm whose handler has failed is due again.
const RETRY_MS: u64 = 2_000;
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
    pub(super) touched: bool,
    pub(super) changes: TurnChanges,
    pub(super) effects: Vec<Effect>,
    pub(super) copies: Vec<Copy>,
    pub(super) adopted: Vec<FileId>,
}

impl Turn {
    fn is_nothing(&self) -> bool {
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
    entered_in: u64,
    deadline_ms: u64,
    /// What it still has to do.
    pub(super) left: usize,
    pub(super) waits: Option<CallId>,
    returned: bool,
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
    next_event: u64,
    /// Whose turn it is.
    pub(super) runs: Option<u64>,
    pub(super) stubs: Vec<Stub>,
    pub(super) dep: Lsn,
    /// The newest unit of which the guest has seen anything.
    pub(super) shows: Lsn,
    started: bool,
    pub(super) depth: usize,
    pub(super) mood: Mood,
    /// Its thread is slow: nothing happens before that step.
    pub(super) stalls_until: u64,
    evict: bool,
    idle_since_ms: Option<u64>,
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

    /// A turn is open in its database, or its commit is not recorded.
    pub(super) fn is_in_turn(&self) -> bool {
        self.turn.touched || self.store.as_ref().is_some_and(|store| store.unrecorded)
    }

    fn enter(&mut self, now_ms: u64, pending: Pending, left: usize) {
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

    fn step_stage(&mut self, life: &mut Life) -> Checked<bool> {
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
    fn launch(&mut self, life: &mut Life) -> Checked<Stage> {
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

    fn load(&mut self, life: &mut Life) -> Stage {
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

    /// The event loop: between two turns, or in one.
    fn run(&mut self, life: &mut Life) -> Checked<bool> {
        life.stage = Stage::Running;
        if self.controls[&life.incarnation].ending.is_some() && (life.runs.is_none() || self.random.one_in(2)) {
            // A guest that runs goes on until it is stopped.
            life.stage = Stage::Undo(self.end_of(life));
            return Ok(true);
        }
        let is_paused = self.is_paused(life.incarnation);
        if let Some(event) = life.runs {
            match life.events.get(&event).map_or(0, |event| event.left) {
                0 => {
                    if let Some(event) = life.events.get_mut(&event) {
                        event.returned = true;
                    }
                    life.stage = self.seal(life);
                }
                _ => self.act(life, event)?,
            }
            return Ok(true);
        }
        let returned = life.events.iter().find(|(_, event)| event.returned);
        if let Some((id, event)) = returned {
            if is_paused && matches!(event.pending, Pending::Alarm(_)) {
                return Ok(false);
            }
            let id = *id;
            life.stage = self.finish(life, id)?;
            return Ok(true);
        }
        self.note_idleness(life);
        if is_paused {
            // The gate is closed, to all.
            return Ok(false);
        }
        let answered = |event: &Event| event.waits.is_none_or(|call| self.calls[call].answer.is_some());
        let runnable: Vec<_> = life
            .events
            .iter()
            .filter(|(_, event)| answered(event))
            .map(|(id, _)| *id)
            .collect();
        let mail = &self.running[&life.incarnation];
        let admits = life.started && life.events.len() < IN_FLIGHT_MAX && !mail.is_empty();
        if admits && (runnable.is_empty() || self.random.one_in(2)) {
            self.admit(life)?;
            return Ok(true);
        }
        if let Some(id) = self.random.pick(&runnable) {
            self.resume(life, id)?;
            return Ok(true);
        }
        if life.evict && life.started && life.events.is_empty() {
            let retired = mail.is_empty() && self.tree.retire(life.incarnation);
            if retired {
                self.note(|_| format!("{:?} rests", life.incarnation));
                self.promised.live.remove(&life.uid());
                self.changed = true;
                life.stage = Stage::Undo(End::Idle);
            }
            life.evict = false;
            return Ok(true);
        }
        Ok(false)
    }

    fn note_idleness(&self, life: &mut Life) {
        match life.started && life.events.is_empty() {
            true => drop(life.idle_since_ms.get_or_insert(self.now_ms)),
            false => life.idle_since_ms = None,
        }
    }

    /// The watchdog looks at the clock.
    pub(super) fn watch(&mut self) {
        let (mut slow, mut closes) = (Vec::new(), Vec::new());
        for (incarnation, life) in &self.lives {
            let mail = self.running.get_mut(incarnation).filter(|mail| mail.is_empty());
            if let (Some(mail), Some(since_ms)) = (mail, life.idle_since_ms)
                && since_ms + IDLE_EVICT_MS <= self.now_ms
            {
                mail.push(Mail::Evict);
            }
            if life.idle_since_ms.is_some() && life.events.is_empty() && !life.is_in_turn() {
                closes.push(*incarnation);
            }
            if life.events.values().any(|event| event.deadline_ms <= self.now_ms) {
                slow.push(*incarnation);
            }
        }
        for incarnation in closes {
            let store = self.lives.get_mut(&incarnation).and_then(|life| life.store.as_mut());
            let store = store.filter(|store| !store.closed && store.stored && store.open);
            if let (Some(store), true) = (store, self.random.one_in(2)) {
                (store.open, store.closed_empty) = (false, store.committed.is_empty());
            }
        }
        for incarnation in slow {
            self.control(incarnation).end(Ending::Broken("wall"));
        }
    }

    fn admit(&mut self, life: &mut Life) -> Checked {
        let mail = self.running.get_mut(&life.incarnation).expect("it runs").remove(0);
        let left = match self.quiet {
            true => 0,
            false => 2 + self.random.below(14),
        };
        if self.random.one_in(4) {
            life.mood = self.some_mood(life);
        }
        match mail {
            Mail::Evict => life.evict = true,
            Mail::Event {
                work,
                stubs,
                dep,
                shows,
            } => {
                life.evict = false;
                if !self.lacks(Missing::DepsAreInherited) {
                    life.dep = life.dep.max(dep);
                }
                life.shows = life.shows.max(shows);
                life.stubs.extend(stubs);
                self.note(|_| format!("{:?} takes {work:?}", life.incarnation));
                match work {
                    Work::Call(call) => life.enter(self.now_ms, Pending::Call(call), left),
                    Work::Alarm(file) => self.begin_alarm(life, file, left)?,
                }
            }
        }
        Ok(())
    }

    /// The try is counted and committed before the handler runs.
    fn begin_alarm(&mut self, life: &mut Life, file: FileId, left: usize) -> Checked {
        self.seen.alarms += 1;
        let now_ms = self.now_ms;
        let store = life.store.as_mut().expect("it has been launched");
        (store.open, store.closed_empty) = (store.open || store.stored, false);
        let rows = store.rows();
        if rows.alarm_ms.is_none_or(|due_ms| due_ms > now_ms) {
            self.alarms_under_way.remove(&file);
            return Ok(());
        }
        store.written = Some(Rows {
            alarm_ms: Some(now_ms + RETRY_MS),
            ..rows
        });
        life.turn.touched = true;
        life.enter(now_ms, Pending::Alarm(file), left);
        life.stage = self.seal(life);
        Ok(())
    }

    fn resume(&mut self, life: &mut Life, id: u64) -> Checked {
        life.runs = Some(id);
        let event = life.events.get_mut(&id).expect("it was found there");
        if self.quiet {
            event.left = 0;
        }
        let Some(call) = event.waits.take() else { return Ok(()) };
        let answer = self.calls[call].answer.clone().expect("it was looked for");
        if !self.lacks(Missing::DepsAreInherited) {
            life.dep = life.dep.max(answer.dep);
        }
        life.shows = life.shows.max(answer.shows);
        match answer.result {
            Ok(stubs) => life.stubs.extend(stubs),
            Err(error) => self.note(|_| format!("{:?} is answered {error}", life.incarnation)),
        }
        Ok(())
    }

    /// The event has returned, and what it did before is sealed.
    fn finish(&mut self, life: &mut Life, id: u64) -> Checked<Stage> {
        let event = life.events.remove(&id).expect("it was found there");
        match event.pending {
            Pending::Start => life.started = true,
            Pending::Call(call) => {
                let result = match self.random.below(8) {
                    0 => Err(CallError::new(Kind::Failed, "", "its own").outcome(Outcome::Applied)),
                    1 => Ok(vec![life.own.clone()]),
                    2 => Ok(life.stubs.first().cloned().into_iter().collect()),
                    _ => Ok(Vec::new()),
                };
                life.turn.effects.push(Effect::Answer(call, result));
            }
            Pending::Alarm(file) => {
                let store = life.store.as_mut().expect("it has been launched");
                let rows = store.rows();
                // Unless the handler has set another one.
                if rows.alarm_ms.is_none_or(|due_ms| due_ms <= self.now_ms + RETRY_MS) {
                    store.written = Some(Rows { alarm_ms: None, ..rows });
                    (store.open, store.closed_empty) = (true, false);
                    life.turn.touched = true;
                }
                life.turn.effects.push(Effect::AlarmEnded(file));
            }
        }
        Ok(self.seal(life))
    }

    /// The turn ends.
    pub(super) fn seal(&mut self, life: &mut Life) -> Stage {
        life.turns += 1;
        life.runs = None;
        if !life.turn.copies.is_empty() {
            let copies = std::mem::take(&mut life.turn.copies);
            life.turn.adopted.extend(copies.iter().map(|copy| copy.to));
            self.begin_copies(life.incarnation, copies);
            return Stage::Copying;
        }
        match life.turn.is_nothing() {
            true => Stage::Running,
            false => self.begin_seal(life),
        }
    }

    pub(super) fn begin_seal(&mut self, life: &mut Life) -> Stage {
        let control = self.control(life.incarnation);
        if control.state != State::Running {
            return Stage::Undo(self.end_of(life));
        }
        control.state = State::Sealing;
        Stage::Committing
    }

    fn commit(&mut self, life: &mut Life) -> Checked<Stage> {
        if !life.turn.touched {
            return Ok(Stage::Recording(None));
        }
        if self.random.one_in(80) {
            life.turns -= 1;
            return Ok(self.broken(life, "commit"));
        }
        life.turn.touched = false;
        Ok(Stage::Recording(self.write(life)?))
    }

    /// COMMIT.
    fn write(&mut self, life: &mut Life) -> Checked<Option<Member>> {
        let store = life.store.as_mut().expect("it has been launched");
        let Some(rows) = store.written.take() else {
            return Ok(None);
        };
        if store.stored {
            let there = self.disk.files.contains_key(&store.file) || self.journal.failed.is_some();
            // Removed, if the facet was deleted while it ran.
            let deleted = self.promised.ended.contains_key(&life.incarnation);
            check(there || deleted, || {
                format!("{:?} has vanished while it was open", store.file)
            })?;
        }
        let file = File {
            rows: Some(rows),
            path: store.path.clone(),
        };
        if self.disk.files.contains_key(&store.file) || !store.stored {
            self.disk.files.insert(store.file, file);
        }
        let whole = !std::mem::replace(&mut store.stored, true);
        (store.committed, store.unrecorded) = (rows, true);
        Ok(Some(Member {
            file: store.file,
            rows,
            path: store.path.clone(),
            whole,
        }))
    }

    /// Under the lock: one unit, then everything that the turn sent.
    fn end_turn(&mut self, life: &mut Life, member: Option<Member>) -> Checked<Stage> {
        let (incarnation, uid) = (life.incarnation, life.uid());
        let turn = std::mem::take(&mut life.turn);
        self.note(|_| format!("{incarnation:?} ends a turn: {member:?} {:?}", turn.changes));
        self.seen.turns += 1;
        self.changed = true;
        let mut recorded = life.dep;
        let mut record = match &member {
            Some(member) => self.tree.now_stored(life.own.node, member.file),
            None => Vec::new(),
        };
        let (more, mut removed) = self.tree.settle(turn.changes);
        let created = member.as_ref().filter(|member| member.whole).map(|member| member.file);
        if let Some(file) = created
            && record.is_empty()
            && !self.tree.owns(file)
            && !self.lacks(Missing::WhatIsNamedByNobodyGoes)
        {
            removed.push(file);
        }
        record.extend(more);
        self.promised
            .commit(incarnation, uid, member.as_ref().map(|member| member.rows));
        if member.is_some() || !record.is_empty() || !removed.is_empty() || !turn.adopted.is_empty() {
            let copy = |file: &FileId| Some((*file, self.disk.files.get(file)?.clone()));
            let unit = Unit {
                adopted: turn.adopted.iter().filter_map(copy).collect(),
                members: member.into_iter().collect(),
                removed,
                ..Unit::default()
            };
            recorded = self.record(unit, record);
            (life.dep, life.shows) = (recorded, recorded);
            if let Some(store) = &mut life.store {
                store.unrecorded = false;
            }
        }
        let control = self.control(incarnation);
        if control.state == State::Dead {
            if !self.lacks(Missing::TheDeadSendNothing) {
                life.dep = recorded;
                self.seen.sealed_and_killed += 1;
                self.drop_effects(life, turn.effects)?;
                return Ok(Stage::Undo(self.end_of(life)));
            }
        } else {
            control.state = State::Running;
        }
        for effect in turn.effects {
            check(!self.promised.ended.contains_key(&incarnation), || {
                format!("{effect:?} leaves {incarnation:?}, which has been ended")
            })?;
            self.release(life, effect)?;
        }
        Ok(Stage::Running)
    }

    fn release(&mut self, life: &Life, effect: Effect) -> Checked {
        let (dep, shows) = (life.dep, life.shows);
        match effect {
            Effect::Answer(call, result) => self.answer(call, Answer { result, dep, shows }),
            Effect::AlarmEnded(file) => {
                self.alarms_under_way.remove(&file);
                Ok(())
            }
            Effect::Call(call, to, stubs) => {
                self.note(|_| format!("  call {call} goes to {:?}", to.uid));
                self.calls[call].released = true;
                let mail = Mail::Event {
                    work: Work::Call(call),
                    stubs,
                    dep,
                    shows,
                };
                self.deliver(Some(&to), None, mail)
            }
        }
    }

    /// What is not sent tells who waits for it that the facet was lost.
    fn drop_effects(&mut self, life: &Life, effects: Vec<Effect>) -> Checked {
        for effect in effects {
            match effect {
                Effect::Call(..) => {}
                Effect::AlarmEnded(file) => drop(self.alarms_under_way.remove(&file)),
                Effect::Answer(call, _) => {
                    let cause = self.promised.ended.get(&life.incarnation).cloned();
                    let cause = cause.unwrap_or(Cause::Unavailable);
                    let result = Err(cause.error(Outcome::Unknown));
                    let (dep, shows) = (life.dep, life.shows);
                    self.answer(call, Answer { result, dep, shows })?;
                }
            }
        }
        Ok(())
    }

    /// The tree hears of an end that is not its own.
    fn tell(&mut self, life: &Life, end: &End) -> Checked {
        let incarnation = life.incarnation;
        match end {
            End::Idle | End::Killed(_) => Ok(()),
            End::StartFailed | End::NoPlace => {
                let was_live = self.promised.live.get(&life.uid()) == Some(&incarnation);
                if was_live {
                    self.promised.live.remove(&life.uid());
                }
                self.changed = true;
                let retired = self.tree.retire(incarnation);
                check(retired == was_live, || format!("{incarnation:?} retires: {retired}"))
            }
            End::Broken(code) => {
                let message = String::from("it broke");
                let cause = Cause::Broken { code, message };
                let all = self.promised.all();
                let mut top = life.uid();
                while let Some(facet) = all.get(&top)
                    && super::escalates(facet.startup)
                    && let Some(parent) = facet.parent
                {
                    top = parent;
                }
                let expected = match self.promised.live.get(&life.uid()) == Some(&incarnation) {
                    true => self.promised.end_below(top, &cause),
                    false => Vec::new(),
                };
                let mut kills = Vec::new();
                self.tree.broken(incarnation, cause, &mut kills);
                self.carry_out(kills, expected)
            }
        }
    }

    /// Everybody who waits hears of it.
    fn answer_all(&mut self, life: &mut Life, end: &End) -> Checked<Stage> {
        let cause = match end {
            End::Idle => Cause::Unavailable,
            End::Killed(cause) => (**cause).clone(),
            End::Broken(code) => Cause::Broken {
                code,
                message: "it broke".to_owned(),
            },
            End::NoPlace => Cause::Full(1),
            End::StartFailed => Cause::Broken {
                code: "start",
                message: "it did not start".to_owned(),
            },
        };
        if let Some(promised) = self.promised.ended.get(&life.incarnation) {
            let by_itself = matches!(end, End::Broken(_) | End::StartFailed | End::NoPlace);
            check(*promised == cause || by_itself, || {
                format!("{cause:?} is told, not {promised:?}")
            })?;
        }
        let mut alarm = None;
        let (dep, shows) = (life.dep, life.shows);
        for event in std::mem::take(&mut life.events).into_values() {
            let outcome = match event.entered_in == life.turns {
                true => Outcome::NotApplied,
                false => Outcome::Unknown,
            };
            match event.pending {
                Pending::Start => {}
                Pending::Alarm(file) => alarm = Some(file),
                Pending::Call(call) => {
                    let result = Err(cause.error(outcome));
                    self.answer(call, Answer { result, dep, shows })?;
                }
            }
        }
        if !self.lacks(Missing::MailIsAnswered) {
            let mail = std::mem::take(self.running.get_mut(&life.incarnation).expect("it is not gone"));
            for mail in mail {
                self.refuse(mail, &cause.error(Outcome::NotApplied))?;
            }
        }
        let Some(store) = &mut life.store else {
            return Ok(Stage::Gone);
        };
        let Some(file) = alarm else {
            return Ok(Stage::AwaitDurable);
        };
        self.alarms_under_way.remove(&file);
        let due_ms = self.now_ms + RETRY_MS;
        (store.open, store.closed_empty) = (true, false);
        store.written = Some(Rows {
            alarm_ms: self.random.one_in(2).then_some(due_ms),
            ..store.committed
        });
        let member = self.write(life)?.expect("it was written");
        life.store.as_mut().expect("it is there").unrecorded = false;
        Ok(Stage::SettleAlarm(member))
    }

    fn close(&mut self, life: &mut Life) -> Stage {
        let Some(store) = &mut life.store else {
            return Stage::Gone;
        };
        store.closed = true;
        if !store.stored && store.open {
            // Made, and never committed to.
            self.journal.remove(&mut self.disk, store.file);
        }
        let emptied = store.stored
            && if store.open {
                store.committed.is_empty()
            } else {
                store.closed_empty
            };
        if store.open || store.closed_empty {
            self.unopened.remove(&life.own.uid);
        }
        match emptied && self.journal.failed.is_none() {
            true => Stage::Emptied,
            false => Stage::Gone,
        }
    }
}
