//! Framing: a header that names the object, then records whose checksums cover everything in front of their bodies, too.

use super::TreeChange;
use super::codec;
use super::head::{HEAD_AT, Head};
use crate::ids::{FileId, ObjectId};

/// Bytes before the first record.
pub(super) const HEADER_BYTES: usize = 96;
/// Bytes before a record's body.
pub(super) const FRAME_BYTES: usize = 16;
/// A record is this or a multiple of it long, because Cap'n Proto's messages are; so records begin at multiples.
pub(super) const ALIGN_BYTES: usize = 8;

const MAGIC: [u8; 8] = *b"facetdFI";
/// A higher version is refused.
const VERSION: u32 = 2;

/// What the header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) next_file: FileId,
    /// The sequence number of the first record.
    pub(super) first_seq: u64,
    /// None if it was written in part: a crash leaves that, and recovery mends it.
    pub(super) head: Option<Head>,
}

/// What a reader finds at a place.
pub(super) enum Found<'a> {
    Record {
        body: &'a [u8],
        seq: u64,
        bytes: usize,
    },
    /// No complete record with a right checksum.
    Bad,
}

/// The header of a new file. `next_file` is no longer free once a record names it; `first_seq` is the number of the record
/// that follows. It says nothing of the object's history: see [`Head::put`].
pub(crate) fn encode_header(object: ObjectId, next_file: FileId, first_seq: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(next_file.0.to_le_bytes());
    header.extend(first_seq.to_le_bytes());
    header.extend(object.0);
    header.extend([0; 4]);
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    debug_assert_eq!(header.len(), HEAD_AT);
    header.extend(Head::default().encode());
    debug_assert_eq!(header.len(), HEADER_BYTES);
    header
}

/// One record. Its changes become real together.
pub(crate) fn encode_record(seq: u64, changes: &[TreeChange]) -> Vec<u8> {
    let body = codec::encode(changes);
    let bytes =
        u32::try_from(body.len()).expect("a tree of 65,536 facets with 64 KiB of props each is split by callers");
    let mut record = Vec::with_capacity(FRAME_BYTES + body.len());
    record.extend(bytes.to_le_bytes());
    record.extend([0; 4]);
    record.extend(seq.to_le_bytes());
    record.extend(body);
    let crc = checksum(&record);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    record
}

/// Of everything but itself.
fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}

/// Reads a complete header.
pub(super) fn decode_header(bytes: &[u8], object: ObjectId) -> Result<Header, String> {
    if bytes[..8] != MAGIC {
        return Err("it is no index of facets".to_owned());
    }
    if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
        return Err("the checksum of its header is wrong".to_owned());
    }
    let version = u32_at(bytes, 8);
    if version != VERSION {
        return Err(format!("it has version {version}, this facetd reads {VERSION}"));
    }
    if bytes[24..56] != object.0 {
        return Err(format!("it belongs to object {}", hex::encode(&bytes[24..56])));
    }
    Ok(Header {
        next_file: FileId(u32_at(bytes, 12)),
        first_seq: u64_at(bytes, 16),
        head: Head::decode(bytes),
    })
}

/// Looks for a record at the beginning of `bytes`.
pub(super) fn decode_record(bytes: &[u8]) -> Found<'_> {
    if bytes.len() < FRAME_BYTES {
        return Found::Bad;
    }
    let body_bytes = u32_at(bytes, 0) as usize;
    let Some(record) = bytes.get(..FRAME_BYTES + body_bytes) else {
        return Found::Bad;
    };
    if !body_bytes.is_multiple_of(ALIGN_BYTES) || checksum(record) != u32_at(bytes, 4) {
        return Found::Bad;
    }
    Found::Record {
        body: &record[FRAME_BYTES..],
        seq: u64_at(bytes, 8),
        bytes: record.len(),
    }
}

/// True if a record numbered `seq` or later begins somewhere in `bytes`, which begin at a multiple of [`ALIGN_BYTES`].
pub(super) fn has_later_record(bytes: &[u8], seq: u64) -> bool {
    // A record takes at least a frame, so numbers in the rest of the file are bounded; that spares most checksums.
    let last = seq.saturating_add((bytes.len() / FRAME_BYTES) as u64);
    (0..bytes.len().saturating_sub(FRAME_BYTES - 1))
        .step_by(ALIGN_BYTES)
        .any(|at| {
            let plausible = (seq..=last).contains(&u64_at(bytes, at + 8));
            plausible && matches!(decode_record(&bytes[at..]), Found::Record { .. })
        })
}
