//! The journal's decoders on any bytes: they answer or refuse, and never panic.

use super::batch;
use super::segment::Header;
use super::unit::{self, DatabaseChange};

/// The header of a segment, and the batches behind it.
pub(crate) fn segment(bytes: &[u8]) {
    let Ok(header) = Header::decode(bytes) else { return };
    let mut at = batch::BLOCK_BYTES;
    while let Some(found) = bytes.get(at..).and_then(|rest| batch::read(rest, &header.id)) {
        for chunk in &found.chunks {
            decode(chunk.bytes);
        }
        at += found.padded_bytes;
    }
}

/// One batch of a segment whose id is zeroes.
pub(crate) fn batch(bytes: &[u8]) {
    // Of any bytes none has the right checksum.
    let sealed = batch::resealed(bytes);
    for chunk in batch::read(&sealed, &[0; 16]).iter().flat_map(|found| &found.chunks) {
        decode(chunk.bytes);
    }
}

/// One unit.
pub(crate) fn decode(bytes: &[u8]) {
    let Ok(decoded) = unit::decode(bytes) else { return };
    for (_, change) in &decoded.databases {
        match change {
            DatabaseChange::Pages(pages) | DatabaseChange::Copied(pages) => drop(pages.unpacked()),
            DatabaseChange::Copying(_) | DatabaseChange::Removed => {}
        }
    }
}
