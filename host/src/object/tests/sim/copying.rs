//! Databases that are copied for a clone, all of them as of one moment: each is held between two turns, of a facet that runs
//! or on loan while it does not, then it is decided what is copied, then all go on. What was begun on a thread is finished, even if
//! nobody waits for it any more.

use std::collections::VecDeque;

use super::disk::File;
use super::life::{Life, Stage};
use super::promised::Rows;
use super::world::{Control, Ending, Loan, World, joined};
use super::{Checked, Missing, check};
use crate::ids::FileId;
use crate::object::{Borrow, CopiesError, Copy, IncarnationId, NodeId, Source};

#[derive(Debug)]
enum At {
    /// Who has the next database?
    Ask,
    /// It runs.
    Live(IncarnationId),
    /// On loan, when those are gone.
    Lent(IncarnationId, Vec<IncarnationId>),
    /// All are held; the next copy is begun.
    Copy,
    /// On a thread, whoever waits for it.
    Made,
}

/// A source that does not change.
#[derive(Clone, Debug)]
struct Held {
    node: NodeId,
    file: FileId,
    by: By,
    /// What was committed to it at the moment at which all were held.
    version: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Paused(IncarnationId),
    Lent(IncarnationId),
}

#[derive(Debug)]
pub(super) struct Copying {
    turn: IncarnationId,
    /// Sources that are not held yet.
    sources: VecDeque<Source>,
    held: Vec<Held>,
    /// It is decided what is copied.
    fixed: bool,
    left: VecDeque<Copy>,
    unmade: Vec<FileId>,
    at: At,
    /// Somebody waits for it.
    wanted: bool,
}

impl Copying {
    /// Nobody but its own end would give the loan back.
    fn waits_for_itself(&self, after: &[IncarnationId]) -> Checked {
        let own = self.held.iter().find(|held| match held.by {
            By::Lent(borrow) => after.contains(&borrow),
            By::Paused(_) => false,
        });
        check(own.is_none(), || format!("a clone waits for its own loan: {own:?}"))
    }
}

fn version(rows: Option<Rows>) -> u64 {
    rows.map_or(0, |rows| rows.version)
}

impl World {
    pub(super) fn begin_copies(&mut self, turn: IncarnationId) {
        self.copyings.push(Copying {
            turn,
            sources: VecDeque::new(),
            held: Vec::new(),
            fixed: false,
            left: VecDeque::new(),
            unmade: Vec::new(),
            at: At::Ask,
            wanted: true,
        });
    }

    /// Nothing but the copy that is being made is finished.
    pub(super) fn copies_are_unwanted(&mut self, turn: IncarnationId) {
        let found = self
            .copyings
            .iter()
            .position(|copying| copying.turn == turn && copying.wanted);
        let Some(mut copying) = found.map(|at| self.copyings.swap_remove(at)) else {
            return;
        };
        let of = match copying.at {
            At::Made => copying.left.front().map(|copy| copy.file),
            At::Ask | At::Live(_) | At::Lent(..) | At::Copy => None,
        };
        if let At::Lent(borrow, _) = copying.at {
            self.give_back(By::Lent(borrow));
        }
        for held in std::mem::take(&mut copying.held) {
            // A pause ends with the one who waits, a loan with the work.
            match (Some(held.file) == of, held.by) {
                (true, By::Lent(_)) => copying.held.push(held),
                (true, By::Paused(_)) | (false, _) => self.give_back(held.by),
            }
        }
        if of.is_some() {
            copying.wanted = false;
            self.copyings.push(copying);
        }
    }

    fn give_back(&mut self, by: By) {
        match by {
            By::Paused(incarnation) => {
                let pauses = self.pauses.get_mut(&incarnation).expect("it is paused");
                *pauses -= 1;
            }
            By::Lent(borrow) => {
                self.loans.remove(&borrow);
                self.gone(borrow);
            }
        }
    }

    pub(super) fn is_paused(&self, incarnation: IncarnationId) -> bool {
        let pauses = self.pauses.get(&incarnation).copied().unwrap_or(0);
        pauses > 0 && !self.lacks(Missing::SourcesArePaused)
    }

    /// The turn waits for its copies. False if it has to wait on.
    pub(super) fn step_copies(&mut self, life: &mut Life) -> Checked<bool> {
        let of_it = |copying: &Copying| copying.turn == life.incarnation;
        let Some(at) = self.copyings.iter().position(of_it) else {
            return Err(format!("{:?} waits for copies that nobody makes", life.incarnation));
        };
        if !self.copyings[at].fixed || !self.copyings[at].left.is_empty() {
            return Ok(false);
        }
        let Copying { unmade, held, .. } = self.copyings.swap_remove(at);
        for held in held {
            self.give_back(held.by);
        }
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
        match copying.wanted || matches!(copying.at, At::Made) {
            true => self.copyings.push(copying),
            false => copying.held.into_iter().for_each(|held| self.give_back(held.by)),
        }
        stepped
    }

    fn step_copy(&mut self, copying: &mut Copying) -> Checked<bool> {
        match &copying.at {
            At::Ask => {
                match copying.sources.pop_front() {
                    Some(source) if self.tree.epoch(source.node).is_none() && !self.lacks(Missing::GoneAreNotHeld) => {}
                    Some(source) => copying.at = self.ask(copying, source),
                    None => self.fix(copying)?,
                }
                Ok(true)
            }
            At::Live(incarnation) => {
                let waits_for = self.lives.get(incarnation).map(|life| &life.stage);
                if let Some(Stage::Waiting(after)) = waits_for {
                    copying.waits_for_itself(after)?;
                }
                self.pause(copying, *incarnation)
            }
            At::Lent(borrow, after) => {
                copying.waits_for_itself(after)?;
                if after.iter().any(|before| !self.is_gone(*before)) {
                    return Ok(false);
                }
                let by = By::Lent(*borrow);
                let Loan { node, file, .. } = self.loans[borrow];
                let version = None;
                copying.held.push(Held {
                    node,
                    file,
                    by,
                    version,
                });
                copying.at = At::Ask;
                Ok(true)
            }
            At::Copy => {
                let Some(copy) = copying.left.front().cloned() else {
                    return Ok(false);
                };
                self.begin_copy(copying, &copy)
            }
            At::Made if !self.random.one_in(4) => Ok(true),
            At::Made => {
                self.made(copying)?;
                copying.at = At::Copy;
                Ok(true)
            }
        }
    }

    /// All sources that were known are held: this is the moment of which everything is copied, unless there are more.
    fn fix(&mut self, copying: &mut Copying) -> Checked {
        let Some(life) = self.lives.get_mut(&copying.turn) else {
            return Err("nobody waits for copies that are to be made".to_owned());
        };
        let nodes: Vec<_> = copying.held.iter().map(|held| held.node).collect();
        let all_are_held = self.without == Some(Missing::NewSourcesAreHeld) && !nodes.is_empty();
        let is_held = |node| all_are_held || nodes.contains(&node);
        let copies = match self.tree.fix_copies(&mut life.turn.changes, is_held) {
            Ok(copies) => copies,
            Err(CopiesError::NotHeld(sources)) => {
                copying.sources = sources.into();
                return Ok(());
            }
            Err(CopiesError::Tree(error)) => return Err(error.to_string()),
        };
        life.turn.adopted.extend(copies.iter().map(|copy| copy.to));
        let expected = self.promised.fix_copies(copying.turn);
        self.check_copies(expected, &copies)?;
        let rows = |file| Some(self.promised.committed.get(self.files.get(&file)?)?.database);
        for held in &mut copying.held {
            held.version = rows(held.file).map(version);
        }
        (copying.left, copying.fixed, copying.at) = (copies.into(), true, At::Copy);
        Ok(())
    }

    fn ask(&mut self, copying: &mut Copying, source: Source) -> At {
        self.changed = true;
        match self.tree.borrow_files(source.node, &source.path) {
            Borrow::Live(incarnation) => {
                copying.sources.push_front(source);
                At::Live(incarnation)
            }
            Borrow::Reserved { borrow, after } => {
                self.note(|_| format!("{borrow:?} borrows {:?} after {after:?}", joined(&source.path)));
                self.controls.insert(borrow, Control::new());
                self.running.insert(borrow, Vec::new());
                let (node, file, open) = (source.node, source.file, false);
                self.loans.insert(borrow, Loan { node, file, open });
                let after = after.into_iter().filter(|before| self.running.contains_key(before));
                At::Lent(borrow, after.collect())
            }
        }
    }

    /// Pauses a facet that runs, as soon as it is between two turns.
    fn pause(&mut self, copying: &mut Copying, incarnation: IncarnationId) -> Checked<bool> {
        if self.is_gone(incarnation) {
            copying.at = At::Ask;
            return Ok(true);
        }
        let Some(life) = self.lives.get(&incarnation) else {
            return Ok(false);
        };
        let is_open = life.store.as_ref().is_some_and(|store| !store.closed);
        let between_turns = !life.is_in_turn() || self.lacks(Missing::CopiesAreBetweenTurns);
        if !is_open || !between_turns {
            return Ok(false);
        }
        let Some(source) = copying.sources.pop_front() else {
            return Err("it pauses nobody's facet".to_owned());
        };
        self.note(|_| format!("{incarnation:?} is paused"));
        *self.pauses.entry(incarnation).or_default() += 1;
        copying.held.push(Held {
            node: source.node,
            file: source.file,
            by: By::Paused(incarnation),
            version: None,
        });
        copying.at = At::Ask;
        Ok(true)
    }

    fn begin_copy(&mut self, copying: &mut Copying, copy: &Copy) -> Checked<bool> {
        let lent = copying.held.iter().find_map(|held| match held.by {
            By::Lent(borrow) if held.file == copy.file => Some(borrow),
            By::Lent(_) | By::Paused(_) => None,
        });
        let is_held = copying.held.iter().any(|held| held.node == copy.node);
        let source = self.files[&copy.file];
        check(is_held || !self.promised.committed.contains_key(&source), || {
            format!("{source:?} is copied, and nobody holds it")
        })?;
        if let Some(borrow) = lent {
            let open = self.lives.values().filter_map(|life| life.store.as_ref());
            let met = open.filter(|store| !store.closed).any(|store| store.file == copy.file);
            check(!met, || format!("{:?} is open twice", copy.file))?;
            if let Some(loan) = self.loans.get_mut(&borrow) {
                loan.open = true;
            }
            let is_there = self.disk.files.contains_key(&copy.file);
            check(is_there || !self.tree.owns(copy.file), || {
                format!("{:?} is to be copied, and is missing", copy.file)
            })?;
        }
        copying.at = At::Made;
        Ok(true)
    }

    /// The copy is on disk, if there is anything to copy.
    fn made(&mut self, copying: &mut Copying) -> Checked {
        let Some(copy) = copying.left.pop_front() else {
            return Ok(());
        };
        let held = copying.held.iter().find(|held| held.file == copy.file);
        let live = match held.map(|held| held.by) {
            Some(By::Paused(incarnation)) => self.lives.get(&incarnation),
            Some(By::Lent(_)) | None => None,
        };
        let store = live.and_then(|life| life.store.as_ref());
        let rows = match store {
            // Perhaps of a file that the facet has got since.
            Some(store) => store.stored.then(|| match self.lacks(Missing::CopiesAreBetweenTurns) {
                true => store.rows(),
                false => store.committed,
            }),
            None => self.disk.files.get(&copy.file).and_then(|file| file.rows),
        };
        if let (Some(moment), true) = (held.and_then(|held| held.version), copying.wanted) {
            let source = self.files[&copy.file];
            // Only with the one who clones can it have been deleted.
            check(
                moment == version(rows) || self.controls[&copying.turn].ending.is_some(),
                || format!("{source:?} is copied with {rows:?}, and had {moment} when all were held"),
            )?;
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
