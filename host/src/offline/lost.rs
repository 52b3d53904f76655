//! A database that was missing while its commits were recovered, and has been put back, is completed by the pages that were kept of
//! them: nobody but a person can know that it is the one that was there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use tracing::info;

use crate::storage::{LOST_SUFFIX, PAGE_BYTES};
use crate::sys::data_dir::sync_dir;
use crate::sys::layout;

/// Completes what was put back in the directory of a namespace.
pub(super) fn complete(namespace: &Path) -> io::Result<()> {
    for home in layout::homes(namespace) {
        let entries = match std::fs::read_dir(&home) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let lost = entry?.path();
            let database = lost
                .to_str()
                .and_then(|name| name.strip_suffix(LOST_SUFFIX))
                .map(Path::new);
            if let Some(database) = database.filter(|path| path.extension().is_some_and(|end| end == "sqlite"))
                && was_put_back(database, &lost)?
            {
                complete_one(database, &lost)?;
                info!(file = %database.display(), "completed by the commits that were kept beside it");
            }
        }
    }
    Ok(())
}

/// Whether a database has come to its place since its newest pages were kept: one that lay there then is of another time than they are.
fn was_put_back(database: &Path, lost: &Path) -> io::Result<bool> {
    let found = match database.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let kept = lost.metadata()?;
    // A name, too, changes that of an inode, and nobody can set it.
    Ok((found.ctime(), found.ctime_nsec()) > (kept.mtime(), kept.mtime_nsec()))
}

/// Doing it twice, or again after a crash in the middle, gives the same.
fn complete_one(database: &Path, lost: &Path) -> io::Result<()> {
    let (target, mut kept) = (OpenOptions::new().write(true).open(database)?, File::open(lost)?);
    let mut page = vec![0; usize::try_from(PAGE_BYTES).map_err(io::Error::other)?];
    let bytes = kept.metadata()?.len();
    let mut at = 0;
    while at < bytes {
        kept.read_exact(&mut page)?;
        // No page of a database is all zeroes: its checksum is not.
        if page.iter().any(|byte| *byte != 0) {
            target.write_all_at(&page, at)?;
        }
        at += PAGE_BYTES;
    }
    target.set_len(bytes)?;
    target.sync_all()?;
    std::fs::remove_file(lost)?;
    lost.parent().map_or(Ok(()), sync_dir)
}
