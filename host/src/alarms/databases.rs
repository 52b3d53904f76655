//! Where the databases of a namespace lie, for those who make or compare an index of alarms while nobody has them open. The
//! only place here that walks a directory.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::AlarmKey;
use crate::ids::FileId;

/// A database of a namespace.
pub(crate) struct Found {
    pub(crate) key: AlarmKey,
    path: PathBuf,
}

impl Found {
    /// When the file was changed, put there or renamed last, Unix time in ms. Not when its content was: `cp -p` and archives
    /// bring that along.
    pub(crate) fn changed_ms(&self) -> io::Result<u64> {
        let found = std::fs::metadata(&self.path)?;
        let ms = found
            .ctime()
            .saturating_mul(1_000)
            .saturating_add(found.ctime_nsec() / 1_000_000);
        Ok(u64::try_from(ms).unwrap_or(0))
    }
}

/// All databases below the directory of a namespace.
pub(crate) fn of_namespace(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<Found>>> {
    let entries = std::fs::read_dir(dir)?;
    Ok(entries.filter_map(|entry| match entry {
        Err(error) => Some(Err(error)),
        Ok(entry) => {
            let key = entry.file_name().to_str().and_then(key_of)?;
            Some(Ok(Found {
                key,
                path: entry.path(),
            }))
        }
    }))
}

/// `{object}.sqlite` and `{object}.{file}.sqlite`.
fn key_of(name: &str) -> Option<AlarmKey> {
    let database = name.strip_suffix(".sqlite")?;
    let (object, file) = match database.split_once('.') {
        None => (database, FileId::ROOT),
        Some((object, file)) => (object, FileId(file.parse().ok()?)),
    };
    let object = object.parse().ok()?;
    Some(AlarmKey { object, file })
}
