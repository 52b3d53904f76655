//! Loading answers the records that were written, never anything else: what a crash left unfinished has been mended from
//! the journal before, so whatever is not whole is damage, and refused.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Found, HEADER_BYTES};
use super::{Head, IndexError, TreeChange, Unshown, codec, lost_path, rewrite};
use crate::ids::{FacetName, FileId, ObjectId, ObjectName};
use crate::startup::Startup;

/// A facet that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Its parent's file; [`FileId::ROOT`] for a child of the root.
    pub(crate) parent: FileId,
    /// Its name among its siblings.
    pub(crate) name: FacetName,
    /// What it runs; facets that run the same mostly share it.
    pub(crate) startup: Arc<Startup>,
    /// It has a database.
    pub(crate) has_database: bool,
}

/// What an index holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Loaded {
    /// What the object is called, if anybody has used its name.
    pub(crate) name: Option<ObjectName>,
    /// The root has a database.
    pub(crate) root_has_database: bool,
    /// All facets but the root. Every parent is in it, or is the root.
    pub(crate) entries: BTreeMap<FileId, Entry>,
    /// The least id that no record ever named.
    pub(crate) next_file: FileId,
    /// The number of the next record.
    pub(crate) next_seq: u64,
    /// How far the object's history has come, as far as this says.
    pub(crate) head: Head,
}

impl Loaded {
    /// Of an object of which nothing is recorded.
    pub(crate) fn nothing(next_file: FileId, next_seq: u64) -> Self {
        Self {
            name: None,
            root_has_database: false,
            entries: BTreeMap::new(),
            next_file,
            next_seq,
            head: Head::default(),
        }
    }

    /// What the index says of a file.
    pub(crate) fn has_database(&self, file: FileId) -> bool {
        match file {
            FileId::ROOT => self.root_has_database,
            FileId(_) => self.entries.get(&file).is_some_and(|entry| entry.has_database),
        }
    }
}

/// Reads the index at `path`; none if there is none. Rewrites a file that is mostly history, so the object must not be
/// loaded twice. `unshown`: what the journal knows of its history beyond that. After a crash, [`super::redo`] comes first.
pub(crate) fn load(path: &Path, object: ObjectId, unshown: Unshown) -> Result<Option<Loaded>, IndexError> {
    let Some((mut loaded, bytes)) = read(path, object)? else {
        return Ok(None);
    };
    match unshown {
        Unshown::Nothing => {}
        Unshown::Durable(head) => loaded.head = head,
        // A new file could say less than the old one is about to be told.
        Unshown::Queued => return Ok(Some(loaded)),
    }
    rewrite::if_mostly_dead(path, object, &mut loaded, bytes)?;
    Ok(Some(loaded))
}

/// Reads the index at `path` and answers its length, too; changes nothing.
pub(crate) fn read(path: &Path, object: ObjectId) -> Result<Option<(Loaded, usize)>, IndexError> {
    let lost = lost_path(path);
    if lost.try_exists().map_err(failed("look for", &lost))? {
        let why = format!(
            "{} holds records that were acknowledged and do not fit to it; `facetd doctor` makes one index of both",
            lost.display()
        );
        return Err(IndexError::Damaged { path: path.into(), why });
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let parsed = parse(&bytes, object).and_then(|(loaded, good_bytes)| match bytes.len() - good_bytes {
        0 => Ok((loaded, good_bytes)),
        bytes => Err(format!("its last {bytes} bytes are no record")),
    });
    parsed
        .map(Some)
        .map_err(|why| IndexError::Damaged { path: path.into(), why })
}

/// What `bytes` hold, and how many of them are good.
pub(super) fn parse(bytes: &[u8], object: ObjectId) -> Result<(Loaded, usize), String> {
    if bytes.len() < HEADER_BYTES {
        return Err("it is too short to be an index".to_owned());
    }
    let header = frame::decode_header(&bytes[..HEADER_BYTES], object)?;
    let mut loaded = Loaded::nothing(header.next_file, header.first_seq);
    loaded.head = header.head.ok_or("the checksum of its history's head is wrong")?;
    let mut startups = codec::Startups::default();
    // A parent exists when its child is created. Without deletes nothing can change that.
    let mut deletes = false;
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        match frame::decode_record(&bytes[at..]) {
            Found::Record { body, seq, bytes } => {
                if seq != loaded.next_seq {
                    return Err(format!(
                        "at byte {at} is record {seq} where {} should be",
                        loaded.next_seq
                    ));
                }
                let changes = codec::decode(body, &mut startups)
                    .map_err(|error| format!("record {seq} makes no sense: {error}"))?;
                deletes |= changes.iter().any(|c| matches!(c, TreeChange::Delete { .. }));
                apply(&mut loaded, changes).map_err(|why| format!("record {seq} makes no sense: {why}"))?;
                loaded.next_seq = seq.checked_add(1).ok_or("its record numbers are used up")?;
                at += bytes;
            }
            Found::Bad if frame::has_later_record(&bytes[at..], loaded.next_seq) => {
                return Err(format!(
                    "record {} at byte {at} is damaged, and good records follow",
                    loaded.next_seq
                ));
            }
            Found::Bad => break,
        }
    }
    if deletes {
        drop_orphans(&mut loaded);
        check_roots(&loaded)?;
    }
    check_names(&loaded)?;
    Ok((loaded, at))
}

fn apply(loaded: &mut Loaded, changes: Vec<TreeChange>) -> Result<(), String> {
    for change in changes {
        match change {
            TreeChange::Create {
                file,
                parent,
                name,
                startup,
                has_database,
            } => {
                if file == FileId::ROOT || loaded.entries.contains_key(&file) {
                    return Err(format!("facet {file} is created, which exists"));
                }
                if parent != FileId::ROOT && !loaded.entries.contains_key(&parent) {
                    return Err(format!("facet {file} is created below {parent}, which does not exist"));
                }
                let next = file.0.checked_add(1).ok_or("its file ids are used up")?;
                loaded.next_file = loaded.next_file.max(FileId(next));
                loaded.entries.insert(
                    file,
                    Entry {
                        parent,
                        name,
                        startup,
                        has_database,
                    },
                );
            }
            TreeChange::Restart { file, startup } => match loaded.entries.get_mut(&file) {
                Some(entry) => entry.startup = startup,
                None => return Err(format!("facet {file} is restarted, which does not exist")),
            },
            TreeChange::Name { name } => match &loaded.name {
                Some(before) if *before != name => {
                    let (before, name) = (before.as_str(), name.as_str());
                    return Err(format!("the object is called {name:?}, which is called {before:?}"));
                }
                Some(_) | None => loaded.name = Some(name),
            },
            TreeChange::Store { file: FileId::ROOT } => loaded.root_has_database = true,
            TreeChange::Empty { file: FileId::ROOT } => loaded.root_has_database = false,
            TreeChange::Delete { file: FileId::ROOT } => return Err("the root is deleted".to_owned()),
            TreeChange::Store { file } => match loaded.entries.get_mut(&file) {
                Some(entry) => entry.has_database = true,
                None => return Err(format!("facet {file} gets a database, which does not exist")),
            },
            TreeChange::Empty { file } => match loaded.entries.get_mut(&file) {
                Some(entry) => entry.has_database = false,
                None => return Err(format!("facet {file} loses its database, which does not exist")),
            },
            // Two turns may have deleted a facet and one above it, in either order; one that is gone already is no error.
            TreeChange::Delete { file } => {
                loaded.entries.remove(&file);
            }
        }
    }
    Ok(())
}

/// With a facet goes everything below it.
fn drop_orphans(loaded: &mut Loaded) {
    loop {
        let orphans: Vec<_> = loaded
            .entries
            .iter()
            .filter(|(_, entry)| entry.parent != FileId::ROOT && !loaded.entries.contains_key(&entry.parent))
            .map(|(file, _)| *file)
            .collect();
        if orphans.is_empty() {
            return;
        }
        for file in orphans {
            loaded.entries.remove(&file);
        }
    }
}

/// Everything is below the root: a facet that was deleted and created again could be below its own child.
fn check_roots(loaded: &Loaded) -> Result<(), String> {
    for file in loaded.entries.keys() {
        let up = std::iter::successors(loaded.entries.get(file), |entry| loaded.entries.get(&entry.parent));
        if up.take(loaded.entries.len() + 1).count() > loaded.entries.len() {
            return Err(format!("facet {file} is below itself"));
        }
    }
    Ok(())
}

fn check_names(loaded: &Loaded) -> Result<(), String> {
    let place = |entry: &Entry| (entry.parent, entry.name.beginning());
    let mut places: Vec<_> = loaded
        .entries
        .values()
        .map(|entry| (place(entry), &entry.name))
        .collect();
    // By numbers first: most names differ there.
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => {
            let ((parent, _), name) = twice[0];
            Err(format!("two facets below {parent} are named {:?}", name.as_str()))
        }
        None => Ok(()),
    }
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IndexError {
    let path = PathBuf::from(path);
    move |error| IndexError::Io { what, path, error }
}

#[cfg(test)]
mod tests;
