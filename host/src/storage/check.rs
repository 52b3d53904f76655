//! Looks at a closed database as anybody could, and changes nothing: not even a log is made.

use rusqlite::{Connection, OpenFlags};

use super::error::StorageError;
use super::file::DbFile;
use super::identity::{self, Belongs};

/// Complaints of SQLite that are told for one database.
const COMPLAINTS_MAX: u32 = 10;

/// What is wrong with the database of the facet at `path`, which nobody has open; nothing if it is sound.
pub(crate) fn check_database(file: &DbFile, path: &str) -> Vec<String> {
    let left = "a log lies beside it, though the host stopped cleanly";
    match file.wal_path().exists() {
        true => vec![left.to_owned()],
        false => check_without_log(file, path),
    }
}

/// The same for one in whose log is nothing that counts.
pub(crate) fn check_without_log(file: &DbFile, path: &str) -> Vec<String> {
    complaints(file, path).unwrap_or_else(|error| vec![error.for_operator()])
}

/// Which facet's database a closed one says that it is.
pub(crate) fn whose(file: &DbFile) -> Result<Belongs, StorageError> {
    identity::check_unopened(file)?;
    identity::read(&open_unchanged(file)?, file)
}

fn complaints(file: &DbFile, path: &str) -> Result<Vec<String>, StorageError> {
    identity::check_unopened(file)?;
    let conn = open_unchanged(file)?;
    identity::check(&conn, file, path)?;
    let mut statement = conn.prepare(&format!("PRAGMA integrity_check({COMPLAINTS_MAX})"))?;
    let answers: Result<Vec<String>, _> = statement.query_map((), |row| row.get(0))?.collect();
    Ok(answers?.into_iter().filter(|answer| answer != "ok").collect())
}

pub(super) fn open_unchanged(file: &DbFile) -> Result<Connection, StorageError> {
    // Immutable: otherwise SQLite makes a log and an index of it beside a database in WAL mode. The path holds the data
    // directory's name, which may hold anything.
    let escaped: String = percent_encoding::percent_encode(
        file.path().as_os_str().as_encoded_bytes(),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Ok(Connection::open_with_flags(
        format!("file:{escaped}?immutable=1"),
        flags,
    )?)
}
