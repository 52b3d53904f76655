//! A page in a database file ends with a checksum over the rest of it and its number, so a page that has rotted, or is
//! another one's, is told from what was written. Pages in a log or in the journal have none: what lies there is not at rest,
//! and has checksums of its own.

/// Bytes of a page. Never changed after creation.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// The same, for buffers.
pub(super) const PAGE: usize = PAGE_BYTES as usize;
/// The end of a page, which SQLite does not use: room for a nonce and a tag, zeroes for now, then the checksum.
pub(super) const RESERVED_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
pub(super) const CONTENT_BYTES: usize = PAGE - RESERVED_BYTES;
const CHECKED_BYTES: usize = PAGE - CHECKSUM_BYTES;
/// The page that holds the bytes by which SQLite locks a file. It is never written, so it has no checksum.
const LOCK_PAGE: u32 = ((1 << 30) / PAGE_BYTES) as u32 + 1;

/// The number of the page that begins there; none if there is no such page.
pub(super) fn number_at(offset: u64) -> Option<u32> {
    u32::try_from(offset / PAGE_BYTES).ok()?.checked_add(1)
}

/// Makes pages that are equal to SQLite equal in all bytes.
pub(super) fn clear_reserved(page: &mut [u8]) {
    page[CONTENT_BYTES..].fill(0);
}

/// Makes a page what it has to be in a database file.
pub(super) fn stamp(page: &mut [u8], number: u32) {
    clear_reserved(page);
    let sum = checksum(page, number).to_le_bytes();
    page[CHECKED_BYTES..].copy_from_slice(&sum);
}

/// True if these bytes were written as the page of that number.
pub(super) fn is_sound(page: &[u8], number: u32) -> bool {
    page.len() == PAGE && (page[CHECKED_BYTES..] == checksum(page, number).to_le_bytes() || number == LOCK_PAGE)
}

fn checksum(page: &[u8], number: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &page[..CHECKED_BYTES])
}

#[cfg(test)]
mod tests;
