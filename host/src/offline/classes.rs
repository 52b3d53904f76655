//! `facetd classes`: which components are stored, who has brought them, and how many stored facets run each. Only what none
//! of them runs can be removed, and nothing while that is in doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::OfflineError;
use crate::classes::{component_path, named_in, owners_dir};
use crate::ids::ClassDigest;
use crate::index;
use crate::sys::data_dir::{DataDir, is_namespace, sync_dir};
use crate::sys::layout::{self, Found};

/// One component of a data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredClass {
    /// Its digest.
    pub digest: ClassDigest,
    /// Its length.
    pub bytes: u64,
    /// Namespaces whose facets have handed it in; none for one of a configuration.
    pub uploaded_by: BTreeSet<String>,
    /// Stored facets that run it. Root facets run what the configuration says, and are not counted.
    pub facets: u64,
}

/// What was found, and what was done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredClasses {
    /// By digest.
    pub classes: Vec<StoredClass>,
    /// They have been removed: all that no stored facet runs.
    pub removed: BTreeSet<ClassDigest>,
}

/// Looks at the components of a data directory that no host uses, and removes those that no stored facet runs if asked to.
pub fn classes(root: &Path, remove_unused: bool) -> Result<StoredClasses, OfflineError> {
    let data = match remove_unused {
        true => DataDir::open_idle(root)?,
        false => DataDir::open_to_read(root)?,
    };
    if data.was_dirty {
        let message = "the host did not stop cleanly, and which facets are stored is in the journal, too; run `facetd recover`, \
                       or start the host, and try again";
        return Err(OfflineError::Recover(message.to_owned()));
    }
    let dir = data.classes();
    let mut found: BTreeMap<ClassDigest, StoredClass> = BTreeMap::new();
    for entry in std::fs::read_dir(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let digest = name
            .to_str()
            .and_then(|name| name.strip_suffix(".wasm")?.parse::<ClassDigest>().ok());
        if let Some(digest) = digest {
            let class = StoredClass {
                digest,
                bytes: entry.metadata()?.len(),
                uploaded_by: BTreeSet::new(),
                facets: 0,
            };
            found.insert(digest, class);
        }
    }
    for (namespace, digests) in owners(&dir)? {
        for digest in digests {
            if let Some(class) = found.get_mut(&digest) {
                class.uploaded_by.insert(namespace.clone());
            }
        }
    }
    for namespace in data.namespaces()? {
        count_facets(&namespace, &mut found)?;
    }
    let mut removed = BTreeSet::new();
    if remove_unused {
        removed.extend(
            found
                .values()
                .filter(|class| class.facets == 0)
                .map(|class| class.digest),
        );
        remove(&dir, &removed)?;
    }
    Ok(StoredClasses {
        classes: found.into_values().collect(),
        removed,
    })
}

/// What each namespace has brought.
fn owners(dir: &Path) -> std::io::Result<Vec<(String, std::collections::HashSet<ClassDigest>)>> {
    let owners = owners_dir(dir);
    if !owners.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(owners)? {
        let entry = entry?;
        if let Some(namespace) = entry.file_name().to_str().filter(|name| is_namespace(name)) {
            found.push((namespace.to_owned(), named_in(&entry.path())?));
        }
    }
    Ok(found)
}

/// An index that cannot be read is an error: what it names is not known.
fn count_facets(namespace: &Path, found: &mut BTreeMap<ClassDigest, StoredClass>) -> Result<(), OfflineError> {
    for file in layout::walk(namespace) {
        let file = file?;
        let (Found::Index(object) | Found::Lost(object)) = file.found else {
            continue;
        };
        if !file.is_home {
            let path = file.path.display();
            let message = format!("{path} does not belong there: move it to where its object is, or away");
            return Err(OfflineError::Recover(message));
        }
        let read = index::read(&index::path(namespace, object), object)
            .map_err(|error| OfflineError::Recover(error.to_string()))?;
        for entry in read.into_iter().flat_map(|(loaded, _)| loaded.entries.into_values()) {
            if let Some(class) = found.get_mut(&entry.startup.class) {
                class.facets += 1;
            }
        }
    }
    Ok(())
}

/// The components, then who has brought them: what is left by a kill in between is swept up by the next start.
fn remove(dir: &Path, digests: &BTreeSet<ClassDigest>) -> std::io::Result<()> {
    for digest in digests {
        std::fs::remove_file(component_path(dir, *digest))?;
    }
    for (namespace, named) in owners(dir)? {
        let folder = owners_dir(dir).join(namespace);
        for digest in named.iter().filter(|digest| digests.contains(digest)) {
            std::fs::remove_file(folder.join(digest.to_string()))?;
        }
        sync_dir(&folder)?;
    }
    sync_dir(dir)
}
