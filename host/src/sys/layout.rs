//! Where the files of objects lie, which nothing else knows. Below a namespace's directory is one for each first byte of an
//! object's id: no file system is happy with millions of names in one directory, and ext4 refuses them at some ten million.
//! All of these are there, and durable, before the first object is; so no file is ever made in a directory whose own name a
//! power failure may take.

use std::fs::{DirEntry, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::data_dir::{private_dir, sync_dir};
use crate::ids::{FileId, ObjectId};

/// What SQLite may leave beside a database.
pub(crate) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// A temporary file of SQLite has this name, behind its database's, between two calls of the operating system; and a number.
pub(crate) const TEMPORARY_SUFFIX: &str = "-tmp-";
/// The longest name below a namespace's directory: the directory, object id, file id, and what may lie beside a database.
pub(crate) const OBJECT_FILE_BYTES_MAX: usize =
    "ab/".len() + 64 + ".4294967295".len() + ".sqlite".len() + "-tmp-18446744073709551615".len();

/// The directory of an object's files.
pub(crate) fn home(namespace: &Path, object: ObjectId) -> PathBuf {
    namespace.join(home_name(object.0[0]))
}

fn home_name(first: u8) -> String {
    hex::encode([first])
}

/// Where the database of a facet is.
pub(crate) fn database(namespace: &Path, object: ObjectId, file: FileId) -> PathBuf {
    let home = home(namespace, object);
    match file {
        FileId::ROOT => home.join(format!("{object}.sqlite")),
        FileId(_) => home.join(format!("{object}.{file}.sqlite")),
    }
}

/// Where the index of an object is.
pub(crate) fn index(namespace: &Path, object: ObjectId) -> PathBuf {
    home(namespace, object).join(format!("{object}.facets"))
}

/// Makes a namespace's directory and those in it, as far as they are missing. True if something was made: its name is
/// durable when `sync_homes` has been called, or behind a barrier.
pub(crate) fn make_homes(namespace: &Path) -> io::Result<bool> {
    let mut made = !namespace.is_dir();
    private_dir(namespace)?;
    let device = std::fs::metadata(namespace)?.dev();
    for first in 0..=u8::MAX {
        let home = namespace.join(home_name(first));
        match std::fs::metadata(&home) {
            // One barrier covers one file system.
            Ok(found) if found.dev() != device => {
                let message = format!(
                    "{} lies on another file system than the data directory; put both on one",
                    home.display()
                );
                return Err(io::Error::other(message));
            }
            // What stands there and is no directory is told by whoever wants a file in it.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_dir(&home)?;
                made = true;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Makes the names of these directories durable.
pub(crate) fn sync_homes(namespace: &Path) -> io::Result<()> {
    sync_dir(namespace)?;
    namespace.parent().map_or(Ok(()), sync_dir)
}

/// What a file of an object is, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Index(ObjectId),
    /// Records that could not be put into its index.
    Lost(ObjectId),
    Database(ObjectId, FileId),
    /// Beside a database, or where one was.
    Companion(ObjectId, FileId),
}

impl Found {
    fn object(self) -> ObjectId {
        match self {
            Self::Index(object) | Self::Lost(object) => object,
            Self::Database(object, _) | Self::Companion(object, _) => object,
        }
    }
}

/// A file that is an object's by its name.
#[derive(Debug)]
pub(crate) struct ObjectFile {
    pub(crate) path: PathBuf,
    pub(crate) found: Found,
    /// It lies where that object's files do. Nothing looks for it anywhere else.
    pub(crate) is_home: bool,
    entry: DirEntry,
}

impl ObjectFile {
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.entry.metadata()?.len())
    }
}

/// The directories in which the files of a namespace's objects lie.
pub(crate) fn homes(namespace: &Path) -> impl Iterator<Item = PathBuf> {
    (0..=u8::MAX).map(|first| namespace.join(home_name(first)))
}

/// All files of all objects of a namespace.
pub(crate) fn walk(namespace: &Path) -> impl Iterator<Item = io::Result<ObjectFile>> {
    // Right in the namespace's directory is none, unless somebody has put it there.
    std::iter::once(namespace.to_owned())
        .chain(homes(namespace))
        .flat_map(files_in)
}

/// The files of one object.
pub(crate) fn files_of(namespace: &Path, object: ObjectId) -> impl Iterator<Item = io::Result<ObjectFile>> {
    let all = files_in(home(namespace, object));
    all.filter(move |file| !matches!(file, Ok(file) if file.found.object() != object))
}

/// What lies in one directory; nothing if there is none.
fn files_in(dir: PathBuf) -> impl Iterator<Item = io::Result<ObjectFile>> {
    let (entries, error) = match std::fs::read_dir(&dir) {
        Ok(entries) => (Some(entries), None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => (None, Some(named(&dir, &error))),
    };
    let found = entries
        .into_iter()
        .flat_map(ReadDir::into_iter)
        .filter_map(move |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(named(&dir, &error))),
            };
            let found = parse(entry.file_name().to_str()?)?;
            Some(Ok(ObjectFile {
                path: entry.path(),
                found,
                is_home: dir.file_name() == Some(home_name(found.object().0[0]).as_ref()),
                entry,
            }))
        });
    error.map(Err).into_iter().chain(found)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// `{object}.facets`, `{object}.sqlite` and `{object}.{file}.sqlite`, and what SQLite leaves beside the latter.
fn parse(name: &str) -> Option<Found> {
    let temporary = name.rsplit_once(TEMPORARY_SUFFIX);
    let temporary = temporary.filter(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()));
    let beside = COMPANIONS.iter().find_map(|suffix| name.strip_suffix(suffix));
    if let Some(database) = beside.or(temporary.map(|(database, _)| database)) {
        return match parse(database)? {
            Found::Database(object, file) => Some(Found::Companion(object, file)),
            Found::Index(_) | Found::Lost(_) | Found::Companion(..) => None,
        };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_put_somewhere_is_found_there() {
        let dir = tempfile::tempdir().unwrap();
        let namespace = dir.path().join("n");
        assert!(make_homes(&namespace).unwrap() && !make_homes(&namespace).unwrap());
        sync_homes(&namespace).unwrap();
        let mut expected = BTreeSet::new();
        for first in [0, 7, 0xab, 0xff] {
            let object = ObjectId([first; 32]);
            let database = database(&namespace, object, FileId(u32::MAX));
            let mut beside = database.clone().into_os_string();
            beside.push(format!("{TEMPORARY_SUFFIX}{}", u64::MAX));
            let longest = beside.len() - namespace.as_os_str().len() - 1;
            assert_eq!(longest, OBJECT_FILE_BYTES_MAX);
            for (path, found) in [
                (index(&namespace, object), Found::Index(object)),
                (
                    super::database(&namespace, object, FileId::ROOT),
                    Found::Database(object, FileId::ROOT),
                ),
                (database, Found::Database(object, FileId(u32::MAX))),
                (beside.into(), Found::Companion(object, FileId(u32::MAX))),
            ] {
                std::fs::write(&path, b"12345").unwrap();
                expected.insert((path, format!("{found:?}")));
            }
            std::fs::write(home(&namespace, object).join("notes"), b"somebody's").unwrap();
        }
        let walked: Vec<_> = walk(&namespace).map(Result::unwrap).collect();
        assert!(walked.iter().all(|file| file.is_home && file.bytes().unwrap() == 5));
        let walked: BTreeSet<_> = walked
            .into_iter()
            .map(|file| (file.path, format!("{:?}", file.found)))
            .collect();
        assert_eq!(walked, expected);
        assert_eq!(files_of(&namespace, ObjectId([7; 32])).count(), 4);
        assert_eq!(files_of(&namespace, ObjectId([8; 32])).count(), 0);
    }

    #[test]
    fn what_lies_elsewhere_is_not_at_home() {
        let dir = tempfile::tempdir().unwrap();
        let object = ObjectId([7; 32]);
        make_homes(dir.path()).unwrap();
        for place in [dir.path().to_owned(), dir.path().join("08")] {
            std::fs::write(place.join(format!("{object}.facets")), b"").unwrap();
        }
        let found: Vec<_> = walk(dir.path()).map(|file| file.unwrap().is_home).collect();
        assert_eq!(found, [false, false]);
        assert_eq!(files_of(dir.path(), object).count(), 0);
    }
}
