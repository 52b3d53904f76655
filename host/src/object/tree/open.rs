//! What turns that are not over have made of the tree. A facet that one of them has deleted keeps its nodes, its entry and
//! its files until that turn is over: it may come back, and a commit of it that was sealed before is recorded as ever.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::object::node::{Node, Storage};
use crate::object::rules::{self, Rule};
use crate::object::tree::{Kill, Tree};
use crate::object::{Cause, NodeId};
use crate::startup::Startup;

#[derive(Debug, Default)]
pub(super) struct OpenTurns {
    /// By parent, facets that were deleted.
    deleted: HashMap<NodeId, Deleted>,
    /// The same, without what is below them.
    pub(super) tops: HashSet<NodeId>,
    /// Nodes at and below them.
    pub(super) nodes: usize,
    /// Copies, without what is below them. The index does not name them yet.
    pub(super) copies: HashSet<NodeId>,
    /// What the index says, or would say, of facets that were given another startup.
    pub(super) recorded: HashMap<NodeId, Arc<Startup>>,
}

#[derive(Debug, Default)]
struct Deleted {
    tops: BTreeSet<NodeId>,
    /// Those of which something is stored.
    stored: usize,
}

impl OpenTurns {
    /// Nothing of the tree can still be undone.
    pub(super) fn is_empty(&self) -> bool {
        self.tops.is_empty() && self.copies.is_empty() && self.recorded.is_empty()
    }
}

impl Tree {
    /// The facet, or one above it, was deleted by a turn that is not over.
    pub(super) fn is_deleted(&self, id: NodeId) -> bool {
        !self.open.tops.is_empty() && self.ancestors(id).iter().any(|id| self.open.tops.contains(id))
    }

    /// The facet, or one above it, was put there as a copy by a turn that is not over.
    pub(super) fn is_copied(&self, id: NodeId) -> bool {
        !self.open.copies.is_empty() && self.ancestors(id).iter().any(|id| self.open.copies.contains(id))
    }

    /// Something was deleted right below it by a turn that is not over.
    pub(super) fn has_deleted_children(&self, id: NodeId) -> bool {
        self.open.deleted.contains_key(&id)
    }

    /// The index names something below it. What was copied there by a turn that is not over is not in it, what was deleted is.
    pub(super) fn has_recorded_children(&self, id: NodeId) -> bool {
        let deleted = self.open.deleted.get(&id).map_or(0, |deleted| deleted.stored);
        let copies = self.open.copies.iter().filter_map(|copy| self.nodes.get(*copy));
        let copies = copies.filter(|copy| copy.parent == Some(id) && copy.storage != Storage::None);
        let stored = self.node(id).stored_children + deleted;
        match rules::hold(Rule::DeletedIsStoredUntilTheEnd) {
            true => stored > copies.count(),
            false => self.node(id).stored_children > 0,
        }
    }

    /// The children of which the index says something: as if no turn were open.
    pub(super) fn recorded_children(&self, id: NodeId) -> Vec<NodeId> {
        let mut children: Vec<_> = self.node(id).children.values().copied().collect();
        if rules::hold(Rule::CopiesAreOfWhatIsCommitted) {
            children.retain(|child| !self.open.copies.contains(child));
            let deleted = self.open.deleted.get(&id).map(|deleted| &deleted.tops);
            let deleted = deleted.into_iter().flatten();
            children.extend(deleted.filter(|child| !self.open.copies.contains(child)));
        }
        children.retain(|child| self.node(*child).storage != Storage::None);
        children
    }

    /// The startup that belongs into an index in which the turn that has changed it is not.
    pub(super) fn recorded_startup(&self, id: NodeId) -> Arc<Startup> {
        match self.open.recorded.get(&id) {
            Some(recorded) if rules::hold(Rule::StartupsFollowTheirTurn) => recorded.clone(),
            Some(_) | None => self.node(id).startup.clone(),
        }
    }

    /// Counts the children of `parent` of which something is stored, among which `id` is one, deleted or not.
    pub(super) fn stored_beside(&mut self, parent: NodeId, id: NodeId) -> &mut usize {
        if self.open.tops.contains(&id) {
            &mut self.open.deleted.entry(parent).or_default().stored
        } else {
            &mut self.node_mut(parent).stored_children
        }
    }

    /// Takes a subtree, whose epochs have ended, out of its parent's sight.
    pub(super) fn take_out(&mut self, top: NodeId) {
        let (parent, stored) = self.unlink(top);
        if !self.is_deleted(parent) {
            self.open.nodes += self.nodes_below(top);
        }
        self.open.tops.insert(top);
        let deleted = self.open.deleted.entry(parent).or_default();
        deleted.tops.insert(top);
        deleted.stored += stored;
    }

    /// Puts it back in its place, from which it takes whatever has come there since. The turn that deleted it was lost.
    pub(super) fn put_back(&mut self, top: NodeId, kills: &mut Vec<Kill>) {
        let Some((parent, stored)) = self.no_longer_deleted(top) else {
            return;
        };
        let name = self.node(top).name.clone().expect("the root is never deleted");
        if let Some(fresh) = self.child(parent, &name) {
            self.end_subtree(fresh, &Arc::new(Cause::Deleted), kills);
            self.drop_subtree(fresh, |_, _| {});
        }
        let above = self.node_mut(parent);
        above.children.insert(name, top);
        above.stored_children += stored;
        if !self.is_deleted(parent) {
            self.open.nodes -= self.nodes_below(top);
        }
        let mut todo = vec![top];
        while let Some(id) = todo.pop() {
            match self.node(id).children.is_empty() {
                true => self.forget(id),
                false => todo.extend(self.node(id).children.values()),
            }
        }
    }

    /// Takes a subtree out of memory, with what other turns have deleted in it. `visit` is told each node, parents first,
    /// and whether the index has its entry.
    pub(super) fn drop_subtree(&mut self, top: NodeId, mut visit: impl FnMut(&Node, bool)) {
        let counted = self.is_deleted(top);
        if self.no_longer_deleted(top).is_none() {
            self.unlink(top);
        }
        let mut todo = vec![(top, true)];
        while let Some((id, recorded)) = todo.pop() {
            let Some(node) = self.nodes.remove(id) else { continue };
            let recorded = recorded && !self.open.copies.remove(&id);
            visit(&node, recorded);
            self.open.nodes -= usize::from(counted);
            self.open.recorded.remove(&id);
            if let Some(file) = node.storage.entry() {
                self.files.remove(&file);
            }
            let deleted = self.open.deleted.remove(&id).unwrap_or_default().tops;
            for top in &deleted {
                self.open.tops.remove(top);
            }
            if !counted {
                self.open.nodes -= deleted.iter().map(|top| self.nodes_below(*top)).sum::<usize>();
            }
            let children = node.children.into_values().chain(deleted);
            todo.extend(children.map(|child| (child, recorded)).rev());
        }
    }

    /// Takes the node from its parent. Answers that, and 1 if something is stored of it.
    fn unlink(&mut self, top: NodeId) -> (NodeId, usize) {
        let node = self.node(top);
        let stored = usize::from(node.storage != Storage::None);
        let (Some(parent), Some(name)) = (node.parent, node.name.clone()) else {
            unreachable!("the root is never taken out");
        };
        let above = self.node_mut(parent);
        above.children.remove(&name);
        above.stored_children -= stored;
        (parent, stored)
    }

    /// The same for one that was deleted by a turn which ends now. None if it was not.
    fn no_longer_deleted(&mut self, top: NodeId) -> Option<(NodeId, usize)> {
        if !self.open.tops.remove(&top) {
            return None;
        }
        let node = self.node(top);
        let stored = usize::from(node.storage != Storage::None);
        let parent = node.parent.expect("the root is never deleted");
        let deleted = self.open.deleted.get_mut(&parent).expect("it lists its top");
        deleted.tops.remove(&top);
        deleted.stored -= stored;
        if deleted.tops.is_empty() {
            self.open.deleted.remove(&parent);
        }
        Some((parent, stored))
    }

    /// Nodes at and below it, but for what was deleted there.
    pub(super) fn nodes_below(&self, top: NodeId) -> usize {
        let (mut many, mut todo) = (0, vec![top]);
        while let Some(id) = todo.pop() {
            many += 1;
            todo.extend(self.node(id).children.values());
        }
        many
    }

    #[cfg(test)]
    pub(super) fn check_open(&self) {
        let deleted: HashSet<_> = self
            .open
            .deleted
            .values()
            .flat_map(|d| d.tops.iter().copied())
            .collect();
        assert_eq!(deleted, self.open.tops);
        for (parent, deleted) in &self.open.deleted {
            assert!(!deleted.tops.is_empty());
            let stored = deleted
                .tops
                .iter()
                .filter(|top| self.node(**top).storage != Storage::None);
            assert_eq!(stored.count(), deleted.stored);
            assert!(deleted.tops.iter().all(|top| self.node(*top).parent == Some(*parent)));
        }
        let counted = self.nodes.iter().filter(|(id, _)| self.is_deleted(*id)).count();
        assert_eq!(counted, self.open.nodes, "nodes that were deleted");
        assert!(
            self.live.values().all(|id| !self.is_deleted(*id)),
            "what was deleted runs"
        );
    }
}
