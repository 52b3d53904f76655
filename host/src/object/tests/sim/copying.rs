//! Databases that are copied for a clone, one after the other: between two turns of a facet that runs, or on loan while it
//! does not. What was begun on a thread is finished, even if nobody waits for it any more.

use std::collections::VecDeque;

use super::disk::File;
use super::life::Life;
use super::promised::Rows;
use super::world::{Control, Ending, Loan, World, joined};
use super::{Checked, Missing, check};
use crate::ids::FileId;
use crate::object::{Borrow, Copy, IncarnationId};

#[derive(Debug)]
enum At {
    /// Who has the database?
    Ask,
    /// It runs.
    Live(IncarnationId),
    /// On loan, when those are gone.
    Lent(IncarnationId, Vec<IncarnationId>),
    /// On a thread, whoever waits for it: the copy is made, the loan is given back.
    Made(IncarnationId, Option<Rows>),
}

#[derive(Debug)]
pub(super) struct Copying {
    turn: IncarnationId,
    left: VecDeque<Copy>,
    unmade: Vec<FileId>,
    at: At,
    /// Somebody waits for it.
    wanted: bool,
}

impl World {
    pub(super) fn begin_copies(&mut self, turn: IncarnationId, copies: Vec<Copy>) {
        self.copyings.push(Copying {
            turn,
            left: copies.into(),
            unmade: Vec::new(),
            at: At::Ask,
            wanted: true,
        });
    }

    pub(super) fn copies_are_unwanted(&mut self, turn: IncarnationId) {
        let Some(at) = self
            .copyings
            .iter()
            .position(|copying| copying.turn == turn && copying.wanted)
        else {
            return;
        };
        match &mut self.copyings[at] {
            Copying {
                at: At::Made(..),
                wanted,
                ..
            } => *wanted = false,
            Copying {
                at: At::Lent(borrow, _),
                ..
            } => {
                let borrow = *borrow;
                self.copyings.swap_remove(at);
                self.give_back(borrow);
            }
            Copying { .. } => drop(self.copyings.swap_remove(at)),
        }
    }

    fn give_back(&mut self, borrow: IncarnationId) {
        if self.loans.remove(&borrow).is_some() {
            self.gone(borrow);
        }
    }

    /// The turn waits for its copies. False if it has to wait on.
    pub(super) fn step_copies(&mut self, life: &mut Life) -> Checked<bool> {
        let Some(at) = self
            .copyings
            .iter()
            .position(|copying| copying.turn == life.incarnation)
        else {
            return Err(format!("{:?} waits for copies that nobody makes", life.incarnation));
        };
        if !self.copyings[at].left.is_empty() {
            return Ok(false);
        }
        let unmade = self.copyings.swap_remove(at).unmade;
        life.turn.adopted.retain(|file| !unmade.contains(file));
        self.tree.unmake(&mut life.turn.changes, &unmade);
        for file in unmade {
            self.promised.copied(life.incarnation, self.files[&file], None);
        }
        self.changed = true;
        life.stage = self.begin_seal(life);
        Ok(true)
    }

    /// One step of one copying. False if it has to wait.
    pub(super) fn step_copying(&mut self, nth: usize) -> Checked<bool> {
        let Some(mut copying) = (nth < self.copyings.len()).then(|| self.copyings.swap_remove(nth)) else {
            return Ok(false);
        };
        let stepped = self.step_copy(&mut copying);
        if copying.wanted || matches!(copying.at, At::Made(..)) {
            self.copyings.push(copying);
        }
        stepped
    }

    fn step_copy(&mut self, copying: &mut Copying) -> Checked<bool> {
        let Some(copy) = copying.left.front().cloned() else {
            return Ok(false);
        };
        if matches!(copying.at, At::Made(..)) && !self.random.one_in(4) {
            // It takes a while.
            return Ok(true);
        }
        match &copying.at {
            At::Ask => {
                let path = joined(&copy.path);
                copying.at = match self.tree.borrow_files(copy.node, &copy.path) {
                    Borrow::Live(incarnation) => At::Live(incarnation),
                    Borrow::Reserved { borrow, after } => {
                        self.controls.insert(borrow, Control::new());
                        self.running.insert(borrow, Vec::new());
                        let loan = Loan {
                            file: copy.file,
                            open: false,
                        };
                        self.note(|_| format!("{borrow:?} borrows {path:?} after {after:?}"));
                        self.loans.insert(borrow, loan);
                        let after = after.into_iter().filter(|before| self.running.contains_key(before));
                        At::Lent(borrow, after.collect())
                    }
                };
                self.changed = true;
                Ok(true)
            }
            At::Live(incarnation) => {
                let incarnation = *incarnation;
                if self.is_gone(incarnation) {
                    copying.at = At::Ask;
                    return Ok(true);
                }
                let between_turns = !self.lacks(Missing::CopiesAreBetweenTurns);
                let Some(life) = self.lives.get(&incarnation) else {
                    return Ok(false);
                };
                let Some(store) = life.store.as_ref().filter(|store| !store.closed) else {
                    return Ok(false);
                };
                if between_turns && life.is_in_turn() {
                    return Ok(false);
                }
                let rows = match between_turns {
                    true => store.committed,
                    false => store.rows(),
                };
                check(life.uid() == self.files[&copy.file] || !between_turns, || {
                    format!("{:?} is copied for {copy:?}", life.uid())
                })?;
                let rows = store.stored.then_some(rows);
                self.copied(copying, &copy, rows)?;
                copying.at = At::Ask;
                Ok(true)
            }
            At::Lent(borrow, after) => {
                if after.iter().any(|before| !self.is_gone(*before)) {
                    return Ok(false);
                }
                let borrow = *borrow;
                let open = self.lives.values().filter_map(|life| life.store.as_ref());
                let met = open.filter(|store| !store.closed).any(|store| store.file == copy.file);
                check(!met, || format!("{:?} is open twice", copy.file))?;
                if let Some(loan) = self.loans.get_mut(&borrow) {
                    loan.open = true;
                }
                let found = self.disk.files.get(&copy.file);
                check(found.is_some() || !self.tree.owns(copy.file), || {
                    format!("{:?} is to be copied, and is missing", copy.file)
                })?;
                copying.at = At::Made(borrow, found.and_then(|file| file.rows));
                Ok(true)
            }
            At::Made(borrow, rows) => {
                let (borrow, rows) = (*borrow, *rows);
                self.copied(copying, &copy, rows)?;
                self.give_back(borrow);
                copying.at = At::Ask;
                Ok(true)
            }
        }
    }

    /// The copy is on disk, if there is anything to copy.
    fn copied(&mut self, copying: &mut Copying, copy: &Copy, rows: Option<Rows>) -> Checked {
        copying.left.pop_front();
        let source = self.files[&copy.file];
        let promised = self.promised.committed.get(&source).map(|facet| facet.database);
        if let (Some(promised), true) = (promised, copying.wanted) {
            let data = |rows: Option<Rows>| rows.map_or(0, |rows| rows.version);
            check(data(promised) == data(rows), || {
                format!("{source:?} is copied with {rows:?}, it has {promised:?}")
            })?;
        }
        let made = rows.filter(|rows| rows.version != 0).map(|rows| Rows {
            version: rows.version,
            alarm_ms: None,
        });
        self.note(|_| format!("{:?} is copied to {:?}: {made:?}", copy.file, copy.to));
        self.seen.copies += 1;
        let Some(rows) = made else {
            copying.unmade.push(copy.to);
            return Ok(());
        };
        let file = File {
            rows: Some(rows),
            path: joined(&copy.to_path).into(),
        };
        self.disk.files.insert(copy.to, file);
        if copying.wanted {
            self.promised.copied(copying.turn, self.files[&copy.to], Some(rows));
        } else if !self.lacks(Missing::UnwantedCopiesGo) {
            self.journal.remove(&mut self.disk, copy.to);
        }
        Ok(())
    }

    /// Ends a facet from outside the tree, as the watchdog does.
    pub(super) fn break_some(&mut self) {
        let mut running: Vec<_> = self.lives.keys().copied().collect();
        let open = |incarnation: &IncarnationId| !self.lives[incarnation].turn.changes.is_empty();
        if running.iter().any(open) && self.random.one_in(2) {
            running.retain(open);
        }
        if let Some(incarnation) = self.random.pick(&running) {
            self.note(|_| format!("the watchdog ends {incarnation:?}"));
            self.control(incarnation).end(Ending::Broken("wall"));
        }
    }
}
