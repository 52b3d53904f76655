//! The head of an object's history stands at the end of its index's header, and is the only part of the file that is written in
//! place. It says no more than what is durable, and nothing of the journal is let go before it says that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::frame::{self, HEADER_BYTES};
use crate::ids::ObjectId;

/// Where in the header it stands.
pub(super) const HEAD_AT: usize = 64;

/// How far the history of an object has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Head {
    /// The number of its newest unit, 0 before the first.
    pub(crate) seq: u64,
    /// The hash of that unit, 0 before the first.
    pub(crate) hash: u64,
}

/// What the journal knows of a head that the file may not say yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unshown {
    /// The file says it.
    Nothing,
    /// Not all of it is durable, so no file can say it.
    Queued,
    /// It has come as far as this, and all of that is durable.
    Durable(Head),
}

impl Head {
    /// As it is written: 32 bytes, so that they are within one sector.
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES - HEAD_AT] {
        let mut slot = [0; HEADER_BYTES - HEAD_AT];
        slot[..8].copy_from_slice(&self.seq.to_le_bytes());
        slot[8..16].copy_from_slice(&self.hash.to_le_bytes());
        let crc = crc32c::crc32c(&slot[..28]).to_le_bytes();
        slot[28..].copy_from_slice(&crc);
        slot
    }

    /// None if it was written in part, or is damaged.
    pub(super) fn decode(header: &[u8]) -> Option<Self> {
        let slot = header.get(HEAD_AT..HEADER_BYTES)?;
        let word = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("the slice has eight bytes"));
        let crc = u32::from_le_bytes(slot[28..].try_into().expect("the slice has four bytes"));
        (crc32c::crc32c(&slot[..28]) == crc).then(|| Self {
            seq: word(0),
            hash: word(8),
        })
    }

    /// Puts it into the header at the beginning of an index.
    pub(crate) fn put(self, index: &mut [u8]) {
        if let Some(slot) = index.get_mut(HEAD_AT..HEADER_BYTES) {
            slot.copy_from_slice(&self.encode());
        }
    }
}

/// Where a head is written in an index, and that comes to be there.
pub(crate) fn head_bytes(head: Head) -> (u64, [u8; HEADER_BYTES - HEAD_AT]) {
    (HEAD_AT as u64, head.encode())
}

/// What the index at `path` says of the history; nothing if there is no index, or none of this object.
pub(crate) fn head(path: &Path, object: ObjectId) -> io::Result<Option<Head>> {
    Ok(match look(path, object)? {
        Place::Of(head) => head,
        Place::Nothing | Place::Strange => None,
    })
}

/// What is where an index should be.
pub(crate) enum Place {
    Nothing,
    /// It cannot be told for the index of the object.
    Strange,
    /// The index of the object. Its head may have been written in part.
    Of(Option<Head>),
}

/// Looks at the header of an index.
pub(crate) fn look(path: &Path, object: ObjectId) -> io::Result<Place> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::Nothing),
        Err(error) => return Err(error),
    };
    let mut header = [0; HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Place::Strange),
        Err(error) => return Err(error),
    }
    Ok(match frame::decode_header(&header, object) {
        Ok(header) => Place::Of(header.head),
        Err(_) => Place::Strange,
    })
}
