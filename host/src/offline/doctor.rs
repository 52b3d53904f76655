//! One object, explained: what its index and its databases say, where they disagree, and what could be made of it. A repair
//! makes a new index of the good records and of the databases, each of which knows its facet, and keeps the old file.
//! Nothing is deleted, and no database is given to another facet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::host::ObjectRef;
use crate::ids::{ClassDigest, FacetName, FileId, ObjectId, ObjectName};
use crate::index::{self, Entry, Loaded};
use crate::namespace::object_id;
use crate::offline::OfflineError;
use crate::startup::Startup;
use crate::storage::{Belongs, DbFile, bound_sqlite_memory, check_database, inspect_journal, whose};
use crate::sys::data_dir::{DataDir, sync_dir};
use crate::sys::layout::{self, Found};

/// Appended to the name of an index that was damaged, with a number.
const DAMAGED_SUFFIX: &str = "damaged";

/// What was found, and done.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// What there is, line by line.
    pub facts: Vec<String>,
    /// What is wrong and stays so.
    pub problems: Vec<String>,
    /// What a repair changes, or has changed.
    pub repairs: Vec<String>,
    /// The repair was carried out.
    pub repaired: bool,
}

/// What may be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// Nothing: it is only explained.
    None,
    /// What can be made is made; what is missing stays missing, and its facet says so.
    Repair,
    /// And what the index names and is missing is taken for deleted.
    Forget,
}

/// Explains an object of a data directory that no host uses. `unique_key`: the namespace's, if it is not its name.
pub fn doctor(
    root: &Path,
    namespace: &str,
    object: &ObjectRef,
    unique_key: Option<&str>,
    treatment: Treatment,
) -> Result<Diagnosis, OfflineError> {
    bound_sqlite_memory();
    let data = match treatment {
        Treatment::Repair | Treatment::Forget => DataDir::open_idle(root)?,
        Treatment::None => DataDir::open_to_read(root)?,
    };
    // Without DIRTY as well: somebody may have removed it.
    let waits = inspect_journal(data.root()).map_or(true, |journal| journal.units > 0);
    if data.was_dirty || waits {
        let message =
            "the host did not stop cleanly: run `facetd recover`, or start the host, before anything is judged";
        return Err(OfflineError::Recover(message.to_owned()));
    }
    let dirs = data.namespaces()?;
    let named = |dir: &&std::path::PathBuf| dir.file_name().is_some_and(|name| name == namespace);
    let Some(dir) = dirs.iter().find(named) else {
        let known: Vec<_> = dirs.iter().filter_map(|dir| dir.file_name()?.to_str()).collect();
        let message = format!(
            "there is no namespace {namespace:?} here; there are: {}",
            known.join(", ")
        );
        return Err(OfflineError::Recover(message));
    };
    let id = object_id(unique_key.unwrap_or(namespace), object).map_err(OfflineError::Recover)?;
    let mut patient = Patient::read(dir, id)?;
    patient.judge(treatment == Treatment::Forget);
    if let (true, ObjectRef::Name(name)) = (patient.damaged, object) {
        // It leads to the object.
        patient.loaded.name = ObjectName::new(name).ok();
    }
    if treatment != Treatment::None && !patient.found.repairs.is_empty() {
        patient.repair()?;
    }
    Ok(patient.found)
}

struct Patient {
    dir: Arc<Path>,
    object: ObjectId,
    index: Option<Vec<u8>>,
    /// Of the object, by the number in their names.
    databases: BTreeMap<FileId, u64>,
    loaded: Loaded,
    damaged: bool,
    found: Diagnosis,
}

impl Patient {
    fn read(dir: &Path, object: ObjectId) -> Result<Self, OfflineError> {
        let mut databases = BTreeMap::new();
        for file in layout::files_of(dir, object) {
            let file = file?;
            if let Found::Database(_, number) = file.found {
                databases.insert(number, file.bytes()?);
            }
        }
        let path = index::path(dir, object);
        let mut index = read_if_there(&path)?;
        // Later than all that is in the index.
        if let Some(lost) = read_if_there(&index::lost_path(&path))? {
            index.get_or_insert_default().extend(lost);
        }
        let salvaged = index::salvage(index.as_deref().unwrap_or_default(), object);
        let mut found = Diagnosis::default();
        let damage = match (&index, index::read(&path, object)) {
            (None, _) => Vec::new(),
            (Some(_), Ok(_)) => Vec::new(),
            (Some(_), Err(error)) => {
                let mut damage = vec![error.to_string()];
                damage.extend(salvaged.damage);
                damage
            }
        };
        let has_databases = !databases.is_empty();
        let damaged = !damage.is_empty() || (index.is_none() && has_databases);
        match &index {
            Some(bytes) => found.facts.push(format!(
                "{}: {} bytes, {} facets below the root{}",
                path.display(),
                bytes.len(),
                salvaged.loaded.entries.len(),
                salvaged.loaded.name.as_ref().map_or_else(String::new, |name| format!(
                    "; the object is called {:?}",
                    name.as_str()
                ))
            )),
            None if has_databases => found
                .repairs
                .push(format!("{} is missing, and is made", path.display())),
            None => found
                .facts
                .push(format!("{}: none, and none is needed", path.display())),
        }
        found
            .repairs
            .extend(damage.into_iter().map(|why| format!("the index is damaged: {why}")));
        Ok(Self {
            dir: dir.into(),
            object,
            index,
            databases,
            loaded: salvaged.loaded,
            damaged,
            found,
        })
    }

    fn file(&self, file: FileId) -> DbFile {
        DbFile {
            dir: self.dir.clone(),
            object: self.object,
            file,
        }
    }

    /// `forget`: what is missing is taken for deleted.
    fn judge(&mut self, forget: bool) {
        for (file, bytes) in self.databases.clone() {
            self.judge_database(file, bytes);
        }
        self.judge_entries(forget);
        if self.damaged || forget {
            self.make_whole();
        }
        if self.damaged && !self.loaded.has_database(FileId::ROOT) {
            let told = "nothing that is left says that the root has a database: if it had one, put that back first";
            self.found.repairs.push(told.to_owned());
        }
    }

    /// Whose it is, and whether the index says the same.
    fn judge_database(&mut self, file: FileId, bytes: u64) {
        let database = self.file(file);
        let place = database.path().display().to_string();
        let belongs = match whose(&database) {
            Ok(belongs) => belongs,
            Err(error) => {
                return self
                    .found
                    .problems
                    .push(format!("{place}: {}; it is left alone", error.for_operator()));
            }
        };
        let Belongs {
            object,
            file: number,
            path,
        } = belongs;
        if object != self.object || number != file {
            let whose = match object == self.object {
                true => format!("it is file {number} of this object, of the facet {path:?}"),
                false => format!("it belongs to object {object}"),
            };
            let hint = "it is left alone: give it its name again if that is free, or restore it from a backup";
            return self.found.problems.push(format!("{place}: {whose}; {hint}"));
        }
        for complaint in check_database(&database, &path) {
            self.found.problems.push(format!("{place}: {complaint}"));
        }
        self.found
            .facts
            .push(format!("{place}: {bytes} bytes, of the facet {path:?}"));
        match self.path_of(file) {
            Some(named) if named == path => {
                let is_known = match self.loaded.entries.get_mut(&file) {
                    Some(entry) => std::mem::replace(&mut entry.has_database, true),
                    None => std::mem::replace(&mut self.loaded.root_has_database, true),
                };
                match self.damaged {
                    _ if is_known => {}
                    true => self
                        .found
                        .repairs
                        .push(format!("the index learns that {path:?} has a database")),
                    false => {
                        let why = "the index says that its facet has none";
                        self.found.problems.push(format!("{place}: {why}; it is left alone"));
                    }
                }
            }
            Some(named) => {
                let why = format!("the index gives it to {named:?}");
                self.found
                    .problems
                    .push(format!("{place}: it is of {path:?}, and {why}; it is left alone"));
            }
            None if !self.damaged => {
                let why = "the index, which is whole, does not name it";
                self.found.problems.push(format!("{place}: {why}; it is left alone"));
            }
            None => self.adopt(file, &path, &place),
        }
    }

    /// Gives a database its entry back.
    fn adopt(&mut self, file: FileId, path: &str, place: &str) {
        let names: Result<Vec<_>, _> = path.split('/').map(FacetName::new).collect();
        let Ok(names) = names else {
            return self
                .found
                .problems
                .push(format!("{place}: {path:?} is no path of a facet; it is left alone"));
        };
        let mut parent = FileId::ROOT;
        let (last, above) = names.split_last().expect("a split has one part at least");
        for name in above {
            parent = match self.child(parent, name) {
                Some(found) => found,
                None => self.insert(None, parent, name.clone()),
            };
        }
        if let Some(other) = self.child(parent, last) {
            if self.loaded.entries[&other].has_database && self.databases.contains_key(&other) {
                let why = format!("file {other} is of the same facet, and the index names that");
                return self.found.problems.push(format!("{place}: {why}; it is left alone"));
            }
            self.rename(other, file);
        } else {
            self.insert(Some(file), parent, last.clone());
        }
        let entry = self.loaded.entries.get_mut(&file).expect("it has just been inserted");
        entry.has_database = true;
        let told = format!("{path:?} is named again, with file {file}");
        let asks = "; what it runs is not known until its parent asks for it";
        let is_unknown = *entry.startup == unknown_startup();
        self.found.repairs.push(if is_unknown { told + asks } else { told });
    }

    fn child(&self, parent: FileId, name: &FacetName) -> Option<FileId> {
        let mut entries = self.loaded.entries.iter();
        let found = entries.find(|(_, entry)| entry.parent == parent && entry.name == *name);
        found.map(|(file, _)| *file)
    }

    fn insert(&mut self, file: Option<FileId>, parent: FileId, name: FacetName) -> FileId {
        let file = file.unwrap_or_else(|| self.free_file());
        let entry = Entry {
            parent,
            name,
            startup: unknown_startup().into(),
            has_database: false,
        };
        self.loaded.entries.insert(file, entry);
        file
    }

    /// The entry of a facet whose database has another number than the index knows.
    fn rename(&mut self, from: FileId, to: FileId) {
        if let Some(entry) = self.loaded.entries.remove(&from) {
            self.loaded.entries.insert(to, entry);
        }
        for entry in self.loaded.entries.values_mut().filter(|entry| entry.parent == from) {
            entry.parent = to;
        }
    }

    /// Past every number that an entry or a file has.
    fn free_file(&mut self) -> FileId {
        let used = self.loaded.entries.keys().chain(self.databases.keys()).max().copied();
        let next = self.loaded.next_file.max(FileId(used.unwrap_or(FileId::ROOT).0 + 1));
        self.loaded.next_file = FileId(next.0 + 1);
        next
    }

    /// Entries whose databases are not there. A lost record may have deleted them; or they are lost, and acknowledged: nobody can
    /// tell but whoever says that they are to be forgotten.
    fn judge_entries(&mut self, forget: bool) {
        let files = [FileId::ROOT].into_iter().chain(self.loaded.entries.keys().copied());
        // Of one whose commits could not be carried out the root's index may have lost its word.
        let is_missed = |file: &FileId| self.loaded.has_database(*file) || self.file(*file).lost_path().exists();
        let lost: Vec<_> = files
            .filter(|file| is_missed(file) && !self.databases.contains_key(file))
            .collect();
        for file in lost {
            let path = self.path_of(file).unwrap_or_default();
            let place = self.file(file).path().display().to_string();
            let kept = self.file(file).lost_path();
            let is_kept = kept.exists();
            let has_database = !forget || is_kept;
            match self.loaded.entries.get_mut(&file) {
                Some(entry) => entry.has_database = has_database,
                None => self.loaded.root_has_database = has_database,
            }
            if !has_database {
                let told = format!("{path:?} has no database, and is taken for deleted");
                self.found.repairs.push(told);
                continue;
            }
            let what = match (file, is_kept) {
                (_, true) => format!(
                    "its newest commits are kept in {}: put the database back, and `facetd recover` completes it",
                    kept.display()
                ),
                (FileId::ROOT, false) => "restore it from a backup".to_owned(),
                (FileId(_), false) => "restore it from a backup, or delete the facet".to_owned(),
            };
            let else_told = match (is_kept, self.damaged) {
                (true, _) => "",
                (false, true) => "; if it was deleted, which a lost record may have said, repair with --forget-missing",
                (false, false) => "; to have it taken for deleted, repair with --forget-missing",
            };
            self.found
                .problems
                .push(format!("{place}: missing, of the facet {path:?}; {what}{else_told}"));
        }
    }

    /// Entries without parents, or without anything at or below them, go.
    fn make_whole(&mut self) {
        loop {
            let parents: BTreeSet<_> = self.loaded.entries.values().map(|entry| entry.parent).collect();
            let gone: Vec<_> = self
                .loaded
                .entries
                .iter()
                .filter(|(file, entry)| {
                    let is_orphan = entry.parent != FileId::ROOT && !self.loaded.entries.contains_key(&entry.parent);
                    is_orphan || (!entry.has_database && !parents.contains(file))
                })
                .map(|(file, _)| *file)
                .collect();
            if gone.is_empty() {
                break;
            }
            for file in gone {
                self.loaded.entries.remove(&file);
            }
        }
        self.loaded.next_file = self.free_file();
    }

    /// Names from the root. None if the file has no entry, or one above it has none.
    fn path_of(&self, file: FileId) -> Option<String> {
        let (mut names, mut at) = (Vec::new(), file);
        while at != FileId::ROOT {
            let entry = self.loaded.entries.get(&at)?;
            names.push(entry.name.as_str());
            at = entry.parent;
            if names.len() > self.loaded.entries.len() {
                // Records that contradict each other can make a ring.
                return None;
            }
        }
        names.reverse();
        Some(names.join("/"))
    }

    fn repair(&mut self) -> Result<(), OfflineError> {
        let path = index::path(&self.dir, self.object);
        if let Some(bytes) = &self.index {
            let aside = (1..)
                .map(|number: u32| path.with_extension(format!("facets.{DAMAGED_SUFFIX}{number}")))
                .find(|aside| !aside.exists())
                .expect("a free number is found before u32 ends");
            write_synced(&aside, bytes)?;
            self.found
                .repairs
                .push(format!("the old index is kept as {}", aside.display()));
        }
        let temporary = path.with_extension("facets.new");
        write_synced(&temporary, &index::image(self.object, &self.loaded))?;
        std::fs::rename(&temporary, &path)?;
        sync_dir(&layout::home(&self.dir, self.object))?;
        // What they say is in the new index, which is durable.
        crate::storage::remove_if_there(&index::lost_path(&path))?;
        self.found.repaired = true;
        Ok(())
    }
}

fn read_if_there(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Of a facet whose record is lost. No class has this digest; a `get` of its parent gives it its own again (S4).
fn unknown_startup() -> Startup {
    Startup::of(ClassDigest([0; 32]))
}
