//! Compiled classes in memory. One that a facet runs is always kept; of the others the last few hundred, as long as they are
//! not too large together, so that whoever brings ever new components does not fill the memory with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::classes::{Class, ClassError};
use crate::ids::ClassDigest;

/// Classes that nobody runs and that are kept nevertheless.
const UNUSED_MAX: usize = 128;
/// Native code of classes that nobody runs, bytes. As much again may come before it is looked at.
const UNUSED_BYTES_MAX: u64 = 64 << 20;

/// One class on its way into memory, or in it; or why it can never be.
pub(super) type Loading = Arc<OnceCell<Result<Arc<Class>, ClassError>>>;

#[derive(Default)]
pub(super) struct Loaded(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    of: HashMap<ClassDigest, Entry>,
    /// Counts uses.
    now: u64,
    /// How many were left after the last sweep.
    swept: usize,
    /// What was loaded since unused ones were weighed, bytes.
    loaded_bytes: u64,
}

struct Entry {
    loading: Loading,
    used: u64,
}

impl Entry {
    /// Nobody runs it, and nobody is about to.
    fn is_unused(&self) -> bool {
        let class_unused = match self.loading.get() {
            Some(Ok(class)) => Arc::strong_count(class) == 1,
            Some(Err(_)) | None => true,
        };
        class_unused && Arc::strong_count(&self.loading) == 1
    }

    fn bytes(&self) -> u64 {
        match self.loading.get() {
            Some(Ok(class)) => class.code_bytes,
            Some(Err(_)) | None => 0,
        }
    }
}

impl Loaded {
    pub(super) fn entry(&self, digest: ClassDigest) -> Loading {
        let mut entries = self.0.lock().expect("nothing panics while it holds this lock");
        entries.now += 1;
        let now = entries.now;
        if entries.of.len() >= entries.swept + UNUSED_MAX && !entries.of.contains_key(&digest) {
            entries.sweep();
        }
        let entry = entries.of.entry(digest).or_insert_with(|| Entry {
            loading: Loading::default(),
            used: now,
        });
        entry.used = now;
        entry.loading.clone()
    }

    /// One of them has come into memory, with so much native code.
    pub(super) fn has_loaded(&self, bytes: u64) {
        let mut entries = self.0.lock().expect("nothing panics while it holds this lock");
        entries.loaded_bytes = entries.loaded_bytes.saturating_add(bytes);
        if entries.loaded_bytes > UNUSED_BYTES_MAX {
            entries.loaded_bytes = 0;
            entries.weigh();
        }
    }
}

impl Entries {
    /// Lets unused ones go, the oldest first, until what is left is small enough.
    fn weigh(&mut self) {
        let unused = self.of.iter().filter(|(_, entry)| entry.is_unused());
        let mut unused: Vec<_> = unused
            .map(|(digest, entry)| (entry.used, *digest, entry.bytes()))
            .collect();
        for digest in surplus(&mut unused, UNUSED_BYTES_MAX) {
            self.of.remove(&digest);
        }
    }

    /// Lets the older half of the unused ones go.
    fn sweep(&mut self) {
        let unused = self.of.values().filter(|entry| entry.is_unused());
        let mut used: Vec<_> = unused.map(|entry| entry.used).collect();
        used.sort_unstable();
        if let Some(middle) = used.get(used.len() / 2) {
            self.of.retain(|_, entry| entry.used > *middle || !entry.is_unused());
        }
        self.swept = self.of.len();
    }
}

/// Who has to go so that those who stay have no more than so many bytes: those that were used first. Each is when it was used
/// last, which one it is, and its bytes.
fn surplus(unused: &mut [(u64, ClassDigest, u64)], bytes_max: u64) -> Vec<ClassDigest> {
    unused.sort_unstable_by_key(|(used, ..)| *used);
    let mut total: u64 = unused.iter().map(|(.., bytes)| bytes).sum();
    let mut gone = Vec::new();
    for (_, digest, bytes) in unused {
        if total <= bytes_max {
            break;
        }
        gone.push(*digest);
        total -= *bytes;
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> ClassDigest {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        ClassDigest(digest)
    }

    #[test]
    fn large_classes_go_in_the_order_of_their_last_use() {
        let class = |used: u64, bytes| (used, digest(used as u32), bytes);
        let mut unused = [class(3, 40), class(1, 40), class(2, 40)];
        assert_eq!(surplus(&mut unused, 120), []);
        assert_eq!(surplus(&mut unused, 119), [digest(1)]);
        assert_eq!(surplus(&mut unused, 79), [digest(1), digest(2)]);
        assert_eq!(surplus(&mut unused, 0), [digest(1), digest(2), digest(3)]);
    }

    #[test]
    fn ever_new_classes_do_not_pile_up_and_held_ones_stay() {
        let loaded = Loaded::default();
        let held = loaded.entry(digest(u32::MAX));
        let mut most = 0;
        for number in 0..10_000 {
            drop(loaded.entry(digest(number)));
            most = most.max(loaded.0.lock().expect("nobody panics").of.len());
        }
        assert!(most <= 2 * UNUSED_MAX + 2, "{most}");
        assert!(Arc::ptr_eq(&held, &loaded.entry(digest(u32::MAX))));
    }
}
