//! The tree of one object. Whatever ends a facet's epoch ends those of everything below it in the same step.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use crate::ids::{FacetName, FileId};
use crate::limits::{FACETS_PER_OBJECT_MAX, TREE_CHANGES_BYTES_MAX, TREE_DEPTH_MAX};
use crate::object::changes::Pending;
use crate::object::node::{Slot, Storage};
use crate::object::nodes::Nodes;
use crate::object::rules::{self, Rule};
use crate::object::{Cause, Epoch, FacetInfo, IncarnationId, NodeId, TurnChanges};
use crate::startup::Startup;
pub(crate) use copies::{CopiesError, Source};
use departing::Departing;
use open::OpenTurns;

mod copies;
mod departing;
mod load;
mod open;
mod record;
mod shape;

/// Why a facet cannot be added to the tree (S2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("facet trees are at most {TREE_DEPTH_MAX} deep")]
    TooDeep,
    #[error("one object has at most {FACETS_PER_OBJECT_MAX} facets; delete some first")]
    TooMany,
    #[error(
        "what one turn changes of its tree takes at most {} MiB, with all startups that it restarts or clones; do the rest \
         in another turn",
        TREE_CHANGES_BYTES_MAX >> 20
    )]
    RecordTooLong,
}

/// An incarnation that must end now.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) incarnation: IncarnationId,
    pub(crate) cause: Arc<Cause>,
}

/// Where an event goes.
#[derive(Debug)]
pub(crate) enum Delivery {
    To(IncarnationId),
    /// To a new incarnation, which may be started once those before it are gone.
    Start(Start),
    /// Nowhere: the stub's epoch has ended.
    Ended(Arc<Cause>),
}

/// An incarnation that has got its id and its slot, and no isolate yet.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) incarnation: IncarnationId,
    pub(crate) node: NodeId,
    pub(crate) epoch: Arc<Epoch>,
    /// Incarnations of the same facet whose store and database must be closed first (S8).
    pub(crate) after: Vec<IncarnationId>,
}

/// One database to be copied for a clone. By file, not by node: the turn may go on to delete either.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) node: NodeId,
    pub(crate) file: FileId,
    pub(crate) path: Vec<FacetName>,
    pub(crate) to: FileId,
    pub(crate) to_path: Vec<FacetName>,
}

/// Who has a facet's database in hand.
#[derive(Debug)]
pub(crate) enum Borrow {
    /// This incarnation does.
    Live(IncarnationId),
    /// The borrower does, once `after` are gone and until `gone(borrow)`.
    Reserved {
        borrow: IncarnationId,
        after: Vec<IncarnationId>,
    },
}

/// Who has a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Facet(NodeId),
    /// A facet that has been deleted in a turn that is not over.
    Leaving,
    Nobody,
}

/// What a facet has to be started with.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Names from the root.
    pub(crate) path: Vec<FacetName>,
    /// Startups from the root's to its own.
    pub(crate) lineage: Vec<Arc<Startup>>,
    pub(crate) parent: Option<NodeId>,
    pub(crate) file: FileId,
    /// A committed database of that file exists.
    pub(crate) has_database: bool,
}

/// Found by a small number that the host itself has given: nobody can choose such that they collide.
type ByFile = HashMap<FileId, NodeId, BuildHasherDefault<FileHasher>>;

#[derive(Clone, Copy, Default)]
struct FileHasher(u64);

impl Hasher for FileHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32((*byte).into()));
    }

    fn write_u32(&mut self, number: u32) {
        // Maps look at the lowest bits and at the highest: an odd number, half of whose bits are set, fills both.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The tree of one object: what runs, what is stored, what somebody holds a stub of.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Nodes,
    root: NodeId,
    live: HashMap<IncarnationId, NodeId>,
    departing: Departing,
    /// The facets that have an entry in the index, or will have with the turn that copied them; and the root if it has a
    /// database.
    files: ByFile,
    /// Counts incarnations.
    next: u64,
    next_file: FileId,
    open: OpenTurns,
}

impl Tree {
    /// Past every file id given out so far.
    pub(crate) fn next_file(&self) -> FileId {
        self.next_file
    }

    pub(crate) fn root(&self) -> NodeId {
        self.root
    }

    /// The current epoch of a facet; none if it has been deleted.
    pub(crate) fn epoch(&self, node: NodeId) -> Option<Arc<Epoch>> {
        self.nodes.get(node).map(|n| n.epoch().clone())
    }

    /// S4: the child of that name, restarted if it was to run something else.
    pub(crate) fn get(
        &mut self,
        parent: NodeId,
        name: &FacetName,
        startup: Startup,
        changes: &mut TurnChanges,
        kills: &mut Vec<Kill>,
    ) -> Result<(NodeId, Arc<Epoch>), TreeError> {
        if let Some(child) = self.child(parent, name) {
            if *self.node(child).startup != startup {
                changes.grow(0, startup.recorded_bytes())?;
                self.end_subtree(child, &Arc::new(Cause::Restarted), kills);
                let node = self.node_mut(child);
                let before = std::mem::replace(&mut node.startup, Arc::new(startup));
                if let Entry::Vacant(entry) = self.open.recorded.entry(child) {
                    entry.insert(before.clone());
                    changes.pending.push(Pending::Restarted { node: child, before });
                }
            }
            return Ok((child, self.node(child).epoch().clone()));
        }
        self.check_room(parent, 1, 1)?;
        let child = self.insert(parent, name.clone(), Arc::new(startup), Storage::None);
        Ok((child, self.node(child).epoch().clone()))
    }

    /// S5: the child of that name if it exists.
    pub(crate) fn lookup(&self, parent: NodeId, name: &FacetName) -> Option<(NodeId, Arc<Epoch>)> {
        let child = self.child(parent, name)?;
        let node = self.node(child);
        node.exists().then(|| (child, node.epoch().clone()))
    }

    /// S5: names of the children that exist, in byte order.
    pub(crate) fn names(&self, parent: NodeId, after: Option<&str>, max: usize) -> Vec<FacetName> {
        let Some(node) = self.nodes.get(parent) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        node.children
            .range::<str, _>((from, Bound::Unbounded))
            .filter(|(_, child)| self.node(**child).exists())
            .map(|(name, _)| name.clone())
            .take(max)
            .collect()
    }

    /// The facets that exist at and below `node`, parents first, siblings in byte order.
    pub(crate) fn subtree(&self, node: NodeId) -> Vec<FacetInfo> {
        let mut found = Vec::new();
        let mut todo = vec![node];
        while let Some(id) = todo.pop() {
            let Some(node) = self.nodes.get(id) else { continue };
            todo.extend(node.children.values().rev());
            if node.exists() || node.parent.is_none() {
                let path = self
                    .path(id)
                    .iter()
                    .map(FacetName::as_str)
                    .collect::<Vec<_>>()
                    .join("/");
                let incarnation = match node.slot {
                    Slot::Cold => None,
                    Slot::Live(incarnation) => Some(incarnation),
                };
                let database = match node.storage {
                    Storage::None | Storage::Entry(_) => None,
                    Storage::Database(file) => Some(file),
                };
                found.push(FacetInfo {
                    path,
                    startup: node.startup.clone(),
                    incarnation,
                    database,
                });
            }
        }
        found
    }

    /// S8: ends the child's epoch and those below it. True if there was such a child.
    pub(crate) fn abort(&mut self, parent: NodeId, name: &FacetName, cause: Cause, kills: &mut Vec<Kill>) -> bool {
        let Some(child) = self.child(parent, name) else {
            return false;
        };
        self.end_subtree(child, &Arc::new(cause), kills);
        true
    }

    /// S10: ends the child and takes it, with everything below it, out of the tree.
    pub(crate) fn delete(
        &mut self,
        parent: NodeId,
        name: &FacetName,
        changes: &mut TurnChanges,
        kills: &mut Vec<Kill>,
    ) {
        let Some(top) = self.child(parent, name) else { return };
        self.end_subtree(top, &Arc::new(Cause::Deleted), kills);
        self.take_out(top);
        changes.pending.push(Pending::Deleted { parent, top });
    }

    /// S11: deletes all children.
    pub(crate) fn delete_children(&mut self, parent: NodeId, changes: &mut TurnChanges, kills: &mut Vec<Kill>) {
        let names: Vec<_> = self
            .nodes
            .get(parent)
            .map(|n| n.children.keys().cloned().collect())
            .unwrap_or_default();
        for name in &names {
            self.delete(parent, name, changes, kills);
        }
    }

    /// S13: puts a copy of what is stored at and below `src` into the tree as `dst`. Answers which databases it would have
    /// now; which it has is decided before the turn ends, by `fix_copies`.
    pub(crate) fn clone_child(
        &mut self,
        parent: NodeId,
        src: &FacetName,
        dst: &FacetName,
        changes: &mut TurnChanges,
        kills: &mut Vec<Kill>,
    ) -> Result<Vec<Copy>, TreeError> {
        if src == dst {
            self.abort(parent, src, Cause::Aborted("cloned onto itself".into()), kills);
            return Ok(Vec::new());
        }
        let source = self
            .child(parent, src)
            .filter(|src| self.node(*src).storage != Storage::None);
        let mut bytes = 0;
        if let Some(source) = source {
            let size = self.committed_size(source);
            self.check_room(parent, size.depth, size.facets)?;
            bytes = size.recorded_bytes;
            changes.grow(0, bytes)?;
        }
        self.delete(parent, dst, changes, kills);
        let Some(source) = source else { return Ok(Vec::new()) };
        // The turn that clones may have given it this startup itself.
        let startup = self.node(source).startup.clone();
        let mut copies = Vec::new();
        let top = self.copy_subtree(source, parent, dst.clone(), startup, &mut copies);
        self.open.copies.insert(top);
        changes.pending.push(Pending::Cloned {
            parent,
            top,
            source,
            bytes,
            files: None,
        });
        Ok(copies)
    }

    /// Where an event for the facet goes; `epoch` is the stub's, or none for whatever runs now.
    pub(crate) fn deliver(&mut self, node: NodeId, epoch: Option<&Arc<Epoch>>) -> Delivery {
        if let Some(cause) = epoch.and_then(|e| e.cause()) {
            return Delivery::Ended(cause.clone());
        }
        let Some(found) = self.nodes.get(node) else {
            return Delivery::Ended(Arc::new(Cause::Deleted));
        };
        if self.is_deleted(node) && rules::hold(Rule::DeletedIsNotReached) {
            return Delivery::Ended(Arc::new(Cause::Deleted));
        }
        match found.slot {
            Slot::Live(incarnation) => Delivery::To(incarnation),
            Slot::Cold => {
                let epoch = found.epoch().clone();
                let after = match rules::hold(Rule::PredecessorsAreWaitedFor) {
                    true => self.departing.at(&self.path(node)),
                    false => Vec::new(),
                };
                let incarnation = self.new_incarnation();
                self.live.insert(incarnation, node);
                self.node_mut(node).slot = Slot::Live(incarnation);
                Delivery::Start(Start {
                    incarnation,
                    node,
                    epoch,
                    after,
                })
            }
        }
    }

    /// The incarnation that takes the facet's events.
    pub(crate) fn live_at(&self, node: NodeId) -> Option<IncarnationId> {
        match self.nodes.get(node)?.slot {
            Slot::Cold => None,
            Slot::Live(incarnation) => Some(incarnation),
        }
    }

    /// What an incarnation is to be started with, asked when those before it are gone. None if it was killed meanwhile.
    pub(crate) fn launch(&mut self, incarnation: IncarnationId) -> Option<Stored> {
        let id = *self.live.get(&incarnation)?;
        let storage = self.node(id).storage;
        let file = match storage.entry().or(self.node(id).file_reserved) {
            Some(file) => file,
            None => self.new_file(),
        };
        self.node_mut(id).file_reserved = Some(file);
        let lineage = self
            .ancestors(id)
            .iter()
            .rev()
            .map(|n| self.node(*n).startup.clone())
            .collect();
        let has_database = matches!(storage, Storage::Database(_));
        Some(Stored {
            path: self.path(id),
            lineage,
            parent: self.node(id).parent,
            file,
            has_database,
        })
    }

    /// The incarnation ends by itself without raising an epoch (idle, or a failed start): it takes no more events, and its
    /// successor waits for its store to be dropped. False if it was killed meanwhile.
    pub(crate) fn retire(&mut self, incarnation: IncarnationId) -> bool {
        let Some(id) = self.live.remove(&incarnation) else {
            return false;
        };
        self.departing.insert(incarnation, id, &self.path(id));
        self.node_mut(id).slot = Slot::Cold;
        true
    }

    /// Reserves the files of the facet at `path` while it does not run: its next incarnation waits for `gone(borrow)`.
    pub(crate) fn borrow_files(&mut self, node: NodeId, path: &[FacetName]) -> Borrow {
        if let Some(incarnation) = self.live_at(node) {
            return Borrow::Live(incarnation);
        }
        let after = self.departing.at(path);
        let borrow = self.new_incarnation();
        self.departing.insert(borrow, node, path);
        Borrow::Reserved { borrow, after }
    }

    /// The file and path of the facet's database.
    pub(crate) fn database(&self, node: NodeId) -> Option<(FileId, Vec<FacetName>)> {
        match self.nodes.get(node)?.storage {
            Storage::None | Storage::Entry(_) => None,
            Storage::Database(file) => Some((file, self.path(node))),
        }
    }

    /// The incarnation's store has been dropped and its database is closed.
    pub(crate) fn gone(&mut self, incarnation: IncarnationId) {
        if let Some(node) = self.departing.remove(incarnation) {
            // Not earlier: a turn that was sealed before an abort still finds its node.
            self.forget(node);
        }
    }

    /// A stub of the facet was dropped; it may have been all that kept the facet in mind.
    pub(crate) fn stub_dropped(&mut self, node: NodeId) {
        self.forget(node);
    }

    /// S9: the incarnation was lost by itself, and takes along what is below it; by `Escalate` what is above it, too.
    pub(crate) fn broken(&mut self, incarnation: IncarnationId, cause: Cause, kills: &mut Vec<Kill>) {
        let Some(mut top) = self.live.get(&incarnation).copied() else {
            return;
        };
        while let (crate::startup::FailurePolicy::Escalate, Some(parent)) =
            (self.node(top).startup.on_failure, self.node(top).parent)
        {
            top = parent;
        }
        self.end_subtree(top, &Arc::new(cause), kills);
    }

    /// Ends everything, for a host that stops.
    pub(crate) fn end_all(&mut self, cause: Cause, kills: &mut Vec<Kill>) {
        self.end_subtree(self.root, &Arc::new(cause), kills);
    }

    /// Whose database is in that file.
    pub(crate) fn owner(&self, file: FileId) -> Owner {
        match self.files.get(&file) {
            Some(id) if self.node(*id).storage != Storage::Database(file) => Owner::Nobody,
            Some(id) if self.is_deleted(*id) => Owner::Leaving,
            Some(id) => Owner::Facet(*id),
            None => Owner::Nobody,
        }
    }

    /// A facet has its database in that file, be it one that was deleted in a turn which is not over; but not one that was
    /// copied in such a turn: there may have been nothing to copy.
    pub(crate) fn owns(&self, file: FileId) -> bool {
        self.owner(file) != Owner::Nobody && !self.files.get(&file).is_some_and(|id| self.is_copied(*id))
    }

    /// Nothing is stored of any facet: the index can go.
    pub(crate) fn needs_no_index(&self) -> bool {
        self.files.is_empty()
    }
}
