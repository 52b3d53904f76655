//! A component that a facet hands in counts to its namespace's quota for as long as it is stored (S25): once, however often
//! it comes, and to each namespace that brings it. A file in the namespace's folder says so; it is there before the
//! component is, so that a kill in between leaves nothing that nobody pays for.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::classes::ClassError;
use crate::ids::ClassDigest;
use crate::sys::data_dir::{private_dir, sync_dir};

/// Folder beside the components, in which each namespace has one of its own.
const OWNERS: &str = "of";
/// A component counts for so many bytes at least: it is a file, and has others for its compiled code.
const COUNTED_BYTES_MIN: u64 = 64 << 10;

/// Who has brought which components.
pub(super) struct Uploads {
    classes: PathBuf,
    of: Mutex<HashMap<String, Uploaded>>,
}

/// By one namespace.
struct Uploaded {
    digests: HashSet<ClassDigest>,
    bytes: u64,
}

/// Where the namespaces' folders are.
pub(crate) fn owners_dir(classes: &Path) -> PathBuf {
    classes.join(OWNERS)
}

/// Where the component of a digest is, be it there or not.
pub(crate) fn component_path(classes: &Path, digest: ClassDigest) -> PathBuf {
    classes.join(format!("{digest}.wasm"))
}

/// The components that a namespace's folder names.
pub(crate) fn named_in(folder: &Path) -> io::Result<HashSet<ClassDigest>> {
    let mut digests = HashSet::new();
    for entry in std::fs::read_dir(folder)? {
        let digest = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<ClassDigest>().ok());
        digests.extend(digest);
    }
    Ok(digests)
}

fn counted(bytes: u64) -> u64 {
    bytes.max(COUNTED_BYTES_MIN)
}

impl Uploaded {
    fn read(classes: &Path, folder: &Path) -> io::Result<Self> {
        let mut found = Self {
            digests: HashSet::new(),
            bytes: 0,
        };
        for digest in named_in(folder)? {
            match std::fs::metadata(component_path(classes, digest)) {
                Ok(about) => {
                    found.digests.insert(digest);
                    found.bytes += counted(about.len());
                }
                // It never came, or an operator has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    std::fs::remove_file(folder.join(digest.to_string()))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

impl Uploads {
    pub(super) fn new(classes: &Path) -> Self {
        Self {
            classes: classes.to_owned(),
            of: Mutex::default(),
        }
    }

    /// After something went wrong: what is there counts, once the namespace next brings something.
    pub(super) fn count_again(&self, namespace: &str) {
        let mut of = self.of.lock().expect("nothing panics while it holds this lock");
        of.remove(namespace);
    }

    /// Counts a component that is about to be stored, or refuses it. One at a time for each namespace.
    pub(super) fn charge(
        &self,
        namespace: &str,
        digest: ClassDigest,
        bytes: usize,
        bytes_max: u64,
    ) -> Result<(), ClassError> {
        let folder = owners_dir(&self.classes).join(namespace);
        let expect = "nothing panics while it holds this lock";
        let is_known = self.of.lock().expect(expect).contains_key(namespace);
        if !is_known {
            private_dir(&owners_dir(&self.classes))?;
            private_dir(&folder)?;
            sync_dir(&self.classes)?;
            sync_dir(&owners_dir(&self.classes))?;
            let found = Uploaded::read(&self.classes, &folder)?;
            self.of.lock().expect(expect).insert(namespace.to_owned(), found);
        }
        let counted = counted(bytes as u64);
        {
            let of = self.of.lock().expect(expect);
            let uploaded = &of[namespace];
            if uploaded.digests.contains(&digest) {
                return Ok(());
            }
            if uploaded.bytes.saturating_add(counted) > bytes_max {
                return Err(ClassError::Quota {
                    namespace: namespace.to_owned(),
                    kib: uploaded.bytes >> 10,
                    max_mib: bytes_max >> 20,
                });
            }
        }
        std::fs::File::create(folder.join(digest.to_string()))?.sync_all()?;
        sync_dir(&folder)?;
        let mut of = self.of.lock().expect(expect);
        if let Some(uploaded) = of.get_mut(namespace) {
            uploaded.digests.insert(digest);
            uploaded.bytes += counted;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> ClassDigest {
        ClassDigest([number; 32])
    }

    fn store(classes: &Path, number: u8, bytes: usize) {
        std::fs::write(component_path(classes, digest(number)), vec![0; bytes]).expect("a temporary directory");
    }

    #[test]
    fn a_component_counts_once_to_each_who_brings_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let uploads = Uploads::new(dir.path());
        let bring = |namespace: &str, number| {
            let charged = uploads.charge(namespace, digest(number), 400 << 10, 1 << 20);
            if charged.is_ok() {
                store(dir.path(), number, 400 << 10);
            }
            charged.is_ok()
        };
        assert!(bring("a", 1) && bring("a", 2));
        assert!(!bring("a", 3), "1,200 KiB are more than 1 MiB");
        assert!(bring("a", 1), "it is there already");
        assert!(
            bring("b", 1) && bring("b", 3),
            "what others have brought is not counted"
        );
    }

    #[test]
    fn the_next_process_counts_what_is_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let before = Uploads::new(dir.path());
        for number in 1..=3 {
            before.charge("a", digest(number), 300 << 10, 1 << 20).expect("it fits");
        }
        // The third one never came.
        store(dir.path(), 1, 300 << 10);
        store(dir.path(), 2, 300 << 10);
        let after = Uploads::new(dir.path());
        let many = |from, bytes| after.charge("a", digest(from), bytes, 1 << 20).is_ok();
        assert!(!many(4, 500 << 10) && many(4, 400 << 10));
        assert!(!many(5, 100 << 10));
    }

    #[test]
    fn the_smallest_ones_count_as_files() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let uploads = Uploads::new(dir.path());
        let fits = (0..=255).take_while(|number| uploads.charge("a", digest(*number), 8, 1 << 20).is_ok());
        assert_eq!(fits.count(), 16);
    }
}
