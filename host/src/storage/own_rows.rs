//! Whose a database is, and its alarm, stand on pages that are the host's alone, at the same place in every database. A copy of a
//! file is given another identity by writing these two pages as SQLite would, without opening it.

use super::file::DbFile;
use super::identity::Belongs;
use super::page::{CONTENT_BYTES, PAGE};
use super::template::FORMAT;
use crate::ids::{FileId, ObjectId};

/// Roots of the host's tables. They come first, and SQLite only moves the last ones.
pub(super) const KV_ROOT: u32 = 3;
pub(super) const META_ROOT: u32 = 4;
pub(super) const ALARM_ROOT: u32 = 5;

/// Where the first page's own header begins, behind that of the file.
const FIRST_HEADER_AT: usize = 100;
const LEAF_HEADER_BYTES: usize = 8;
/// Where `user_version` stands in the header of the file.
const USER_VERSION: std::ops::Range<usize> = 60..64;
const TABLE_LEAF: u8 = 0x0d;
const INDEX_LEAF: u8 = 0x0a;
/// A record of more bytes goes on elsewhere.
const LOCAL_BYTES_MAX: usize = CONTENT_BYTES - 35;
/// Types of columns: no value (the row's number stands for it), an integer of eight bytes, and the least for bytes and text.
const TYPE_NULL: u64 = 0;
const TYPE_INTEGER: u64 = 6;
const TYPE_BYTES: u64 = 12;
const TYPE_TEXT: u64 = 13;

/// Rows on a page that is a whole table; none if there are pages below it, or it is no page of a table.
fn rows(page: &[u8], at: usize) -> Option<u16> {
    matches!(page[at], TABLE_LEAF | INDEX_LEAF).then(|| u16::from_be_bytes([page[at + 3], page[at + 4]]))
}

/// True if a database holds a key; none if that cannot be told from its first page and that of the keys, because there may be
/// tables of the guest's instead.
pub(super) fn has_data(first: &[u8], kv: &[u8]) -> Option<bool> {
    const HOST_TABLES: u16 = 3;
    // The guest's own `user_version` is data, too.
    if first[USER_VERSION].iter().any(|byte| *byte != 0) {
        return Some(true);
    }
    match (rows(kv, 0), rows(first, FIRST_HEADER_AT)) {
        (Some(0), Some(HOST_TABLES)) => Some(false),
        (Some(0), _) => None,
        (_, _) => Some(true),
    }
}

/// Whose database it is, if the row is one that [`identity`] can stand in for.
pub(super) fn belongs(page: &[u8]) -> Option<Belongs> {
    if page[0] != TABLE_LEAF || rows(page, 0) != Some(1) {
        return None;
    }
    let at = usize::from(u16::from_be_bytes([
        page[LEAF_HEADER_BYTES],
        page[LEAF_HEADER_BYTES + 1],
    ]));
    let mut cell = page.get(at..CONTENT_BYTES)?;
    let (bytes, _row) = (take_varint(&mut cell)?, take_varint(&mut cell)?);
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= LOCAL_BYTES_MAX)?;
    let record = cell.get(..bytes)?;
    let mut types = record;
    let head = usize::try_from(take_varint(&mut types)?).ok()?;
    let mut values = record.get(head..)?;
    let (_one, format) = (take_varint(&mut types)?, take_varint(&mut types)?);
    let (object, file, path) = (
        take_varint(&mut types)?,
        take_varint(&mut types)?,
        take_varint(&mut types)?,
    );
    let format = take_integer(format, &mut values)?;
    let object = take(&mut values, usize::try_from(object.checked_sub(TYPE_BYTES)?).ok()? / 2)?;
    let file = take_integer(file, &mut values)?;
    let path = take(&mut values, usize::try_from(path.checked_sub(TYPE_TEXT)?).ok()? / 2)?;
    if format > FORMAT {
        return None;
    }
    Some(Belongs {
        object: ObjectId(object.try_into().ok()?),
        file: FileId(file.try_into().ok()?),
        path: String::from_utf8(path.to_vec()).ok()?,
    })
}

/// The page of the identity; none if it is too long for one page.
pub(super) fn identity(file: &DbFile, path: &str) -> Option<[u8; PAGE]> {
    let mut types = Vec::new();
    for kind in [
        TYPE_NULL,
        TYPE_INTEGER,
        TYPE_BYTES + 2 * file.object.0.len() as u64,
        TYPE_INTEGER,
        TYPE_TEXT + 2 * path.len() as u64,
    ] {
        put_varint(&mut types, kind);
    }
    let mut record = Vec::with_capacity(types.len() + 60 + path.len());
    // The length counts itself, which is one byte.
    put_varint(&mut record, types.len() as u64 + 1);
    record.extend(types);
    record.extend(FORMAT.to_be_bytes());
    record.extend(file.object.0);
    record.extend(i64::from(file.file.0).to_be_bytes());
    record.extend(path.as_bytes());
    if record.len() > LOCAL_BYTES_MAX {
        return None;
    }
    let mut cell = Vec::with_capacity(record.len() + 4);
    put_varint(&mut cell, record.len() as u64);
    put_varint(&mut cell, 1);
    cell.extend(record);
    let at = CONTENT_BYTES - cell.len();
    let mut page = empty();
    page[3..5].copy_from_slice(&1_u16.to_be_bytes());
    let place = u16::try_from(at).ok()?.to_be_bytes();
    page[5..7].copy_from_slice(&place);
    page[LEAF_HEADER_BYTES..LEAF_HEADER_BYTES + 2].copy_from_slice(&place);
    page[at..CONTENT_BYTES].copy_from_slice(&cell);
    Some(page)
}

/// The page of a table without rows.
pub(super) fn empty() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[0] = TABLE_LEAF;
    page[5..7].copy_from_slice(&(CONTENT_BYTES as u16).to_be_bytes());
    page
}

/// True for a table that is no more than this page.
pub(super) fn is_one_page(page: &[u8]) -> bool {
    page[0] == TABLE_LEAF
}

fn take<'a>(bytes: &mut &'a [u8], many: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(many)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for _ in 0..8 {
        let byte = take(bytes, 1)?[0];
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, value: u64) {
    let groups = (64 - value.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        bytes.push((value >> (7 * group) & 0x7f) as u8 | more);
    }
}

fn take_integer(kind: u64, values: &mut &[u8]) -> Option<i64> {
    let bytes = match kind {
        8 => return Some(0),
        9 => return Some(1),
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        TYPE_INTEGER => 8,
        _ => return None,
    };
    let bytes = take(values, bytes)?;
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    Some(bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte)))
}

#[cfg(test)]
mod tests;
