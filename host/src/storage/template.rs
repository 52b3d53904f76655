//! A database is created by writing one image, the same for all: no DDL, no sync, WAL already switched on.

use std::sync::OnceLock;

use rusqlite::Connection;

use super::page::{self, PAGE, PAGE_BYTES, RESERVED_BYTES};
use super::{heap, statement};

/// "Fact", so that file(1) and people can tell whose database it is.
pub(super) const APPLICATION_ID: i32 = 0x4661_6374;
/// The layout of the internal tables; a higher one than this is refused.
pub(super) const FORMAT: i64 = 1;

/// Offsets of the write and read version in SQLite's header; 2 stands for WAL.
const HEADER_VERSIONS: std::ops::Range<usize> = 18..20;

const SCHEMA: &str = "
CREATE TABLE _facetd_kv(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE _facetd_meta(one INTEGER PRIMARY KEY CHECK(one = 1), format INTEGER NOT NULL, object BLOB NOT NULL,
  file INTEGER NOT NULL, path TEXT NOT NULL);
CREATE TABLE _facetd_alarm(one INTEGER PRIMARY KEY CHECK(one = 1), due_ms INTEGER NOT NULL,
  scheduled_ms INTEGER NOT NULL, tries INTEGER NOT NULL);
";

/// The image of an empty database without identity, as it is in a file; the first commit writes that.
pub(super) fn image() -> Result<&'static [u8], rusqlite::Error> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let image = build()?;
    Ok(IMAGE.get_or_init(|| image))
}

fn build() -> Result<Vec<u8>, rusqlite::Error> {
    heap::install();
    let conn = Connection::open_in_memory()?;
    statement::reserve_bytes(&conn, RESERVED_BYTES);
    // Whether pages can be given back is decided before there are tables, and never again.
    conn.execute_batch(&format!(
        "PRAGMA page_size={PAGE_BYTES}; PRAGMA encoding='UTF-8'; PRAGMA auto_vacuum=INCREMENTAL;
         PRAGMA application_id={APPLICATION_ID}; BEGIN; {SCHEMA} COMMIT;"
    ))?;
    let mut image = statement::serialize(&conn).ok_or(rusqlite::Error::InvalidQuery)?;
    image[HEADER_VERSIONS].fill(2);
    for (page, number) in image.chunks_exact_mut(PAGE).zip(1..) {
        page::stamp(page, number);
    }
    Ok(image)
}
