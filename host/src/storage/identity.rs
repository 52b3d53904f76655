//! A database carries the identity of its facet, and one that does not match is refused, never adopted: an index that lost
//! its end would otherwise give one facet another's data.

use std::io::Read as _;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::connection::Connected;
use super::error::{StorageCode, StorageError};
use super::file::DbFile;
use super::page::{self, PAGE, RESERVED_BYTES};
use super::template::{self, APPLICATION_ID, FORMAT};
use super::vfs;
use crate::ids::{FileId, ObjectId};

const STAMP: &str = "INSERT OR REPLACE INTO _facetd_meta(one, format, object, file, path) VALUES(1, ?1, ?2, ?3, ?4)";

/// What every SQLite database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where in it the application id is, big-endian.
const APPLICATION_ID_AT: usize = 68;
/// Where in it is how many bytes of each page SQLite does not use.
const RESERVED_AT: usize = 20;

fn refusal(file: &DbFile, why: &str) -> StorageError {
    let message = format!(
        "the database in its place is not that of this facet: {why}. It is left as it is; put the right file there, or \
         delete the facet"
    );
    StorageError::new(StorageCode::Identity, message).private(file.path().display())
}

/// Refuses what SQLite must not even open, because that changes it: it begins a database in an empty file, and another
/// program's is switched to our mode before anything of it can be asked; and one that is not there.
pub(super) fn check_unopened(file: &DbFile) -> Result<(), StorageError> {
    let place = file.path();
    let lost = file.lost_path();
    if lost
        .try_exists()
        .map_err(|error| StorageError::io("look for", &lost, &error))?
    {
        let message = "the database was missing when commits to it were recovered, and is older than they are: the operator can \
                       have `facetd recover` complete it, if it is the one that was there";
        return Err(StorageError::new(StorageCode::Corrupt, message).private(lost.display()));
    }
    let mut first = Vec::with_capacity(PAGE);
    let read = std::fs::File::open(&place).and_then(|found| found.take(PAGE as u64).read_to_end(&mut first));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = "the database is missing though the index of the object names it: restore it from a backup, or \
                           delete the facet";
            return Err(StorageError::new(StorageCode::Corrupt, message).private(place.display()));
        }
        Err(error) => return Err(StorageError::io("read", &place, &error)),
        Ok(_) => {}
    }
    let is_ours = || {
        first.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4) == Some(&APPLICATION_ID.to_be_bytes()[..])
            || first
                .get(RESERVED_AT)
                .is_some_and(|bytes| usize::from(*bytes) == RESERVED_BYTES)
    };
    if first.is_empty() || first.starts_with(MAGIC) && !is_ours() {
        return Err(refusal(file, "facetd did not make it"));
    }
    // Of a shorter one SQLite says what it is by itself.
    match first.len() == PAGE && !page::is_sound(&first, 1) {
        true => {
            tracing::error!(file = %place.display(), page = 1, "a page of a database does not match its checksum");
            Err(StorageError::damaged(1))
        }
        false => Ok(()),
    }
}

/// The facet whose database it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Belongs {
    pub(crate) object: ObjectId,
    pub(crate) file: FileId,
    /// Names from the root, joined by `/`.
    pub(crate) path: String,
}

/// What a database says of itself.
pub(super) fn read(conn: &Connection, file: &DbFile) -> Result<Belongs, StorageError> {
    Ok(read_with_alarm(conn, file)?.0)
}

/// And when its alarm is due, which is asked for with the rest: whoever opens a database wants both.
fn read_with_alarm(conn: &Connection, file: &DbFile) -> Result<(Belongs, Option<u64>), StorageError> {
    let application: i32 = conn.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(refusal(file, "facetd did not make it"));
    }
    let found = conn
        .query_row(
            "SELECT format, object, file, path, (SELECT due_ms FROM _facetd_alarm) FROM _facetd_meta WHERE one = 1",
            (),
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Vec<u8>>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, Option<i64>>(4)?,
                ))
            },
        )
        .optional()?;
    let Some((format, object, number, path, due_ms)) = found else {
        return Err(refusal(
            file,
            "nothing was ever committed to it, but the index names it",
        ));
    };
    if format > FORMAT {
        let why = format!("it has format {format}, this facetd knows {FORMAT}; use a newer facetd");
        return Err(refusal(file, &why));
    }
    let (Ok(object), Ok(number)) = (object.try_into(), number.try_into()) else {
        return Err(refusal(file, "its identity makes no sense"));
    };
    let belongs = Belongs {
        object: ObjectId(object),
        file: FileId(number),
        path,
    };
    Ok((belongs, due_ms.and_then(|due_ms| u64::try_from(due_ms).ok())))
}

/// Refuses a database that is not the one of `file` at `path`. Answers when its alarm is due.
pub(super) fn check(conn: &Connection, file: &DbFile, path: &str) -> Result<Option<u64>, StorageError> {
    let (found, alarm_ms) = read_with_alarm(conn, file)?;
    if found.object != file.object {
        let place = format!("{} is of object {}", file.path().display(), found.object);
        return Err(refusal(file, "it belongs to another object").private(place));
    }
    if found.file != file.file {
        let why = format!("it is file {} of the object, not {}", found.file, file.file);
        return Err(refusal(file, &why));
    }
    if found.path != path {
        let why = format!("it belongs to the facet {:?}, not {path:?}", found.path);
        return Err(refusal(file, &why));
    }
    Ok(alarm_ms)
}

/// Writes the identity, as a part of the first transaction that writes anything.
pub(super) fn stamp(connected: &mut Connected, file: &DbFile, path: &str) -> Result<(), StorageError> {
    connected.host(STAMP, |statement| {
        statement.bind_integer(1, FORMAT)?;
        statement.bind_blob(2, &file.object.0)?;
        statement.bind_integer(3, i64::from(file.file.0))?;
        statement.bind_text(4, path.as_bytes())?;
        statement.step()?;
        Ok(())
    })
}

/// Writes the identity into a copy.
pub(super) fn restamp(conn: &Connection, file: &DbFile, path: &str) -> Result<(), StorageError> {
    conn.execute(STAMP, (FORMAT, &file.object.0[..], i64::from(file.file.0), path))?;
    Ok(())
}

/// Folds the log into a database whose store could not, and removes it. When nobody has it open, and its commits are
/// durable.
pub(super) fn fold(file: &DbFile) -> Result<(), StorageError> {
    let opened = vfs::open(&file.path(), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Exclusive, or SQLite would make a -shm.
    opened.run(|conn| {
        // What could not be moved stays in the log as it is, and is not tried again while that is closed.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=OFF; PRAGMA wal_checkpoint(TRUNCATE)")?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(())
    })
}

/// True for what a crash may leave of a database to which nothing was ever committed: any bytes of the template, and zeroes
/// for the others. One that was committed to holds its identity, which the template does not.
pub(crate) fn is_blank(file: &DbFile) -> std::io::Result<bool> {
    let image = template::image().map_err(std::io::Error::other)?;
    let mut found = std::fs::File::open(file.path())?;
    if found.metadata()?.len() > image.len() as u64 {
        return Ok(false);
    }
    let mut bytes = Vec::with_capacity(image.len());
    found.read_to_end(&mut bytes)?;
    Ok(bytes
        .iter()
        .zip(image)
        .all(|(byte, template)| *byte == 0 || byte == template))
}
