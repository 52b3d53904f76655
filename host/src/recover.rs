//! After an unclean stop every index is read and the end that the crash tore is cut off; a database that no index names is
//! the left-over of a turn that was never acknowledged, and goes. Where the index itself is in doubt nothing is deleted:
//! such a database is renamed, for a person to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tracing::{error, info, warn};

use crate::ids::{FileId, ObjectId};
use crate::index::{self, Tail};
use crate::storage::{DbFile, fold, remove_db};

/// Appended to the name of a database that may or may not belong to its object.
const DOUBTFUL_SUFFIX: &str = "orphan";

/// What lies in a namespace's directory.
enum Found {
    Index(ObjectId),
    Root(ObjectId),
    Database(ObjectId, FileId),
}

/// Brings the indexes and databases of a namespace into agreement. A damaged index is left alone, with its databases: the
/// object says so to whoever calls it.
pub(crate) fn recover(dir: &Path) -> std::io::Result<()> {
    let mut objects: BTreeMap<ObjectId, BTreeSet<FileId>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        match entry?.file_name().to_str().and_then(parse) {
            Some(Found::Index(object)) => {
                objects.entry(object).or_default();
            }
            Some(Found::Root(object)) => {
                let database = DbFile {
                    dir: dir.to_owned(),
                    object,
                    file: FileId::ROOT,
                };
                // A root's database needs no entry in an index: it is real from its first commit on.
                if !fold_if_logged(&database) {
                    remove_db(&database)?;
                }
            }
            Some(Found::Database(object, file)) => {
                objects.entry(object).or_default().insert(file);
            }
            None => {}
        }
    }
    for (object, files) in objects {
        let loaded = match index::load(&index::path(dir, object), object, Tail::MayBeTorn) {
            Ok(loaded) => loaded,
            Err(error) => {
                error!(%object, %error, "an index cannot be read; its files are left alone");
                continue;
            }
        };
        // Without an index, or with a torn one, a crash is the likely reason, and damage a possible one.
        let in_doubt = loaded.as_ref().is_none_or(|loaded| loaded.torn_bytes > 0);
        let known = loaded.map(|loaded| loaded.entries).unwrap_or_default();
        for file in files {
            let database = DbFile {
                dir: dir.to_owned(),
                object,
                file,
            };
            if known.contains_key(&file) {
                fold_if_logged(&database);
            } else if in_doubt {
                set_aside(&database)?;
            } else {
                info!(%object, %file, "removed a database that was never part of its object");
                remove_db(&database)?;
            }
        }
    }
    Ok(())
}

/// Folds the log of a database into it, so that what stock sqlite3 sees is complete. False if there is a log, and nothing
/// was ever committed.
fn fold_if_logged(database: &DbFile) -> bool {
    if !database.wal_path().exists() && database.file != FileId::ROOT {
        return true;
    }
    fold(database).unwrap_or_else(|error| {
        // The facet says so to whoever calls it.
        error!(file = %database.path().display(), %error, "a database cannot be read; it is left alone");
        true
    })
}

/// Renames the database and its log, so that stock sqlite3 still opens them together. Nothing that was set aside earlier
/// is overwritten.
fn set_aside(database: &DbFile) -> std::io::Result<()> {
    let (path, log) = (database.path(), database.wal_path());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = |number: u32, log: &str| path.with_file_name(format!("{name}.{DOUBTFUL_SUFFIX}{number}{log}"));
    let number = (1..)
        .find(|number| !aside(*number, "").exists())
        .expect("a free number is found before u32 ends");
    warn!(file = %path.display(), "a database that its object's index does not name is set aside as .orphan{number}");
    std::fs::rename(&path, aside(number, ""))?;
    match std::fs::rename(log, aside(number, "-wal")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `{object}.facets`, `{object}.sqlite` and `{object}.{file}.sqlite`.
fn parse(name: &str) -> Option<Found> {
    if let Some(object) = name.strip_suffix(".facets") {
        return Some(Found::Index(object.parse().ok()?));
    }
    let database = name.strip_suffix(".sqlite")?;
    let Some((object, file)) = database.split_once('.') else {
        return Some(Found::Root(database.parse().ok()?));
    };
    Some(Found::Database(object.parse().ok()?, FileId(file.parse().ok()?)))
}
