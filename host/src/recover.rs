//! After an unclean stop a database that no index names is the left-over of a turn that was never acknowledged: it goes.
//! Whatever an index names stays, and damage is refused, not mended.

use std::collections::HashMap;
use std::path::Path;

use tracing::info;

use crate::ids::{FileId, ObjectId};
use crate::index::{self, IndexError};
use crate::storage::{DbFile, remove_db};

/// Why recovery stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Removes the databases of a namespace that no index names.
pub(crate) fn remove_orphans(dir: &Path) -> Result<(), RecoverError> {
    let mut found: HashMap<ObjectId, Vec<FileId>> = HashMap::new();
    for entry in std::fs::read_dir(dir)? {
        if let Some((object, file)) = entry?.file_name().to_str().and_then(parse) {
            found.entry(object).or_default().push(file);
        }
    }
    for (object, files) in found {
        let known = match index::load(&index::path(dir, object), object) {
            Ok(loaded) => loaded.map(|l| l.entries).unwrap_or_default(),
            Err(error @ (IndexError::Io { .. } | IndexError::Damaged { .. })) => {
                // The object will say so to whoever calls it; the others can be served.
                tracing::error!(%object, %error, "an index cannot be read; its files are left alone");
                continue;
            }
        };
        for file in files.into_iter().filter(|file| !known.contains_key(file)) {
            info!(%object, %file, "removed a database that was never part of its object");
            remove_db(&DbFile { dir: dir.to_owned(), object, file })?;
        }
    }
    Ok(())
}

/// `{object}.{file}.sqlite`.
fn parse(name: &str) -> Option<(ObjectId, FileId)> {
    let (object, file) = name.strip_suffix(".sqlite")?.split_once('.')?;
    Some((object.parse().ok()?, FileId(file.parse().ok()?)))
}
