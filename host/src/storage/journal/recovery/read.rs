//! Reading a journal: segments follow each other by number and id, batches are whole, and a unit is handed out when all of its pieces are
//! there. Nothing is changed, and nothing that was acknowledged is passed over.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{JournalError, Old, Read, damaged, named};
use crate::storage::journal::Lsn;
use crate::storage::journal::batch::{self, BLOCK_BYTES};
use crate::storage::journal::rules::{self, Rule};
use crate::storage::journal::segment::{self, Header};
use crate::storage::journal::unit::{self, Decoded};

/// Reads and checks all segments, and hands out each unit.
pub(in crate::storage::journal) fn read(
    dir: &Path,
    mut each: impl FnMut(Lsn, Decoded) -> Result<(), JournalError>,
) -> Result<Read, JournalError> {
    let (mut found, mut spares) = (BTreeMap::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(named(dir))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if let Some(number) = segment::number_of(name) {
            let path = entry.path();
            let header = header(&path)?;
            if header.number != number {
                return Err(damaged(&path, format!("it says that it is segment {}", header.number)));
            }
            found.insert(number, (path, header));
        } else if segment::is_spare(name) {
            spares.push(entry.path());
        }
    }
    let next_number = found.last_key_value().map_or(1, |(number, _)| number + 1);
    // What lies before a segment that nothing precedes was released, and only its removal is missing.
    let begin = found
        .iter()
        .rev()
        .find(|(_, (_, header))| header.previous == [0; 16])
        .map(|(number, _)| *number);
    let kept = found.split_off(&begin.unwrap_or(0));
    let obsolete = found.into_values().map(|(path, _)| path).collect();
    let mut segments: Vec<Old> = Vec::new();
    let mut reader = Assembler::default();
    let headers: Vec<_> = kept.into_values().collect();
    for (at, (path, header)) in headers.iter().enumerate() {
        let next = headers.get(at + 1).map(|(_, header)| header);
        if let Some(next) = next
            && (next.number != header.number + 1 || next.previous != header.id)
        {
            let why = format!("segment {} does not follow it; one is missing", next.number);
            return Err(damaged(path, why));
        }
        if at == 0 {
            reader.begin(header);
        }
        reader.oldest = reader.oldest.max(header.oldest);
        let (end, last) = read_segment(path, header, next.map(|next| next.previous_end), &mut reader, &mut each)?;
        segments.push(Old {
            path: path.clone(),
            header: *header,
            end,
            last,
        });
    }
    // Else its first units are only skipped, as those of one that was released.
    if let Some(first) = segments.first().filter(|first| first.header.number > reader.oldest)
        && rules::hold(Rule::MissingIsRefused, dir)
    {
        let (oldest, last) = (reader.oldest, first.header.number - 1);
        let which = if oldest == last {
            format!("segment {oldest} is")
        } else {
            format!("segments {oldest} to {last} are")
        };
        let why = format!("{which} missing before it, and needed: commits that were acknowledged may be in it only");
        return Err(damaged(&first.path, why));
    }
    Ok(Read {
        oldest: reader.oldest,
        segments,
        obsolete,
        spares,
        next_lsn: reader.next.max(Lsn::local(1)),
        units: reader.units,
        next_number,
    })
}

/// Units that hold again what a database that could not be written held of the journal.
pub(super) fn each_carried(
    segments: &[Old],
    mut each: impl FnMut(Lsn, Decoded) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    each_unit(segments, |lsn, unit| match unit.is_carried() {
        true => each(lsn, unit),
        false => Ok(()),
    })
}

pub(super) fn each_unit(
    segments: &[Old],
    mut each: impl FnMut(Lsn, Decoded) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let mut reader = Assembler::default();
    for (at, old) in segments.iter().enumerate() {
        if at == 0 {
            reader.begin(&old.header);
        }
        read_segment(&old.path, &old.header, Some(old.end), &mut reader, &mut each)?;
    }
    Ok(())
}

fn header(path: &Path) -> Result<Header, JournalError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(BLOCK_BYTES as u64).read_to_end(&mut bytes))
        .map_err(named(path))?;
    Header::decode(&bytes).map_err(|why| damaged(path, why))
}

/// Hands out the units of one segment. `end`: where its batches are known to end; none for the last segment. Answers where
/// they end, and where the last of them begins.
fn read_segment(
    path: &Path,
    header: &Header,
    end: Option<u64>,
    reader: &mut Assembler,
    each: &mut impl FnMut(Lsn, Decoded) -> Result<(), JournalError>,
) -> Result<(u64, Option<u64>), JournalError> {
    let bytes = fs::read(path).map_err(named(path))?;
    let end = match end {
        Some(end) => Some(usize::try_from(end).map_err(|error| damaged(path, error.to_string()))?),
        None => None,
    };
    let (mut at, mut last) = (BLOCK_BYTES, None);
    while at < end.unwrap_or(bytes.len()).min(bytes.len()) {
        let Some(batch) = batch::read(&bytes[at..], &header.id) else {
            break;
        };
        reader.oldest = reader.oldest.max(batch.oldest);
        for chunk in &batch.chunks {
            reader.take(chunk, each).map_err(|error| match error {
                Broken::Here(why) => damaged(path, format!("at byte {at}: {why}")),
                Broken::Other(error) => error,
            })?;
        }
        last = Some(at as u64);
        at += batch.padded_bytes;
    }
    match end {
        Some(end) if at != end => Err(damaged(
            path,
            format!("its batch at byte {at} cannot be read, and later ones were acknowledged"),
        )),
        Some(_) => Ok((at as u64, last)),
        None => {
            refuse_if_acknowledged(path, &bytes, at, header)?;
            Ok((at as u64, last))
        }
    }
}

/// Behind a bad batch at `at`: any good one. It was written after the bad one was durable, and says so.
fn refuse_if_acknowledged(path: &Path, bytes: &[u8], at: usize, header: &Header) -> Result<(), JournalError> {
    if !rules::hold(Rule::DamageIsRefused, path) {
        return Ok(());
    }
    let proof = (at..bytes.len())
        .step_by(BLOCK_BYTES)
        .skip(1)
        .find_map(|at| batch::read(&bytes[at..], &header.id));
    match proof {
        Some(batch) => Err(damaged(
            path,
            format!(
                "its batch at byte {at} cannot be read, and the one of unit {} behind it says that it was acknowledged: \
                 everything up to unit {} was",
                batch.first_lsn, batch.synced
            ),
        )),
        None => Ok(()),
    }
}

/// Puts chunks together again.
#[derive(Default)]
struct Assembler {
    /// The unit that comes next, or whose chunks come.
    next: Lsn,
    partial: Option<Vec<u8>>,
    /// The first chunks may belong to a unit whose beginning was released with its segment; it is not needed.
    headless: bool,
    units: u64,
    /// The number of the oldest segment that is needed, as far as it was read.
    oldest: u64,
}

enum Broken {
    Here(String),
    Other(JournalError),
}

impl Assembler {
    fn begin(&mut self, first: &Header) {
        self.next = first.first_lsn;
        self.headless = true;
    }

    fn take(
        &mut self,
        chunk: &batch::Chunk<'_>,
        each: &mut impl FnMut(Lsn, Decoded) -> Result<(), JournalError>,
    ) -> Result<(), Broken> {
        // After a clean stop numbers may be skipped at the beginning of a segment only.
        if chunk.lsn != self.next {
            let why = format!("unit {} where {} should be", chunk.lsn, self.next);
            return Err(Broken::Here(why));
        }
        match (&mut self.partial, chunk.first) {
            (None, true) => self.partial = Some(chunk.bytes.to_vec()),
            (Some(bytes), false) => bytes.extend_from_slice(chunk.bytes),
            (None, false) if self.headless => {}
            (None, false) | (Some(_), true) => {
                return Err(Broken::Here(format!("a piece of unit {} is missing", chunk.lsn)));
            }
        }
        if !chunk.last {
            return Ok(());
        }
        self.next = chunk.lsn.next();
        self.headless = false;
        let Some(bytes) = self.partial.take() else {
            return Ok(());
        };
        let decoded =
            unit::decode(&bytes).map_err(|why| Broken::Here(format!("unit {} makes no sense: {why}", chunk.lsn)))?;
        self.units += 1;
        each(chunk.lsn, decoded).map_err(Broken::Other)
    }
}
