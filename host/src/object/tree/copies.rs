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
        for pending in &mut changes.pending {
            let Pending::Cloned {
                parent,
                top,
                source,
                files: files @ None,
            } = pending
            else {
                continue;
            };
            let begin = copies.len();
            if self.nodes.contains(*top) {
                self.fix_copy(*parent, *top, *source, &mut copies)
                    .map_err(CopiesError::Tree)?;
            }
            *files = Some(copies[begin..].iter().map(|copy: &Copy| copy.to).collect());
        }
        Ok(copies)
    }

    /// Makes what is below `top` anew: nobody has seen it yet, and nothing runs there.
    fn fix_copy(
        &mut self,
        parent: NodeId,
        top: NodeId,
        source: NodeId,
        copies: &mut Vec<Copy>,
    ) -> Result<(), TreeError> {
        for child in self.node(top).children.values().copied().collect::<Vec<_>>() {
            self.drop_subtree(child, |_, _| {});
        }
        if self.nodes.contains(source) {
            let (many, depth) = self.committed_size(source);
            self.check_room(parent, depth, many - 1)?;
        }
        if !self.nodes.contains(source) {
            // It had become empty, and nobody spoke of it any more.
            self.set_storage(top, Storage::None);
            self.node_mut(top).file_reserved = None;
            return Ok(());
        }
        let file = match (self.node(top).storage.entry(), self.node(source).storage) {
            (Some(file), _) => file,
            (None, Storage::None) => return Ok(()),
            (None, Storage::Entry(_) | Storage::Database(_)) => self.new_file(),
        };
        self.fill_copy(source, top, file, copies);
        if self.is_deleted(top) {
            self.open.nodes += self.nodes_below(top) - 1;
        }
        Ok(())
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

    /// How many facets are committed at and below it, and how deep they are.
    pub(super) fn committed_size(&self, id: NodeId) -> (usize, usize) {
        let below = self.recorded_children(id);
        let sizes = below.iter().map(|child| self.committed_size(*child));
        let (many, depth) = sizes.fold((0, 0), |(many, depth), (n, d)| (many + n, depth.max(d)));
        (many + 1, depth + 1)
    }
}
