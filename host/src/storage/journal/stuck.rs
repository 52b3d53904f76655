//! An object whose files cannot be written waits by itself, and nobody waits for it but its own facets: its units are kept, in
//! order, and tried again; and it takes no new commits until its files can be written. Where they hold the journal, they are
//! written again at its head, so that it can let go of its tail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Lsn;
use super::unit::Settlement;
use crate::ids::ObjectId;
use crate::sys::clock;

/// For each object that is stuck, its first unit that files do not show.
pub(crate) type Firsts = BTreeMap<ObjectId, Lsn>;

#[derive(Default)]
pub(super) struct Stuck {
    objects: BTreeMap<ObjectId, Waiting>,
    /// Units that are written again, by their new numbers; and whose they are, and which they were.
    moving: BTreeMap<Lsn, (ObjectId, Lsn)>,
}

/// What a unit does to files, which is not done.
struct Item {
    /// The unit that holds it in the journal now.
    at: Lsn,
    /// The unit that it was.
    origin: Lsn,
    settlement: Settlement,
}

impl Item {
    fn new(lsn: Lsn, settlement: Settlement) -> Self {
        Self {
            at: lsn,
            origin: lsn,
            settlement,
        }
    }
}

struct Waiting {
    work: VecDeque<Item>,
    /// As it was when it came: what waits for it knows it by that.
    first: Lsn,
    why: Arc<str>,
    since: Instant,
}

impl Stuck {
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(super) fn holds(&self, object: ObjectId) -> bool {
        self.objects.contains_key(&object)
    }

    /// What a unit does to an object's files could not be done.
    pub(super) fn begin(&mut self, lsn: Lsn, settlement: Settlement, error: &io::Error) {
        let object = settlement.object;
        tracing::error!(%object, %error, "the files of an object cannot be written; it is refused until they can be, and others go on");
        let waiting = Waiting {
            work: VecDeque::from([Item::new(lsn, settlement)]),
            first: lsn,
            why: error.to_string().into(),
            since: clock::now(),
        };
        self.objects.insert(object, waiting);
    }

    /// True for a unit that was only written again: what it does is done, or waits where the first one did.
    pub(super) fn has_moved(&mut self, lsn: Lsn) -> bool {
        let Some((object, origin)) = self.moving.remove(&lsn) else {
            return false;
        };
        let waiting = self.objects.get_mut(&object);
        if let Some(item) = waiting.and_then(|waiting| waiting.work.iter_mut().find(|item| item.origin == origin)) {
            item.at = lsn;
        }
        true
    }

    /// Has what waits since before `until`, and lies at `upto` or before, written again, as far as `append` takes it.
    pub(super) fn move_up(
        &mut self,
        upto: Lsn,
        until: Instant,
        mut append: impl FnMut(Lsn, &Settlement) -> Option<Lsn>,
    ) {
        let under_way: BTreeSet<_> = self.moving.values().copied().collect();
        for (object, waiting) in self.objects.iter().filter(|(_, waiting)| waiting.since <= until) {
            let old = waiting.work.iter().filter(|item| item.at <= upto);
            for item in old.filter(|item| !under_way.contains(&(*object, item.origin))) {
                let Some(moved) = append(item.origin, &item.settlement) else {
                    return;
                };
                self.moving.insert(moved, (*object, item.origin));
            }
        }
    }

    /// A later unit of an object that is stuck.
    pub(super) fn follow(&mut self, lsn: Lsn, settlement: Settlement) {
        let Some(waiting) = self.objects.get_mut(&settlement.object) else {
            return;
        };
        match waiting.work.back_mut() {
            // A unit is written again as one.
            Some(last) if last.origin == lsn => last.settlement.shows |= settlement.shows,
            Some(_) | None => waiting.work.push_back(Item::new(lsn, settlement)),
        }
    }

    /// Tries again what waits. Answers the last failure.
    pub(super) fn retry(
        &mut self,
        mut carry_out: impl FnMut(Lsn, &mut Settlement) -> io::Result<()>,
    ) -> Option<io::Error> {
        let mut failure = None;
        self.objects.retain(|object, waiting| {
            while let Some(item) = waiting.work.front_mut() {
                if let Err(error) = carry_out(item.origin, &mut item.settlement) {
                    waiting.why = error.to_string().into();
                    failure = Some(error);
                    return true;
                }
                waiting.work.pop_front();
            }
            tracing::info!(%object, "the files of an object can be written again");
            false
        });
        failure
    }

    /// No segment that holds this unit or a later one can go.
    pub(super) fn oldest(&self) -> Option<(Lsn, ObjectId, Instant)> {
        let firsts = self.objects.iter();
        let firsts = firsts.filter_map(|(object, waiting)| {
            let first = waiting.work.iter().map(|item| item.at).min()?;
            Some((first, *object, waiting.since))
        });
        firsts.min_by_key(|(lsn, ..)| *lsn)
    }

    pub(super) fn firsts(&self) -> Firsts {
        let firsts = self.objects.iter();
        firsts.map(|(object, waiting)| (*object, waiting.first)).collect()
    }

    /// Why each of them is.
    pub(super) fn reasons(&self) -> BTreeMap<ObjectId, Arc<str>> {
        let reasons = self.objects.iter();
        reasons
            .map(|(object, waiting)| (*object, waiting.why.clone()))
            .collect()
    }
}
