//! `facetd check`: everything in a data directory is read, nothing is changed. What is wrong is told with the file and
//! with what can be done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::OfflineError;
use crate::alarms::{AlarmIndex, AlarmKey};
use crate::ids::{FacetName, FileId, ObjectId};
use crate::index::{self, Loaded};
use crate::storage::{DbFile, bound_sqlite_memory, check_database, inspect_journal, stored_alarm};
use crate::sys::data_dir::DataDir;

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
    /// Names from the root joined by `/`; empty for the root.
    pub path: String,
    /// Bytes of its database file.
    pub bytes: u64,
}

/// Checks the journal, the indexes and the databases of a data directory that no host uses.
pub fn check(root: &Path) -> Result<Checked, OfflineError> {
    bound_sqlite_memory();
    let data = DataDir::open_idle(root)?;
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
    indexes: BTreeSet<ObjectId>,
    /// What the index of alarms says, less what was compared; none if it is made anew by the next start.
    alarms: Option<BTreeMap<AlarmKey, u64>>,
}

impl Namespace {
    fn read(dir: &Path) -> std::io::Result<Self> {
        let mut found = Self {
            dir: dir.into(),
            databases: BTreeMap::new(),
            indexes: BTreeSet::new(),
            alarms: AlarmIndex::read_unchanged(dir),
        };
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_name().to_str().and_then(super::orphans::parse) {
                Some(super::orphans::Found::Index(object) | super::orphans::Found::Lost(object)) => {
                    found.indexes.insert(object);
                }
                Some(super::orphans::Found::Database(object, file)) => {
                    found.databases.insert((object, file), entry.metadata()?.len());
                }
                Some(super::orphans::Found::Companion) | None => {}
            }
        }
        Ok(found)
    }

    fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn check(mut self, checked: &mut Checked) {
        for object in std::mem::take(&mut self.indexes) {
            let path = index::path(&self.dir, object);
            match index::read(&path, object) {
                Ok(Some((loaded, _))) => self.check_tree(object, &loaded, checked),
                Ok(None) => {}
                Err(error) => {
                    checked.problems.push(error.to_string());
                    // Which of them belong to whom is not known.
                    self.databases
                        .retain(|(of, file), _| *of != object || *file == FileId::ROOT);
                }
            }
        }
        for ((object, file), bytes) in std::mem::take(&mut self.databases) {
            let database = self.database(object, file);
            if file == FileId::ROOT {
                self.check_database(&database, "", bytes, checked);
            } else {
                let message = format!("{}: no index names this database", database.path().display());
                checked.problems.push(message);
            }
        }
        for (AlarmKey { object, file }, due_ms) in self.alarms.take().unwrap_or_default() {
            let database = self.database(object, file);
            // One that is there has been told of.
            if !database.path().exists() {
                let message = self.alarms_differ(&database, None, Some(due_ms));
                checked.problems.push(message);
            }
        }
    }

    /// Compares the alarm of a database with what the index says.
    fn check_alarm(&mut self, database: &DbFile, checked: &mut Checked) {
        let Some(alarms) = &mut self.alarms else { return };
        let DbFile { object, file, .. } = *database;
        let known = alarms.remove(&AlarmKey { object, file });
        // What cannot be read has been told of.
        if let Ok(stored) = stored_alarm(database)
            && stored != known
        {
            checked.problems.push(self.alarms_differ(database, stored, known));
        }
    }

    fn alarms_differ(&self, database: &DbFile, stored: Option<u64>, known: Option<u64>) -> String {
        let when = |due_ms: Option<u64>| due_ms.map_or("none".to_owned(), |due_ms| format!("one for {due_ms}"));
        format!(
            "{}: its alarm is {}, but {} says {}; remove that file while no host runs, and the next start makes it anew from \
             the databases",
            database.path().display(),
            when(stored),
            self.dir.join(crate::alarms::INDEX_FILE_NAME).display(),
            when(known),
        )
    }

    fn check_tree(&mut self, object: ObjectId, loaded: &Loaded, checked: &mut Checked) {
        for (file, entry) in &loaded.entries {
            let database = self.database(object, *file);
            let path = path_of(loaded, *file);
            match self.databases.remove(&(object, *file)) {
                Some(bytes) if entry.has_database => self.check_database(&database, &path, bytes, checked),
                Some(_) => {
                    let message = format!(
                        "{}: the index says that the facet {path:?} has no database",
                        database.path().display()
                    );
                    checked.problems.push(message);
                }
                None if !entry.has_database => {}
                None => {
                    let message = format!(
                        "{}: missing, though the index names it for the facet {path:?} ({:?}); restore it from a backup, or \
                         delete the facet",
                        database.path().display(),
                        entry.name.as_str()
                    );
                    checked.problems.push(message);
                }
            }
        }
    }

    fn check_database(&mut self, database: &DbFile, path: &str, bytes: u64, checked: &mut Checked) {
        for complaint in check_database(database, path) {
            checked
                .problems
                .push(format!("{}: {complaint}", database.path().display()));
        }
        self.check_alarm(database, checked);
        checked.facets.push(FacetUse {
            namespace: self.name(),
            object: database.object,
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
