//! What guests do: anything that the contract lets them, in any order, some of it after they have been ended.

use super::life::{Effect, Life, Mood, Stage};
use super::promised::{self, Rows, Uid};
use super::random::Random;
use super::world::{Call, Stub, World, joined, name};
use super::{Checked, Missing, check, startup};
use crate::object::{Cause, Copy, Kill, NodeId};

/// Names of facets lead so far down.
const DEPTH_MAX: usize = 4;
/// Alarms are set at most so far ahead.
const ALARM_MS_MAX: usize = 20_000;
const STUBS_MAX: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Write,
    Erase,
    SetAlarm,
    Get,
    Lookup,
    Names,
    Call,
    Abort,
    Delete,
    DeleteAll,
    Clone,
    DropStub,
    Trap,
    EndTurn,
}

/// How often guests do what, as a rule.
const USUAL: [(Act, usize); 14] = [
    (Act::Write, 20),
    (Act::Erase, 8),
    (Act::SetAlarm, 4),
    (Act::Get, 40),
    (Act::Lookup, 8),
    (Act::Names, 4),
    (Act::Call, 36),
    (Act::Abort, 4),
    (Act::Delete, 8),
    (Act::DeleteAll, 1),
    (Act::Clone, 8),
    (Act::DropStub, 8),
    (Act::Trap, 2),
    (Act::EndTurn, 12),
];

/// How often they do it in one life: with the usual mixture what needs several rare things would hardly be seen.
pub(super) struct Taste {
    weights: Vec<(Act, usize)>,
    all: usize,
    restarts: bool,
    /// Those who have children mostly store nothing themselves.
    parents_abstain: bool,
    /// How long a facet lies idle.
    pub(super) idle_evict_ms: u64,
}

impl Taste {
    /// `often`: what they do more often, in any life.
    pub(super) fn new(random: &mut Random, often: &[Act]) -> Self {
        let weights = USUAL.map(|(act, weight)| match act {
            act if often.contains(&act) => (act, weight * 8),
            Act::Get | Act::Call | Act::Write => (act, weight * [2, 3, 4][random.below(3)]),
            _ => (act, weight * [0, 1, 2, 4, 8][random.below(5)]),
        });
        Self {
            all: weights.iter().map(|(_, weight)| weight).sum(),
            weights: weights.into(),
            restarts: random.one_in(2),
            parents_abstain: random.one_in(2),
            idle_evict_ms: [500, 2_000, 20_000][random.below(3)],
        }
    }

    fn pick(&self, random: &mut Random) -> Act {
        let mut at = random.below(self.all);
        let found = self.weights.iter().find(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        found.map_or(Act::EndTurn, |(act, _)| *act)
    }
}

/// What is decided under the object's lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Get(&'static str, u8),
    Lookup(&'static str),
    Names,
    Abort(&'static str),
    Delete(&'static str),
    DeleteAll,
    Clone(&'static str, &'static str),
    DropStub(usize),
}

impl World {
    /// What a guest will do with its database.
    pub(super) fn some_mood(&mut self, life: &Life) -> Mood {
        let is_parent = self
            .promised
            .all()
            .values()
            .any(|facet| facet.parent == Some(life.uid()));
        if self.taste.parents_abstain && (is_parent || life.depth < 2) && !self.random.one_in(8) {
            return Mood::Abstains;
        }
        [Mood::Abstains, Mood::Writes, Mood::WritesAndErases][self.random.below(3)]
    }

    /// The event that runs does something.
    pub(super) fn act(&mut self, life: &mut Life, event: u64) -> Checked {
        let event = life.events.get_mut(&event).expect("it runs");
        event.left -= 1;
        if self.quiet {
            event.left = 0;
            return Ok(());
        }
        if self.controls[&life.incarnation].state == super::world::State::Dead {
            // Every import begins with this look.
            life.stage = Stage::Undo(self.end_of(life));
            return Ok(());
        }
        let act = self.taste.pick(&mut self.random);
        let touches = matches!(act, Act::Write | Act::Erase | Act::SetAlarm | Act::DeleteAll);
        let decides = matches!(act, Act::Get | Act::Delete | Act::Clone) && !self.lacks(Missing::TreesAreHeld);
        if touches || decides {
            if self.is_paused(life.incarnation) && !life.turn.open {
                // Its first access waits.
                return Ok(());
            }
            life.turn.open = true;
        }
        let decision = match act {
            Act::Write | Act::SetAlarm | Act::Erase if life.mood == Mood::WritesAndErases && self.random.one_in(2) => {
                return self.erase(life);
            }
            Act::Write if life.mood != Mood::Abstains => return self.write_rows(life),
            Act::Erase => return self.erase(life),
            Act::SetAlarm if life.mood != Mood::Abstains => return self.set_alarm(life),
            Act::Get if life.depth < DEPTH_MAX => {
                let startup = match self.random.below(8) {
                    0 if self.taste.restarts => 2,
                    1 if self.taste.restarts => 3,
                    _ => 1,
                };
                Decision::Get(self.some_name(), startup)
            }
            Act::Write | Act::SetAlarm | Act::Get | Act::Lookup => Decision::Lookup(self.some_child(life)),
            Act::Names => Decision::Names,
            Act::Call => return self.call(life),
            Act::Abort => Decision::Abort(self.some_child(life)),
            Act::Delete => Decision::Delete(self.some_child(life)),
            Act::DeleteAll => Decision::DeleteAll,
            Act::Clone => Decision::Clone(self.some_stored_child(life), self.some_name()),
            Act::DropStub => Decision::DropStub(self.random.below(life.stubs.len())),
            Act::Trap => {
                life.stage = self.broken(life, "trap");
                return Ok(());
            }
            Act::EndTurn => {
                life.stage = self.seal(life);
                return Ok(());
            }
        };
        if self.random.one_in(6) {
            life.stage = Stage::Deciding(decision);
            return Ok(());
        }
        self.decide(life, decision)
    }

    /// The name of a child, if it has any.
    fn some_child(&mut self, life: &Life) -> &'static str {
        let all = self.promised.all();
        let children = all.values().filter(|facet| facet.parent == Some(life.uid()));
        let names: Vec<_> = children.map(|facet| facet.name).collect();
        match self.random.one_in(6) {
            true => self.some_name(),
            false => self.random.pick(&names).unwrap_or("a"),
        }
    }

    /// The same of one that has something to copy.
    fn some_stored_child(&mut self, life: &Life) -> &'static str {
        let all = self.promised.all();
        let stored = promised::stored(&all);
        let children = all.iter().filter(|(_, facet)| facet.parent == Some(life.uid()));
        let names: Vec<_> = children
            .filter(|(uid, _)| stored.contains(uid))
            .map(|(_, facet)| facet.name)
            .collect();
        match self.random.pick(&names) {
            Some(name) if !self.random.one_in(6) => name,
            Some(_) | None => self.some_child(life),
        }
    }

    fn write_rows(&mut self, life: &mut Life) -> Checked {
        let version = self.new_version();
        let store = life.store.as_mut().expect("it has been launched");
        let mut rows = store.rows();
        rows.version = version;
        self.write_to(life, rows);
        Ok(())
    }

    /// Writes to the database, which is made if there is none.
    fn write_to(&mut self, life: &mut Life, rows: Rows) {
        let store = life.store.as_mut().expect("it has been launched");
        (store.written, store.open, store.closed_empty) = (Some(rows), true, false);
        life.turn.touched = true;
        if !store.stored && !self.disk.files.contains_key(&store.file) {
            let file = super::disk::File {
                rows: None,
                path: store.path.clone(),
            };
            self.disk.files.insert(store.file, file);
        }
    }

    fn erase(&mut self, life: &mut Life) -> Checked {
        let store = life.store.as_mut().expect("it has been launched");
        life.turn.touched = true;
        if store.stored || store.written.is_some() {
            let mut rows = store.rows();
            rows.version = 0;
            if !self.random.one_in(4) {
                rows.alarm_ms = None;
            }
            self.write_to(life, rows);
        }
        Ok(())
    }

    fn set_alarm(&mut self, life: &mut Life) -> Checked {
        let due_ms = self.now_ms + self.random.below(ALARM_MS_MAX) as u64;
        let store = life.store.as_mut().expect("it has been launched");
        let mut rows = store.rows();
        rows.alarm_ms = Some(due_ms);
        self.write_to(life, rows);
        Ok(())
    }

    /// Through a stub that it holds; most wait for the answer.
    fn call(&mut self, life: &mut Life) -> Checked {
        let at = self.random.below(life.stubs.len());
        self.call_through(life, at)
    }

    fn call_through(&mut self, life: &mut Life, at: usize) -> Checked {
        let Some(to) = life.stubs.get(at).cloned() else {
            return Ok(());
        };
        let passed = match self.random.below(6) {
            0 => vec![life.own.clone()],
            1 => life.stubs.first().cloned().into_iter().collect(),
            _ => Vec::new(),
        };
        let call = self.calls.len();
        self.calls.push(Call {
            caller: Some(life.incarnation),
            released: false,
            answer: None,
            told: false,
        });
        life.turn.effects.push(Effect::Call(call, to, passed));
        if !self.random.one_in(3) {
            let event = life.runs.and_then(|id| life.events.get_mut(&id)).expect("it runs");
            event.waits = Some(call);
            life.stage = self.seal(life);
        }
        Ok(())
    }

    /// Under the object's lock, where it counts who has been ended.
    pub(super) fn decide(&mut self, life: &mut Life, decision: Decision) -> Checked {
        let incarnation = life.incarnation;
        if self.controls[&incarnation].state == super::world::State::Dead && !self.lacks(Missing::TheDeadDecideNothing)
        {
            life.stage = Stage::Undo(self.end_of(life));
            return Ok(());
        }
        self.note(|_| format!("{incarnation:?} of {:?}: {decision:?}", life.uid()));
        check(!self.promised.ended.contains_key(&incarnation), || {
            format!("{incarnation:?} has been ended, and does {decision:?}")
        })?;
        let (node, uid) = (life.own.node, life.uid());
        let mut kills = Vec::new();
        match decision {
            Decision::Get(child, number) => {
                let (expected, ended) = self.promised.get(incarnation, uid, child, number);
                let got = self
                    .tree
                    .get(node, &name(child), startup(number), &mut life.turn.changes, &mut kills);
                self.carry_out(kills, ended)?;
                let got = got.map_err(|error| error.to_string())?;
                self.hold(life, got, expected)?;
                if self.random.one_in(2) {
                    self.changed = true;
                    return self.call_through(life, life.stubs.len().saturating_sub(1));
                }
            }
            Decision::Lookup(child) => {
                let all = self.promised.all();
                let (must, may) = self.promised.existing(&all);
                let there = promised::child(&all, uid, child);
                match (self.tree.lookup(node, &name(child)), there) {
                    (Some(found), Some(expected)) if may.contains(&expected) => self.hold(life, found, expected)?,
                    (None, there) if there.is_none_or(|uid| !must.contains(&uid)) => {}
                    (found, _) => return Err(format!("lookup of {child} finds {found:?}, not {there:?}")),
                }
            }
            Decision::Names => self.names(node, uid)?,
            Decision::Abort(child) => {
                let cause = Cause::Aborted(format!("by {incarnation:?}"));
                let ended = self.promised.abort(uid, child, &cause);
                self.tree.abort(node, &name(child), cause, &mut kills);
                self.carry_out(kills, ended)?;
            }
            Decision::Delete(child) => {
                let ended = self.promised.delete(incarnation, uid, child);
                self.tree.delete(node, &name(child), &mut life.turn.changes, &mut kills);
                self.carry_out(kills, ended)?;
            }
            Decision::DeleteAll => {
                self.erase(life)?;
                let mut ended = Vec::new();
                for child in super::NAMES {
                    ended.extend(self.promised.delete(incarnation, uid, child));
                }
                self.tree.delete_children(node, &mut life.turn.changes, &mut kills);
                self.carry_out(kills, ended)?;
            }
            Decision::Clone(src, dst) => self.clone_child(life, src, dst, kills)?,
            Decision::DropStub(at) => {
                if at < life.stubs.len() {
                    let node = life.stubs.swap_remove(at).node;
                    self.tree.stub_dropped(node);
                }
            }
        }
        self.changed = true;
        Ok(())
    }

    /// Keeps a stub.
    fn hold(
        &mut self,
        life: &mut Life,
        (node, epoch): (NodeId, std::sync::Arc<crate::object::Epoch>),
        uid: Uid,
    ) -> Checked {
        check(epoch.cause().is_none(), || {
            format!("a stub of {uid:?} is of an epoch that has ended")
        })?;
        let no = self.promised.epoch(uid);
        let stub = Stub { node, epoch, uid, no };
        if life.stubs.len() < STUBS_MAX {
            life.stubs.push(stub);
        } else {
            drop(stub);
            self.tree.stub_dropped(node);
        }
        Ok(())
    }

    fn names(&self, node: NodeId, uid: Uid) -> Checked {
        let all = self.promised.all();
        let (must, may) = self.promised.existing(&all);
        let names = self.tree.names(node, None, 10);
        for child in super::NAMES {
            let listed = names.contains(&name(child));
            let there = promised::child(&all, uid, child);
            let fits = match listed {
                true => there.is_some_and(|uid| may.contains(&uid)),
                false => there.is_none_or(|uid| !must.contains(&uid)),
            };
            check(fits, || format!("{names:?} are listed; {child}: {there:?}"))?;
        }
        check(names.is_sorted(), || format!("{names:?} are not in order"))
    }

    fn clone_child(&mut self, life: &mut Life, src: &'static str, dst: &'static str, mut kills: Vec<Kill>) -> Checked {
        let (incarnation, node, uid) = (life.incarnation, life.own.node, life.uid());
        let (ended, expected) = match src == dst {
            true => {
                let cause = Cause::Aborted("cloned onto itself".to_owned());
                (self.promised.abort(uid, src, &cause), Vec::new())
            }
            false => self.promised.clone_child(incarnation, uid, src, dst),
        };
        let copies = self
            .tree
            .clone_child(node, &name(src), &name(dst), &mut life.turn.changes, &mut kills)
            .map_err(|error| error.to_string())?;
        self.carry_out(kills, ended)?;
        self.check_copies(expected, &copies)
    }

    /// What is copied is what should be.
    pub(super) fn check_copies(&mut self, mut expected: Vec<promised::Copied>, copies: &[Copy]) -> Checked {
        let paths = |copy: &Copy| (joined(&copy.path), joined(&copy.to_path));
        // Two clones of a turn may have the same path: whichever comes first is deleted by the other.
        let mut copies: Vec<_> = copies.iter().collect();
        copies.sort_by_key(|copy| paths(copy));
        expected.sort();
        let made: Vec<_> = copies.iter().map(|copy| paths(copy)).collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(from, to, _)| (from.clone(), to.clone()))
            .collect();
        check(made == wanted, || {
            format!("copies are made of {made:?}, not of {wanted:?}")
        })?;
        for (copy, (_, _, uid)) in copies.into_iter().zip(&expected) {
            let before = self.files.insert(copy.to, *uid);
            check(before.is_none_or(|before| before == *uid), || {
                format!("{:?} is given out twice", copy.to)
            })?;
        }
        Ok(())
    }
}
