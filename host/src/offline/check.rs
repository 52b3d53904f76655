//! `facetd check`: everything in a data directory is read, nothing is changed. What is wrong is told with the file and
//! with what can be done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OfflineError;
use crate::ids::{FacetName, FileId, ObjectId};
use crate::index::{self, Loaded};
use crate::storage::{DbFile, bound_sqlite_memory, check_database, inspect_journal};
use crate::sys::data_dir::DataDir;
use crate::sys::layout::{self, Found};

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// The last host did not stop cleanly: databases are complete only together with the journal, and were not checked.
    pub dirty: bool,
    /// Units in the journal.
    pub units: u64,
    /// Every facet with a database.
    pub facets: Vec<FacetUse>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// The disk that one facet takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FacetUse {
    /// The namespace.
    pub namespace: String,
    /// The object's id.
    pub object: ObjectId,
    /// What the object is called, if anybody has used its name.
    pub name: Option<String>,
    /// Names from the root joined by `/`; empty for the root.
    pub path: String,
    /// Bytes of its database file.
    pub bytes: u64,
}

/// Checks the journal, the indexes and the databases of a data directory that no host uses.
pub fn check(root: &Path) -> Result<Checked, OfflineError> {
    bound_sqlite_memory();
    let data = DataDir::open_to_read(root)?;
    let root = data.root();
    let mut checked = Checked {
        dirty: data.was_dirty,
        ..Checked::default()
    };
    match inspect_journal(root) {
        Ok(units) => checked.units = units.unwrap_or(0),
        Err(error) => checked.problems.push(error.to_string()),
    }
    if checked.dirty {
        return Ok(checked);
    }
    if checked.units > 0 {
        let message = format!(
            "the journal holds {} units, though the host stopped cleanly",
            checked.units
        );
        checked.problems.push(message);
    }
    for dir in data.namespaces()? {
        Namespace::read(&dir)?.check(&mut checked);
    }
    Ok(checked)
}

/// What lies in the directory of a namespace.
struct Namespace {
    dir: Arc<Path>,
    /// Databases by object and file, with their length.
    databases: BTreeMap<(ObjectId, FileId), u64>,
    indexes: Vec<ObjectId>,
    /// What would be an object's if it lay somewhere else.
    astray: Vec<PathBuf>,
}

impl Namespace {
    fn read(dir: &Path) -> std::io::Result<Self> {
        let mut found = Self {
            dir: dir.into(),
            databases: BTreeMap::new(),
            indexes: Vec::new(),
            astray: Vec::new(),
        };
        for file in layout::walk(dir) {
            let file = file?;
            match file.found {
                _ if !file.is_home => found.astray.push(file.path),
                Found::Index(object) => found.indexes.push(object),
                Found::Database(object, number) => {
                    found.databases.insert((object, number), file.bytes()?);
                }
                Found::Companion(_) => {}
            }
        }
        Ok(found)
    }

    fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn check(mut self, checked: &mut Checked) {
        for path in &self.astray {
            let why = "nobody looks for it there; move it to the directory that its object's id begins with";
            checked.problems.push(format!("{}: {why}", path.display()));
        }
        for object in std::mem::take(&mut self.indexes) {
            let path = index::path(&self.dir, object);
            match index::read(&path, object) {
                Ok(Some((loaded, _))) => self.check_tree(object, &loaded, checked),
                Ok(None) => {}
                Err(error) => {
                    checked.problems.push(error.to_string());
                    if let Some(bytes) = self.databases.remove(&(object, FileId::ROOT)) {
                        self.check_database(&self.database(object, FileId::ROOT), None, "", bytes, checked);
                    }
                    // Which of the others belong to whom is not known.
                    self.databases.retain(|(of, _), _| *of != object);
                }
            }
        }
        for (object, file) in std::mem::take(&mut self.databases).into_keys() {
            let place = self.database(object, file).path();
            let path = index::path(&self.dir, object);
            let why = match path.exists() {
                true => "no index names this database".to_owned(),
                false => format!(
                    "{} is missing, which would name it; `facetd doctor` can make it anew",
                    path.display()
                ),
            };
            checked.problems.push(format!("{}: {why}", place.display()));
        }
    }

    fn check_tree(&mut self, object: ObjectId, loaded: &Loaded, checked: &mut Checked) {
        for file in [FileId::ROOT].into_iter().chain(loaded.entries.keys().copied()) {
            let database = self.database(object, file);
            let path = path_of(loaded, file);
            let place = database.path();
            let place = place.display();
            match (self.databases.remove(&(object, file)), loaded.has_database(file)) {
                (Some(bytes), true) => {
                    let name = loaded.name.as_ref().map(|name| name.as_str().to_owned());
                    self.check_database(&database, name, &path, bytes, checked);
                }
                (Some(_), false) => {
                    let message = format!("{place}: the index says that {} has no database", facet(&path));
                    checked.problems.push(message);
                }
                (None, false) => {}
                (None, true) => {
                    let what = match file {
                        FileId::ROOT => "restore it from a backup",
                        FileId(_) => "restore it from a backup, or delete the facet",
                    };
                    let message = format!(
                        "{place}: missing, though the index names it for {}; {what}",
                        facet(&path)
                    );
                    checked.problems.push(message);
                }
            }
        }
    }

    fn check_database(&self, database: &DbFile, name: Option<String>, path: &str, bytes: u64, checked: &mut Checked) {
        for complaint in check_database(database, path) {
            checked
                .problems
                .push(format!("{}: {complaint}", database.path().display()));
        }
        checked.facets.push(FacetUse {
            namespace: self.name(),
            object: database.object,
            name,
            path: path.to_owned(),
            bytes,
        });
    }

    fn database(&self, object: ObjectId, file: FileId) -> DbFile {
        DbFile {
            dir: self.dir.clone(),
            object,
            file,
        }
    }
}

fn facet(path: &str) -> String {
    match path {
        "" => "the root".to_owned(),
        path => format!("the facet {path:?}"),
    }
}

/// Names from the root, joined.
fn path_of(loaded: &Loaded, file: FileId) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut at = file;
    while let Some(entry) = loaded.entries.get(&at) {
        names.push(FacetName::as_str(&entry.name));
        at = entry.parent;
    }
    names.reverse();
    names.join("/")
}
