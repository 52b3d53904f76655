//! What of the tree is durable. Entries appear with the first commit at or below a facet and go with the last; parents
//! are recorded before their children.

use crate::ids::FileId;
use crate::object::changes::Pending;
use crate::object::node::Storage;
use crate::object::tree::Tree;
use crate::object::{NodeId, StoredFacet, TreeChange, TurnChanges};

impl Tree {
    /// The facet has committed to its database for the first time: the entries that make it exist.
    pub(crate) fn now_stored(&mut self, node: NodeId, file: FileId) -> Vec<TreeChange> {
        let mut created = Vec::new();
        let Some(found) = self.nodes.get(&node) else {
            return created;
        };
        match found.storage {
            Storage::Database(_) => return created,
            Storage::Entry(_) => {}
            Storage::None => self.create_entries(node, file, &mut created),
        }
        self.set_storage(node, Storage::Database(file));
        created
    }

    /// S12: the facet has stopped with nothing in its database. Answers the entries that are no longer needed; none if
    /// there is something below it, for whose sake the database stays, empty.
    pub(crate) fn now_empty(&mut self, file: FileId) -> Vec<TreeChange> {
        match self.files.get(&file).copied() {
            Some(root) if root == self.root => {
                self.set_storage(root, Storage::None);
                Vec::new()
            }
            Some(id) if !self.node(id).has_recorded_children() => self.remove_entries(id),
            Some(_) | None => Vec::new(),
        }
    }

    /// Copies that were not made, because there was nothing in their sources.
    pub(crate) fn unmake(&mut self, changes: &mut TurnChanges, files: &[FileId]) {
        changes.unmake(files);
        // Children before their parents: their ids are higher.
        for file in files.iter().rev() {
            let Some(id) = self.files.get(file).copied() else {
                continue;
            };
            let keep = self.node(id).has_recorded_children();
            self.set_storage(id, if keep { Storage::Entry(*file) } else { Storage::None });
        }
    }

    fn delete_is_over(&mut self, parent: NodeId) {
        self.deleted -= 1;
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.deleted_children -= 1;
        }
    }

    /// Removes the entry of a facet that was there for the sake of children which are gone.
    fn remove_if_only_for_children(&mut self, id: NodeId) -> Vec<TreeChange> {
        match self.nodes.get(&id) {
            Some(node) if matches!(node.storage, Storage::Entry(_)) && !node.has_recorded_children() => {
                self.remove_entries(id)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Removes the entry of a facet without stored children, and those above that were only there for it.
    fn remove_entries(&mut self, mut id: NodeId) -> Vec<TreeChange> {
        let mut gone = Vec::new();
        loop {
            let Some(file) = self.node(id).storage.entry() else {
                return gone;
            };
            self.set_storage(id, Storage::None);
            let node = self.node_mut(id);
            // The file is going to be removed: the next incarnation gets another.
            node.file_reserved = None;
            gone.push(TreeChange::Delete { file });
            id = node.parent.expect("only the root has no parent, and it has no entry");
            let node = self.node(id);
            if !matches!(node.storage, Storage::Entry(_)) || node.has_recorded_children() {
                return gone;
            }
        }
    }

    /// The changes of a turn that has committed, in order, and the files whose databases go with them.
    pub(crate) fn settle(&mut self, changes: TurnChanges) -> (Vec<TreeChange>, Vec<FileId>) {
        let (mut record, mut files) = (Vec::new(), Vec::new());
        for pending in changes.pending {
            match pending {
                Pending::Deleted { parent, facet } => {
                    self.not_leaving(&facet);
                    delete_all(&facet, &mut record, &mut files);
                    self.delete_is_over(parent);
                    record.extend(self.remove_if_only_for_children(parent));
                }
                Pending::Restarted { node, .. } => {
                    let Some(found) = self.nodes.get(&node) else { continue };
                    if let Some(file) = found.storage.entry() {
                        record.push(TreeChange::Restart {
                            file,
                            startup: found.startup.clone(),
                        });
                    }
                }
                Pending::Cloned { parent, copy } => {
                    let Some(above) = self.nodes.get(&parent) else { continue };
                    let above = match above.storage.entry() {
                        Some(file) => file,
                        None if above.parent.is_none() => FileId::ROOT,
                        None => self.entry_for_descendants(parent, &mut record),
                    };
                    create_all(&copy, above, &mut record);
                }
            }
        }
        (record, files)
    }

    /// The turn was lost: storage is as if it had not been. Answers what cannot be put back, because its parent is gone
    /// for good, and the files of it and of copies that were never recorded.
    pub(crate) fn undo(&mut self, changes: TurnChanges) -> (Vec<TreeChange>, Vec<FileId>) {
        let (mut record, mut files) = (Vec::new(), Vec::new());
        for pending in changes.pending.into_iter().rev() {
            match pending {
                Pending::Deleted { parent, facet } => {
                    self.delete_is_over(parent);
                    self.not_leaving(&facet);
                    if !self.nodes.contains_key(&parent) {
                        delete_all(&facet, &mut record, &mut files);
                        continue;
                    }
                    if let Some(fresh) = self.child(parent, &facet.name) {
                        self.detach(fresh);
                    }
                    self.attach(parent, facet);
                }
                Pending::Restarted { node, before } => {
                    if let Some(node) = self.nodes.get_mut(&node) {
                        node.startup = before;
                    }
                }
                Pending::Cloned { parent, copy } => {
                    copy.walk(&mut |facet| files.extend(facet.has_database.then_some(facet.file)));
                    if let Some(child) = self.child(parent, &copy.name) {
                        self.detach(child);
                    }
                }
            }
        }
        (record, files)
    }

    /// The turn that deleted it is over.
    fn not_leaving(&mut self, facet: &StoredFacet) {
        facet.walk(&mut |facet| {
            self.leaving.remove(&facet.file);
        });
    }

    /// Records the facet and what above it has no entry yet, parents first.
    fn create_entries(&mut self, id: NodeId, file: FileId, record: &mut Vec<TreeChange>) {
        let Some(parent) = self.node(id).parent else { return };
        let above = match self.node(parent).storage.entry() {
            Some(above) => above,
            None if self.node(parent).parent.is_none() => FileId::ROOT,
            None => self.entry_for_descendants(parent, record),
        };
        let node = self.node(id);
        let name = node
            .name
            .clone()
            .expect("only the root has no name, and it has no parent");
        record.push(TreeChange::Create {
            file,
            parent: above,
            name,
            startup: node.startup.clone(),
        });
    }

    fn entry_for_descendants(&mut self, id: NodeId, record: &mut Vec<TreeChange>) -> FileId {
        let file = match self.node(id).file_reserved {
            Some(file) => file,
            None => self.new_file(),
        };
        self.create_entries(id, file, record);
        self.set_storage(id, Storage::Entry(file));
        self.node_mut(id).file_reserved = Some(file);
        file
    }
}

fn delete_all(facet: &StoredFacet, record: &mut Vec<TreeChange>, files: &mut Vec<FileId>) {
    facet.walk(&mut |facet| {
        record.push(TreeChange::Delete { file: facet.file });
        files.extend(facet.has_database.then_some(facet.file));
    });
}

fn create_all(facet: &StoredFacet, parent: FileId, record: &mut Vec<TreeChange>) {
    let (name, startup) = (facet.name.clone(), facet.startup.clone());
    record.push(TreeChange::Create {
        file: facet.file,
        parent,
        name,
        startup,
    });
    for child in &facet.children {
        create_all(child, facet.file, record);
    }
}
