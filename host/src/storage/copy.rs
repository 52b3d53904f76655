//! A copy holds exactly what was committed to its source, has an identity of its own, and is on disk before it is answered:
//! the record that makes it real holds none of its pages.

use std::fs::OpenOptions;
use std::io::Write;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::error::{StorageCode, StorageError};
use super::file::{DbFile, remove_db};
use super::journal::Disk;
use super::journal::rules::{self, Rule};
use super::store::FacetStore;
use super::{alarm, identity, template, vfs};
use crate::sys::die::{self, Point};

/// Pages copied in one step. The source cannot change meanwhile, this bounds nothing but the time between two checks.
const STEP_PAGES: i32 = 1024;

impl FacetStore {
    /// Copies what is committed to a new database for the facet at `dst_path`; answers false, and makes nothing, if
    /// nothing is stored. Call it between turns; until an index record names the copy it is an orphan.
    pub(crate) fn copy_committed_to(
        &mut self,
        disk: &Disk,
        dst: &DbFile,
        dst_path: &str,
    ) -> Result<bool, StorageError> {
        if self.in_turn() {
            let message = "a database is copied between turns: end the turn first";
            return Err(StorageError::InvalidArgument(message.to_owned()));
        }
        if !self.has_data()? {
            return Ok(false);
        }
        let Some(open) = self.opened(false)? else {
            return Ok(false);
        };
        let result = copy(&open.conn, disk, dst, dst_path);
        if result.is_err()
            && let Err(error) = remove_db(dst)
        {
            tracing::warn!(path = %dst.path().display(), %error, "cannot remove an unfinished copy");
        }
        result.map(|()| true)
    }
}

fn copy(source: &Connection, disk: &Disk, dst: &DbFile, dst_path: &str) -> Result<(), StorageError> {
    let path = dst.path();
    let io = |what: &'static str, path: std::path::PathBuf| move |error| StorageError::io(what, &path, &error);
    remove_db(dst).map_err(io("remove the left-over", path.clone()))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(template::image().map_err(std::io::Error::other)?))
        .map_err(io("create", path.clone()))?;
    die::pass(Point::CopyCreated);
    let vfs::Opened {
        conn: mut target,
        vfs: _vfs,
    } = vfs::open(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Nobody knows the file yet: it needs no rollback journal, and one sync at the end.
    target.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    {
        let backup = Backup::new(source, &mut target)?;
        loop {
            match backup.step(STEP_PAGES)? {
                rusqlite::backup::StepResult::Done => break,
                rusqlite::backup::StepResult::More => {}
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
        return Err(StorageError::new(
            StorageCode::Io,
            format!("{} cannot be switched to WAL", path.display()),
        ));
    }
    target.close().map_err(|(_, error)| error)?;
    die::pass(Point::CopyClosed);
    if rules::hold(Rule::CopyIsSynced, &path) {
        disk.sync_file(&path).map_err(StorageError::from_io)?;
        disk.sync_dir(&dst.home()).map_err(StorageError::from_io)?;
    }
    die::pass(Point::CopySynced);
    Ok(())
}
