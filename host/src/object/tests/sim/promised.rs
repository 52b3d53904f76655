//! What an object promises, said as simply as possible: a committed tree, the changes of turns that are not over in the order
//! in which they were made, who runs, and which epochs have ended. Knows nothing of files and of how the tree is kept.

use std::collections::{BTreeMap, BTreeSet};

use super::Checked;
use crate::object::{Cause, IncarnationId};

/// One facet, for as long as anybody could tell it from another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Uid(u32);

pub(super) const ROOT: Uid = Uid(0);

/// What a database holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rows {
    /// 0: no rows. Else no two commits have the same.
    pub(super) version: u64,
    pub(super) alarm_ms: Option<u64>,
}

impl Rows {
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Facet {
    pub(super) parent: Option<Uid>,
    pub(super) name: &'static str,
    pub(super) startup: u8,
    pub(super) database: Option<Rows>,
}

/// A number of an epoch, in the order in which they began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EpochNo(usize);

/// Paths of a source and of its copy, and the latter: those that have a database.
pub(super) type Copied = (String, String, Uid);

#[derive(Clone, Debug)]
enum Change {
    Create(Uid, Facet),
    Restart(Uid, u8),
    Delete(Uid),
    /// Source, copy, and what is below the copy, parents first.
    Clone(Uid, Uid, Facet, Vec<(Uid, Facet)>),
}

pub(super) type View = BTreeMap<Uid, Facet>;

/// What is stored, by path.
pub(super) type Snapshot = BTreeMap<String, (u8, Rows)>;

#[derive(Default)]
pub(super) struct Promised {
    pub(super) committed: View,
    /// With the time of each change.
    open: BTreeMap<IncarnationId, Vec<(u64, Change)>>,
    pub(super) live: BTreeMap<Uid, IncarnationId>,
    /// Those that were ended from outside, and why.
    pub(super) ended: BTreeMap<IncarnationId, Cause>,
    epochs: BTreeMap<Uid, EpochNo>,
    causes: Vec<Option<Cause>>,
    last_uid: u32,
    time: u64,
}

pub(super) fn child(view: &View, parent: Uid, name: &str) -> Option<Uid> {
    let found = view
        .iter()
        .find(|(_, facet)| facet.parent == Some(parent) && facet.name == name);
    found.map(|(uid, _)| *uid)
}

pub(super) fn path(view: &View, uid: Uid) -> String {
    let mut names = Vec::new();
    let mut at = view.get(&uid);
    while let Some(facet) = at {
        names.extend(facet.parent.map(|_| facet.name));
        at = facet.parent.and_then(|parent| view.get(&parent));
    }
    names.reverse();
    names.join("/")
}

/// At and below; the facet first, parents before children, siblings by name.
pub(super) fn below(view: &View, top: Uid) -> Vec<Uid> {
    let (mut found, mut todo) = (Vec::new(), vec![top]);
    while let Some(uid) = todo.pop() {
        if !view.contains_key(&uid) {
            continue;
        }
        found.push(uid);
        let mut children: Vec<_> = view.iter().filter(|(_, facet)| facet.parent == Some(uid)).collect();
        children.sort_by(|a, b| b.1.name.cmp(a.1.name));
        todo.extend(children.iter().map(|(child, _)| **child));
    }
    found
}

/// Those for which it holds, and those above them.
fn closed_upwards(view: &View, holds: impl Fn(Uid, &Facet) -> bool) -> BTreeSet<Uid> {
    let mut found = BTreeSet::new();
    for (uid, _) in view.iter().filter(|(uid, facet)| holds(**uid, facet)) {
        let mut at = Some(*uid);
        while let Some(uid) = at.filter(|uid| found.insert(*uid)) {
            at = view.get(&uid).and_then(|facet| facet.parent);
        }
    }
    found
}

/// Facets of which something is stored, be it below them.
pub(super) fn stored(view: &View) -> BTreeSet<Uid> {
    closed_upwards(view, |_, facet| facet.database.is_some())
}

fn apply(view: &mut View, change: &Change) {
    match change {
        Change::Create(uid, facet) => {
            if facet.parent.is_some_and(|parent| view.contains_key(&parent)) {
                view.insert(*uid, facet.clone());
            }
        }
        Change::Clone(_, top, facet, below_top) => {
            if facet.parent.is_some_and(|parent| view.contains_key(&parent)) {
                view.insert(*top, facet.clone());
                view.extend(below_top.iter().cloned());
            }
        }
        Change::Restart(uid, startup) => {
            if let Some(facet) = view.get_mut(uid) {
                facet.startup = *startup;
            }
        }
        Change::Delete(uid) => {
            for gone in below(view, *uid) {
                view.remove(&gone);
            }
        }
    }
}

impl Promised {
    /// An object of which this is stored. Parents come before children.
    pub(super) fn reopened(stored: &[(String, u8, Option<Rows>)]) -> Self {
        let mut promised = Self::default();
        let mut paths: BTreeMap<String, Uid> = BTreeMap::new();
        for (path, startup, database) in stored {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let uid = match path.is_empty() {
                true => ROOT,
                false => promised.new_uid(),
            };
            let facet = Facet {
                parent: (!path.is_empty()).then(|| paths[above]),
                name: super::known(name),
                startup: *startup,
                database: *database,
            };
            promised.committed.insert(uid, facet);
            paths.insert(path.clone(), uid);
        }
        promised
    }

    fn new_uid(&mut self) -> Uid {
        self.last_uid += 1;
        Uid(self.last_uid)
    }

    fn change(&mut self, turn: IncarnationId, change: Change) {
        self.time += 1;
        self.open.entry(turn).or_default().push((self.time, change));
    }

    fn with(&self, sees: impl Fn(IncarnationId, u64) -> bool) -> View {
        let mut view = self.committed.clone();
        let open = self.open.iter();
        let open = open.flat_map(|(turn, changes)| changes.iter().filter(|(time, _)| sees(*turn, *time)));
        let mut changes: Vec<_> = open.collect();
        changes.sort_by_key(|(time, _)| *time);
        for (_, change) in changes {
            apply(&mut view, change);
        }
        view
    }

    /// The tree as `lookup` and `names` see it.
    pub(super) fn all(&self) -> View {
        self.with(|_, _| true)
    }

    /// The tree as a clone sees it: what is committed, and what the turn has done itself before.
    fn committed_and_own(&self, turn: IncarnationId, before: u64) -> View {
        self.with(|other, time| other == turn && time < before)
    }

    /// Facets that exist (S5), and those that may: what keeps them is back when a turn is lost, or there when one commits.
    pub(super) fn existing(&self, all: &View) -> (BTreeSet<Uid>, BTreeSet<Uid>) {
        let is_committed = |uid: Uid| self.committed.contains_key(&uid);
        let mut must = closed_upwards(all, |uid, facet| facet.database.is_some() && is_committed(uid));
        let may_be = stored(all);
        must.extend(may_be.iter().filter(|uid| !is_committed(**uid)));
        must.extend(all.keys().filter(|uid| self.live.contains_key(uid)));
        let mut may = stored(&self.committed);
        may.extend(&may_be);
        may.extend(&must);
        (must, may)
    }

    pub(super) fn epoch(&mut self, uid: Uid) -> EpochNo {
        let next = EpochNo(self.causes.len());
        let epoch = *self.epochs.entry(uid).or_insert(next);
        if epoch == next {
            self.causes.push(None);
        }
        epoch
    }

    pub(super) fn cause(&self, epoch: EpochNo) -> Option<&Cause> {
        self.causes[epoch.0].as_ref()
    }

    /// Ends the epochs at and below a facet. Answers who runs there.
    pub(super) fn end_below(&mut self, uid: Uid, cause: &Cause) -> Vec<IncarnationId> {
        let mut ended = Vec::new();
        for uid in below(&self.all(), uid) {
            if let Some(epoch) = self.epochs.remove(&uid) {
                self.causes[epoch.0].get_or_insert_with(|| cause.clone());
            }
            ended.extend(self.live.remove(&uid));
        }
        for incarnation in &ended {
            self.ended.insert(*incarnation, cause.clone());
        }
        ended
    }

    pub(super) fn get(
        &mut self,
        turn: IncarnationId,
        parent: Uid,
        name: &'static str,
        startup: u8,
    ) -> (Uid, Vec<IncarnationId>) {
        let all = self.all();
        if let Some(uid) = child(&all, parent, name) {
            if all[&uid].startup == startup {
                return (uid, Vec::new());
            }
            let ended = self.end_below(uid, &Cause::Restarted);
            self.change(turn, Change::Restart(uid, startup));
            return (uid, ended);
        }
        let uid = self.new_uid();
        let facet = Facet {
            parent: Some(parent),
            name,
            startup,
            database: None,
        };
        self.change(turn, Change::Create(uid, facet));
        (uid, Vec::new())
    }

    pub(super) fn abort(&mut self, parent: Uid, name: &str, cause: &Cause) -> Vec<IncarnationId> {
        match child(&self.all(), parent, name) {
            Some(uid) => self.end_below(uid, cause),
            None => Vec::new(),
        }
    }

    pub(super) fn delete(&mut self, turn: IncarnationId, parent: Uid, name: &str) -> Vec<IncarnationId> {
        let Some(uid) = child(&self.all(), parent, name) else {
            return Vec::new();
        };
        let ended = self.end_below(uid, &Cause::Deleted);
        self.change(turn, Change::Delete(uid));
        ended
    }

    /// Answers who is ended, and what would be copied now.
    pub(super) fn clone_child(
        &mut self,
        turn: IncarnationId,
        parent: Uid,
        src: &str,
        dst: &'static str,
    ) -> (Vec<IncarnationId>, Vec<Copied>) {
        let seen = self.committed_and_own(turn, u64::MAX);
        let source = child(&seen, parent, src).filter(|source| stored(&seen).contains(source));
        let ended = self.delete(turn, parent, dst);
        let Some(source) = source else {
            return (ended, Vec::new());
        };
        let mut top = seen[&source].clone();
        top.name = dst;
        let copy = self.new_uid();
        self.change(turn, Change::Clone(source, copy, top, Vec::new()));
        // What can be seen of it before the turn is over.
        (ended, self.fix(turn, |clone| clone == copy))
    }

    /// The clones of the turn copy what is committed now.
    pub(super) fn fix_copies(&mut self, turn: IncarnationId) -> Vec<Copied> {
        self.fix(turn, |_| true)
    }

    fn fix(&mut self, turn: IncarnationId, which: impl Fn(Uid) -> bool) -> Vec<Copied> {
        let mut made = Vec::new();
        let many = self.open.get(&turn).map_or(0, Vec::len);
        for nth in 0..many {
            let (time, change) = self.open[&turn][nth].clone();
            let (source, top, mut facet) = match change {
                Change::Clone(source, top, facet, _) if which(top) => (source, top, facet),
                Change::Clone(..) | Change::Create(..) | Change::Restart(..) | Change::Delete(_) => continue,
            };
            let seen = self.committed_and_own(turn, time);
            let (mut copies, mut below_top) = (BTreeMap::from([(source, top)]), Vec::new());
            facet.database = seen.get(&source).and_then(|source| source.database);
            let mut sources = vec![(source, top)];
            let stored = stored(&seen);
            for uid in below(&seen, source)
                .into_iter()
                .skip(1)
                .filter(|uid| stored.contains(uid))
            {
                let mut facet = seen[&uid].clone();
                facet.parent = facet.parent.map(|parent| copies[&parent]);
                let copy = self.new_uid();
                copies.insert(uid, copy);
                below_top.push((copy, facet));
                sources.push((uid, copy));
            }
            let fixed = Change::Clone(source, top, facet, below_top);
            self.open.get_mut(&turn).expect("it has just been looked at")[nth].1 = fixed;
            let after = self.committed_and_own(turn, time + 1);
            let with_database = sources
                .iter()
                .filter(|(uid, _)| seen.get(uid).is_some_and(|f| f.database.is_some()));
            made.extend(with_database.map(|(uid, copy)| (path(&seen, *uid), path(&after, *copy), *copy)));
        }
        made
    }

    /// A database was copied, or not, because there was nothing in it.
    pub(super) fn copied(&mut self, turn: IncarnationId, copy: Uid, rows: Option<Rows>) {
        for (_, change) in self.open.get_mut(&turn).into_iter().flatten() {
            match change {
                Change::Clone(_, top, facet, _) if *top == copy => facet.database = rows,
                Change::Clone(_, _, _, below_top) => {
                    let found = below_top.iter_mut().find(|(uid, _)| *uid == copy);
                    if let Some((_, facet)) = found {
                        facet.database = rows;
                    }
                }
                Change::Create(..) | Change::Restart(..) | Change::Delete(_) => {}
            }
        }
    }

    /// The turn is over, and recorded.
    pub(super) fn commit(&mut self, turn: IncarnationId, uid: Uid, rows: Option<Rows>) {
        if let (Some(facet), Some(rows)) = (self.committed.get_mut(&uid), rows) {
            facet.database = Some(rows);
        }
        for (_, change) in self.open.remove(&turn).unwrap_or_default() {
            apply(&mut self.committed, &change);
        }
    }

    /// The turn is over, and none of it has happened but aborts. Answers who is ended now: whoever was woken with a startup
    /// that never was.
    pub(super) fn lose(&mut self, turn: IncarnationId) -> Vec<IncarnationId> {
        let mut restarted = BTreeSet::new();
        for (_, change) in self.open.remove(&turn).unwrap_or_default() {
            match change {
                Change::Restart(uid, _) => drop(restarted.insert(uid)),
                Change::Create(..) | Change::Delete(_) | Change::Clone(..) => {}
            }
        }
        let ended = restarted.into_iter().map(|uid| self.end_below(uid, &Cause::Restarted));
        ended.flatten().collect()
    }

    pub(super) fn is_at_rest(&self) -> Checked {
        match self.open.is_empty() && self.live.is_empty() {
            true => Ok(()),
            false => Err(format!("turns {:?} are open, {:?} live", self.open.keys(), self.live)),
        }
    }

    /// What would be found now. Without facets that hold nothing: when they go is another promise.
    pub(super) fn snapshot(&self) -> Snapshot {
        snapshot(&self.committed)
    }
}

pub(super) fn snapshot(view: &View) -> Snapshot {
    let holds = closed_upwards(view, |uid, facet| {
        uid == ROOT || facet.database.is_some_and(|rows| !rows.is_empty())
    });
    let line = |uid: Uid| {
        let facet = &view[&uid];
        (path(view, uid), (facet.startup, facet.database.unwrap_or_default()))
    };
    holds.into_iter().map(line).collect()
}
