//! The end of an incarnation: the tree is told, everybody who waits is answered, the database is closed.

use super::life::{End, Life, Pending, RETRY_MS, Stage};
use super::promised::Rows;
use super::world::{Answer, World};
use super::{Checked, Missing, check};
use crate::error::Outcome;
use crate::object::Cause;

impl World {
    /// The tree hears of an end that is not its own.
    pub(super) fn tell(&mut self, life: &Life, end: &End) -> Checked {
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
    pub(super) fn answer_all(&mut self, life: &mut Life, end: &End) -> Checked<Stage> {
        let cause = match end {
            End::Idle => Cause::Unavailable,
            End::Killed(cause) => (**cause).clone(),
            End::Broken(code) => Cause::Broken {
                code,
                message: "it broke".to_owned(),
            },
            End::NoPlace => Cause::Full { whose: "it", max: 1 },
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

    pub(super) fn close(&mut self, life: &mut Life) -> Stage {
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
