//! A segment is one file of the journal. Its header names the segment before it and where that one ended, so that a torn
//! end, once it has been left behind, stays left behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Lsn;
use super::batch::{BLOCK_BYTES, SegmentId};
use super::disk::Disk;
use super::rules::{self, Rule};

const MAGIC: [u8; 8] = *b"facetdJS";
/// A higher version is refused.
const VERSION: u32 = 3;
const HEADER_BYTES: usize = 88;

/// What the first block of a segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) id: SegmentId,
    /// Counts segments, from 1.
    pub(super) number: u64,
    /// No unit of an earlier segment has this number or a later one, but for the one that goes on here.
    pub(super) first_lsn: Lsn,
    /// The segment before this one, and where its last batch ended; zeroes if nothing before it counts.
    pub(super) previous: SegmentId,
    pub(super) previous_end: u64,
    /// The number of the oldest segment that was needed when this one was begun; at most its own.
    pub(super) oldest: u64,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.id);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.first_lsn.word().to_le_bytes());
        bytes.extend(self.previous);
        bytes.extend(self.previous_end.to_le_bytes());
        bytes.extend(self.oldest.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        bytes.resize(BLOCK_BYTES, 0);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or("it is too short to be a segment")?;
        if bytes[..8] != MAGIC {
            return Err("it is no segment of a journal".to_owned());
        }
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"));
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"));
        if crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) != half(HEADER_BYTES - 4) {
            return Err("the checksum of its header is wrong".to_owned());
        }
        if half(8) != VERSION {
            return Err(format!("it has version {}, this facetd reads {VERSION}", half(8)));
        }
        let id = |at: usize| bytes[at..at + 16].try_into().expect("the slice has sixteen bytes");
        Ok(Self {
            id: id(16),
            number: word(32),
            first_lsn: Lsn::of_word(word(40)),
            previous: id(48),
            previous_end: word(64),
            oldest: word(72),
        })
    }
}

/// Where a segment lies.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.log"))
}

/// Where a file lies that is going to be a segment.
pub(super) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.spare"))
}

/// The number in the name of a segment.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

/// True for the name of a spare.
pub(super) fn is_spare(name: &str) -> bool {
    name.strip_suffix(".spare")
        .is_some_and(|number| number.parse::<u64>().is_ok())
}

/// A first segment is no longer: making it must not take longer than everything else that a start does.
const FIRST_BYTES: u64 = 16 << 20;
/// Where the disk is full a first or last segment may be as short: it takes some deletes, and the numbers.
const LEAST_BYTES: u64 = 64 << 10;
/// What is tried next where there is no room for more.
const SHORTER_BY: u64 = 4;

/// Makes the file of a segment with which a journal begins, or ends; `bytes` is the length of an ordinary one. Where the disk
/// is full it is as long as there is room for, so that a host can stop and start, and what is on the disk be deleted.
pub(super) fn allocate_first(disk: &Disk, spare: &Path, bytes: u64) -> io::Result<()> {
    let mut bytes = bytes.min(FIRST_BYTES);
    loop {
        let Err(error) = disk.allocate(spare, bytes) else {
            return Ok(());
        };
        disk.remove(spare)?;
        if !is_full(&error) || bytes <= LEAST_BYTES {
            return Err(error);
        }
        bytes = (bytes / SHORTER_BY).max(LEAST_BYTES);
    }
}

/// There is no room on the disk, or no more for this user.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A segment that is being written.
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) path: PathBuf,
    file: File,
    /// Where the next batch goes.
    pub(super) at: u64,
    pub(super) bytes: u64,
}

impl Segment {
    /// Makes a file of the right length a segment: header, then name, both durable before anything is acknowledged in it.
    pub(super) fn begin(disk: &Disk, dir: &Path, spare: &Path, header: Header) -> io::Result<Self> {
        Self::begin_with(disk, dir, spare, header, &[])
    }

    /// The same, with a batch in it that was made for it. Its name cuts off the end of the segment before, so whatever stands for
    /// that must be there first.
    pub(super) fn begin_with(disk: &Disk, dir: &Path, spare: &Path, header: Header, batch: &[u8]) -> io::Result<Self> {
        let bytes = std::fs::metadata(spare)?.len();
        let file = disk.open_synced(spare)?;
        disk.write_synced(spare, &file, &[&header.encode()[..], batch].concat(), 0)?;
        disk.sync_file(spare)?;
        let path = path(dir, header.number);
        disk.rename_new(spare, &path)?;
        if rules::hold(Rule::SegmentIsNamed, dir) {
            disk.sync_dir(dir)?;
        }
        Ok(Self {
            header,
            path,
            file,
            at: BLOCK_BYTES as u64 + batch.len() as u64,
            bytes,
        })
    }

    /// Goes on in one that a clean stop has begun, in which there is nothing.
    pub(super) fn go_on(disk: &Disk, path: &Path, header: Header) -> io::Result<Self> {
        Ok(Self {
            header,
            path: path.to_owned(),
            bytes: std::fs::metadata(path)?.len(),
            file: disk.open_synced(path)?,
            at: BLOCK_BYTES as u64,
        })
    }

    /// True for a length that is worth going on in.
    pub(super) fn is_long_enough(bytes: u64, ordinary_bytes: u64) -> bool {
        bytes >= ordinary_bytes.min(FIRST_BYTES)
    }

    /// Gives back the room behind its last batch; nothing is written to it any more.
    pub(super) fn cut(disk: &Disk, path: &Path, end: u64) -> io::Result<()> {
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        disk.set_len(path, &file, end)
    }

    /// Bytes of batches that still fit. One block is left for a batch without units, which says that older segments are not
    /// needed: it must be possible to let them go while there is no room for anything else.
    pub(super) fn room(&self) -> u64 {
        self.bytes.saturating_sub(self.at + BLOCK_BYTES as u64)
    }

    /// The same of one of that length in which there is nothing.
    pub(super) fn room_of(bytes: u64) -> u64 {
        bytes.saturating_sub(2 * BLOCK_BYTES as u64)
    }

    /// The last block is free.
    pub(super) fn has_last_block(&self) -> bool {
        self.at + BLOCK_BYTES as u64 <= self.bytes
    }

    /// Writes one batch; it is durable when this returns.
    pub(super) fn write(&mut self, disk: &Disk, batch: &[u8]) -> io::Result<()> {
        if rules::hold(Rule::BlockIsWrittenOnce, &self.path) {
            disk.write_synced(&self.path, &self.file, batch, self.at)?;
        } else {
            let before = self.at - BLOCK_BYTES as u64;
            let mut again = vec![0; BLOCK_BYTES];
            std::os::unix::fs::FileExt::read_exact_at(&File::open(&self.path)?, &mut again, before)?;
            again.extend_from_slice(batch);
            disk.write_synced(&self.path, &self.file, &again, before)?;
        }
        self.at += batch.len() as u64;
        Ok(())
    }
}
