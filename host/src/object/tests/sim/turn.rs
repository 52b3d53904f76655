//! The end of a turn: committed, recorded under the object's lock, and what it sent leaves, in this order.

use super::disk::{File, Member, Unit};
use super::life::{Effect, Life, Stage};
use super::world::{Answer, Mail, State, Work, World};
use super::{Checked, Missing, check};
use crate::error::Outcome;
use crate::ids::FileId;
use crate::object::Cause;

impl World {
    /// The turn ends.
    pub(super) fn seal(&mut self, life: &mut Life) -> Stage {
        life.turns += 1;
        life.runs = None;
        if life.turn.changes.has_undecided() {
            self.begin_copies(life.incarnation);
            return Stage::Copying;
        }
        match life.turn.is_nothing() {
            true => {
                life.turn.open = false;
                Stage::Running
            }
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

    pub(super) fn commit(&mut self, life: &mut Life) -> Checked<Stage> {
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
    pub(super) fn write(&mut self, life: &mut Life) -> Checked<Option<Member>> {
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
    pub(super) fn end_turn(&mut self, life: &mut Life, member: Option<Member>) -> Checked<Stage> {
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
        record.extend(more);
        self.promised
            .commit(incarnation, uid, member.as_ref().map(|member| member.rows));
        let mut member = member;
        let gone = match self.lacks(Missing::CommitsOfTheGoneAreForgotten) {
            true => None,
            false => member.take_if(|member| !self.tree.owns(member.file)),
        };
        if let Some(gone) = gone {
            self.seen.sealed_and_deleted += 1;
            if gone.whole && !self.lacks(Missing::WhatIsNamedByNobodyGoes) {
                removed.push(gone.file);
            }
            if let Some(store) = &mut life.store {
                store.unrecorded = false;
            }
        }
        if let Some(member) = member.as_ref().filter(|member| !member.whole) {
            // Its pages would pin the journal, and nobody would ever move them.
            check(!self.removed.contains(&member.file), || {
                format!("a commit follows the removal of {:?}", member.file)
            })?;
        }
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

    pub(super) fn release(&mut self, life: &Life, effect: Effect) -> Checked {
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
    pub(super) fn drop_effects(&mut self, life: &Life, effects: Vec<Effect>) -> Checked {
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
}
