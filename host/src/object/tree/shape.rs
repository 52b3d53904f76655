//! The shape of the tree: a node is removed with all references to it, and an epoch never ends without those below it.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::ids::{FacetName, FileId};
use crate::limits::{FACETS_PER_OBJECT_MAX, TREE_DEPTH_MAX};
use crate::object::node::{Node, Slot, Storage};
use crate::object::rules::{self, Rule};
use crate::object::tree::{Kill, Tree, TreeError};
use crate::object::{Cause, IncarnationId, NodeId};
use crate::startup::Startup;

impl Tree {
    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes
            .get(id)
            .expect("ids inside the tree lead to nodes: a node is removed with all references to it")
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes
            .get_mut(id)
            .expect("ids inside the tree lead to nodes: a node is removed with all references to it")
    }

    pub(super) fn child(&self, parent: NodeId, name: &FacetName) -> Option<NodeId> {
        self.nodes.get(parent)?.children.get(name).copied()
    }

    pub(super) fn new_incarnation(&mut self) -> IncarnationId {
        self.next += 1;
        IncarnationId(NonZeroU64::new(self.next).expect("it has just been raised"))
    }

    pub(super) fn new_file(&mut self) -> FileId {
        let file = self.next_file;
        if !rules::hold(Rule::FileIdsAreNew)
            && let Some(free) = (1..file.0).map(FileId).find(|file| !self.files.contains_key(file))
        {
            return free;
        }
        self.next_file = FileId(
            file.0
                .checked_add(1)
                .expect("four billion facets in one object are out of reach"),
        );
        file
    }

    /// The facet and those above it, itself first.
    pub(super) fn ancestors(&self, id: NodeId) -> Vec<NodeId> {
        std::iter::successors(Some(id), |id| self.node(*id).parent).collect()
    }

    /// A facet and those above it with their startups, the root first.
    pub(crate) fn lineage(&self, id: NodeId) -> Vec<(NodeId, Arc<Startup>)> {
        let mut lineage: Vec<_> = self
            .ancestors(id)
            .into_iter()
            .map(|id| (id, self.node(id).startup.clone()))
            .collect();
        lineage.reverse();
        lineage
    }

    pub(super) fn path(&self, id: NodeId) -> Vec<FacetName> {
        let mut names: Vec<_> = self
            .ancestors(id)
            .iter()
            .filter_map(|id| self.node(*id).name.clone())
            .collect();
        names.reverse();
        names
    }

    pub(super) fn insert(
        &mut self,
        parent: NodeId,
        name: FacetName,
        startup: Arc<Startup>,
        storage: Storage,
    ) -> NodeId {
        let mut node = Node::new(Some(parent), Some(name.clone()), startup);
        node.file_reserved = storage.entry();
        let id = self.nodes.insert(node);
        self.node_mut(parent).children.insert(name, id);
        self.set_storage(id, storage);
        id
    }

    /// What is stored of the facet from now on.
    pub(super) fn set_storage(&mut self, id: NodeId, storage: Storage) {
        let node = self.node_mut(id);
        let before = std::mem::replace(&mut node.storage, storage);
        let parent = node.parent;
        if let Some(file) = before.entry() {
            self.files.remove(&file);
        }
        if let Some(file) = storage.entry() {
            self.files.insert(file, id);
        }
        if let Some(parent) = parent {
            let stored = self.stored_beside(parent, id);
            *stored -= usize::from(before != Storage::None);
            *stored += usize::from(storage != Storage::None);
        }
    }

    pub(super) fn end_subtree(&mut self, top: NodeId, cause: &Arc<Cause>, kills: &mut Vec<Kill>) {
        let mut todo = vec![top];
        while let Some(id) = todo.pop() {
            let node = self.node_mut(id);
            if let Some(epoch) = node.epoch.take() {
                epoch.end(cause.clone());
            }
            let slot = std::mem::replace(&mut node.slot, Slot::Cold);
            if rules::hold(Rule::EpochsEndWithThoseBelow) {
                todo.extend(node.children.values());
            }
            if let Slot::Live(incarnation) = slot {
                let path = self.path(id);
                self.live.remove(&incarnation);
                self.departing.insert(incarnation, id, &path);
                kills.push(Kill {
                    incarnation,
                    cause: cause.clone(),
                });
            }
        }
    }

    /// Nobody could tell the difference if it were forgotten.
    fn is_forgettable(&self, id: NodeId, node: &Node) -> bool {
        let spoken_of = node.epoch.get().is_some_and(|epoch| Arc::strong_count(epoch) > 1);
        let may_commit = self.departing.is_of(id) && rules::hold(Rule::PlacesAreKeptForCommits);
        !node.exists()
            && node.children.is_empty()
            && node.parent.is_some()
            && !spoken_of
            && !may_commit
            && !self.has_deleted_children(id)
            && !self.is_deleted(id)
            && !self.open.copies.contains(&id)
    }

    /// Drops the node, and those above it, as far as nobody could tell.
    pub(super) fn forget(&mut self, mut id: NodeId) {
        while let Some(node) = self.nodes.get(id) {
            let (true, Some(parent), Some(name)) = (self.is_forgettable(id, node), node.parent, node.name.clone())
            else {
                return;
            };
            self.nodes.remove(id);
            self.open.recorded.remove(&id);
            self.node_mut(parent).children.remove(&name);
            id = parent;
        }
    }

    /// What is kept to be found quickly says the same as the nodes.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut files = crate::object::tree::ByFile::default();
        for (id, node) in self.nodes.iter() {
            if let Some(file) = node.storage.entry() {
                assert_eq!(files.insert(file, id), None, "two facets have {file:?}");
            }
            let stored = |child: &&NodeId| self.node(**child).storage != Storage::None;
            assert_eq!(node.stored_children, node.children.values().filter(stored).count());
            let up = node.parent.map(|parent| &self.node(parent).children);
            let linked = up.is_none_or(|children| node.name.as_ref().and_then(|name| children.get(name)) == Some(&id));
            assert!(
                linked != self.open.tops.contains(&id),
                "{id:?} is deleted or a child of its parent"
            );
            if let Slot::Live(incarnation) = node.slot {
                assert_eq!(self.live.get(&incarnation), Some(&id));
            }
        }
        assert_eq!(self.files, files);
        assert!(
            self.live
                .values()
                .all(|id| matches!(self.node(*id).slot, Slot::Live(_)))
        );
        self.departing.check();
        self.check_open();
    }

    pub(super) fn check_room(&mut self, parent: NodeId, depth: usize, many: usize) -> Result<(), TreeError> {
        if self.ancestors(parent).len() + depth > TREE_DEPTH_MAX {
            return Err(TreeError::TooDeep);
        }
        // What was deleted does not count (S2).
        if self.nodes.len() - self.open.nodes + many > FACETS_PER_OBJECT_MAX {
            let leaves: Vec<_> = self
                .nodes
                .iter()
                .filter(|(id, node)| self.is_forgettable(*id, node))
                .map(|(id, _)| id)
                .collect();
            leaves
                .into_iter()
                .filter(|id| *id != parent)
                .for_each(|id| self.forget(id));
        }
        if self.nodes.len() - self.open.nodes + many > FACETS_PER_OBJECT_MAX {
            return Err(TreeError::TooMany);
        }
        Ok(())
    }
}
