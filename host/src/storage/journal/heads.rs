//! Each object has a history: its units, numbered from 1, each with the hash of the one before. How far it has come stands in its
//! `.facets` file before a segment that holds a part of it is let go; what has come since then is known here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::Lsn;
use crate::ids::ObjectId;
use crate::index::{self, Head};

pub(crate) use crate::index::Unshown;

/// An object of a namespace's directory.
pub(super) type Key = (Arc<Path>, ObjectId);

/// How far histories have come that their files may not show. One entry for each object with a unit in the segment that is
/// written.
#[derive(Default)]
pub(super) struct Heads {
    known: Mutex<HashMap<Key, Arc<Mutex<Option<Known>>>>>,
}

#[derive(Clone, Copy)]
struct Known {
    head: Head,
    /// The unit that it is.
    lsn: Lsn,
}

impl Heads {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Mutex<Option<Known>>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lengthens a history: `queue` is given its head, and answers the new one and its unit. One after the other for one object.
    pub(super) fn lengthen(&self, key: Key, queue: impl FnOnce(Head) -> (Lsn, Head)) -> Lsn {
        let known = self.lock().entry(key.clone()).or_default().clone();
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.map_or_else(|| shown(&key), |known| known.head);
        let (lsn, head) = queue(before);
        *known = Some(Known { head, lsn });
        lsn
    }

    /// The object's file says it. What is known here of a history that has not grown since is not needed any more.
    pub(super) fn is_shown(&self, key: &Key, head: Head) {
        let mut known = self.lock();
        let Some(entry) = known.get(key) else { return };
        let is_same = match entry.try_lock() {
            Ok(entry) => entry.is_some_and(|entry| entry.head == head),
            // Somebody lengthens it.
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Poisoned(_)) => false,
        };
        // Whoever has it besides is going to lengthen it.
        if is_same && Arc::strong_count(entry) == 1 {
            known.remove(key);
        }
    }

    /// What the object's file may not say.
    pub(super) fn unshown(&self, key: &Key, durable: Lsn) -> Unshown {
        let Some(entry) = self.lock().get(key).cloned() else {
            return Unshown::Nothing;
        };
        let known = *entry.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            None => Unshown::Nothing,
            Some(known) if known.lsn <= durable => Unshown::Durable(known.head),
            Some(_) => Unshown::Queued,
        }
    }
}

/// As the object's file says it. A history of which that cannot be read begins anew: what was committed cannot be refused.
fn shown((dir, object): &Key) -> Head {
    match index::head(&index::path(dir, *object), *object) {
        Ok(head) => head.unwrap_or_default(),
        Err(error) => {
            tracing::error!(%object, %error, "the head of an object's history cannot be read; it begins anew");
            Head::default()
        }
    }
}
