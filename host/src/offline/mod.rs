//! What is done to a data directory that no host uses: it is locked for the time, so that no host begins to.

mod check;
mod classes;
mod doctor;
mod lost;
mod orphans;
mod salvage;

use std::path::Path;

use crate::alarms::{AlarmIndex, AlarmKey, AlarmUpdate};
use crate::storage::{Journal as _, JournalOptions, LocalJournal, Recovered, bound_sqlite_memory};
use crate::sys::data_dir::{DataDir, DataDirError};

pub use check::{Checked, FacetUse, check};
pub use classes::{StoredClass, StoredClasses, classes};
pub use doctor::{Diagnosis, Treatment, doctor};
pub(crate) use orphans::clear as clear_orphans;
pub use salvage::{Damage, Salvage, salvage};

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

/// What is done about files that nobody names, after the journal has been carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LeftOvers {
    /// Nothing: whoever needs their places takes these, and nobody else looks at them.
    Stay,
    /// They go. All directories are read for that.
    Go,
}

/// Opens the journal of a directory, and brings its files to what the journal says. Only those are looked at that it names,
/// unless left-overs go.
pub(crate) fn open_journal(
    data: &DataDir,
    options: &JournalOptions,
    left_overs: LeftOvers,
) -> Result<(LocalJournal, Recovered), OfflineError> {
    let mend = |recovered: &Recovered| {
        for (dir, alarms) in &recovered.alarms {
            let update = |(&(object, file), &due_ms)| AlarmUpdate {
                key: AlarmKey { object, file },
                due_ms,
            };
            let updates: Vec<_> = alarms.iter().map(update).collect();
            AlarmIndex::repeat(dir, &updates).map_err(std::io::Error::other)?;
        }
        if left_overs == LeftOvers::Go {
            for dir in data.namespaces()? {
                // So that it is one ordinary file, too.
                AlarmIndex::repeat(&dir, &[]).map_err(std::io::Error::other)?;
                clear_orphans(&dir, recovered, data.was_dirty, &options.disk)?;
            }
        }
        Ok(())
    };
    if let Some(reminder) = salvage::reminder(data.root()) {
        tracing::warn!("{reminder}");
    }
    let options = &JournalOptions {
        disk: options.disk.clone().placed(data.place()),
        ..options.clone()
    };
    LocalJournal::open(data.root(), data.was_dirty, options, mend)
        .map_err(|error| OfflineError::Recover(error.to_string()))
}

/// Does what the next start would do after an unclean stop, removes what crashes have left, and stops cleanly: afterwards every
/// database is an ordinary SQLite file. Answers how many units of the journal were carried out. `copied`: also if it is a copy of a directory that was
/// not stopped cleanly; whoever says so knows that no host ran while it was made.
pub fn recover(root: &Path, copied: bool) -> Result<u64, OfflineError> {
    bound_sqlite_memory();
    let data = DataDir::open_idle(root)?;
    if !copied {
        data.refuse_copy()?;
    }
    data.check_environment()?;
    carry_out(&data)
}

fn carry_out(data: &DataDir) -> Result<u64, OfflineError> {
    let (journal, recovered) = open_journal(data, &JournalOptions::default(), LeftOvers::Go)?;
    if !journal.close() {
        let message = "not everything could be written; see the log above, and try again";
        return Err(OfflineError::Recover(message.to_owned()));
    }
    data.clean_stop()?;
    for dir in data.namespaces()? {
        lost::complete(&dir)?;
    }
    let left = (recovered.lost, recovered.doubtful.len());
    if left != (0, 0) {
        let message = format!(
            "{} databases were missing or of another time, and {} indexes damaged or of another time, of which the journal held \
             acknowledged changes: they are kept in files beside them that end in .lost, and the log above names them. Put the \
             databases back that were there and recover again; for an index run `facetd doctor`. All else was carried out",
            left.0, left.1
        );
        return Err(OfflineError::Recover(message));
    }
    Ok(recovered.units)
}

#[cfg(test)]
mod tests;
