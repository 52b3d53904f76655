//! A facet's database is named by its object and file id alone, so no name that a guest chose reaches the file system.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::{FileId, ObjectId};
use crate::sys::layout::{self, COMPANIONS};

/// Appended to the name of a database that was missing when the journal was carried out.
pub(crate) const LOST_SUFFIX: &str = ".lost";

/// Where the database of one facet is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct DbFile {
    /// The namespace's directory.
    pub(crate) dir: Arc<Path>,
    /// The object.
    pub(crate) object: ObjectId,
    /// The facet within the object; [`FileId::ROOT`] for the root.
    pub(crate) file: FileId,
}

impl DbFile {
    /// The database itself.
    pub(crate) fn path(&self) -> PathBuf {
        layout::database(&self.dir, self.object, self.file)
    }

    /// The directory it lies in.
    pub(crate) fn home(&self) -> PathBuf {
        layout::home(&self.dir, self.object)
    }

    /// Pages of commits that the journal held while the database was missing. As long as they are there it is not used: it is
    /// older than what was acknowledged.
    pub(crate) fn lost_path(&self) -> PathBuf {
        with_suffix(&self.path(), LOST_SUFFIX)
    }

    /// Its write-ahead log, which only exists while the database is open or after a crash.
    pub(crate) fn wal_path(&self) -> PathBuf {
        with_suffix(&self.path(), "-wal")
    }
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl DbFile {
    /// Which file has the database's name now; none if none has.
    pub(crate) fn inode(&self) -> io::Result<Option<Inode>> {
        match std::fs::metadata(self.path()) {
            Ok(found) => Ok(Some(Inode {
                device: found.dev(),
                number: found.ino(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everything that may lie beside the database.
    pub(crate) fn companion_paths(&self) -> [PathBuf; 3] {
        let path = self.path();
        COMPANIONS.map(|suffix| with_suffix(&path, suffix))
    }
}

/// Removes a database and everything beside it; what is not there is no error.
///
/// The log goes last: a database without its log is an older state, a log without its database is nothing.
pub(crate) fn remove_db(file: &DbFile) -> io::Result<()> {
    remove_if_there(&file.path())?;
    remove_companions(file)
}

/// Removes what may lie beside a database.
pub(crate) fn remove_companions(file: &DbFile) -> io::Result<()> {
    file.companion_paths().iter().try_for_each(|path| remove_if_there(path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes one file; one that is not there is no error.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
