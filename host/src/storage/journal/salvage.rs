//! What a damaged journal still holds becomes a journal of its own, which is recovered like any other: all units before the first
//! place that cannot be read. Of those behind it nobody knows what they build upon, so they are not carried out, but whose they
//! are is told, and their files are copied before anything is written to them: they may be newer. The damaged journal is kept
//! aside, with these copies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Lsn;
use super::batch::{self, BLOCK_BYTES, Batch, SegmentId};
use super::disk::Disk;
use super::local::{self, JournalOptions};
use super::recovery::{self, JournalError};
use super::segment::{self, Header};
use super::unit::{self, Decoded};
use super::writer::new_id;
use crate::ids::ObjectId;
use crate::sys::layout;

/// Where the new journal is made.
const NEW: &str = "journal.salvaged";
/// Where the damaged one is kept, with a number.
const DAMAGED: &str = "journal.damaged";
/// In it, the files of objects that have lost commits, as they were.
const FILES: &str = "files";
/// A piece of a unit that is shorter begins the next batch, unless it is all.
const PIECE_BYTES_MIN: usize = 4096;
/// Bytes of a batch's header that say whose segment it is in.
const ID_AT: std::ops::Range<usize> = 16..32;

/// What was found behind the damage, and kept aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Salvaged {
    /// What is damaged.
    pub(crate) why: String,
    /// Where the damaged journal is now.
    pub(crate) kept: PathBuf,
    /// The last unit before the damage.
    pub(crate) upto: Lsn,
    /// Units behind it that can be read.
    pub(crate) left: u64,
    /// What these are of: names of namespaces' directories, and objects.
    pub(crate) objects: BTreeSet<(String, ObjectId)>,
}

/// Puts what is good of a damaged journal in its place. None if it is not damaged: then nothing is done. `mark` is called with what
/// is known before anything is changed.
pub(crate) fn salvage(
    root: &Path,
    options: &JournalOptions,
    mark: impl FnOnce(&Salvaged) -> io::Result<()>,
) -> Result<Option<Salvaged>, JournalError> {
    let (dir, new, disk) = (local::dir(root), root.join(NEW), &options.disk);
    if !dir.exists() && new.is_dir() {
        // The new one is complete before the old one loses its name.
        disk.rename(&new, &dir)?;
        disk.sync_dir(root)?;
    }
    if !dir.is_dir() {
        return Ok(None);
    }
    let damage = match recovery::read(&dir, |_, _| Ok(())) {
        Ok(_) => return Ok(None),
        Err(damage @ JournalError::Damaged { .. }) => damage,
        Err(error) => return Err(error),
    };
    let mut found = Scan::of(&dir)?;
    let mut salvaged = Salvaged {
        why: String::new(),
        kept: kept(root),
        upto: Lsn::ZERO,
        left: 0,
        objects: BTreeSet::new(),
    };
    found.read(|lsn, _, unit, is_sound| {
        match is_sound {
            true => salvaged.upto = lsn,
            false => {
                salvaged.left += 1;
                salvaged.objects.insert((unit.namespace, unit.object));
            }
        }
        Ok(())
    })?;
    let Some(why) = found.damage.take() else {
        // It is nowhere where anything could be cut.
        return Err(damage);
    };
    salvaged.why = why;
    if new.exists() {
        // Of a salvage that was not finished.
        fs::remove_dir_all(&new)?;
    }
    crate::sys::data_dir::private_dir(&new)?;
    let mut writing = Writing::begin(&new, disk, options.segment_bytes, found.number, salvaged.upto.next())?;
    let mut again = Scan::of(&dir)?;
    again.read(|lsn, bytes, _, is_sound| match is_sound && lsn <= salvaged.upto {
        true => writing.unit(lsn, bytes),
        false => Ok(()),
    })?;
    writing.finish()?;
    keep_files(root, &dir.join(FILES), &salvaged.objects).map_err(recovery::no_room)?;
    disk.sync_all(root)?;
    mark(&salvaged)?;
    disk.exchange(&dir, &new)?;
    disk.rename(&new, &salvaged.kept)?;
    disk.sync_dir(root)?;
    Ok(Some(salvaged))
}

/// What an object has moved into its databases since the damage is in none of the units that are carried out, and these are older: one
/// over the other may be torn. So all is kept as it was, logs included.
fn keep_files(root: &Path, target: &Path, objects: &BTreeSet<(String, ObjectId)>) -> io::Result<()> {
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    for (namespace, object) in objects {
        let (from, to) = (root.join(namespace), target.join(namespace));
        fs::create_dir_all(&to)?;
        for file in layout::files_of(&from, *object) {
            let path = file?.path;
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                fs::copy(&path, to.join(name))?;
            }
        }
    }
    Ok(())
}

/// A name that nothing has.
fn kept(root: &Path) -> PathBuf {
    (1..)
        .map(|number: u32| root.join(format!("{DAMAGED}{number}")))
        .find(|path| !path.exists())
        .expect("a free number is found before u32 ends")
}

/// A file of the journal, and what its first block says, or why that says nothing.
type Segment = (PathBuf, Result<Header, String>);

/// Reads what can be read of segments, whatever lies between.
struct Scan {
    segments: BTreeMap<u64, Segment>,
    /// The number that the new journal begins with: no segment had it.
    number: u64,
    /// What is damaged first.
    damage: Option<String>,
    next: Option<Lsn>,
    partial: Option<Vec<u8>>,
    /// The chunks that come belong to a unit whose beginning is not there.
    headless: bool,
    /// The oldest segment that is needed, as far as it was read.
    oldest: u64,
}

impl Scan {
    fn of(dir: &Path) -> Result<Self, JournalError> {
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(segment::number_of);
            if let Some(number) = number {
                let header = read_header(&entry.path(), number)?;
                segments.insert(number, (entry.path(), header));
            }
        }
        let number = segments.last_key_value().map_or(1, |(number, _)| number + 1);
        // What lies before a segment that nothing precedes was released, and only its removal is missing.
        let begins = |(_, header): &Segment| header.as_ref().is_ok_and(|header| header.previous == [0; 16]);
        let begin = segments
            .iter()
            .rev()
            .find(|(_, segment)| begins(segment))
            .map(|(number, _)| *number);
        let segments = segments.split_off(&begin.unwrap_or(0));
        Ok(Self {
            segments,
            number,
            damage: None,
            next: None,
            partial: None,
            headless: true,
            oldest: 0,
        })
    }

    /// Hands out each unit that can be read: its number, its bytes, what they say, and whether nothing before it is damaged.
    fn read(
        &mut self,
        mut each: impl FnMut(Lsn, &[u8], Decoded, bool) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let segments: Vec<_> = std::mem::take(&mut self.segments).into_iter().collect();
        self.look_for_first(&segments)?;
        let mut before: Option<(u64, SegmentId)> = None;
        for (at, (number, (path, header))) in segments.iter().enumerate() {
            let next = segments.get(at + 1).filter(|(next, _)| *next == number + 1);
            let end = next.and_then(|(_, (_, header))| header.as_ref().ok().map(|header| header.previous_end));
            let is_last = at + 1 == segments.len();
            let bytes = fs::read(path)?;
            let id = match header {
                Ok(header) => {
                    if before.is_some_and(|(last, id)| last + 1 != *number || id != header.previous) {
                        self.damaged(path, "it does not follow the segment before it; one is missing");
                    }
                    if before.is_none() {
                        self.next = Some(header.first_lsn);
                    }
                    header.id
                }
                Err(why) => {
                    self.damaged(path, why);
                    id_of_batches(&bytes)
                }
            };
            before = Some((*number, id));
            self.read_segment(path, &bytes, id, end, is_last, &mut each)?;
        }
        Ok(())
    }

    /// Batches say which segment is the oldest that is needed. If that is not there, nobody knows what the first units build upon.
    fn look_for_first(&mut self, segments: &[(u64, Segment)]) -> Result<(), JournalError> {
        for (_, (path, header)) in segments {
            let Ok(header) = header else { continue };
            self.oldest = self.oldest.max(header.oldest);
            let bytes = fs::read(path)?;
            let batches = (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES);
            let named = batches.filter_map(|at| Some(batch::read(&bytes[at..], &header.id)?.oldest));
            self.oldest = self.oldest.max(named.max().unwrap_or(0));
        }
        if let Some((number, (path, _))) = segments.first().filter(|(number, _)| *number > self.oldest) {
            let (oldest, path) = (self.oldest, path.clone());
            self.damaged(
                &path,
                &format!("segment {oldest} is missing before segment {number}, and needed"),
            );
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        path: &Path,
        bytes: &[u8],
        id: SegmentId,
        end: Option<u64>,
        is_last: bool,
        each: &mut impl FnMut(Lsn, &[u8], Decoded, bool) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let end = end.map_or(bytes.len(), |end| usize::try_from(end).unwrap_or(usize::MAX));
        let mut at = BLOCK_BYTES;
        while at < end {
            let Some(batch) = bytes.get(at..).and_then(|rest| batch::read(rest, &id)) else {
                let behind = (at..bytes.len().min(end)).step_by(BLOCK_BYTES).skip(1);
                let next = behind.into_iter().find(|at| batch::read(&bytes[*at..], &id).is_some());
                match next {
                    // The end of the last one may never have been finished.
                    None if is_last => return Ok(()),
                    None => {
                        self.damaged(path, &format!("from byte {at} on it cannot be read"));
                        return Ok(());
                    }
                    Some(next) => {
                        self.damaged(path, &format!("its batch at byte {at} cannot be read"));
                        at = next;
                        continue;
                    }
                }
            };
            for chunk in &batch.chunks {
                self.take(path, chunk, each)?;
            }
            at += batch.padded_bytes;
        }
        Ok(())
    }

    fn take(
        &mut self,
        path: &Path,
        chunk: &batch::Chunk<'_>,
        each: &mut impl FnMut(Lsn, &[u8], Decoded, bool) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        if self.next.is_some_and(|next| next != chunk.lsn) {
            self.damaged(path, &format!("before unit {} some are missing", chunk.lsn));
            (self.partial, self.headless) = (None, true);
        }
        self.next = Some(chunk.lsn);
        match (&mut self.partial, chunk.first) {
            (_, true) => {
                if self.partial.is_some() {
                    self.damaged(path, &format!("a piece of unit {} is missing", chunk.lsn));
                }
                self.partial = Some(chunk.bytes.to_vec());
            }
            (Some(bytes), false) => bytes.extend_from_slice(chunk.bytes),
            (None, false) if self.headless => {}
            (None, false) => self.damaged(path, &format!("a piece of unit {} is missing", chunk.lsn)),
        }
        if !chunk.last {
            return Ok(());
        }
        (self.next, self.headless) = (Some(chunk.lsn.next()), false);
        let Some(bytes) = self.partial.take() else {
            return Ok(());
        };
        match unit::decode(&bytes) {
            Ok(decoded) => each(chunk.lsn, &bytes, decoded, self.damage.is_none()),
            Err(why) => {
                self.damaged(path, &format!("unit {} makes no sense: {why}", chunk.lsn));
                Ok(())
            }
        }
    }

    fn damaged(&mut self, path: &Path, why: &str) {
        self.damage.get_or_insert_with(|| format!("{}: {why}", path.display()));
    }
}

fn read_header(path: &Path, number: u64) -> io::Result<Result<Header, String>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(BLOCK_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Header::decode(&bytes).and_then(|header| match header.number == number {
        true => Ok(header),
        false => Err(format!("it says that it is segment {}", header.number)),
    }))
}

/// What a segment's first batch that can be read says; the header does not.
fn id_of_batches(bytes: &[u8]) -> SegmentId {
    let blocks = bytes.chunks(BLOCK_BYTES).skip(1);
    let ids = blocks.filter_map(|block| SegmentId::try_from(block.get(ID_AT)?).ok());
    let mut known = ids.zip((BLOCK_BYTES..).step_by(BLOCK_BYTES));
    let found = known.find(|(id, at)| batch::read(&bytes[*at..], id).is_some());
    found.map_or([0; 16], |(id, _)| id)
}

/// The journal that is made.
struct Writing<'a> {
    dir: &'a Path,
    disk: &'a Disk,
    segment_bytes: u64,
    oldest: u64,
    header: Header,
    path: PathBuf,
    file: fs::File,
    at: u64,
    batch: Batch,
    /// The first unit in the batch.
    first: Option<Lsn>,
    /// Where nothing was begun yet, the first segment says where numbers go on.
    is_empty: bool,
}

impl<'a> Writing<'a> {
    fn begin(
        dir: &'a Path,
        disk: &'a Disk,
        segment_bytes: u64,
        number: u64,
        first_lsn: Lsn,
    ) -> Result<Self, JournalError> {
        let header = Header {
            id: new_id()?,
            number,
            first_lsn,
            previous: [0; 16],
            previous_end: 0,
            oldest: number,
        };
        let path = segment::path(dir, number);
        let file = disk.open(&path, true)?;
        Ok(Self {
            dir,
            disk,
            segment_bytes,
            oldest: number,
            header,
            path,
            file,
            at: BLOCK_BYTES as u64,
            batch: Batch::new(),
            first: None,
            is_empty: true,
        })
    }

    fn unit(&mut self, lsn: Lsn, bytes: &[u8]) -> Result<(), JournalError> {
        if std::mem::take(&mut self.is_empty) {
            self.header.first_lsn = lsn;
        }
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            let piece = left.min(self.batch.room());
            if piece < left && piece < PIECE_BYTES_MIN {
                self.flush()?;
                continue;
            }
            self.first.get_or_insert(lsn);
            self.batch.begin_chunk(lsn, at == 0, piece == left, piece);
            self.batch.extend(&bytes[at..at + piece]);
            at += piece;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        let Some(first) = self.first.take() else { return Ok(()) };
        let batch = std::mem::replace(&mut self.batch, Batch::new());
        if self.at + batch.padded_bytes() > self.segment_bytes && self.at > BLOCK_BYTES as u64 {
            self.next_segment(first)?;
        }
        let batch = batch.finish(&self.header.id, first.previous(), self.oldest);
        self.disk.write(&self.path, &self.file, &batch, self.at)?;
        self.at += batch.len() as u64;
        Ok(())
    }

    fn next_segment(&mut self, first_lsn: Lsn) -> Result<(), JournalError> {
        self.close_segment()?;
        self.header = Header {
            id: new_id()?,
            number: self.header.number + 1,
            first_lsn,
            previous: self.header.id,
            previous_end: self.at,
            oldest: self.oldest,
        };
        self.path = segment::path(self.dir, self.header.number);
        self.file = self.disk.open(&self.path, true)?;
        self.at = BLOCK_BYTES as u64;
        Ok(())
    }

    fn close_segment(&self) -> Result<(), JournalError> {
        self.disk.write(&self.path, &self.file, &self.header.encode(), 0)?;
        self.disk.sync_file(&self.path)?;
        Ok(())
    }

    /// All of it is on disk when this returns.
    fn finish(mut self) -> Result<(), JournalError> {
        self.flush()?;
        self.close_segment()?;
        self.disk.sync_dir(self.dir)?;
        Ok(())
    }
}
