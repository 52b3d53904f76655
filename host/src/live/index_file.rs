//! What is appended to an object's index. A file that is mostly history begins anew, with what counts, in the record that
//! would have been appended: so it stays bounded though its object may never leave memory.

use crate::ids::{ObjectId, ObjectName};
use crate::index;
use crate::object::{Tree, TreeChange};
use crate::storage::{Reservation, TreeAppend};

/// A smaller file is left alone.
const WORTH_BYTES: u64 = 64 * 1024;
/// A file begins anew if what counts takes less than one in so many bytes.
const DEAD_RATIO: u64 = 4;
/// What counts is one record of the journal. What is longer is rewritten when the object is next loaded.
const IMAGE_FACETS_MAX: usize = 16_384;
const IMAGE_PROPS_BYTES_MAX: usize = 4 << 20;

/// What is appended, and the room in the journal that it takes beyond what its changes have set aside.
pub(super) struct Appended {
    pub(super) append: TreeAppend,
    pub(super) room: Option<Reservation>,
}

/// The `.facets` file of a loaded object, as it is or will be once the journal is settled.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub(super) exists: bool,
    /// It says what the object is called.
    is_named: bool,
    /// Number of the next record.
    next_seq: u64,
    bytes: u64,
    /// At this length it is worth looking what of it counts.
    look_at_bytes: u64,
}

impl IndexFile {
    /// Of an object of which nothing is stored.
    pub(super) fn none() -> Self {
        Self::found(false, false, 1, 0)
    }

    /// As it lies on disk.
    pub(super) fn of(loaded: &index::Loaded, bytes: u64) -> Self {
        Self::found(true, loaded.name.is_some(), loaded.next_seq, bytes)
    }

    fn found(exists: bool, is_named: bool, next_seq: u64, bytes: u64) -> Self {
        Self {
            exists,
            is_named,
            next_seq,
            bytes,
            look_at_bytes: WORTH_BYTES.max(bytes),
        }
    }

    /// The record that says these changes, which the tree has made, and what the object is called if nothing does yet. None
    /// if there is nothing to be said. `reserve` sets room aside in the journal, if there is some: what counts of a file may be
    /// much longer than the changes.
    pub(super) fn append(
        &mut self,
        object: ObjectId,
        name: Option<&ObjectName>,
        tree: &Tree,
        changes: Vec<TreeChange>,
        reserve: impl FnOnce(u64) -> Option<Reservation>,
    ) -> Option<Appended> {
        let mut changes: Vec<index::TreeChange> = changes.into_iter().map(Into::into).collect();
        if let Some(name) = name
            && !self.is_named
            && (self.exists || !changes.is_empty())
        {
            changes.push(index::TreeChange::Name { name: name.clone() });
            self.is_named = true;
        }
        if changes.is_empty() {
            return None;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let begins = !std::mem::replace(&mut self.exists, true);
        let append = TreeAppend::new(object, begins, tree.next_file(), seq, &changes);
        if begins {
            self.bytes = 0;
        }
        self.bytes += append.bytes();
        if self.bytes >= self.look_at_bytes
            && let Some((append, room)) = self.begun_anew(object, name, tree, seq, reserve)
        {
            let room = Some(room);
            return Some(Appended { append, room });
        }
        Some(Appended { append, room: None })
    }

    fn begun_anew(
        &mut self,
        object: ObjectId,
        name: Option<&ObjectName>,
        tree: &Tree,
        seq: u64,
        reserve: impl FnOnce(u64) -> Option<Reservation>,
    ) -> Option<(TreeAppend, Reservation)> {
        // Unless it is worth it now, another look is after as much again.
        self.look_at_bytes = self.bytes + WORTH_BYTES;
        // None while somebody is in the middle of changing it.
        let entries = tree.recorded(IMAGE_FACETS_MAX)?;
        let props = entries.iter().filter_map(TreeChange::props_bytes);
        if props.sum::<usize>() > IMAGE_PROPS_BYTES_MAX {
            return None;
        }
        let mut entries: Vec<_> = entries.into_iter().map(Into::into).collect();
        entries.extend(name.cloned().map(|name| index::TreeChange::Name { name }));
        let image = TreeAppend::new(object, true, tree.next_file(), seq, &entries);
        self.look_at_bytes = WORTH_BYTES.max(image.bytes() * DEAD_RATIO).max(self.look_at_bytes);
        if image.bytes() * DEAD_RATIO > self.bytes {
            return None;
        }
        let room = reserve(image.bytes())?;
        self.bytes = image.bytes();
        self.look_at_bytes = WORTH_BYTES.max(self.bytes * DEAD_RATIO);
        Some((image, room))
    }

    /// Nothing is stored: there is no file any more.
    pub(super) fn remove(&mut self) {
        self.exists = false;
        self.is_named = false;
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::{ClassDigest, FacetName, FileId};
    use crate::object::{Delivery, NodeId, TurnChanges};
    use crate::startup::Startup;

    /// `FACETD_CHURN_CYCLES` makes it more, a million in half a minute.
    const CYCLES: u32 = 20_000;
    const CYCLES_VARIABLE: &str = "FACETD_CHURN_CYCLES";
    const OBJECT: ObjectId = ObjectId([1; 32]);

    struct Churned {
        tree: Tree,
        file: IndexFile,
        bytes: Vec<u8>,
    }

    impl Churned {
        fn new() -> Self {
            Self {
                tree: Tree::new(startup(), false, std::iter::empty(), FileId(1)),
                file: IndexFile::none(),
                bytes: Vec::new(),
            }
        }

        /// A child that stores something, and its incarnation is over.
        fn store(&mut self, name: &str) -> NodeId {
            let (root, name) = (self.tree.root(), FacetName::new(name).unwrap());
            let mut changes = TurnChanges::default();
            let (node, _epoch) = self
                .tree
                .get(root, &name, Startup::clone(&startup()), &mut changes, &mut Vec::new())
                .unwrap();
            let Delivery::Start(start) = self.tree.deliver(node, None) else {
                panic!("it ran already")
            };
            let launched = self.tree.launch(start.incarnation).unwrap();
            let record = self.tree.now_stored(node, launched.file);
            self.record(record);
            assert!(self.tree.retire(start.incarnation));
            self.tree.gone(start.incarnation);
            node
        }

        fn delete(&mut self, name: &str) {
            let (root, name) = (self.tree.root(), FacetName::new(name).unwrap());
            let mut changes = TurnChanges::default();
            self.tree.delete(root, &name, &mut changes, &mut Vec::new());
            let (record, _files) = self.tree.settle(changes);
            self.record(record);
        }

        /// As the keeper has the file follow.
        fn record(&mut self, record: Vec<TreeChange>) {
            let name = ObjectName::new("churned").unwrap();
            let reserve = |_| Some(Reservation::none());
            let appended = self.file.append(OBJECT, Some(&name), &self.tree, record, reserve);
            let Appended { append, .. } = appended.expect("it says something");
            append.carry_out(&mut self.bytes);
            assert_eq!(
                self.file.bytes,
                self.bytes.len() as u64,
                "it knows how long the file is"
            );
        }
    }

    fn startup() -> Arc<Startup> {
        Arc::new(Startup::of(ClassDigest([1; 32])))
    }

    #[test]
    fn a_file_stays_bounded_however_much_is_made_and_deleted() {
        let cycles = std::env::var(CYCLES_VARIABLE).map_or(CYCLES, |text| text.parse().unwrap());
        let mut churned = Churned::new();
        let root = churned.tree.root();
        let stored = churned.tree.now_stored(root, FileId::ROOT);
        churned.record(stored);
        churned.store("stays");
        let mut longest = 0;
        for cycle in 0..cycles {
            churned.store("goes");
            if cycle % 1_000 == 0 {
                churned.store(&format!("stays-{cycle}"));
            }
            churned.delete("goes");
            longest = longest.max(churned.bytes.len());
        }
        let living = 2 + cycles.div_ceil(1_000);
        let image = churned.tree.recorded(usize::MAX).unwrap();
        assert_eq!(image.len() as u32, living);
        let bound = (WORTH_BYTES + 2 * DEAD_RATIO * u64::from(living) * 512) as usize;
        assert!(longest < bound, "{longest} bytes for {living} facets");
        // What is there is all that counts, and no number is given twice.
        let loaded = crate::index::parse(&churned.bytes, OBJECT).unwrap();
        assert_eq!(loaded.entries.len() + 1, image.len());
        assert!(loaded.root_has_database);
        assert_eq!(loaded.name.unwrap().as_str(), "churned");
        assert_eq!(loaded.next_file, churned.tree.next_file());
        assert_eq!(loaded.next_seq, churned.file.next_seq);
    }
}
