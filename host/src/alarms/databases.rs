//! The databases of a namespace, for who compares an index of alarms with them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::AlarmKey;
use crate::sys::layout;

/// A database of a namespace.
pub(crate) struct Found {
    pub(crate) key: AlarmKey,
    path: PathBuf,
}

impl Found {
    /// When the file was changed, put there or renamed last, Unix time in ms. Not when its content was: `cp -p` and archives
    /// bring that along.
    pub(crate) fn changed_ms(&self) -> io::Result<u64> {
        let found = std::fs::symlink_metadata(&self.path)?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is no file"));
        }
        let ms = found
            .ctime()
            .saturating_mul(1_000)
            .saturating_add(found.ctime_nsec() / 1_000_000);
        Ok(u64::try_from(ms).unwrap_or(0))
    }
}

/// All databases of a namespace that lie where they belong.
pub(crate) fn of_namespace(dir: &Path) -> impl Iterator<Item = io::Result<Found>> {
    layout::walk(dir).filter_map(|file| match file {
        Err(error) => Some(Err(error)),
        Ok(file) => match file.found {
            layout::Found::Database(object, number) if file.is_home => Some(Ok(Found {
                key: AlarmKey { object, file: number },
                path: file.path,
            })),
            layout::Found::Database(..)
            | layout::Found::Index(_)
            | layout::Found::Lost(_)
            | layout::Found::Companion(..) => None,
        },
    })
}
