//! What of the tree is durable. Entries appear with the first commit at or below a facet and go with the last; parents
//! are recorded before their children. The root has no entry: of it is recorded whether it has a database.

use std::sync::Arc;

use crate::ids::FileId;
use crate::object::changes::Pending;
use crate::object::node::Storage;
use crate::object::rules::{self, Rule};
use crate::object::tree::{Kill, Tree};
use crate::object::{Cause, NodeId, TreeChange, TurnChanges};

impl Tree {
    /// The facet has committed to its database for the first time: the entries that make it exist.
    pub(crate) fn now_stored(&mut self, node: NodeId, file: FileId) -> Vec<TreeChange> {
        let mut created = Vec::new();
        let Some(found) = self.nodes.get(node) else {
            return created;
        };
        match found.storage {
            Storage::Database(_) => return created,
            Storage::Entry(entry) => {
                debug_assert_eq!(entry, file, "a facet has one file, whatever becomes of its entry");
                created.push(TreeChange::Store { file });
            }
            // It exists with the object, and has no entry.
            Storage::None if node == self.root => created.push(TreeChange::Store { file }),
            Storage::None => self.create_entries(node, Storage::Database(file), &mut created),
        }
        self.set_storage(node, Storage::Database(file));
        created
    }

    /// S12: the facet has stopped with nothing in its database, which goes. Answers the entries that are no longer needed:
    /// its own is as long as something is stored below it. None if it was deleted meanwhile, and its file with it.
    pub(crate) fn now_empty(&mut self, file: FileId) -> Option<Vec<TreeChange>> {
        let id = *self.files.get(&file)?;
        if id == self.root {
            self.set_storage(id, Storage::None);
            return Some(vec![TreeChange::Empty { file }]);
        }
        if self.has_recorded_children(id) {
            self.set_storage(id, Storage::Entry(file));
            return Some(vec![TreeChange::Empty { file }]);
        }
        Some(self.remove_entries(id))
    }

    /// The whole tree as it is recorded, parents first. None while a turn that is not over has changed it, or if it has more
    /// than `max` entries.
    pub(crate) fn recorded(&self, max: usize) -> Option<Vec<TreeChange>> {
        if !self.open.is_empty() || self.files.len() > max {
            return None;
        }
        let mut record = Vec::with_capacity(self.files.len());
        let mut todo: Vec<_> = vec![(self.root, FileId::ROOT)];
        while let Some((id, parent)) = todo.pop() {
            let storage = self.node(id).storage;
            let file = match storage.entry() {
                _ if id == self.root => FileId::ROOT,
                Some(file) => file,
                None => continue,
            };
            match storage {
                Storage::Database(_) if id == self.root => record.push(TreeChange::Store { file }),
                _ if id == self.root => {}
                Storage::None | Storage::Entry(_) | Storage::Database(_) => {
                    self.create(id, storage, parent, &mut record);
                }
            }
            todo.extend(self.node(id).children.values().rev().map(|child| (*child, file)));
        }
        Some(record)
    }

    /// Copies that were not made, because there was nothing in their sources.
    pub(crate) fn unmake(&mut self, changes: &mut TurnChanges, files: &[FileId]) {
        changes.unmake(files);
        for file in files {
            let Some(mut id) = self.files.get(file).copied() else {
                continue;
            };
            self.set_storage(id, Storage::Entry(*file));
            // Entries of the copy, which nobody has recorded yet, that are there for nothing.
            while matches!(self.node(id).storage, Storage::Entry(_)) && self.node(id).stored_children == 0 {
                self.set_storage(id, Storage::None);
                self.node_mut(id).file_reserved = None;
                match self.node(id).parent {
                    Some(parent) if !self.open.copies.contains(&id) => id = parent,
                    Some(_) | None => break,
                }
            }
        }
    }

    /// Removes the entry of a facet that was there for the sake of children which are gone.
    fn remove_if_only_for_children(&mut self, id: NodeId) -> Vec<TreeChange> {
        match self.nodes.get(id) {
            Some(node)
                if matches!(node.storage, Storage::Entry(_))
                    && !self.has_recorded_children(id)
                    && rules::hold(Rule::EntriesGoWithTheLast) =>
            {
                self.remove_entries(id)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Removes the entry of a facet without stored children, and those above that were only there for it.
    fn remove_entries(&mut self, mut id: NodeId) -> Vec<TreeChange> {
        let mut gone = Vec::new();
        loop {
            let storage = self.node(id).storage;
            let Some(file) = storage.entry() else {
                return gone;
            };
            self.set_storage(id, Storage::None);
            // A file that is going to be removed is not used again. One that was never made may be in the hand of an
            // incarnation that has not committed yet.
            if matches!(storage, Storage::Database(_)) || !rules::hold(Rule::FileIdsAreKept) {
                self.node_mut(id).file_reserved = None;
            }
            gone.push(TreeChange::Delete { file });
            id = self
                .node(id)
                .parent
                .expect("only the root has no parent, and it has no entry");
            if !matches!(self.node(id).storage, Storage::Entry(_)) || self.has_recorded_children(id) {
                return gone;
            }
        }
    }

    /// The changes of a turn that has committed, in order, and the files whose databases go with them.
    pub(crate) fn settle(&mut self, changes: TurnChanges) -> (Vec<TreeChange>, Vec<FileId>) {
        let (mut record, mut files) = (Vec::new(), Vec::new());
        for top in changes.copies() {
            self.open.copies.remove(&top);
        }
        for pending in changes.pending {
            match pending {
                Pending::Deleted { parent, top } => {
                    if !self.nodes.contains(top) {
                        // It has gone with one above it.
                        continue;
                    }
                    self.drop_subtree(top, |node, recorded| {
                        if let (Some(file), true) = (node.storage.entry(), recorded) {
                            record.push(TreeChange::Delete { file });
                            files.extend(matches!(node.storage, Storage::Database(_)).then_some(file));
                        }
                    });
                    record.extend(self.remove_if_only_for_children(parent));
                }
                Pending::Restarted { node, .. } => {
                    self.open.recorded.remove(&node);
                    let Some(found) = self.nodes.get(node) else { continue };
                    if let Some(file) = found.storage.entry() {
                        record.push(TreeChange::Restart {
                            file,
                            startup: found.startup.clone(),
                        });
                    }
                }
                Pending::Cloned {
                    parent,
                    top,
                    files: made,
                    ..
                } => {
                    match self.nodes.contains(top) {
                        true => self.record_copy(parent, top, &mut record),
                        // It has gone with one above it, and nobody else knows what was made for it.
                        false => files.extend(made.into_iter().flatten()),
                    }
                }
            }
        }
        (record, files)
    }

    /// The turn was lost: storage is as if it had not been. Answers the files that were made for copies.
    pub(crate) fn undo(&mut self, changes: TurnChanges, kills: &mut Vec<Kill>) -> Vec<FileId> {
        let mut files = Vec::new();
        for pending in changes.pending.into_iter().rev() {
            match pending {
                Pending::Deleted { top, .. } => {
                    // Not if it has gone with one above it.
                    if self.nodes.contains(top) && rules::hold(Rule::LostDeletesAreUndone) {
                        self.put_back(top, kills);
                    }
                }
                Pending::Restarted { node, before } => {
                    self.open.recorded.remove(&node);
                    if let Some(found) = self.nodes.get_mut(node)
                        && rules::hold(Rule::LostRestartsAreUndone)
                    {
                        found.startup = before;
                        // Its alarm may have woken it with the other one.
                        self.end_subtree(node, &Arc::new(Cause::Restarted), kills);
                    }
                }
                Pending::Cloned { top, files: made, .. } => {
                    files.extend(made.into_iter().flatten());
                    if self.nodes.contains(top) {
                        self.end_subtree(top, &Arc::new(Cause::Deleted), kills);
                        self.drop_subtree(top, |_, _| {});
                    }
                    self.open.copies.remove(&top);
                }
            }
        }
        files
    }

    /// Records the facet and what above it has no entry yet, parents first.
    fn create_entries(&mut self, id: NodeId, storage: Storage, record: &mut Vec<TreeChange>) {
        let Some(parent) = self.node(id).parent else { return };
        let parent = self.entry_of(parent, record);
        self.create(id, storage, parent, record);
    }

    /// Records a copy, and what is copied below it.
    fn record_copy(&mut self, parent: NodeId, top: NodeId, record: &mut Vec<TreeChange>) {
        if self.node(top).storage == Storage::None {
            return;
        }
        let parent = self.entry_of(parent, record);
        let mut todo = vec![(top, parent)];
        while let Some((id, parent)) = todo.pop() {
            let storage = self.node(id).storage;
            let Some(file) = storage.entry() else {
                continue;
            };
            self.create(id, storage, parent, record);
            let children = self.node(id).children.values().rev();
            todo.extend(children.map(|child| (*child, file)));
        }
    }

    fn create(&self, id: NodeId, storage: Storage, parent: FileId, record: &mut Vec<TreeChange>) {
        let (file, has_database) = match storage {
            Storage::None => return,
            Storage::Entry(file) => (file, false),
            Storage::Database(file) => (file, true),
        };
        let name = self.node(id).name.clone();
        record.push(TreeChange::Create {
            file,
            parent,
            name: name.expect("only the root has no name, and it has no entry"),
            startup: self.recorded_startup(id),
            has_database,
        });
    }

    /// The id of the facet's entry, which is made if there is none, for what is below it.
    fn entry_of(&mut self, id: NodeId, record: &mut Vec<TreeChange>) -> FileId {
        if let Some(file) = self.node(id).storage.entry() {
            return file;
        }
        if id == self.root {
            return FileId::ROOT;
        }
        let file = match self.node(id).file_reserved {
            Some(file) => file,
            None => self.new_file(),
        };
        self.create_entries(id, Storage::Entry(file), record);
        self.set_storage(id, Storage::Entry(file));
        self.node_mut(id).file_reserved = Some(file);
        file
    }
}
