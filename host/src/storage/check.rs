//! Looks at every page of a closed database, and changes nothing: not even a log is made.

use std::io::Read as _;
use std::path::Path;

use rusqlite::OpenFlags;

use super::error::StorageError;
use super::file::DbFile;
use super::identity::{self, Belongs};
use super::page::{self, PAGE};
use super::store::{HAS_ALARM, HAS_KEYS, HAS_USER_OBJECTS, USER_VERSION};
use super::vfs::{self, Opened};

/// Complaints that are told for one database: damaged pages, and then as many of SQLite's.
const COMPLAINTS_MAX: usize = 10;
/// Pages that are read at a time.
const PAGES_AT_ONCE: usize = 64;

/// What is wrong with the database of the facet at `path`, which nobody has open; nothing if it is sound. A log beside it is of a
/// host that was killed, and nothing in it counts.
pub(crate) fn check_database(file: &DbFile, path: &str) -> Vec<String> {
    complaints(file, path).unwrap_or_else(|error| vec![error.for_operator()])
}

/// Which facet's database a closed one says that it is.
pub(crate) fn whose(file: &DbFile) -> Result<Belongs, StorageError> {
    identity::check_unopened(file)?;
    identity::read(&open_unchanged(file)?.conn, file)
}

/// True if nothing is in a closed database any more, so that its file would have gone had its facet stopped since.
pub(crate) fn is_emptied(file: &DbFile) -> Result<bool, StorageError> {
    let opened = open_unchanged(file)?;
    for question in [HAS_KEYS, HAS_USER_OBJECTS, USER_VERSION, HAS_ALARM] {
        if opened.run(|conn| conn.query_row(question, (), |row| row.get::<_, i64>(0)))? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn complaints(file: &DbFile, path: &str) -> Result<Vec<String>, StorageError> {
    let damaged = damaged_pages(&file.path())?;
    if !damaged.is_empty() {
        // Whatever else SQLite would find follows from that.
        return Ok(damaged);
    }
    identity::check_unopened(file)?;
    let opened = open_unchanged(file)?;
    identity::check(&opened.conn, file, path)?;
    let answers: Vec<String> = opened.run(|conn| {
        let mut statement = conn.prepare(&format!("PRAGMA integrity_check({COMPLAINTS_MAX})"))?;
        statement.query_map((), |row| row.get(0))?.collect()
    })?;
    Ok(answers.into_iter().filter(|answer| answer != "ok").collect())
}

/// Pages that do not match their checksums, those too that SQLite has no use for and never reads.
pub(super) fn damaged_pages(path: &Path) -> Result<Vec<String>, StorageError> {
    let failed = |error: std::io::Error| StorageError::io("read", path, &error);
    let mut database = std::fs::File::open(path).map_err(failed)?;
    let (mut complaints, mut number, mut piece) = (Vec::new(), 1, Vec::with_capacity(PAGES_AT_ONCE * PAGE));
    while complaints.len() < COMPLAINTS_MAX {
        piece.clear();
        let read = (&mut database)
            .take((PAGES_AT_ONCE * PAGE) as u64)
            .read_to_end(&mut piece);
        if read.map_err(failed)? == 0 {
            break;
        }
        for page in piece.chunks(PAGE) {
            if page.len() < PAGE {
                complaints.push(format!("page {number} is cut off after {} bytes", page.len()));
            } else if !page::is_sound(page, number) {
                complaints.push(format!("page {number} does not match its checksum"));
            }
            number += 1;
        }
    }
    complaints.truncate(COMPLAINTS_MAX);
    Ok(complaints)
}

pub(super) fn open_unchanged(file: &DbFile) -> Result<Opened, StorageError> {
    // Immutable: otherwise SQLite makes a log and an index of it beside a database in WAL mode. The path holds the data
    // directory's name, which may hold anything.
    let escaped: String = percent_encoding::percent_encode(
        file.path().as_os_str().as_encoded_bytes(),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let uri = format!("file:{escaped}?immutable=1");
    vfs::open(Path::new(&uri), flags)
}
