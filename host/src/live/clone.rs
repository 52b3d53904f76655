//! A clone copies what its sources have committed: each database between two turns of its facet, never in one. The
//! caller's turn does not end before all copies are on disk (S13).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{CallError, Kind};
use crate::ids::FileId;
use crate::live::Object;
use crate::live::visit::{Source, join};
use crate::object::Copy;
use crate::storage::remove_db;

/// Tells a copy that is being made that nobody waits for it any more.
#[derive(Default)]
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Object {
    /// Makes the copies, in order. Answers the files that were not made because nothing is stored in their sources.
    pub(crate) async fn copy_databases(self: Arc<Self>, copies: Vec<Copy>) -> Result<Vec<FileId>, CallError> {
        let mut unmade = Vec::new();
        for Copy {
            node,
            file,
            path,
            to,
            to_path,
        } in copies
        {
            let (dst, dst_path) = (self.db_file(to), join(&to_path));
            let wanted = Wanted::default();
            let unwanted = wanted.0.clone();
            let disk = self.host.disk.clone();
            let made = self
                .visit(&Source { node, file, path }, move |store| {
                    let made = store.copy_committed_to(&disk, &dst, &dst_path)?;
                    if unwanted.load(Ordering::SeqCst) {
                        // Its turn was lost meanwhile, and what was there of the copy has been removed already.
                        remove_db(&dst).map_err(crate::storage::StorageError::from_io)?;
                    }
                    Ok(made)
                })
                .await;
            match made {
                Ok(true) => {}
                Ok(false) => unmade.push(to),
                Err(error) => {
                    let message = format!("the clone could not be made: {error}");
                    return Err(CallError::new(Kind::Storage, error.code(), message));
                }
            }
        }
        Ok(unmade)
    }
}
