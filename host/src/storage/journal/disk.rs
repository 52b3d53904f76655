//! Every write on which durability rests goes through here, so that tests can see it, delay it, fail it, and know what a
//! power failure would leave. SQLite's own writes are not among them: they need not be durable before a barrier.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rules::{self, Rule};
use crate::sys::data_dir::Place;

/// One call to the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op<'a> {
    /// Writes into a file; durable when it returns.
    WriteSynced {
        /// Which file.
        path: &'a Path,
        /// Where.
        at: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// Writes into a file, or makes it longer or shorter.
    Write(&'a Path),
    /// Reserves room for a file.
    Allocate(&'a Path),
    /// Makes a file durable, not its name.
    SyncFile(&'a Path),
    /// Makes the names in a directory durable.
    SyncDir(&'a Path),
    /// Makes everything below a directory durable.
    SyncAll(&'a Path),
    /// Gives a file another name.
    Rename(&'a Path),
    /// Removes a file.
    Remove(&'a Path),
}

impl Op<'_> {
    pub(super) fn is_sync(self) -> bool {
        match self {
            Self::WriteSynced { .. } | Self::SyncFile(_) | Self::SyncDir(_) | Self::SyncAll(_) => true,
            Self::Write(_) | Self::Allocate(_) | Self::Rename(_) | Self::Remove(_) => false,
        }
    }
}

/// Sees each call; may make it fail.
pub(crate) trait Probe: Send + Sync {
    /// Before it is made.
    fn before(&self, op: Op<'_>) -> io::Result<()>;
    /// After it has succeeded.
    fn after(&self, op: Op<'_>);
}

/// The disk under one data directory.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    probe: Option<Arc<dyn Probe>>,
    /// The data directory, held open: what goes wrong when pages are written back is told once to each open file.
    root: Option<Arc<File>>,
    /// Where that is, unless nobody looks.
    place: Option<Place>,
}

impl Disk {
    /// The real one.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One on which each sync takes at least so long, and one after the other: what a disk with a budget of syncs does.
    pub(crate) fn with_slow_syncs(delay: Duration) -> Self {
        Self {
            probe: Some(Arc::new(SlowSyncs {
                delay,
                one_at_a_time: Default::default(),
            })),
            ..Self::default()
        }
    }

    /// One that takes so many writes of the journal and then no more, as a disk does that dies.
    pub(crate) fn failing_after(writes: u64) -> Self {
        Self {
            probe: Some(Arc::new(FailingWrites(AtomicU64::new(writes)))),
            ..Self::default()
        }
    }

    #[cfg(test)]
    pub(crate) fn probed(probe: Arc<dyn Probe>) -> Self {
        Self {
            probe: Some(probe),
            ..Self::default()
        }
    }

    /// The same, for what lies below `root`.
    pub(super) fn rooted(self, root: &Path) -> io::Result<Self> {
        let root = Some(Arc::new(File::open(root)?));
        Ok(Self { root, ..self })
    }

    /// The same, which is looked for where it was found.
    pub(crate) fn placed(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    /// An error if the data directory is gone, with everything that seems to be written to it.
    pub(super) fn is_in_place(&self) -> io::Result<()> {
        self.place.as_ref().map_or(Ok(()), Place::is_in_place)
    }

    fn run<R>(&self, op: Op<'_>, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", describe(op)));
        if let Some(probe) = &self.probe {
            probe.before(op).map_err(named)?;
        }
        let result = work().map_err(named)?;
        if let Some(probe) = &self.probe {
            probe.after(op);
        }
        Ok(result)
    }

    /// Opens a file whose writes are durable when they return.
    pub(super) fn open_synced(&self, path: &Path) -> io::Result<File> {
        let flags = i32::try_from(rustix::fs::OFlags::DSYNC.bits()).expect("flags of open are small");
        OpenOptions::new().write(true).custom_flags(flags).open(path)
    }

    /// Writes into a file of [`Self::open_synced`].
    pub(super) fn write_synced(&self, path: &Path, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if !rules::hold(Rule::BatchIsSynced, path) {
            return self.write(path, file, bytes, at);
        }
        self.run(Op::WriteSynced { path, at, bytes }, || file.write_all_at(bytes, at))
    }

    /// Creates a file of that many bytes; room for them is there.
    pub(super) fn allocate(&self, path: &Path, bytes: u64) -> io::Result<File> {
        self.run(Op::Allocate(path), || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)?;
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
                Ok(()) => {}
                // A file system that cannot: zeroes are written instead.
                Err(rustix::io::Errno::OPNOTSUPP) => zero(&file, bytes)?,
                Err(error) => return Err(error.into()),
            }
            Ok(file)
        })
    }

    /// Writes into a file, from the page cache on.
    pub(super) fn write(&self, path: &Path, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.run(Op::Write(path), || file.write_all_at(bytes, at))
    }

    /// Fills a file with zeroes, so that later writes change nothing but its bytes.
    pub(super) fn zero(&self, path: &Path, file: &File, bytes: u64) -> io::Result<()> {
        self.run(Op::Write(path), || zero(file, bytes))
    }

    /// Appends to a file, which is made if there is none.
    pub(super) fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.run(Op::Write(path), || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            let before = file.metadata()?.len();
            // Half a record would stand in the way of the next try.
            file.write_all(bytes).inspect_err(|_| drop(file.set_len(before)))
        })
    }

    /// Opens a file to write into it. `anew`: whatever is there goes, and it is made if there is none.
    pub(super) fn open(&self, path: &Path, anew: bool) -> io::Result<File> {
        self.run(Op::Write(path), || {
            // What is behind a link is not ours.
            let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("flags of open are small");
            OpenOptions::new()
                .write(true)
                .create(anew)
                .truncate(anew)
                .mode(0o600)
                .custom_flags(flags)
                .open(path)
        })
    }

    /// Writes into a file that is there; one that is not is no error.
    pub(super) fn write_there(&self, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
        match self.open(path, false) {
            Ok(file) => self.write(path, &file, bytes, at),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a file so long.
    pub(super) fn set_len(&self, path: &Path, file: &File, bytes: u64) -> io::Result<()> {
        self.run(Op::Write(path), || file.set_len(bytes))
    }

    pub(crate) fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.run(Op::SyncFile(path), || File::open(path)?.sync_all())
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Op::SyncDir(path), || File::open(path)?.sync_all())
    }

    /// The barrier: all of the file system that holds `path`. One call takes a tenth of a sync for each of many files.
    pub(crate) fn sync_all(&self, path: &Path) -> io::Result<()> {
        self.run(Op::SyncAll(path), || {
            match &self.root {
                Some(root) => rustix::fs::syncfs(root)?,
                None => rustix::fs::syncfs(File::open(path)?)?,
            }
            self.is_in_place()
        })
    }

    /// The same where nothing has that name: what has would be somebody else's, or what must not be lost.
    pub(super) fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        self.run(Op::Rename(from), || {
            match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                // A file system that cannot: there is only this process here.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.try_exists()? => {}
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::EXIST) => {
                    let message = format!("{} is there already, and nothing of it is known", to.display());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
                }
                Err(error) => return Err(error.into()),
            }
            std::fs::rename(from, to)
        })
    }

    /// Two directories change their names, at once where the file system can do that.
    pub(super) fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        self.run(Op::Rename(one), || {
            match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    let between = one.with_extension("exchanged");
                    std::fs::rename(one, &between)?;
                    std::fs::rename(other, one)?;
                    std::fs::rename(&between, other)
                }
                exchanged => Ok(exchanged?),
            }
        })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Op::Rename(from), || std::fs::rename(from, to))
    }

    /// Removes a file; one that is not there is no error.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(Op::Remove(path), || match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        })
    }
}

fn describe(op: Op<'_>) -> String {
    let (what, path) = match op {
        Op::WriteSynced { path, .. } | Op::Write(path) => ("cannot write to", path),
        Op::Allocate(path) => ("cannot make room for", path),
        Op::SyncFile(path) | Op::SyncDir(path) => ("cannot sync", path),
        Op::SyncAll(path) => ("cannot sync the file system of", path),
        Op::Rename(path) => ("cannot rename", path),
        Op::Remove(path) => ("cannot remove", path),
    };
    format!("{what} {}", path.display())
}

fn zero(file: &File, bytes: u64) -> io::Result<()> {
    const PIECE: usize = 1 << 20;
    let zeroes = vec![0; PIECE];
    let mut at = 0;
    while at < bytes {
        let piece = usize::try_from(bytes - at).map_or(PIECE, |left| left.min(PIECE));
        file.write_all_at(&zeroes[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

struct SlowSyncs {
    delay: Duration,
    one_at_a_time: std::sync::Mutex<()>,
}

impl Probe for SlowSyncs {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        if op.is_sync() {
            let _turn = self
                .one_at_a_time
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            std::thread::sleep(self.delay);
        }
        Ok(())
    }

    fn after(&self, _: Op<'_>) {}
}

struct FailingWrites(AtomicU64);

impl Probe for FailingWrites {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        if !matches!(op, Op::WriteSynced { .. }) {
            return Ok(());
        }
        let left = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(|_| ())
            .map_err(|_| io::Error::other("a test has asked for this failure"))
    }

    fn after(&self, _: Op<'_>) {}
}
