//! After an unclean stop, when the journal has been carried out, a database that no index names is the left-over of a turn
//! that was never acknowledged, and goes. Where the index itself is in doubt nothing is deleted: such a database is
//! renamed, for a person to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::ids::{FileId, ObjectId};
use crate::index::{self, IndexError};
use crate::storage::journal::rules::{self, Rule};
use crate::storage::{COMPANIONS, DbFile, Disk, Recovered, TEMPORARY_SUFFIX, is_blank};
use crate::sys::die::{self, Point};

/// Appended to the name of a database that may or may not belong to its object.
const DOUBTFUL_SUFFIX: &str = "orphan";

/// What lies in a namespace's directory.
pub(super) enum Found {
    Index(ObjectId),
    /// Records that could not be put into its index.
    Lost(ObjectId),
    Database(ObjectId, FileId),
    /// Beside a database, or where one was.
    Companion,
}

/// Brings the indexes and databases of a namespace into agreement. A damaged index is left alone, with its databases: the
/// object says so to whoever calls it.
pub(crate) fn clear(dir: &Path, recovered: &Recovered, disk: &Disk) -> std::io::Result<()> {
    let remove = |database: &DbFile| {
        disk.remove(&database.path())?;
        database.companion_paths().iter().try_for_each(|path| disk.remove(path))
    };
    let shared: Arc<Path> = dir.into();
    let mut objects: BTreeMap<ObjectId, BTreeSet<FileId>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_name().to_str().and_then(parse) {
            // Of the process that was killed: what counts of it is in the journal.
            Some(Found::Companion) if rules::hold(Rule::StrangeLogIsRemoved, dir) => disk.remove(&entry.path())?,
            Some(Found::Companion) => {}
            Some(Found::Index(object) | Found::Lost(object)) => {
                objects.entry(object).or_default();
            }
            Some(Found::Database(object, file)) => {
                let database = DbFile {
                    dir: shared.clone(),
                    object,
                    file,
                };
                if is_blank(&database)? {
                    remove(&database)?;
                } else if file != FileId::ROOT {
                    // A root's database needs no entry in an index: it is real from its first commit on.
                    objects.entry(object).or_default().insert(file);
                }
            }
            None => {}
        }
    }
    for (object, files) in objects {
        let path = index::path(dir, object);
        let known = match index::load(&path, object) {
            Ok(loaded) => loaded.map(|loaded| loaded.entries),
            Err(error @ IndexError::Damaged { .. }) => {
                error!(%object, %error, "an index cannot be used; its files are left alone");
                continue;
            }
            // It may be whole: nothing is concluded from what could not be read.
            Err(IndexError::Io { what, path, error }) => {
                let message = format!("cannot {what} {}: {error}", path.display());
                return Err(std::io::Error::new(error.kind(), message));
            }
        };
        // Without an index a crash is the likely reason, and damage a possible one; unless the journal knows better.
        let in_doubt = known.is_none() && !recovered.objects.contains(&(dir.to_owned(), object));
        let known = known.unwrap_or_default();
        let is_known = |file: &FileId| known.get(file).is_some_and(|entry| entry.has_database);
        for file in files.into_iter().filter(|file| !is_known(file)) {
            let database = DbFile {
                dir: shared.clone(),
                object,
                file,
            };
            if in_doubt {
                set_aside(&database, disk)?;
            } else {
                info!(%object, %file, "removed a database that was never part of its object");
                remove(&database)?;
                die::pass(Point::OrphanRemoved);
            }
        }
    }
    Ok(())
}

/// Renames the database. Nothing that was set aside earlier is overwritten.
fn set_aside(database: &DbFile, disk: &Disk) -> std::io::Result<()> {
    let path = database.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = |number: u32| path.with_file_name(format!("{name}.{DOUBTFUL_SUFFIX}{number}"));
    let number = (1..)
        .find(|number| !aside(*number).exists())
        .expect("a free number is found before u32 ends");
    warn!(file = %path.display(), "a database that its object's index does not name is set aside as .orphan{number}");
    disk.rename(&path, &aside(number))
}

/// `{object}.facets`, `{object}.sqlite` and `{object}.{file}.sqlite`, and what SQLite leaves beside the latter.
pub(super) fn parse(name: &str) -> Option<Found> {
    let temporary = name.rsplit_once(TEMPORARY_SUFFIX);
    let temporary = temporary.filter(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()));
    let beside = COMPANIONS.iter().find_map(|suffix| name.strip_suffix(suffix));
    if let Some(database) = beside.or(temporary.map(|(database, _)| database)) {
        return parse(database)
            .filter(|found| matches!(found, Found::Database(..)))
            .map(|_| Found::Companion);
    }
    if let Some(object) = name.strip_suffix(".facets.lost") {
        return Some(Found::Lost(object.parse().ok()?));
    }
    if let Some(object) = name.strip_suffix(".facets") {
        return Some(Found::Index(object.parse().ok()?));
    }
    let database = name.strip_suffix(".sqlite")?;
    let Some((object, file)) = database.split_once('.') else {
        return Some(Found::Database(database.parse().ok()?, FileId::ROOT));
    };
    Some(Found::Database(object.parse().ok()?, FileId(file.parse().ok()?)))
}
