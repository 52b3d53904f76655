//! The event loop of a facet: events are taken from its mailbox, each does some turns, and is answered.

use super::life::{Effect, End, Event, Life, Pending, RETRY_MS, Stage};
use super::promised::Rows;
use super::world::{Ending, Mail, Work, World};
use super::{Checked, Missing};
use crate::error::{CallError, Kind, Outcome};
use crate::ids::FileId;

/// Events of one facet that have begun.
const IN_FLIGHT_MAX: usize = 3;

impl World {
    /// The event loop: between two turns, or in one.
    pub(super) fn run(&mut self, life: &mut Life) -> Checked<bool> {
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

    pub(super) fn note_idleness(&self, life: &mut Life) {
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
                && since_ms + self.taste.idle_evict_ms <= self.now_ms
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

    pub(super) fn admit(&mut self, life: &mut Life) -> Checked {
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
    pub(super) fn begin_alarm(&mut self, life: &mut Life, file: FileId, left: usize) -> Checked {
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

    pub(super) fn resume(&mut self, life: &mut Life, id: u64) -> Checked {
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
    pub(super) fn finish(&mut self, life: &mut Life, id: u64) -> Checked<Stage> {
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
}
