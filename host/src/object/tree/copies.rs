//! A clone copies the tree and the databases of one moment (S13). That moment is when all of its sources are held: from then
//! on none of them commits anything, to its database or to the tree, before they are copied. What a clone puts into the tree
//! when it is asked for is therefore decided again then. If nothing is stored in its source when it is asked for, that is the
//! moment, and there is nothing to copy.

use std::sync::Arc;

use crate::ids::{FacetName, FileId};
use crate::object::changes::Pending;
use crate::object::node::Storage;
use crate::object::tree::{Copy, Tree, TreeError};
use crate::object::{NodeId, TurnChanges};
use crate::startup::Startup;

/// A facet of which the index has an entry, be it deleted by a turn that is not over.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) node: NodeId,
    pub(crate) file: FileId,
    pub(crate) path: Vec<FacetName>,
}

/// How large a subtree is.
pub(super) struct Size {
    pub(super) facets: usize,
    pub(super) depth: usize,
    /// What a record takes that makes all of it.
    pub(super) recorded_bytes: usize,
}

/// Why it cannot be decided what is copied.
#[derive(Debug)]
pub(crate) enum CopiesError {
    /// These must be held, too, parents first.
    NotHeld(Vec<Source>),
    /// Meanwhile it is too much.
    Tree(TreeError),
}

impl Tree {
    /// Decides what the clones of a turn copy: what is committed now. Answers the databases to copy, in an order in which
    /// nothing is copied before it is made. To be asked until the sources are held; what is decided then stays so.
    pub(crate) fn fix_copies(
        &mut self,
        changes: &mut TurnChanges,
        is_held: impl Fn(NodeId) -> bool,
    ) -> Result<Vec<Copy>, CopiesError> {
        let mut missing = Vec::new();
        for (source, top) in changes.undecided() {
            // What this very turn has put there nobody else can touch.
            if self.nodes.contains(source) && self.nodes.contains(top) && !self.is_copied(source) {
                self.sources_below(source, &is_held, &mut missing);
            }
        }
        if !missing.is_empty() {
            missing.sort_by(|a, b| (&a.path, a.file).cmp(&(&b.path, b.file)));
            missing.dedup_by_key(|source| source.node);
            return Err(CopiesError::NotHeld(missing));
        }
        let mut copies = Vec::new();
        for nth in 0..changes.pending.len() {
            let Pending::Cloned {
                parent,
                top,
                source,
                bytes,
                files: None,
            } = changes.pending[nth]
            else {
                continue;
            };
            let begin = copies.len();
            let mut recorded_bytes = 0;
            if self.nodes.contains(top) {
                if self.nodes.contains(source) {
                    let size = self.committed_size(source);
                    self.check_room(parent, size.depth, size.facets - 1)
                        .map_err(CopiesError::Tree)?;
                    recorded_bytes = size.recorded_bytes;
                }
                // It may have grown since the clone was asked for.
                changes.grow(bytes, recorded_bytes).map_err(CopiesError::Tree)?;
                self.fix_copy(top, source, &mut copies);
            }
            let made = copies[begin..].iter().map(|copy: &Copy| copy.to).collect();
            changes.pending[nth] = Pending::Cloned {
                parent,
                top,
                source,
                bytes: recorded_bytes,
                files: Some(made),
            };
        }
        Ok(copies)
    }

    /// Makes what is below `top` anew: nobody has seen it yet, and nothing runs there.
    fn fix_copy(&mut self, top: NodeId, source: NodeId, copies: &mut Vec<Copy>) {
        for child in self.node(top).children.values().copied().collect::<Vec<_>>() {
            self.drop_subtree(child, |_, _| {});
        }
        if !self.nodes.contains(source) {
            // It had become empty, and nobody spoke of it any more.
            self.set_storage(top, Storage::None);
            self.node_mut(top).file_reserved = None;
            return;
        }
        let file = match (self.node(top).storage.entry(), self.node(source).storage) {
            (Some(file), _) => file,
            (None, Storage::None) => return,
            (None, Storage::Entry(_) | Storage::Database(_)) => self.new_file(),
        };
        self.fill_copy(source, top, file, copies);
        if self.is_deleted(top) {
            self.open.nodes += self.nodes_below(top) - 1;
        }
    }

    /// Copies what is committed at and below `from`, into new files.
    pub(super) fn copy_subtree(
        &mut self,
        from: NodeId,
        parent: NodeId,
        name: FacetName,
        startup: Arc<Startup>,
        copies: &mut Vec<Copy>,
    ) -> NodeId {
        let file = self.new_file();
        let to = self.insert(parent, name, startup, Storage::None);
        self.fill_copy(from, to, file, copies);
        to
    }

    /// Gives `to`, below which nothing is, what is committed at and below `from`.
    fn fill_copy(&mut self, from: NodeId, to: NodeId, file: FileId, copies: &mut Vec<Copy>) {
        let storage = match self.node(from).storage {
            Storage::None => Storage::None,
            Storage::Entry(_) => Storage::Entry(file),
            Storage::Database(_) => Storage::Database(file),
        };
        self.set_storage(to, storage);
        self.node_mut(to).file_reserved = storage.entry();
        if let Some((source, path)) = self.database(from) {
            copies.push(Copy {
                node: from,
                file: source,
                path,
                to: file,
                to_path: self.path(to),
            });
        }
        for child in self.recorded_children(from) {
            let name = self.node(child).name.clone().expect("only the root has no name");
            let startup = self.recorded_startup(child);
            self.copy_subtree(child, to, name, startup, copies);
        }
    }

    /// The entries at and below a facet that are not held.
    fn sources_below(&self, top: NodeId, is_held: &impl Fn(NodeId) -> bool, missing: &mut Vec<Source>) {
        let mut todo = vec![top];
        while let Some(node) = todo.pop() {
            if let (Some(file), false) = (self.node(node).storage.entry(), is_held(node)) {
                let path = self.path(node);
                missing.push(Source { node, file, path });
            }
            todo.extend(self.recorded_children(node));
        }
    }

    /// What is committed at and below it.
    pub(super) fn committed_size(&self, id: NodeId) -> Size {
        let name_bytes = self.node(id).name.as_ref().map_or(0, |name| name.as_str().len());
        let mut size = Size {
            facets: 1,
            depth: 0,
            recorded_bytes: self.recorded_startup(id).recorded_bytes() + name_bytes,
        };
        for child in self.recorded_children(id) {
            let below = self.committed_size(child);
            size.facets += below.facets;
            size.depth = size.depth.max(below.depth);
            size.recorded_bytes += below.recorded_bytes;
        }
        size.depth += 1;
        size
    }
}
