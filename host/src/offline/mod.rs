//! What is done to a data directory that no host uses: it is locked for the time, so that no host begins to.

mod check;
mod orphans;

use std::path::Path;

use crate::storage::{Journal as _, JournalOptions, LocalJournal};
use crate::sys::data_dir::{DataDir, DataDirError};

pub use check::{Checked, FacetUse, check};
pub(crate) use orphans::clear_orphans;

/// Why a data directory cannot be looked at or mended.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// It cannot be recovered.
    #[error("{0}")]
    Recover(String),
    /// The operating system said no.
    #[error("cannot read the data directory: {0}")]
    Io(#[from] std::io::Error),
}

/// Does what the next start would do after an unclean stop, and stops cleanly: afterwards every database is an ordinary
/// SQLite file. Answers how many units of the journal were carried out.
pub fn recover(root: &Path) -> Result<u64, OfflineError> {
    let data = DataDir::open_idle(root)?;
    let failed = |error: &dyn std::fmt::Display| OfflineError::Recover(error.to_string());
    let (journal, recovered) =
        LocalJournal::open(root, data.was_dirty, &JournalOptions::default()).map_err(|error| failed(&error))?;
    if data.was_dirty {
        for dir in data.namespaces()? {
            clear_orphans(&dir, &recovered)?;
        }
    }
    if !journal.close() {
        return Err(failed(
            &"not everything could be written; see the log above, and try again",
        ));
    }
    data.clean_stop()?;
    Ok(recovered.units)
}
