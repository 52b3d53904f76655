//! A copy holds exactly what was committed to its source, has an identity of its own, and is on disk before the unit that makes it
//! real: that holds no more of it than in what it differs. All of the source is moved into its file, which is copied, by the
//! system if it can share what is in it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use rusqlite::OpenFlags;

use super::error::{StorageCode, StorageError};
use super::file::{DbFile, remove_db};
use super::identity::Belongs;
use super::journal::rules::{self, Rule};
use super::journal::{Disk, Pages};
use super::own_rows::{self, ALARM_ROOT, KV_ROOT, META_ROOT};
use super::page::{self, CONTENT_BYTES, PAGE, PAGE_BYTES};
use super::store::{FacetStore, Newest};
use super::{alarm, identity, vfs};
use crate::sys::die::{self, Point};

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
    /// Copies what is committed to a new database for the facet at `dst_path`; answers in what the copy differs, or None, and makes
    /// nothing, if nothing is stored. Waits until all of it is durable. Call it between turns, and [`sync_copies`] afterwards; until
    /// a unit says that it is somebody's the copy is nobody's.
    pub(crate) fn copy_committed_to(&mut self, dst: &DbFile, dst_path: &str) -> Result<Option<Pages>, StorageError> {
        if self.in_turn() {
            let message = "a database is copied between turns: end the turn first";
            return Err(StorageError::InvalidArgument(message.to_owned()));
        }
        if !self.stored {
            return Ok(None);
        }
        identity::check_unopened(&self.file)?;
        if !self.is_folded() {
            self.opened(false)?;
            self.checkpoint()?;
        }
        remove_db(dst).map_err(|error| StorageError::io("remove the left-over", &dst.path(), &error))?;
        let made = self.copy_file(dst, dst_path);
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

    fn copy_file(&mut self, dst: &DbFile, dst_path: &str) -> Result<Option<Pages>, StorageError> {
        let (source, mut head, bytes) = read_head(&self.file)?;
        let kv = page_of(&mut head, KV_ROOT).to_vec();
        match own_rows::has_data(&head[..PAGE], &kv) {
            Some(true) => {}
            Some(false) => return Ok(None),
            None if self.has_data()? => {}
            None => return Ok(None),
        }
        let page_count = u32::try_from(bytes / PAGE_BYTES)
            .map_err(|_| StorageError::new(StorageCode::Corrupt, "the database has more pages than SQLite counts"))?;
        let own = Belongs {
            object: self.file.object,
            file: self.file.file,
            path: self.path.clone(),
        };
        let is_known = own_rows::belongs(page_of(&mut head, META_ROOT)).is_some_and(|found| found == own)
            && own_rows::is_one_page(page_of(&mut head, ALARM_ROOT));
        if !is_known {
            // Whose it is can be told by SQLite only, and it is refused if it is somebody else's.
            self.opened(false)?;
        }
        let rows = own_rows::identity(dst, dst_path).filter(|_| is_known);
        let over = rows.map(|identity| [(META_ROOT, identity), (ALARM_ROOT, own_rows::empty())]);
        for (root, made) in over.iter().flatten() {
            let target = page_of(&mut head, *root);
            target.copy_from_slice(made);
            page::stamp(target, *root);
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
        drop(copy);
        let pages = match over {
            Some(over) => {
                let numbers = over.iter().map(|(root, _)| *root).collect();
                let raw = over.iter().flat_map(|(_, page)| *page).collect();
                Pages::new(false, page_count, numbers, raw)
            }
            None => restamp(&source, dst, dst_path)?,
        };
        die::pass(Point::CopyStamped);
        Ok(Some(pages))
    }
}

/// Has SQLite say whose a copy is, where that takes more than a page. Answers in what it differs from its source.
fn restamp(source: &File, dst: &DbFile, dst_path: &str) -> Result<Pages, StorageError> {
    let path = dst.path();
    let vfs::Opened {
        conn: target,
        vfs: _vfs,
    } = vfs::open(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Nobody knows the file yet: it needs no rollback journal, and one sync at the end.
    target.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    identity::restamp(&target, dst, dst_path)?;
    alarm::forget(&target)?;
    let mode: String = target.query_row("PRAGMA journal_mode=WAL", (), |row| row.get(0))?;
    if mode != "wal" {
        let message = "the copy cannot be switched to WAL";
        return Err(StorageError::new(StorageCode::Io, message).private(path.display()));
    }
    target.close().map_err(|(_, error)| error)?;
    let failed = |error: io::Error| StorageError::io("read", &path, &error);
    let copy = File::open(&path).map_err(failed)?;
    let bytes = copy.metadata().map_err(failed)?.len();
    let source_bytes = source.metadata().map_err(failed)?.len();
    let (mut numbers, mut raw) = (Vec::new(), Vec::new());
    let (mut page, mut before) = ([0; PAGE], [0; PAGE]);
    for (at, number) in (0..bytes).step_by(PAGE).zip(1..) {
        copy.read_exact_at(&mut page, at).map_err(failed)?;
        match at < source_bytes {
            true => source.read_exact_at(&mut before, at).map_err(failed)?,
            false => before.fill(0),
        }
        if page != before {
            page[CONTENT_BYTES..].fill(0);
            numbers.push(number);
            raw.extend_from_slice(&page);
        }
    }
    let page_count = u32::try_from(bytes / PAGE_BYTES)
        .map_err(|_| StorageError::new(StorageCode::Corrupt, "the copy has more pages than SQLite counts"))?;
    Ok(Pages::new(false, page_count, numbers, raw))
}

/// A database that is to be copied, its beginning, and how long it is.
fn read_head(file: &DbFile) -> Result<(File, Vec<u8>, u64), StorageError> {
    let path = file.path();
    let failed = |error: io::Error| StorageError::io("read", &path, &error);
    let damaged = |why: &str| StorageError::new(StorageCode::Corrupt, why).private(path.display());
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
    let source = match opened {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged("the database is missing")),
        Err(error) => return Err(failed(error)),
    };
    let bytes = source.metadata().map_err(failed)?.len();
    if bytes % PAGE_BYTES != 0 || bytes < u64::from(ALARM_ROOT) * PAGE_BYTES {
        return Err(damaged("the database is cut off"));
    }
    let mut head = vec![0; usize::try_from(bytes).map_or(HEAD_BYTES, |bytes| bytes.min(HEAD_BYTES))];
    source.read_exact_at(&mut head, 0).map_err(failed)?;
    for (page, number) in head.chunks(PAGE).zip(1..) {
        if !page::is_sound(page, number) {
            return Err(damaged(&format!("page {number} does not match its checksum")));
        }
    }
    Ok((source, head, bytes))
}

fn page_of(head: &mut [u8], number: u32) -> &mut [u8] {
    &mut head[(number as usize - 1) * PAGE..][..PAGE]
}
