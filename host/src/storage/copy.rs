//! A copy holds exactly what was committed to its source, has an identity of its own, and is on disk before the record that makes
//! it real: that holds none of its pages. Where all of a source is in its file the file is copied, by the system if it can share
//! what is in it; else SQLite copies page by page.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};

use super::error::{StorageCode, StorageError};
use super::file::{DbFile, remove_db};
use super::identity::Belongs;
use super::journal::Disk;
use super::journal::rules::{self, Rule};
use super::own_rows::{self, ALARM_ROOT, KV_ROOT, META_ROOT};
use super::page::{self, PAGE, PAGE_BYTES};
use super::store::{FacetStore, Newest};
use super::{alarm, identity, template, vfs};
use crate::sys::die::{self, Point};

/// Pages copied in one step. The source cannot change meanwhile, this bounds nothing but the time between two checks.
const STEP_PAGES: i32 = 1024;
/// A file of so many bytes is read, checked and written at once; of a longer one that much is.
const HEAD_BYTES: usize = 16 * PAGE;
/// More copies than these are made durable by one call for the whole file system, which takes a tenth of a sync for each.
const SYNCED_ALONE_MAX: usize = 8;

/// Makes copies of one object durable, and their names.
pub(crate) fn sync_copies(disk: &Disk, copies: &[DbFile]) -> Result<(), StorageError> {
    let Some(first) = copies.first() else { return Ok(()) };
    let (path, dir) = (first.path(), first.home());
    if rules::hold(Rule::CopyIsSynced, &path) {
        let synced = match copies.len() > SYNCED_ALONE_MAX {
            true => disk.sync_all(&dir),
            false => copies
                .iter()
                .try_for_each(|copy| disk.sync_file(&copy.path()))
                .and_then(|()| disk.sync_dir(&dir)),
        };
        synced.map_err(StorageError::from_io)?;
    }
    die::pass(Point::CopySynced);
    Ok(())
}

impl FacetStore {
    /// Copies what is committed to a new database for the facet at `dst_path`; answers false, and makes nothing, if
    /// nothing is stored. Call it between turns, and [`sync_copies`] afterwards; until an index record names the copy it is an
    /// orphan.
    pub(crate) fn copy_committed_to(&mut self, dst: &DbFile, dst_path: &str) -> Result<bool, StorageError> {
        if self.in_turn() {
            let message = "a database is copied between turns: end the turn first";
            return Err(StorageError::InvalidArgument(message.to_owned()));
        }
        if !self.stored {
            return Ok(false);
        }
        if !self.is_folded()
            && let Err(error) = self.checkpoint_between_turns()
        {
            tracing::debug!(path = self.path, %error, "a database is copied with its log");
        }
        remove_db(dst).map_err(|error| StorageError::io("remove the left-over", &dst.path(), &error))?;
        let copied = match self.is_folded() {
            true => self.copy_file(dst, dst_path),
            false => Ok(None),
        };
        let made = match copied {
            Ok(Some(made)) => Ok(made),
            Ok(None) => self.copy_pages(dst, dst_path),
            Err(error) => Err(error),
        };
        if made.is_err()
            && let Err(error) = remove_db(dst)
        {
            tracing::warn!(path = %dst.path().display(), %error, "cannot remove an unfinished copy");
        }
        made
    }

    /// All that was committed is in the file of the database.
    fn is_folded(&self) -> bool {
        match &self.open {
            Some(open) => self.newest == Newest::Nothing && open.frames == 0,
            None => !self.file.wal_path().exists(),
        }
    }

    /// Copies the file. None: it must be looked at more closely, by SQLite.
    fn copy_file(&mut self, dst: &DbFile, dst_path: &str) -> Result<Option<bool>, StorageError> {
        let Some(identity) = own_rows::identity(dst, dst_path) else {
            return Ok(None);
        };
        let Some((source, mut head, bytes)) = read_head(&self.file)? else {
            return Ok(None);
        };
        let own = Belongs {
            object: self.file.object,
            file: self.file.file,
            path: self.path.clone(),
        };
        let is_known = own_rows::belongs(page_of(&mut head, META_ROOT)).is_some_and(|found| found == own)
            && own_rows::is_one_page(page_of(&mut head, ALARM_ROOT));
        if !is_known {
            return Ok(None);
        }
        let kv = page_of(&mut head, KV_ROOT).to_vec();
        match own_rows::has_data(&head[..PAGE], &kv) {
            Some(true) => {}
            Some(false) => return Ok(Some(false)),
            None if self.has_data()? => {}
            None => return Ok(Some(false)),
        }
        for (root, made) in [(META_ROOT, identity), (ALARM_ROOT, own_rows::empty())] {
            let target = page_of(&mut head, root);
            target.copy_from_slice(&made);
            page::stamp(target, root);
        }
        let path = dst.path();
        let failed = |error: io::Error| StorageError::io("write", &path, &error);
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        die::pass(Point::CopyCreated);
        if bytes > head.len() as u64 && rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
            io::copy(&mut &source, &mut copy).map_err(failed)?;
        }
        die::pass(Point::CopyFilled);
        copy.write_all_at(&head, 0).map_err(failed)?;
        die::pass(Point::CopyStamped);
        drop(copy);
        die::pass(Point::CopyClosed);
        Ok(Some(true))
    }

    fn copy_pages(&mut self, dst: &DbFile, dst_path: &str) -> Result<bool, StorageError> {
        if !self.has_data()? {
            return Ok(false);
        }
        let Some(open) = self.opened(false)? else {
            return Ok(false);
        };
        let path = dst.path();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(template::image().map_err(io::Error::other)?))
            .map_err(|error| StorageError::io("create", &path, &error))?;
        die::pass(Point::CopyCreated);
        let vfs::Opened {
            conn: mut target,
            vfs: _vfs,
        } = vfs::open(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Nobody knows the file yet: it needs no rollback journal, and one sync at the end.
        target.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
        {
            let explain = |error: rusqlite::Error| open.vfs.account().explain(error.into());
            let backup = Backup::new(&open.conn, &mut target)?;
            loop {
                match backup.step(STEP_PAGES).map_err(explain)? {
                    StepResult::Done => break,
                    StepResult::More => {}
                    other => {
                        let message = format!("the copy cannot go on ({other:?}): the database is in use");
                        return Err(StorageError::new(StorageCode::Io, message));
                    }
                }
            }
        }
        die::pass(Point::CopyFilled);
        identity::restamp(&target, dst, dst_path)?;
        alarm::forget(&target)?;
        die::pass(Point::CopyStamped);
        let mode: String = target.query_row("PRAGMA journal_mode=WAL", (), |row| row.get(0))?;
        if mode != "wal" {
            let message = "the copy cannot be switched to WAL";
            return Err(StorageError::new(StorageCode::Io, message).private(path.display()));
        }
        target.close().map_err(|(_, error)| error)?;
        die::pass(Point::CopyClosed);
        Ok(true)
    }
}

/// A database that is to be copied, its beginning, and how long it is; none if it is not as it should be.
fn read_head(file: &DbFile) -> Result<Option<(File, Vec<u8>, u64)>, StorageError> {
    let path = file.path();
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
    let source = match opened {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("open", &path, &error)),
    };
    let failed = |error: io::Error| StorageError::io("read", &path, &error);
    let bytes = source.metadata().map_err(failed)?.len();
    if bytes % PAGE_BYTES != 0 || bytes < u64::from(ALARM_ROOT) * PAGE_BYTES {
        return Ok(None);
    }
    let mut head = vec![0; usize::try_from(bytes).map_or(HEAD_BYTES, |bytes| bytes.min(HEAD_BYTES))];
    source.read_exact_at(&mut head, 0).map_err(failed)?;
    let is_sound = head
        .chunks(PAGE)
        .zip(1..)
        .all(|(page, number)| page::is_sound(page, number));
    Ok(is_sound.then_some((source, head, bytes)))
}

fn page_of(head: &mut [u8], number: u32) -> &mut [u8] {
    &mut head[(number as usize - 1) * PAGE..][..PAGE]
}
