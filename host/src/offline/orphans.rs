//! What crashes have left takes room and nothing else: a start leaves it alone, for it would have to read all directories. `facetd
//! recover` removes it. After an unclean stop, when the journal has been carried out, a database that no index names is the
//! left-over of a turn that was never acknowledged, and goes. Where the index itself is in doubt nothing is deleted: such a
//! database is renamed, for a person to look at. After a clean stop it was put there by somebody, and is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::ids::{FileId, ObjectId};
use crate::index::{self, IndexError, Unshown};
use crate::storage::journal::rules::{self, Rule};
use crate::storage::{DbFile, Disk, Recovered, is_blank};
use crate::sys::layout::{self, Found};

/// Appended to the name of a database that may or may not belong to its object.
const DOUBTFUL_SUFFIX: &str = "orphan";

/// Brings the indexes and databases of a namespace into agreement. A damaged index is left alone, with its databases: the
/// object says so to whoever calls it.
pub(crate) fn clear(dir: &Path, recovered: &Recovered, was_dirty: bool, disk: &Disk) -> std::io::Result<()> {
    let remove = |database: &DbFile| {
        disk.remove(&database.path())?;
        database.companion_paths().iter().try_for_each(|path| disk.remove(path))
    };
    let shared: Arc<Path> = dir.into();
    let mut objects: BTreeMap<ObjectId, BTreeSet<FileId>> = BTreeMap::new();
    for entry in layout::walk(dir) {
        let entry = entry?;
        match entry.found {
            // Nothing reads it there, so nothing is known of it.
            _ if !entry.is_home => {}
            // Of a process that was killed: what counts of it is in the journal.
            Found::Companion(..) if rules::hold(Rule::StrangeLogIsRemoved, dir) => disk.remove(&entry.path)?,
            Found::Companion(..) => {}
            Found::Index(object) | Found::Lost(object) => {
                objects.entry(object).or_default();
            }
            Found::Database(object, file) => {
                let database = DbFile {
                    dir: shared.clone(),
                    object,
                    file,
                };
                match is_blank(&database) {
                    Ok(true) => remove(&database)?,
                    Ok(false) => drop(objects.entry(object).or_default().insert(file)),
                    // Its facet says so to whoever calls it; nothing is concluded from what could not be read.
                    Err(error) => {
                        error!(file = %database.path().display(), %error, "a database cannot be read; it is left alone")
                    }
                }
            }
        }
    }
    if !was_dirty {
        return Ok(());
    }
    for (object, files) in objects {
        let path = index::path(dir, object);
        let known = match index::load(&path, object, Unshown::Nothing) {
            Ok(known) => known,
            Err(error @ (IndexError::Damaged { .. } | IndexError::Missing { .. })) => {
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
        if in_doubt && files.contains(&FileId::ROOT) {
            // No crash leaves that: pages come to a root's database when its index is on disk or in the journal.
            error!(%object, "an object has databases and no index; its files are left alone, and `facetd doctor` explains them");
            continue;
        }
        let is_known = |file: &FileId| known.as_ref().is_some_and(|known| known.has_database(*file));
        for file in files.into_iter().filter(|file| !is_known(file)) {
            let database = DbFile {
                dir: shared.clone(),
                object,
                file,
            };
            // Nor does a crash leave a root's that the index does not name.
            if in_doubt || file == FileId::ROOT {
                set_aside(&database, disk)?;
            } else {
                info!(%object, %file, "removed a database that was never part of its object");
                remove(&database)?;
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
