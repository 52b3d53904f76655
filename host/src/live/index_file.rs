//! What is appended to an object's index. A file that is mostly history begins anew, with what counts, in the record that
//! would have been appended: so it stays bounded though its object may never leave memory.

use crate::ids::ObjectId;
use crate::index;
use crate::object::{Tree, TreeChange};
use crate::storage::TreeAppend;

/// A smaller file is left alone.
const WORTH_BYTES: u64 = 64 * 1024;
/// A file begins anew if what counts takes less than one in so many bytes.
const DEAD_RATIO: u64 = 4;
/// What counts is one record of the journal. What is longer is rewritten when the object is next loaded.
const IMAGE_FACETS_MAX: usize = 16_384;
const IMAGE_PROPS_BYTES_MAX: usize = 4 << 20;

/// The `.facets` file of a loaded object, as it is or will be once the journal is settled.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub(super) exists: bool,
    /// Number of the next record.
    next_seq: u64,
    bytes: u64,
    /// At this length it is worth looking what of it counts.
    look_at_bytes: u64,
}

impl IndexFile {
    pub(super) fn new(exists: bool, next_seq: u64, bytes: u64) -> Self {
        Self {
            exists,
            next_seq,
            bytes,
            look_at_bytes: WORTH_BYTES.max(bytes),
        }
    }

    /// The record that says these changes, which the tree has made.
    pub(super) fn append(&mut self, object: ObjectId, tree: &Tree, changes: &[index::TreeChange]) -> TreeAppend {
        let seq = self.next_seq;
        self.next_seq += 1;
        let begins = !std::mem::replace(&mut self.exists, true);
        let append = TreeAppend::new(object, begins, tree.next_file(), seq, changes);
        if begins {
            self.bytes = 0;
        }
        self.bytes += append.bytes();
        if self.bytes < self.look_at_bytes {
            return append;
        }
        match self.begun_anew(object, tree, seq) {
            Some(image) => image,
            None => append,
        }
    }

    fn begun_anew(&mut self, object: ObjectId, tree: &Tree, seq: u64) -> Option<TreeAppend> {
        // Unless it is worth it now, another look is after as much again.
        self.look_at_bytes = self.bytes + WORTH_BYTES;
        // None while somebody is in the middle of changing it.
        let entries = tree.recorded(IMAGE_FACETS_MAX)?;
        let props = entries.iter().filter_map(TreeChange::props_bytes);
        if props.sum::<usize>() > IMAGE_PROPS_BYTES_MAX {
            return None;
        }
        let entries: Vec<_> = entries.into_iter().map(Into::into).collect();
        let image = TreeAppend::new(object, true, tree.next_file(), seq, &entries);
        self.look_at_bytes = WORTH_BYTES.max(image.bytes() * DEAD_RATIO).max(self.look_at_bytes);
        if image.bytes() * DEAD_RATIO > self.bytes {
            return None;
        }
        self.bytes = image.bytes();
        self.look_at_bytes = WORTH_BYTES.max(self.bytes * DEAD_RATIO);
        Some(image)
    }

    /// Nothing is stored but the root: there is no file any more.
    pub(super) fn remove(&mut self) {
        self.exists = false;
        self.bytes = 0;
    }
}
