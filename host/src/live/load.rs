//! An object as it lies on disk. Damage is refused and explained; nothing is repaired by dropping data.

use std::sync::Arc;

use crate::host::HostInner;
use crate::ids::{FileId, ObjectId};
use crate::index::{self, IndexError, Loaded};
use crate::live::Object;
use crate::live::index_file::IndexFile;
use crate::namespace::Namespace;
use crate::object::{StoredFacet, Tree};
use crate::storage::{DbFile, is_blank};

impl Object {
    /// Reads the object's index. An object that has nothing on disk is empty, not an error; one that has a database and no
    /// index has lost that. To a database that a crash left nothing was committed.
    pub(crate) fn load(
        host: &Arc<HostInner>,
        namespace: &Arc<Namespace>,
        id: ObjectId,
    ) -> Result<Arc<Self>, IndexError> {
        let path = index::path(&namespace.dir, id);
        let loaded = index::load(&path, id, host.journal.unshown(&namespace.dir, id))?;
        let database = DbFile {
            dir: namespace.dir.clone(),
            object: id,
            file: FileId::ROOT,
        };
        let is_left = || {
            is_blank(&database).map_err(|error| IndexError::Io {
                what: "read",
                path: database.path(),
                error,
            })
        };
        let file = match &loaded {
            None if database.path().exists() && !is_left()? => {
                let database = database.path();
                return Err(IndexError::Missing { path, database });
            }
            None => {
                // Nothing is stored, or there is nothing any more.
                host.place.is_in_place().map_err(|error| IndexError::Io {
                    what: "look for",
                    path: path.clone(),
                    error,
                })?;
                IndexFile::none()
            }
            Some(loaded) => IndexFile::of(loaded, std::fs::metadata(&path).map_or(0, |found| found.len())),
        };
        let Loaded {
            name,
            root_has_database,
            entries,
            next_file,
            ..
        } = loaded.unwrap_or(Loaded::nothing(FileId(1), 1));
        let stored = entries.into_iter().map(|(file, entry)| StoredFacet {
            file,
            parent: entry.parent,
            name: entry.name,
            startup: entry.startup,
            has_database: entry.has_database,
        });
        let tree = Tree::new(namespace.root_startup(), root_has_database, stored, next_file);
        let object = Self::new(host.clone(), namespace.clone(), id, tree, file);
        if let Some(name) = &name {
            object.is_called(name);
        }
        Ok(Arc::new(object))
    }
}
