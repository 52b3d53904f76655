//! One process per data directory: the lock is taken before anything else is touched, and held until the process ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::layout;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "the data directory {0} is in use by another facetd; stop that one, or give this one a directory of its own (--data)"
    )]
    InUse(PathBuf),
    /// The file system said no.
    #[error("cannot use {path} as data directory: {error}; check its permissions, or name another with --data")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// True for what a namespace may be called, as a directory.
pub(crate) fn is_namespace(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    !name.is_empty() && plain && !RESERVED.contains(&name)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |error| DataDirError::Io { path, error }
}

/// A locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// The last process did not stop cleanly.
    pub(crate) was_dirty: bool,
    /// flock is released when this is closed.
    _lock: File,
}

/// Names below the root that no namespace may take.
pub(crate) const RESERVED: [&str; 5] = ["LOCK", "DIRTY", "journal", "classes", "cache"];

impl DataDir {
    /// Creates what is missing, locks, and marks the directory dirty until `clean_stop`.
    pub(crate) fn open(root: &Path) -> Result<Self, DataDirError> {
        private_dir(root).map_err(at(root))?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent).map_err(at(parent))?;
        }
        let opened = Self::open_idle(root)?;
        for sub in ["classes", "cache"] {
            private_dir(&root.join(sub)).map_err(at(&root.join(sub)))?;
        }
        if !opened.was_dirty {
            let dirty = root.join("DIRTY");
            std::fs::write(&dirty, "facetd runs, or was killed\n").map_err(at(&dirty))?;
        }
        // Whatever is there: the process that made it may have been killed before this.
        sync_dir(root).map_err(at(root))?;
        Ok(opened)
    }

    /// Locks a directory that is there, and changes nothing in it.
    pub(crate) fn open_idle(root: &Path) -> Result<Self, DataDirError> {
        let lock_path = root.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DataDirError::InUse(root.to_owned())),
            Err(error) => return Err(at(&lock_path)(error.into())),
        }
        Ok(Self {
            root: root.to_owned(),
            was_dirty: root.join("DIRTY").exists(),
            _lock: lock,
        })
    }

    /// Where the files of a namespace's objects lie; created if missing, and made durable.
    pub(crate) fn namespace(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        let made = layout::make_homes(&path)?;
        // Also if all is there: the process that made it may have been killed before this.
        if made || self.was_dirty {
            layout::sync_homes(&path)?;
        }
        if std::fs::metadata(&path)?.dev() != std::fs::metadata(&self.root)?.dev() {
            // One barrier covers one file system.
            let message = format!(
                "{} lies on another file system than the data directory; put both on one, or give it a host of its own",
                path.display()
            );
            return Err(io::Error::other(message));
        }
        Ok(path)
    }

    /// The directories of all namespaces that were ever served here, configured now or not.
    pub(crate) fn namespaces(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            let named = entry.file_name().to_str().is_some_and(is_namespace);
            if named && entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn classes(&self) -> PathBuf {
        self.root.join("classes")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Everything is closed and on disk.
    pub(crate) fn clean_stop(&self) -> io::Result<()> {
        match std::fs::remove_file(self.root.join("DIRTY")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        sync_dir(&self.root)
    }
}

/// 0700: compiled code in here is run as native code, and databases are their owners' alone.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// How the names of files end that are not whole yet.
pub(crate) const PART: &str = "part";

/// Writes a file that is there whole or not at all, over an earlier one, for this user only. Its name is durable once its
/// directory is synced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unique = [0; 8];
    super::random::fill(&mut unique)?;
    let temporary = path.with_extension(format!("{}.{PART}", hex::encode(unique)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // It may not even be there.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
