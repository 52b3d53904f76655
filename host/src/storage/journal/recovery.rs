//! After an unclean stop the journal is what counts. It is read as far as it is whole; a bad batch with proof behind it
//! that it was once acknowledged is damage, and refused, never cut. What is read is made durable before it is acted upon,
//! and everything done before the first request; doing it twice changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Lsn;
use super::batch::{self, BLOCK_BYTES};
use super::disk::Disk;
use super::local::JournalOptions;
use super::recovering::Stage;
use super::redo::Redo;
use super::rules::{self, Rule};
use super::segment::{self, Header, Segment};
use super::writer::new_id;
use crate::sys::die::{self, Point};

mod read;

pub(super) use read::read;
use read::{each_carried, each_unit};

/// Why a journal cannot be used. Everything is left as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The operating system failed.
    #[error("the journal cannot be used: {0}. Everything in it is kept: mend that, then start the host again")]
    Io(String),
    /// Not even a short segment fits on the disk.
    #[error(
        "there is no room for the journal: {0}. Nothing was changed; make room on the disk of the data directory, 64 MiB or \
         more, and start again"
    )]
    NoRoom(String),
    /// The directory was in use, and its journal is gone.
    #[error(
        "{0} is missing or empty, though the host did not stop cleanly: commits that were acknowledged may be in it only. \
         Check that its disk is there, and put it back; or, to go on with what the databases hold without it, remove the \
         file DIRTY beside it"
    )]
    Missing(PathBuf),
    /// It holds something that cannot be, but for damage.
    #[error(
        "the journal is damaged: {path}: {why}. Nothing was changed. Restore the data directory from a backup; or run \
         `facetd recover --salvage`, which carries out what lies before the damage: commits that were acknowledged will be \
         missing, and it says of which objects"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What was found and done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Recovered {
    /// Units that were read.
    pub(crate) units: u64,
    /// Bytes of segments that hold them.
    pub(crate) bytes: u64,
    /// Databases that were brought up to date.
    pub(crate) databases: usize,
    /// Databases that were missing; what the journal held of them is kept beside their place.
    pub(crate) lost: usize,
    /// Objects whose index is known from the journal: by namespace directory and object.
    pub(crate) objects: std::collections::BTreeSet<(PathBuf, crate::ids::ObjectId)>,
    /// Objects of which the journal knew more than could be put into their index.
    pub(crate) doubtful: std::collections::BTreeSet<(PathBuf, crate::ids::ObjectId)>,
    /// What has become of alarms.
    pub(crate) alarms: super::redo::AlarmsOf,
    /// Past every number of a spare.
    pub(super) next_spare: u64,
}

/// A segment on disk whose header is good.
pub(super) struct Old {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    /// Where its good batches end.
    pub(super) end: u64,
    /// Where the last of them begins; none if it has none.
    last: Option<u64>,
}

/// Reads a journal without changing anything: the segments that count, oldest first, and the number after the last unit.
pub(super) struct Read {
    pub(super) segments: Vec<Old>,
    /// Segments that were left behind.
    obsolete: Vec<PathBuf>,
    spares: Vec<PathBuf>,
    pub(super) next_lsn: Lsn,
    pub(super) units: u64,
    next_number: u64,
    /// The oldest segment that is needed, as the last of them says.
    oldest: u64,
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Errors of the operating system do not say of which file they are.
fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub(super) fn no_room(error: io::Error) -> JournalError {
    match segment::is_full(&error) {
        true => JournalError::NoRoom(error.to_string()),
        false => error.into(),
    }
}

fn damaged(path: &Path, why: impl Into<String>) -> JournalError {
    let why = why.into();
    JournalError::Damaged { path: path.into(), why }
}

/// Recovers and begins the next segment.
pub(super) fn recover(
    root: &Path,
    dir: &Path,
    was_dirty: bool,
    options: &JournalOptions,
    mend: impl FnOnce(&Recovered) -> io::Result<()>,
) -> Result<(Segment, Vec<PathBuf>, Recovered), JournalError> {
    let disk = &options.disk;
    if !dir.is_dir() {
        // The journal's directory is durable before the first namespace is. A namespace without it has lost it.
        if was_dirty && has_namespaces(root)? {
            return Err(JournalError::Missing(dir.into()));
        }
        crate::sys::data_dir::private_dir(dir).map_err(named(dir))?;
    }
    // Also if it is there: the process that made it may have been killed before this.
    disk.sync_dir(root)?;
    let (mut again, mut carried, mut first) = (Vec::new(), false, None);
    let mut read = read(dir, |lsn, unit| {
        first.get_or_insert(lsn);
        if unit.is_carried() {
            carried = true;
        } else if unit.again != Lsn::ZERO {
            again.push((unit.again, lsn, unit));
        }
        Ok(())
    })?;
    // What repeats a unit stands for it only if that one was released, and then it comes before all others.
    again.retain(|(origin, ..)| first.is_some_and(|first| *origin < first));
    again.sort_by_key(|(origin, lsn, _)| (*origin, *lsn));
    if was_dirty && read.segments.is_empty() && read.obsolete.is_empty() && has_namespaces(root)? {
        return Err(JournalError::Missing(dir.into()));
    }
    let mut recovered = Recovered {
        units: read.units,
        bytes: read.segments.iter().map(|old| old.end).sum(),
        ..Recovered::default()
    };
    if read.units > 0 {
        // What a killed process had written and not synced is read as well: it must not vanish after it was acted upon.
        if rules::hold(Rule::ReadIsSynced, dir) {
            for old in &read.segments {
                disk.sync_file(&old.path)?;
            }
            disk.sync_dir(dir)?;
            write_last_again(dir, &mut read, disk)?;
        }
        tracing::info!(
            units = read.units,
            mib = recovered.bytes >> 20,
            "recovering from the journal"
        );
        let mut redo = Redo::new(root, disk.clone(), options.recovering.clone());
        // What is later than they are is here as well, and comes behind them.
        if carried {
            each_carried(&read.segments, |lsn, unit| {
                redo.plan(lsn, unit);
                Ok(())
            })?;
        }
        for (_, lsn, unit) in again {
            redo.plan(lsn, unit);
        }
        each_unit(&read.segments, |lsn, unit| {
            if unit.again == Lsn::ZERO {
                redo.plan(lsn, unit);
            }
            Ok(())
        })?;
        die::pass(Point::RedoPlanned);
        redo.prepare()?;
        die::pass(Point::RedoPrepared);
        if carried {
            each_carried(&read.segments, |_, unit| redo.apply(&unit))?;
        }
        let mut done = 0;
        each_unit(&read.segments, |_, unit| {
            if unit.again == Lsn::ZERO {
                redo.apply(&unit)?;
            }
            die::pass(Point::RedoUnit);
            done += 1;
            options.recovering.tell(Stage::Units { done, all: read.units });
            Ok(())
        })?;
        let redone = redo.finish()?;
        (recovered.databases, recovered.lost) = (redone.databases, redone.lost);
        (recovered.objects, recovered.doubtful) = (redone.objects, redone.doubtful);
        recovered.alarms = redone.alarms;
        die::pass(Point::RedoDone);
    }
    mend(&recovered)?;
    die::pass(Point::Mended);
    if read.units > 0 && rules::hold(Rule::RedoIsSynced, root) {
        options.recovering.tell(Stage::Syncing);
        disk.sync_all(root)?;
        die::pass(Point::RecoverySynced);
    }
    let mut spares: Vec<_> = Vec::new();
    for spare in &read.spares {
        // One that was being made, or of another length.
        if fs::metadata(spare)?.len() == options.segment_bytes {
            spares.push(spare.clone());
        } else {
            disk.remove(spare)?;
        }
    }
    recovered.next_spare = next_spare(&spares);
    if let ([empty], true) = (&read.segments[..], read.obsolete.is_empty() && !was_dirty)
        && empty.end == BLOCK_BYTES as u64
        && Segment::is_long_enough(fs::metadata(&empty.path)?.len(), options.segment_bytes)
    {
        // Nobody has written to it since the clean stop that has made it: making another one would only take time.
        let segment = Segment::go_on(disk, &empty.path, empty.header)?;
        return Ok((segment, spares, recovered));
    }
    let mut obsolete = read.obsolete.clone();
    obsolete.extend(read.segments.iter().map(|old| old.path.clone()));
    let spare = match spares.pop() {
        Some(spare) => spare,
        None => {
            let spare = segment::spare_path(dir, recovered.next_spare);
            recovered.next_spare += 1;
            with_room(disk, &ends_of(&read.segments), &mut spares, || {
                segment::allocate_first(disk, &spare, options.segment_bytes)
            })?;
            spare
        }
    };
    let header = Header {
        id: new_id()?,
        number: read.next_number,
        first_lsn: read.next_lsn,
        // Nothing before this segment counts.
        previous: [0; 16],
        previous_end: 0,
        oldest: read.next_number,
    };
    let segment = Segment::begin(disk, dir, &spare, header)?;
    die::pass(Point::RecoveryBegun);
    for path in obsolete {
        disk.remove(&path)?;
        die::pass(Point::RecoveryReleased);
    }
    disk.sync_dir(dir)?;
    Ok((segment, spares, recovered))
}

/// If the last write failed, and its batch was never acknowledged, it may be whole in the page cache, clean, and not on disk:
/// no sync writes it, and it vanishes with the next power failure, from under what recovery has done. No other batch can be so,
/// for nothing is written behind a failed one. Where it stands it is left alone: it may be acknowledged.
fn write_last_again(dir: &Path, read: &mut Read, disk: &Disk) -> Result<(), JournalError> {
    if !rules::hold(Rule::LastIsWrittenAgain, dir) {
        return Ok(());
    }
    // A segment is begun when all before it is durable.
    let ends = ends_of(&read.segments);
    let Some(old) = read.segments.last_mut() else {
        return Ok(());
    };
    let Some(at) = old.last else { return Ok(()) };
    let mut batch = vec![0; usize::try_from(old.end - at).map_err(io::Error::other)?];
    // The file may have been cut in what fills up its last block.
    let file = fs::File::open(&old.path)?;
    let there = usize::try_from(file.metadata()?.len().saturating_sub(at)).map_err(io::Error::other)?;
    let there = there.min(batch.len());
    file.read_exact_at(&mut batch[..there], at)?;
    let Some(first_lsn) = batch::read(&batch, &old.header.id).map(|found| found.first_lsn) else {
        return Err(damaged(
            &old.path,
            format!("its batch at byte {at} has changed while it was read"),
        ));
    };
    let header = Header {
        id: new_id()?,
        number: read.next_number,
        first_lsn,
        previous: old.header.id,
        previous_end: at,
        oldest: read.oldest,
    };
    let again = batch::moved(&batch, &header.id);
    let spare = segment::spare_path(dir, next_spare(&read.spares));
    with_room(disk, &ends, &mut read.spares, || {
        disk.allocate(&spare, BLOCK_BYTES as u64 + again.len() as u64).map(drop)
    })?;
    let segment = Segment::begin_with(disk, dir, &spare, header, &again)?;
    (old.end, old.last) = (at, None);
    read.next_number += 1;
    read.segments.push(Old {
        path: segment.path.clone(),
        header,
        end: segment.at,
        last: Some(BLOCK_BYTES as u64),
    });
    Ok(())
}

/// Where the batches of segments end.
fn ends_of(segments: &[Old]) -> Vec<(PathBuf, u64)> {
    segments.iter().map(|old| (old.path.clone(), old.end)).collect()
}

/// Does what needs room on the disk. If that is full, what is needed less is given up: what lies behind the last batches, and
/// spares.
fn with_room(
    disk: &Disk,
    ends: &[(PathBuf, u64)],
    spares: &mut Vec<PathBuf>,
    make: impl Fn() -> io::Result<()>,
) -> Result<(), JournalError> {
    let mut made = make();
    let is_full = |made: &io::Result<()>| made.as_ref().is_err_and(segment::is_full);
    if is_full(&made) {
        for (path, end) in ends {
            Segment::cut(disk, path, *end)?;
        }
        made = make();
    }
    while let (true, Some(spare)) = (is_full(&made), spares.last()) {
        disk.remove(spare)?;
        spares.pop();
        made = make();
    }
    made.map_err(no_room)
}

/// Past every number of a spare.
fn next_spare(spares: &[PathBuf]) -> u64 {
    1 + spares.iter().filter_map(|spare| spare_number(spare)).max().unwrap_or(0)
}

fn spare_number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// True if any namespace was ever served from the directory.
fn has_namespaces(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root).map_err(named(root))? {
        let entry = entry?;
        let is_namespace = entry
            .file_name()
            .to_str()
            .is_some_and(crate::sys::data_dir::is_namespace);
        if is_namespace && entry.file_type()?.is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a journal holds that nobody has carried out.
#[derive(Debug, Default)]
pub(crate) struct Inspected {
    pub(crate) units: u64,
    /// What they are of: names of namespaces' directories, and objects.
    pub(crate) objects: std::collections::BTreeSet<(String, crate::ids::ObjectId)>,
}

/// Reads the whole journal of a data directory and changes nothing. Nothing is in one that is not there.
pub(crate) fn inspect(root: &Path) -> Result<Inspected, JournalError> {
    let dir = super::local::dir(root);
    let mut found = Inspected::default();
    if !dir.is_dir() {
        return Ok(found);
    }
    let read = read(&dir, |_, unit| {
        found.objects.insert((unit.namespace, unit.object));
        Ok(())
    })?;
    found.units = read.units;
    Ok(found)
}
