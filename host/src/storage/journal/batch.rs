//! A batch is what one write makes durable. It begins at a block of its own, so that no block with an acknowledged byte is
//! ever written again, and its checksum covers the id of its segment, so that what a recycled file held before never counts.

use super::Lsn;

/// Batches begin at multiples of this.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Bytes before the chunks.
pub(super) const HEADER_BYTES: usize = 56;
/// Bytes before a chunk's own.
pub(super) const CHUNK_HEADER_BYTES: usize = 16;
/// The longest piece of a unit in one chunk.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Chunks of a batch, with their headers. What waits behind a long unit is not written with it in one go.
pub(super) const BODY_BYTES_MAX: usize = 2 << 20;

const MAGIC: [u8; 4] = *b"fbat";
const FIRST: u32 = 1;
const LAST: u32 = 2;
const ALIGN_BYTES: usize = 8;

/// Identifies one use of one segment file.
pub(super) type SegmentId = [u8; 16];

/// A piece of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) lsn: Lsn,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) bytes: &'a [u8],
}

/// A batch that is being filled.
pub(super) struct Batch {
    bytes: Vec<u8>,
    chunks: u32,
    first_lsn: Lsn,
    /// Its chunks, with their headers, take no more.
    body_max: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self::within(u64::MAX)
    }

    /// One that takes at most so many bytes on disk, a multiple of a block.
    pub(super) fn within(bytes: u64) -> Self {
        let body_max = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .saturating_sub(HEADER_BYTES);
        Self {
            body_max: body_max.min(BODY_BYTES_MAX),
            bytes: vec![0; HEADER_BYTES],
            chunks: 0,
            first_lsn: Lsn::ZERO,
        }
    }

    /// Bytes of a unit that still fit; 0 if it is not worth a chunk.
    pub(super) fn room(&self) -> usize {
        let used = self.bytes.len() - HEADER_BYTES + CHUNK_HEADER_BYTES + ALIGN_BYTES;
        self.body_max.saturating_sub(used).min(CHUNK_BYTES_MAX)
    }

    /// Bytes the batch takes on disk.
    pub(super) fn padded_bytes(&self) -> u64 {
        self.bytes.len().next_multiple_of(BLOCK_BYTES) as u64
    }

    /// Bytes that a batch takes on disk with chunks of so many, each of a unit, at most.
    pub(super) fn bytes_for(pieces: impl Iterator<Item = u64>) -> u64 {
        let chunks = pieces.map(|bytes| bytes + (CHUNK_HEADER_BYTES + ALIGN_BYTES) as u64);
        let body = chunks.sum::<u64>().min(BODY_BYTES_MAX as u64);
        (HEADER_BYTES as u64 + body).next_multiple_of(BLOCK_BYTES as u64)
    }

    /// Begins a chunk; its bytes follow by [`Self::extend`].
    pub(super) fn begin_chunk(&mut self, lsn: Lsn, first: bool, last: bool, bytes: usize) {
        if self.chunks == 0 {
            self.first_lsn = lsn;
        }
        self.chunks += 1;
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN_BYTES), 0);
        self.bytes.extend(lsn.word().to_le_bytes());
        let bytes = u32::try_from(bytes).expect("a chunk has at most a MiB");
        self.bytes.extend(bytes.to_le_bytes());
        let flags = if first { FIRST } else { 0 } | if last { LAST } else { 0 };
        self.bytes.extend(flags.to_le_bytes());
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The batch as it is written, whole blocks. `synced`: everything up to it was durable before this was written. `oldest`:
    /// the number of the oldest segment that was needed then.
    pub(super) fn finish(mut self, id: &SegmentId, synced: Lsn, oldest: u64) -> Vec<u8> {
        let body = u32::try_from(self.bytes.len() - HEADER_BYTES).expect("a batch has at most some MiB");
        let header = &mut self.bytes[..HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&body.to_le_bytes());
        header[12..16].copy_from_slice(&self.chunks.to_le_bytes());
        header[16..32].copy_from_slice(id);
        header[32..40].copy_from_slice(&self.first_lsn.word().to_le_bytes());
        header[40..48].copy_from_slice(&synced.word().to_le_bytes());
        header[48..56].copy_from_slice(&oldest.to_le_bytes());
        let crc = checksum(&self.bytes);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        self.bytes
    }
}

/// Of everything but itself.
fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&batch[..4]), &batch[8..])
}

/// These bytes as a batch of the segment zero: identity, length and checksum are right.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut batch = bytes.to_vec();
    batch.resize(batch.len().clamp(HEADER_BYTES, HEADER_BYTES + BODY_BYTES_MAX), 0);
    let body = u32::try_from(batch.len() - HEADER_BYTES).expect("it was cut to some MiB");
    batch[..4].copy_from_slice(&MAGIC);
    batch[8..12].copy_from_slice(&body.to_le_bytes());
    batch[16..32].fill(0);
    let crc = checksum(&batch);
    batch[4..8].copy_from_slice(&crc.to_le_bytes());
    batch
}

/// A good batch, as it is written into the segment of that id.
pub(super) fn moved(batch: &[u8], id: &SegmentId) -> Vec<u8> {
    let mut batch = batch.to_vec();
    let body_bytes = u32_at(&batch, 8) as usize;
    batch[16..32].copy_from_slice(id);
    let crc = checksum(&batch[..HEADER_BYTES + body_bytes]);
    batch[4..8].copy_from_slice(&crc.to_le_bytes());
    batch
}

/// A batch as it is read.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) first_lsn: Lsn,
    pub(super) synced: Lsn,
    /// The number of the oldest segment that was needed when it was written.
    pub(super) oldest: u64,
    pub(super) chunks: Vec<Chunk<'a>>,
    /// Bytes it takes on disk.
    pub(super) padded_bytes: usize,
}

/// The batch of that segment at the beginning of `bytes`, if a valid one is there.
pub(super) fn read<'a>(bytes: &'a [u8], id: &SegmentId) -> Option<Found<'a>> {
    let header = bytes.get(..HEADER_BYTES)?;
    if header[..4] != MAGIC || header[16..32] != *id {
        return None;
    }
    let body_bytes = u32_at(header, 8) as usize;
    if body_bytes > BODY_BYTES_MAX {
        return None;
    }
    let batch = bytes.get(..HEADER_BYTES + body_bytes)?;
    if checksum(batch) != u32_at(header, 4) {
        return None;
    }
    let chunks = chunks(&batch[HEADER_BYTES..], u32_at(header, 12))?;
    Some(Found {
        first_lsn: Lsn::of_word(u64_at(header, 32)),
        synced: Lsn::of_word(u64_at(header, 40)),
        oldest: u64_at(header, 48),
        chunks,
        padded_bytes: batch.len().next_multiple_of(BLOCK_BYTES),
    })
}

fn chunks(body: &[u8], count: u32) -> Option<Vec<Chunk<'_>>> {
    let (mut found, mut at) = (Vec::new(), 0usize);
    for _ in 0..count {
        at = at.next_multiple_of(ALIGN_BYTES);
        let header = body.get(at..at + CHUNK_HEADER_BYTES)?;
        let bytes = u32_at(header, 8) as usize;
        let flags = u32_at(header, 12);
        at += CHUNK_HEADER_BYTES;
        found.push(Chunk {
            lsn: Lsn::of_word(u64_at(header, 0)),
            first: flags & FIRST != 0,
            last: flags & LAST != 0,
            bytes: body.get(at..at.checked_add(bytes)?)?,
        });
        at += bytes;
    }
    (at == body.len()).then_some(found)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}
