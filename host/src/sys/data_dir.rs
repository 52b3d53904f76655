//! One process per data directory: the lock is taken before anything else is touched, and held until the process ends. It is
//! on the directory itself and on a file in it: who removes the file gives nobody the directory, and who has moved the
//! directory away and made another has not got this one's lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::environment::{self, Verdict};
use super::layout;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "the data directory {0} is in use by another facetd; stop that one, or give this one a directory of its own (--data)"
    )]
    InUse(PathBuf),
    /// What is written to it would not be safe.
    #[error("{0}; or name another with --data")]
    Unfit(String),
    /// It was copied while a host used it, or after one was killed.
    #[error(
        "{0} is a copy of a data directory whose host ran, or had been killed: its files may be of different moments, and \
         nothing could tell. Copy it after a clean stop, or by a snapshot of its file system; or, if no host ran while it was \
         copied, run `facetd recover --copied --data` with it once"
    )]
    Copied(PathBuf),
    /// A directory has the name of one of its files.
    #[error(
        "{0} is a directory, and facetd has a file of that name: move it away. If it stood in the place of DIRTY after a host was \
         killed, put an empty file there, so that the next start recovers"
    )]
    NotAFile(PathBuf),
    /// There is none.
    #[error("there is no data directory {0}; name another with --data")]
    Missing(PathBuf),
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

/// No longer path is made. Of those that it opens by itself, the index of alarms, SQLite takes none that is longer; it has 512
/// bytes for one, with two to spare. One limit for all is easier to keep to than one for each.
const PATH_BYTES_MAX: usize = 510;

/// What a process holds of its data directory, and finds it by.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    root: PathBuf,
    dir: Arc<File>,
}

impl Place {
    /// An error if the directory is not there any more under its name: it was moved or removed, or its disk was taken away.
    /// What is written to it is nowhere then, though no call says so.
    pub(crate) fn is_in_place(&self) -> io::Result<()> {
        let same =
            |found: std::fs::Metadata, held: std::fs::Metadata| (found.dev(), found.ino()) == (held.dev(), held.ino());
        let found = match std::fs::metadata(&self.root) {
            Ok(found) => same(found, self.dir.metadata()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        match found {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "the data directory is not at {} any more: it was moved or removed, or its disk was taken away under the \
                 running host",
                self.root.display()
            ))),
        }
    }
}

/// A locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// The last process did not stop cleanly.
    pub(crate) was_dirty: bool,
    /// And its directory was another one.
    is_copied: bool,
    /// flock is released when this is closed.
    dir: Arc<File>,
    /// The same; none for who only reads.
    _lock: Option<File>,
}

/// True if it is there; an error if it is a directory.
fn is_file(path: &Path) -> Result<bool, DataDirError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(DataDirError::NotAFile(path.to_owned())),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

fn flock(file: &File, path: &Path, root: &Path, how: FlockOperation) -> Result<(), DataDirError> {
    match rustix::fs::flock(file, how) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse(root.to_owned())),
        Err(error) => Err(at(path)(error.into())),
    }
}

/// Names below the root that no namespace may take.
pub(crate) const RESERVED: [&str; 5] = ["LOCK", "DIRTY", "journal", "classes", "cache"];

impl DataDir {
    /// Creates what is missing, locks, and marks the directory dirty until `clean_stop`.
    pub(crate) fn open(root: &Path) -> Result<Self, DataDirError> {
        private_dir(root).map_err(at(root))?;
        // Once and for all: a link that is changed under the running host leads it nowhere else.
        let root = &root.canonicalize().map_err(at(root))?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent).map_err(at(parent))?;
        }
        let opened = Self::open_idle(root)?;
        opened.refuse_copy()?;
        opened.check_environment()?;
        for sub in ["classes", "cache"] {
            private_dir(&root.join(sub)).map_err(at(&root.join(sub)))?;
        }
        if !opened.was_dirty {
            let dirty = root.join("DIRTY");
            let mut file = File::create(&dirty).map_err(at(&dirty))?;
            // That it is there is what counts; on a full disk it is empty, and nobody knows a copy of it.
            let _ = mark_of(&file)
                .and_then(|mark| file.write_all(format!("{DIRTY_TEXT}{mark}\n").as_bytes()))
                .and_then(|()| file.sync_all());
        }
        // Whatever is there: the process that made it may have been killed before this.
        sync_dir(root).map_err(at(root))?;
        Ok(opened)
    }

    /// Locks a directory that is there, and changes nothing in it but LOCK.
    pub(crate) fn open_idle(root: &Path) -> Result<Self, DataDirError> {
        let opened = Self::lock(root, FlockOperation::NonBlockingLockExclusive)?;
        let lock_path = opened.root.join("LOCK");
        is_file(&lock_path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        flock(&lock, &lock_path, root, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            _lock: Some(lock),
            ..opened
        })
    }

    /// Keeps every host away from a directory that is there, beside others who only read it. Nothing is written: it may be
    /// on a medium that cannot be.
    pub(crate) fn open_to_read(root: &Path) -> Result<Self, DataDirError> {
        Self::lock(root, FlockOperation::NonBlockingLockShared)
    }

    fn lock(root: &Path, how: FlockOperation) -> Result<Self, DataDirError> {
        let root = match root.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataDirError::Missing(root.to_owned()));
            }
            found => found.map_err(at(root))?,
        };
        let dir = File::open(&root).map_err(at(&root))?;
        flock(&dir, &root, &root, how)?;
        let dirty = root.join("DIRTY");
        let was_dirty = is_file(&dirty)?;
        Ok(Self {
            was_dirty,
            is_copied: was_dirty && is_copied(&dirty).map_err(at(&dirty))?,
            root,
            dir: Arc::new(dir),
            _lock: None,
        })
    }

    /// Refuses what was copied file by file while it was in use: older pages of the journal would be laid over newer ones of
    /// databases.
    pub(crate) fn refuse_copy(&self) -> Result<(), DataDirError> {
        match self.is_copied {
            true => Err(DataDirError::Copied(self.root.clone())),
            false => Ok(()),
        }
    }

    /// Refuses a system, or a file system, on which what is written may be lost without a word.
    pub(crate) fn check_environment(&self) -> Result<(), DataDirError> {
        match environment::judge(&self.root, &self.dir).map_err(at(&self.root))? {
            Verdict::Fit => Ok(()),
            Verdict::Poor(why) => {
                tracing::warn!(data = %self.root.display(), "{why}");
                Ok(())
            }
            Verdict::Unfit(why) => Err(DataDirError::Unfit(why)),
        }
    }

    /// To look whether it is still there.
    pub(crate) fn place(&self) -> Place {
        Place {
            root: self.root.clone(),
            dir: self.dir.clone(),
        }
    }

    /// Where the files of a namespace's objects lie; created if missing, and made durable.
    pub(crate) fn namespace(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        let bytes = path.as_os_str().len() + "/".len() + layout::OBJECT_FILE_BYTES_MAX;
        if bytes > PATH_BYTES_MAX {
            let message = format!(
                "{} is {} bytes too long for the files in it, whose paths have at most {PATH_BYTES_MAX}; use a shorter path \
                 for the data directory, or a shorter name for the namespace",
                path.display(),
                bytes - PATH_BYTES_MAX
            );
            return Err(io::Error::other(message));
        }
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

/// What DIRTY says, for people; behind it stands which file it is.
const DIRTY_TEXT: &str = "facetd runs, or was killed\n";

/// What a file keeps when its file system is moved or snapshotted, and not when it is copied.
fn mark_of(file: &File) -> io::Result<String> {
    let found = file.metadata()?;
    let born = found
        .created()
        .ok()
        .and_then(|born| born.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(match born {
        Some(born) => format!("inode {} of {}.{:09}", found.ino(), born.as_secs(), born.subsec_nanos()),
        None => format!("inode {}", found.ino()),
    })
}

/// True if a DIRTY was written as another file than it is. One that says nothing may be the first.
fn is_copied(dirty: &Path) -> io::Result<bool> {
    let file = match File::open(dirty) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let text = io::read_to_string(io::Read::take(&file, 1_000))?;
    let mark = text
        .strip_prefix(DIRTY_TEXT)
        .map(str::trim_end)
        .filter(|mark| !mark.is_empty());
    Ok(mark.is_some_and(|mark| mark_of(&file).is_ok_and(|own| own != mark)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in_use(opened: Result<DataDir, DataDirError>) -> bool {
        matches!(opened, Err(DataDirError::InUse(_)))
    }

    #[test]
    fn who_removes_the_lock_file_gives_nobody_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        assert!(is_in_use(DataDir::open(dir.path())) && is_in_use(DataDir::open_to_read(dir.path())));
        std::fs::remove_file(dir.path().join("LOCK")).unwrap();
        assert!(is_in_use(DataDir::open(dir.path())) && is_in_use(DataDir::open_idle(dir.path())));
        drop(held);
        assert!(DataDir::open(dir.path()).unwrap().was_dirty);
    }

    #[test]
    fn who_reads_writes_nothing_and_keeps_hosts_away() {
        let dir = tempfile::tempdir().unwrap();
        let reads = DataDir::open_to_read(dir.path()).unwrap();
        DataDir::open_to_read(dir.path()).unwrap();
        assert!(is_in_use(DataDir::open(dir.path())));
        assert!(dir.path().read_dir().unwrap().next().is_none(), "something was written");
        drop(reads);
        DataDir::open(dir.path()).unwrap();
        let missing = DataDir::open_to_read(&dir.path().join("nowhere"));
        assert!(matches!(missing, Err(DataDirError::Missing(_))));
    }

    #[test]
    fn a_copy_of_a_directory_that_is_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (root, moved, copy) = (
            dir.path().join("data"),
            dir.path().join("moved"),
            dir.path().join("copy"),
        );
        drop(DataDir::open(&root).unwrap());
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(root.join("DIRTY"), copy.join("DIRTY")).unwrap();
        assert!(matches!(DataDir::open(&copy), Err(DataDirError::Copied(_))));
        std::fs::rename(&root, &moved).unwrap();
        let opened = DataDir::open(&moved).unwrap();
        assert!(opened.was_dirty);
        opened.clean_stop().unwrap();
        // Without a word of which it is, as a full disk leaves it.
        std::fs::write(copy.join("DIRTY"), b"").unwrap();
        assert!(DataDir::open(&copy).unwrap().was_dirty);
    }

    #[test]
    fn a_directory_in_the_place_of_a_file_is_named() {
        for name in ["DIRTY", "LOCK"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join(name)).unwrap();
            let why = DataDir::open(dir.path()).unwrap_err().to_string();
            assert!(
                why.contains(name) && why.contains("is a directory") && why.contains("move it away"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_directory_that_is_moved_away_or_replaced_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, aside) = (dir.path().join("data"), dir.path().join("aside"));
        let place = DataDir::open(&root).unwrap().place();
        place.is_in_place().unwrap();
        std::fs::rename(&root, &aside).unwrap();
        let why = place.is_in_place().unwrap_err().to_string();
        assert!(why.contains("data") && why.contains("moved"), "{why}");
        std::fs::create_dir(&root).unwrap();
        place.is_in_place().unwrap_err();
        std::fs::remove_dir(&root).unwrap();
        std::fs::rename(&aside, &root).unwrap();
        place.is_in_place().unwrap();
    }

    #[test]
    fn a_path_that_sqlite_does_not_take_is_refused_before_anything_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let room = PATH_BYTES_MAX - data.root().as_os_str().len() - "//".len() - layout::OBJECT_FILE_BYTES_MAX;
        // A name has 255 bytes; the rest is in the path of the directory.
        let deep = (0..room / 200).fold(dir.path().to_owned(), |path, _| path.join("d".repeat(199)));
        let data = DataDir::open(&deep).unwrap();
        let fits = "n".repeat(room % 200);
        data.namespace(&fits).unwrap();
        let why = data.namespace(&format!("{fits}n")).unwrap_err().to_string();
        assert!(why.contains("1 bytes too long") && why.contains("shorter"), "{why}");
        let mut longest = layout::database(
            &deep.join(&fits),
            crate::ids::ObjectId([7; 32]),
            crate::ids::FileId(u32::MAX),
        );
        longest.as_mut_os_string().push("-journal");
        assert!(longest.as_os_str().len() <= PATH_BYTES_MAX);
        std::fs::write(&longest, b"").unwrap();
    }

    #[test]
    fn a_link_to_a_directory_is_that_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (root, link) = (dir.path().join("data"), dir.path().join("link"));
        let held = DataDir::open(&root).unwrap();
        std::os::unix::fs::symlink(&root, &link).unwrap();
        assert!(is_in_use(DataDir::open(&link)));
        drop(held);
        let opened = DataDir::open(&link).unwrap();
        assert_eq!(opened.root(), root.canonicalize().unwrap());
    }
}
