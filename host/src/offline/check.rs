//! `facetd check`: everything in a data directory is read, nothing is changed. What is wrong is told with the file and
//! with what can be done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OfflineError;
use crate::alarms::{AlarmIndex, AlarmKey};
use crate::ids::{FacetName, FileId, ObjectId};
use crate::index::{self, Loaded};
use crate::storage::{
    DbFile, bound_sqlite_memory, check_database, inspect_journal, is_blank, is_emptied, stored_alarm,
};
use crate::sys::data_dir::DataDir;
use crate::sys::layout::{self, Found};

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// The last host did not stop cleanly: what the journal changes is complete only together with it.
    pub dirty: bool,
    /// Units in the journal.
    pub units: u64,
    /// Objects that these are of, which were not looked at.
    pub unchecked: u64,
    /// Every facet with a database.
    pub facets: Vec<FacetUse>,
    /// Files that crashes have left, and that nobody reads: `facetd recover` removes them.
    pub left_over: u64,
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
    /// Nothing is in it any more: it goes when the facet next stops.
    pub is_empty: bool,
}

/// Checks the journal, the indexes and the databases of a data directory that no host uses. After an unclean stop, only those
/// that the journal does not change.
pub fn check(root: &Path) -> Result<Checked, OfflineError> {
    bound_sqlite_memory();
    let data = DataDir::open_to_read(root)?;
    let root = data.root();
    let mut checked = Checked {
        dirty: data.was_dirty,
        ..Checked::default()
    };
    if let Err(error) = data.refuse_copy() {
        checked.problems.push(error.to_string());
    }
    checked.problems.extend(super::salvage::reminder(root));
    let journal = match inspect_journal(root) {
        Ok(journal) => Some(journal),
        Err(error) => {
            checked.problems.push(error.to_string());
            None
        }
    };
    checked.units = journal.as_ref().map_or(0, |journal| journal.units);
    let changed = match (checked.dirty, journal) {
        (false, _) => None,
        // What would have to be done to files is not known.
        (true, None) => return Ok(checked),
        (true, Some(journal)) => {
            checked.unchecked = journal.objects.len() as u64;
            Some(journal.objects)
        }
    };
    if !checked.dirty && checked.units > 0 {
        let message = format!(
            "the journal holds {} units, though the host stopped cleanly",
            checked.units
        );
        checked.problems.push(message);
    }
    for dir in data.namespaces()? {
        Namespace::read(&dir, changed.as_ref())?.check(&mut checked);
    }
    Ok(checked)
}

/// What lies in the directory of a namespace.
struct Namespace {
    dir: Arc<Path>,
    /// Databases by object and file, with their length.
    databases: BTreeMap<(ObjectId, FileId), u64>,
    indexes: BTreeSet<ObjectId>,
    /// What would be an object's if it lay somewhere else.
    astray: Vec<PathBuf>,
    /// As an unclean stop has left it, with databases that are nobody's.
    is_unclean: bool,
    /// Logs of killed hosts, and databases to which nothing was committed.
    left_over: u64,
    /// What the index of alarms says, less what was compared; none if it is made anew by the next start. Or what is wrong with it.
    alarms: Result<Option<BTreeMap<AlarmKey, u64>>, String>,
}

impl Namespace {
    /// `changed`: after an unclean stop, the objects that the journal changes. The others are as they should be.
    fn read(dir: &Path, changed: Option<&BTreeSet<(String, ObjectId)>>) -> std::io::Result<Self> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let waits = |object| changed.is_some_and(|changed| changed.contains(&(name.clone(), object)));
        let mut found = Self {
            dir: dir.into(),
            databases: BTreeMap::new(),
            indexes: BTreeSet::new(),
            astray: Vec::new(),
            is_unclean: changed.is_some(),
            left_over: 0,
            // What the journal and the index's own log say of alarms is not looked at.
            alarms: match changed {
                Some(_) => Ok(None),
                None => AlarmIndex::read_unchanged(dir),
            },
        };
        for file in layout::walk(dir) {
            let file = file?;
            match file.found {
                _ if !file.is_home => found.astray.push(file.path),
                Found::Index(object) | Found::Database(object, _) if waits(object) => {}
                Found::Index(object) | Found::Lost(object) => drop(found.indexes.insert(object)),
                Found::Database(object, number) => {
                    // Nothing was ever committed to it.
                    match is_blank(&found.database(object, number))? {
                        true => found.left_over += 1,
                        false => drop(found.databases.insert((object, number), file.bytes()?)),
                    }
                }
                // Of a host that runs is none here, and of one that was killed none is ever read.
                Found::Companion(..) => found.left_over += 1,
            }
        }
        Ok(found)
    }

    fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn check(mut self, checked: &mut Checked) {
        checked.left_over += self.left_over;
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
            if self.is_unclean && file != FileId::ROOT {
                // Left over from a turn that was never acknowledged, or what recovery sets aside.
                continue;
            }
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
        let alarms = match std::mem::replace(&mut self.alarms, Ok(None)) {
            Ok(alarms) => alarms.unwrap_or_default(),
            Err(why) => {
                checked.problems.push(why);
                BTreeMap::new()
            }
        };
        for (AlarmKey { object, file }, due_ms) in alarms {
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
        let Ok(Some(alarms)) = &mut self.alarms else { return };
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

    fn check_database(
        &mut self,
        database: &DbFile,
        name: Option<String>,
        path: &str,
        bytes: u64,
        checked: &mut Checked,
    ) {
        for complaint in check_database(database, path) {
            checked
                .problems
                .push(format!("{}: {complaint}", database.path().display()));
        }
        self.check_alarm(database, checked);
        checked.facets.push(FacetUse {
            namespace: self.name(),
            object: database.object,
            name,
            path: path.to_owned(),
            bytes,
            // What cannot be read has been told of.
            is_empty: is_emptied(database).unwrap_or(false),
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
