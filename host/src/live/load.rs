//! An object as it lies on disk. Damage is refused and explained; nothing is repaired by dropping data.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::host::HostInner;
use crate::ids::{FileId, ObjectId};
use crate::index::{self, IndexError};
use crate::live::Object;
use crate::live::index_file::IndexFile;
use crate::namespace::Namespace;
use crate::object::{StoredFacet, Tree};
use crate::storage::DbFile;

impl Object {
    /// Reads the object's index. An object that has nothing on disk is empty, not an error.
    pub(crate) fn load(
        host: &Arc<HostInner>,
        namespace: &Arc<Namespace>,
        id: ObjectId,
    ) -> Result<Arc<Self>, IndexError> {
        let db = |file| DbFile {
            dir: namespace.dir.clone(),
            object: id,
            file,
        };
        let path = index::path(&namespace.dir, id);
        let loaded = index::load(&path, id)?;
        let exists = loaded.is_some();
        let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        let (entries, next_file, next_seq) = match loaded {
            None => (BTreeMap::new(), FileId(1), 1),
            Some(loaded) => (loaded.entries, loaded.next_file, loaded.next_seq),
        };
        let stored = entries.into_iter().map(|(file, entry)| StoredFacet {
            file,
            parent: entry.parent,
            name: entry.name,
            startup: entry.startup,
            has_database: entry.has_database,
        });
        let root_has_database = db(FileId::ROOT).path().exists();
        let tree = Tree::new(namespace.root_startup(), root_has_database, stored, next_file);
        let object = Self::new(
            host.clone(),
            namespace.clone(),
            id,
            tree,
            IndexFile::new(exists, next_seq, bytes),
        );
        Ok(Arc::new(object))
    }
}
