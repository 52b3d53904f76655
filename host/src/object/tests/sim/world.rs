//! One object in one process, and everything around it. What happens under the object's lock is one step here, in the order
//! in which `live` does it; each step is compared with what is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disk::{Disk, Journal, Lsn, Member, TreeUnit, Unit};
use super::guest::Taste;
use super::life::Life;
use super::promised::{EpochNo, Promised, ROOT, Snapshot, Uid};
use super::random::Random;
use super::{Checked, Missing, NAMES, OBJECT, Twist, check, number, startup};
use crate::error::{CallError, Outcome};
use crate::ids::{FacetName, FileId};
use crate::index;
use crate::object::{Cause, Delivery, Epoch, IncarnationId, Kill, NodeId, Owner, Tree, TreeChange, TurnChanges};

/// Mail that waits for one facet.
const MAILBOX_LEN_MAX: usize = 4;

/// A stub, and which epoch of which facet it is of.
#[derive(Clone, Debug)]
pub(super) struct Stub {
    pub(super) node: NodeId,
    pub(super) epoch: Arc<Epoch>,
    pub(super) uid: Uid,
    pub(super) no: EpochNo,
}

pub(super) type CallId = usize;

/// An answer, and what it may reveal.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) result: Result<Vec<Stub>, CallError>,
    pub(super) dep: Lsn,
    pub(super) shows: Lsn,
}

#[derive(Debug)]
pub(super) struct Call {
    /// None: a client.
    pub(super) caller: Option<IncarnationId>,
    pub(super) released: bool,
    pub(super) answer: Option<Answer>,
    /// The client has seen the answer.
    pub(super) told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    Call(CallId),
    Alarm(FileId),
}

#[derive(Debug)]
pub(super) enum Mail {
    Event {
        work: Work,
        stubs: Vec<Stub>,
        dep: Lsn,
        shows: Lsn,
    },
    Evict,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Running,
    Sealing,
    Dead,
}

#[derive(Clone, Debug)]
pub(super) enum Ending {
    Killed(Arc<Cause>),
    Broken(&'static str),
}

/// As `live::Control`.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) state: State,
    pub(super) ending: Option<Ending>,
    pub(super) gone: bool,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            state: State::Running,
            ending: None,
            gone: false,
        }
    }

    pub(super) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
        self.state = State::Dead;
    }
}

/// Somebody's look at a database.
#[derive(Debug)]
pub(super) struct Loan {
    pub(super) node: NodeId,
    pub(super) file: FileId,
    /// The database is open.
    pub(super) open: bool,
}

/// What was seen.
#[derive(Default, Debug)]
pub(super) struct Seen {
    pub(super) starts: u64,
    pub(super) turns: u64,
    pub(super) lost: u64,
    pub(super) sealed_and_killed: u64,
    pub(super) sealed_and_deleted: u64,
    pub(super) copies: u64,
    pub(super) crashes: u64,
    pub(super) stops: u64,
    pub(super) rests: u64,
    pub(super) alarms: u64,
}

impl Seen {
    pub(super) fn all(&mut self) -> [&mut u64; 10] {
        let Self {
            starts,
            turns,
            lost,
            sealed_and_killed,
            sealed_and_deleted,
            copies,
            crashes,
            stops,
            rests,
            alarms,
        } = self;
        [
            starts,
            turns,
            lost,
            sealed_and_killed,
            sealed_and_deleted,
            copies,
            crashes,
            stops,
            rests,
            alarms,
        ]
    }

    pub(super) fn add(&mut self, mut other: Self) {
        for (sum, more) in self.all().into_iter().zip(other.all()) {
            *sum += *more;
        }
    }

    pub(super) fn is_everything(&mut self) -> bool {
        self.all().iter().all(|seen| **seen > 0)
    }
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) taste: Taste,
    pub(super) slow_turns: bool,
    pub(super) without: Option<Missing>,
    pub(super) traced: Option<Vec<String>>,
    pub(super) now_ms: u64,
    pub(super) steps: u64,
    pub(super) disk: Disk,
    pub(super) journal: Journal,
    pub(super) tree: Tree,
    pub(super) promised: Promised,
    pub(super) history: Vec<(Lsn, Snapshot)>,
    /// As in `live::Object`: what has not gone yet, with its mailbox.
    pub(super) running: BTreeMap<IncarnationId, Vec<Mail>>,
    pub(super) next_seq: u64,
    pub(super) has_index: bool,
    pub(super) stopped: bool,
    /// Until this is settled the object must not be loaded again.
    pub(super) kept_until: Lsn,
    pub(super) controls: BTreeMap<IncarnationId, Control>,
    pub(super) lives: BTreeMap<IncarnationId, Box<Life>>,
    pub(super) copyings: Vec<super::copying::Copying>,
    pub(super) calls: Vec<Call>,
    pub(super) loans: BTreeMap<IncarnationId, Loan>,
    /// How many hold a facet between two turns.
    pub(super) pauses: BTreeMap<IncarnationId, usize>,
    /// As the scheduler of alarms has it.
    pub(super) alarms: BTreeMap<FileId, u64>,
    pub(super) alarms_under_way: BTreeSet<FileId>,
    /// Files that units of this process have removed.
    pub(super) removed: BTreeSet<FileId>,
    /// Their facets have been found.
    pub(super) ringing: Vec<(FileId, NodeId, Uid)>,
    /// Whose file.
    pub(super) files: BTreeMap<FileId, Uid>,
    /// Facets with an empty database that nobody has opened since the object was: what they hold is found when they run.
    pub(super) unopened: BTreeSet<Uid>,
    /// Guests have nothing more to do.
    pub(super) quiet: bool,
    /// What clients have seen.
    pub(super) observed: Lsn,
    /// A unit that waits beside the queue, where that is allowed.
    pub(super) delayed: Option<Unit>,
    pub(super) last_version: u64,
    pub(super) changed: bool,
    pub(super) seen: Seen,
}

pub(super) fn name(text: &'static str) -> FacetName {
    FacetName::new(text).unwrap()
}

/// `a/b` as the tree says it.
pub(super) fn joined(path: &[FacetName]) -> String {
    path.iter().map(FacetName::as_str).collect::<Vec<_>>().join("/")
}

impl World {
    pub(super) fn new(mut random: Random, twist: Twist, traced: bool) -> Checked<Self> {
        let mut world = Self {
            slow_turns: random.one_in(4) || twist.slow_turns,
            taste: Taste::new(&mut random, twist.often),
            random,
            without: twist.without,
            traced: traced.then(Vec::new),
            now_ms: 1_000_000,
            steps: 0,
            disk: Disk::default(),
            journal: Journal::new(Disk::default()),
            tree: Tree::new(Arc::new(startup(0)), false, std::iter::empty(), FileId(1)),
            promised: Promised::default(),
            history: Vec::new(),
            running: BTreeMap::new(),
            next_seq: 1,
            has_index: false,
            stopped: false,
            kept_until: 0,
            controls: BTreeMap::new(),
            lives: BTreeMap::new(),
            copyings: Vec::new(),
            calls: Vec::new(),
            loans: BTreeMap::new(),
            pauses: BTreeMap::new(),
            alarms: BTreeMap::new(),
            alarms_under_way: BTreeSet::new(),
            removed: BTreeSet::new(),
            ringing: Vec::new(),
            files: BTreeMap::new(),
            unopened: BTreeSet::new(),
            quiet: false,
            observed: 0,
            delayed: None,
            last_version: 0,
            changed: false,
            seen: Seen::default(),
        };
        world.reopen(Disk::default())?;
        Ok(world)
    }

    pub(super) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.traced.is_some() {
            let line = line(self);
            self.traced.get_or_insert_default().push(line);
        }
    }

    pub(super) fn lacks(&self, rule: Missing) -> bool {
        self.without == Some(rule)
    }

    pub(super) fn new_version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }

    /// Ends whom the tree says, who must be whom it should be.
    pub(super) fn carry_out(&mut self, kills: Vec<Kill>, mut expected: Vec<IncarnationId>) -> Checked {
        let mut killed: Vec<_> = kills.iter().map(|kill| kill.incarnation).collect();
        killed.sort();
        expected.sort();
        check(killed == expected, || format!("{killed:?} are ended, not {expected:?}"))?;
        for Kill { incarnation, cause } in kills {
            check(self.promised.ended[&incarnation] == *cause, || {
                format!("{incarnation:?} is ended by {cause:?}")
            })?;
            self.note(|_| format!("  ends {incarnation:?}: {cause:?}"));
            if self.running.contains_key(&incarnation) {
                let control = self.controls.get_mut(&incarnation).expect("what runs has one");
                control.end(Ending::Killed(cause));
            }
        }
        self.changed = true;
        Ok(())
    }

    /// Puts an event into a facet's mailbox, and starts the facet if need be.
    pub(super) fn deliver(&mut self, to: Option<&Stub>, alarm: Option<(NodeId, Uid)>, mail: Mail) -> Checked {
        if self.stopped {
            return self.refuse(mail, &Cause::Unavailable.error(Outcome::NotApplied));
        }
        let (node, uid) = match (to, alarm) {
            (Some(stub), _) => (stub.node, stub.uid),
            (None, Some(alarm)) => alarm,
            (None, None) => (self.tree.root(), ROOT),
        };
        let expected = match to {
            Some(stub) => self.promised.cause(stub.no).cloned(),
            None if self.promised.all().contains_key(&uid) => None,
            None => Some(Cause::Deleted),
        };
        let delivery = self.tree.deliver(node, to.map(|stub| &stub.epoch));
        self.changed = true;
        let live = self.promised.live.get(&uid).copied();
        let stored = self
            .promised
            .committed
            .get(&uid)
            .is_some_and(|facet| facet.database.is_some());
        // What an alarm has found may have been forgotten since, and made anew.
        let expected = match &delivery {
            Delivery::Ended(cause) if to.is_none() && !stored => Some((**cause).clone()),
            Delivery::Ended(_) | Delivery::To(_) | Delivery::Start(_) => expected,
        };
        let incarnation = match (delivery, expected, live) {
            (Delivery::Ended(cause), Some(expected), _) if *cause == expected => {
                return self.refuse(mail, &cause.error(Outcome::NotApplied));
            }
            (Delivery::To(incarnation), None, Some(live)) if incarnation == live => incarnation,
            (Delivery::Start(start), None, None) => {
                let incarnation = start.incarnation;
                self.promised.live.insert(uid, incarnation);
                self.controls.insert(incarnation, Control::new());
                self.running.insert(incarnation, Vec::new());
                let mut after = start.after;
                after.retain(|before| self.running.contains_key(before));
                self.note(|_| format!("  starts {incarnation:?} of {uid:?} after {after:?}"));
                let no = self.promised.epoch(uid);
                let own = Stub {
                    node,
                    epoch: start.epoch,
                    uid,
                    no,
                };
                check(start.node == node, || "it starts another facet".to_owned())?;
                self.lives
                    .insert(incarnation, Box::new(Life::new(incarnation, own, after)));
                incarnation
            }
            (delivery, expected, live) => {
                return Err(format!(
                    "an event for {uid:?} goes to {delivery:?}; its epoch: {expected:?}, live: {live:?}"
                ));
            }
        };
        let mailbox = self
            .running
            .get_mut(&incarnation)
            .expect("it is there as long as it is in the tree");
        if mailbox.len() >= MAILBOX_LEN_MAX {
            return self.refuse(mail, &CallError::limit("mailbox", "too many events wait"));
        }
        mailbox.push(mail);
        Ok(())
    }

    /// Answers mail that cannot be delivered.
    pub(super) fn refuse(&mut self, mail: Mail, error: &CallError) -> Checked {
        match mail {
            Mail::Event {
                work: Work::Call(call),
                dep,
                shows,
                ..
            } => self.answer(
                call,
                Answer {
                    result: Err(error.clone()),
                    dep,
                    shows,
                },
            ),
            Mail::Event {
                work: Work::Alarm(file),
                ..
            } => {
                self.alarms_under_way.remove(&file);
                Ok(())
            }
            Mail::Evict => Ok(()),
        }
    }

    pub(super) fn answer(&mut self, call: CallId, answer: Answer) -> Checked {
        let of = &mut self.calls[call];
        check(of.released && of.answer.is_none(), || {
            format!("call {call} is answered twice: {:?}, {answer:?}", of.answer)
        })?;
        check(answer.shows <= answer.dep, || {
            format!(
                "an answer to call {call} shows unit {} and waits for {}",
                answer.shows, answer.dep
            )
        })?;
        of.answer = Some(answer);
        Ok(())
    }

    /// Queues one unit. Under the lock, so that records of the tree are queued in their order.
    pub(super) fn record(&mut self, mut unit: Unit, tree: Vec<TreeChange>) -> Lsn {
        if !tree.is_empty() {
            self.note(|_| format!("  record: {}", tree.iter().map(line).collect::<Vec<_>>().join(", ")));
            let changes: Vec<_> = tree.into_iter().map(index::TreeChange::from).collect();
            let seq = self.next_seq;
            self.next_seq += 1;
            let is_new = !std::mem::replace(&mut self.has_index, true);
            // A file that is mostly history begins anew, now and then.
            let anew = (!is_new && self.random.one_in(6))
                .then(|| self.tree.recorded(usize::MAX))
                .flatten();
            let is_new = is_new || anew.is_some();
            let changes = match anew {
                Some(image) => image.into_iter().map(index::TreeChange::from).collect(),
                None => changes,
            };
            let header = is_new.then(|| index::encode_header(OBJECT, self.tree.next_file(), seq));
            unit.tree = TreeUnit::Append {
                header: header.unwrap_or_default(),
                record: index::encode_record(seq, &changes),
            };
        }
        self.queue(unit)
    }

    pub(super) fn queue(&mut self, unit: Unit) -> Lsn {
        self.note(|_| format!("  unit: {}", described(&unit)));
        let reads_stale = !matches!(unit.tree, TreeUnit::Unchanged) || !unit.removed.is_empty();
        for member in &unit.members {
            match member.rows.alarm_ms {
                Some(due_ms) => drop(self.alarms.insert(member.file, due_ms)),
                None => drop(self.alarms.remove(&member.file)),
            }
        }
        for file in &unit.removed {
            self.alarms.remove(file);
        }
        self.removed.extend(&unit.removed);
        for member in unit.members.iter().filter(|member| member.whole) {
            self.removed.remove(&member.file);
        }
        let lsn = match self.delayed.take() {
            None if self.lacks(Missing::QueuedUnderTheLock) && self.random.one_in(4) => {
                self.delayed = Some(unit);
                self.journal.last() + 1
            }
            delayed => {
                self.journal.append(unit);
                delayed.map_or(self.journal.last(), |unit| self.journal.append(unit))
            }
        };
        self.history.push((lsn, self.promised.snapshot()));
        if reads_stale {
            self.kept_until = lsn;
        }
        lsn
    }

    pub(super) fn no_unit_is_delayed(&mut self) {
        if let Some(unit) = self.delayed.take() {
            self.journal.append(unit);
        }
    }

    /// A turn was lost.
    pub(super) fn undo(&mut self, turn: IncarnationId, changes: TurnChanges) -> Checked {
        self.seen.lost += 1;
        let expected = self.promised.lose(turn);
        if changes.is_empty() || self.lacks(Missing::LostTurnsAreUndone) {
            return Ok(());
        }
        let mut kills = Vec::new();
        let removed = self.tree.undo(changes, &mut kills);
        self.carry_out(kills, expected)?;
        if !removed.is_empty() {
            let unit = Unit {
                removed,
                ..Unit::default()
            };
            self.record(unit, Vec::new());
        }
        Ok(())
    }

    /// Nothing is in the database, which is closed.
    pub(super) fn emptied(&mut self, uid: Uid, file: FileId) -> Option<Lsn> {
        let tree = self.tree.now_empty(file)?;
        self.changed = true;
        if let Some(facet) = self.promised.committed.get_mut(&uid) {
            facet.database = None;
        }
        let mut unit = Unit {
            removed: vec![file],
            ..Unit::default()
        };
        if self.has_index && self.tree.needs_no_index() {
            self.has_index = false;
            unit.tree = TreeUnit::Removed;
            return Some(self.queue(unit));
        }
        Some(self.record(unit, tree))
    }

    /// S12: an index of nothing goes.
    pub(super) fn drop_index(&mut self) -> Option<Lsn> {
        if !self.has_index || !self.tree.needs_no_index() {
            return None;
        }
        self.has_index = false;
        Some(self.queue(Unit {
            tree: TreeUnit::Removed,
            ..Unit::default()
        }))
    }

    /// Records a commit of the host's own. None if the facet has been deleted.
    pub(super) fn record_alone(&mut self, uid: Uid, member: Member) -> Checked<Option<Lsn>> {
        let owner = self.tree.owner(member.file);
        let stored = self
            .promised
            .committed
            .get(&uid)
            .is_some_and(|facet| facet.database.is_some());
        check((owner != Owner::Nobody) == stored, || {
            format!(
                "{:?} belongs to {owner:?}, and {uid:?} is stored: {stored}",
                member.file
            )
        })?;
        if owner == Owner::Nobody {
            return Ok(None);
        }
        if let Some(facet) = self.promised.committed.get_mut(&uid) {
            facet.database = Some(member.rows);
        }
        let unit = Unit {
            members: vec![member],
            ..Unit::default()
        };
        Ok(Some(self.record(unit, Vec::new())))
    }

    /// Store and database are closed.
    pub(super) fn gone(&mut self, incarnation: IncarnationId) {
        self.note(|_| format!("{incarnation:?} is gone"));
        self.tree.gone(incarnation);
        self.running.remove(&incarnation);
        self.drop_index();
        self.controls.get_mut(&incarnation).expect("it had one").gone = true;
        self.changed = true;
    }

    pub(super) fn is_gone(&self, incarnation: IncarnationId) -> bool {
        self.controls[&incarnation].gone
    }

    /// Delivers the alarms that are due.
    pub(super) fn ring(&mut self) -> Checked {
        let due = self.alarms.iter().filter(|(_, due_ms)| **due_ms <= self.now_ms);
        let due: Vec<_> = due.map(|(file, _)| *file).collect();
        for file in due {
            if self.stopped || !self.alarms_under_way.insert(file) {
                continue;
            }
            let uid = self.files[&file];
            let all = self.promised.all();
            match self.tree.owner(file) {
                Owner::Facet(node) => {
                    check(all.contains_key(&uid), || {
                        format!("{file:?} is of {uid:?}, which is deleted")
                    })?;
                    self.ringing.push((file, node, uid));
                }
                Owner::Leaving => {
                    check(!all.contains_key(&uid), || {
                        format!("{file:?} is of {uid:?}, which is not deleted")
                    })?;
                    self.alarms_under_way.remove(&file);
                }
                Owner::Nobody => {
                    let facet = self.promised.committed.get(&uid);
                    let rows = facet.and_then(|facet| facet.database).unwrap_or_default();
                    check(rows.alarm_ms.is_none(), || format!("the alarm of {uid:?} is forgotten"))?;
                    self.alarms_under_way.remove(&file);
                    self.alarms.remove(&file);
                }
            }
        }
        Ok(())
    }

    /// The facet was found before; meanwhile anything may have happened.
    pub(super) fn ring_one(&mut self) -> Checked {
        let Some((file, node, uid)) = self.ringing.pop() else {
            return Ok(());
        };
        let mail = Mail::Event {
            work: Work::Alarm(file),
            stubs: Vec::new(),
            dep: 0,
            shows: 0,
        };
        self.deliver(None, Some((node, uid)), mail)
    }

    /// What may be told to clients by now.
    pub(super) fn tell_clients(&mut self) {
        let waits = !self.lacks(Missing::RepliesWait);
        for call in &mut self.calls {
            if let (None, false, Some(answer)) = (call.caller, call.told, &call.answer)
                && (!waits || self.journal.is_durable(answer.dep))
            {
                self.observed = self.observed.max(answer.shows);
                call.told = true;
            }
        }
    }

    pub(super) fn some_name(&mut self) -> &'static str {
        self.random.pick(&NAMES).expect("there are some")
    }
}

fn described(unit: &Unit) -> String {
    let members: Vec<_> = unit
        .members
        .iter()
        .map(|m| (m.file.0, m.rows.version, m.whole))
        .collect();
    let adopted: Vec<_> = unit.adopted.iter().map(|(file, _)| file.0).collect();
    let removed: Vec<_> = unit.removed.iter().map(|file| file.0).collect();
    let tree = match &unit.tree {
        TreeUnit::Unchanged => "",
        TreeUnit::Removed => ", no index",
        TreeUnit::Append { .. } => ", a record",
    };
    format!("commits {members:?}, adopts {adopted:?}, removes {removed:?}{tree}")
}

fn line(change: &TreeChange) -> String {
    match change {
        TreeChange::Create {
            file,
            parent,
            name,
            startup,
            has_database,
        } => {
            let what = if *has_database { "database" } else { "entry" };
            format!("create {what} {file} {name} below {parent} with {}", number(startup))
        }
        TreeChange::Store { file } => format!("store {file}"),
        TreeChange::Empty { file } => format!("empty {file}"),
        TreeChange::Restart { file, startup } => format!("restart {file} with {}", number(startup)),
        TreeChange::Delete { file } => format!("delete {file}"),
    }
}
