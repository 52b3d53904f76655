//! Objects that work as `live` and `isolate` have them work, but without guests: turns, trees, clones, evictions, as a seed
//! says; and the model of what they have committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::model::{self, Change, Content, Entry, History, Stored, db_file, object_id};
use super::power::Power;
use super::random::Random;
use crate::ids::{ClassDigest, FacetName, FileId};
use crate::index::{self, TreeChange};
use crate::startup::Startup;
use crate::storage::error::StorageError;
use crate::storage::journal::rules::{self, Rule};
use crate::storage::journal::{
    Announced, Copied, Disk, Journal, LocalJournal, Lsn, TreeAppend, TreeUnit, Unit, wait_settled,
};
use crate::storage::store::FacetStore;
use crate::storage::sync_copies;

/// Facets of one object.
const FACETS_MAX: usize = 7;

/// What all objects share.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) dir: PathBuf,
    pub(super) disk: Disk,
    pub(super) journal: Arc<LocalJournal>,
    pub(super) history: Arc<Mutex<History>>,
    pub(super) power: Option<Arc<Power>>,
    /// Members and trees are queued apart: what a journal would do that knows nothing of trees.
    pub(super) splits_units: bool,
    /// Most turns write much, so that segments are filled and used again.
    pub(super) writes_much: bool,
}

/// Why a step could not be done.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        Self(format!("{}: {error}", error.code()))
    }
}

type Done = Result<(), Refused>;

struct Facet {
    parent: u32,
    name: String,
    version: u8,
    has_entry: bool,
    has_database: bool,
    content: Content,
    store: Option<Arc<Mutex<FacetStore>>>,
}

/// One object. The root is file 0.
pub(super) struct Object {
    host: Host,
    number: u8,
    facets: BTreeMap<u32, Facet>,
    next_file: u32,
    next_seq: u64,
    has_index: bool,
    names: u32,
    pub(super) random: Random,
}

/// What a unit does beside the commits of its members.
#[derive(Default)]
struct Changes {
    tree: Vec<TreeChange>,
    copied: Vec<Copied>,
    removed: Vec<u32>,
    model: Vec<Change>,
}

fn startup(version: u8) -> Startup {
    Startup::of(ClassDigest([version; 32]))
}

impl Object {
    /// As it lies on disk; `stored` is what is known of it.
    pub(super) fn load(host: &Host, number: u8, stored: &Stored, random: Random) -> Self {
        let path = index::path(&host.dir, object_id(number));
        let loaded = index::load(
            &path,
            object_id(number),
            host.journal.unshown(&host.dir, object_id(number)),
        )
        .unwrap();
        let mut object = Self {
            host: host.clone(),
            number,
            facets: BTreeMap::new(),
            next_file: loaded.as_ref().map_or(1, |loaded| loaded.next_file.0),
            next_seq: loaded.as_ref().map_or(1, |loaded| loaded.next_seq),
            has_index: loaded.is_some(),
            names: 0,
            random,
        };
        let content = |file| stored.databases.get(&file).cloned();
        let mut add = |file: u32, (parent, name, version): Entry, has_entry| {
            let facet = Facet {
                parent,
                name,
                version,
                has_entry,
                has_database: content(file).is_some(),
                content: content(file).unwrap_or_default(),
                store: None,
            };
            object.facets.insert(file, facet);
        };
        add(0, (0, String::new(), 0), false);
        for (file, entry) in stored.index.iter().flatten().filter(|(file, _)| **file != 0) {
            add(*file, entry.clone(), true);
        }
        object.names = object.next_file * 1000;
        object
    }

    fn path(&self, file: u32) -> String {
        let facet = &self.facets[&file];
        match (file, facet.parent) {
            (0, _) => String::new(),
            (_, 0) => facet.name.clone(),
            (_, parent) => format!("{}/{}", self.path(parent), facet.name),
        }
    }

    fn store(&mut self, file: u32) -> Arc<Mutex<FacetStore>> {
        if let Some(store) = &self.facets[&file].store {
            return store.clone();
        }
        let db = db_file(&self.host.dir, self.number, file);
        let (path, stored) = (self.path(file), self.facets[&file].has_database);
        let journal = self.host.journal.clone();
        let store = FacetStore::new(db.clone(), path, stored, 1 << 30, Arc::default(), journal);
        let store = Arc::new(Mutex::new(store));
        self.host.journal.pins().attend(&db, &store);
        self.facets.get_mut(&file).unwrap().store = Some(store.clone());
        store
    }

    fn is_over(&self) -> bool {
        self.host.power.as_ref().is_some_and(|power| power.is_over())
    }

    fn below(&self, file: u32) -> Vec<u32> {
        let mut found = Vec::new();
        for (child, facet) in &self.facets {
            if *child != 0 && facet.parent == file {
                found.push(*child);
                found.extend(self.below(*child));
            }
        }
        found
    }

    fn has_entries_below(&self, file: u32) -> bool {
        self.below(file).iter().any(|child| self.facets[child].has_entry)
    }

    fn any(&mut self) -> u32 {
        let files: Vec<u32> = self.facets.keys().copied().collect();
        *self.random.pick(&files)
    }

    fn any_child(&mut self) -> Option<u32> {
        let files: Vec<u32> = self.facets.keys().copied().filter(|file| *file != 0).collect();
        (!files.is_empty()).then(|| *self.random.pick(&files))
    }

    /// What the index says; of the root, which has no entry, that it has a database.
    fn entries(&self) -> BTreeMap<u32, Entry> {
        let is_said = |file: u32, facet: &Facet| facet.has_entry || (file == 0 && facet.has_database);
        let entries = self.facets.iter().filter(|(file, facet)| is_said(**file, facet));
        entries
            .map(|(file, facet)| (*file, (facet.parent, facet.name.clone(), facet.version)))
            .collect()
    }

    /// One step of whatever kind.
    pub(super) fn step(&mut self) -> Done {
        if self.host.writes_much && self.random.one_in(2) {
            return self.much();
        }
        match self.random.below(40) {
            0..=17 => {
                let file = self.any();
                self.turn(file, false)
            }
            18..=22 => self.create(),
            23 | 24 => {
                let file = self.any();
                self.turn(file, true)
            }
            25..=27 => match self.any_child() {
                Some(file) => self.delete(file),
                None => Ok(()),
            },
            28 => match self.any_child() {
                Some(file) => self.restart(file),
                None => Ok(()),
            },
            29 | 30 => match self.any_child() {
                Some(file) => self.copy(file),
                None => Ok(()),
            },
            31..=33 => {
                let file = self.any();
                self.evict(file)
            }
            34 | 35 => {
                let file = self.any();
                if let Some(store) = &self.facets[&file].store {
                    store.lock().unwrap().checkpoint_between_turns()?;
                }
                Ok(())
            }
            36 => {
                // Not closed, as after an error.
                let file = self.any();
                if let Some(store) = self.facets.get_mut(&file).unwrap().store.take() {
                    self.host
                        .journal
                        .pins()
                        .leave(&db_file(&self.host.dir, self.number, file));
                    while Arc::strong_count(&store) > 1 {
                        std::thread::yield_now();
                    }
                }
                Ok(())
            }
            37 => self.delete_all(),
            38 => self.wait(),
            _ => self.vanish(),
        }
    }

    fn wait(&mut self) -> Done {
        self.host.power.as_ref().inspect(|power| power.hold(false));
        let last = self.host.history.lock().unwrap().last;
        let waited = self.host.journal.progress().wait(last);
        waited.map_err(|error| Refused(error.to_string()))
    }

    fn settled(&self, lsn: Lsn) {
        self.host.power.as_ref().inspect(|power| power.hold(false));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(wait_settled(self.host.journal.progress(), object_id(self.number), lsn));
    }

    fn much(&mut self) -> Done {
        let store = self.store(0);
        let mut store = store.lock().unwrap();
        let bytes = self.random.noise(900_000);
        store.kv_put("long", &bytes)?;
        let mut content = self.facets[&0].content.clone();
        content.keys.insert("long".to_owned(), model::value(&bytes));
        self.seal(0, &mut store, content, Changes::default())?;
        store.checkpoint()?;
        Ok(())
    }

    /// A turn of one facet that writes, and sometimes is lost.
    fn turn(&mut self, file: u32, all: bool) -> Done {
        let store = self.store(file);
        let mut store = store.lock().unwrap();
        let before = self.facets[&file].content.clone();
        let content = self.write(&mut store, before, all);
        let content = match content {
            Ok(content) => content,
            Err(refused) => {
                store.discard_turn();
                return Err(refused);
            }
        };
        if self.random.one_in(10) {
            store.discard_turn();
            return Ok(());
        }
        self.seal(file, &mut store, content, Changes::default())
    }

    fn write(&mut self, store: &mut FacetStore, mut content: Content, all: bool) -> Result<Content, Refused> {
        if all {
            store.delete_all()?;
            content = Content::default();
        }
        for _ in 0..self.random.below(4) {
            match self.random.below(16) {
                0..=7 => {
                    let key = format!("k{}", self.random.below(12));
                    let bytes = self.random.below(3000);
                    let bytes = self.random.noise(bytes);
                    store.kv_put(&key, &bytes)?;
                    content.keys.insert(key, model::value(&bytes));
                }
                8 | 9 => {
                    let key = format!("k{}", self.random.below(12));
                    store.kv_delete(&key)?;
                    content.keys.remove(&key);
                }
                10..=12 => self.rows(store, &mut content)?,
                13 => {
                    // What was written ahead of the COMMIT and undone stays in the log.
                    let tx = store.begin()?;
                    let mut undone = content.clone();
                    for _ in 0..self.random.below(60) {
                        self.rows(store, &mut undone)?;
                    }
                    if self.random.one_in(3) {
                        store.commit(tx)?;
                        content = undone;
                    } else {
                        store.rollback(tx)?;
                    }
                }
                14 if self.random.one_in(2) => {
                    let bytes = (1 << 20) + self.random.below(1 << 20);
                    let bytes = self.random.noise(bytes);
                    store.kv_put("long", &bytes)?;
                    content.keys.insert("long".to_owned(), model::value(&bytes));
                }
                _ => {
                    store.kv_delete("long")?;
                    content.keys.remove("long");
                }
            }
        }
        Ok(content)
    }

    fn rows(&mut self, store: &mut FacetStore, content: &mut Content) -> Done {
        use crate::storage::value::Value;
        let rows = content.rows.get_or_insert_default();
        store.query("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b BLOB)", &[], 1)?;
        if self.random.one_in(6) {
            let below = self.random.below(200) as i64;
            store.query("DELETE FROM t WHERE id < ?", &[Value::Integer(below)], 1)?;
            rows.retain(|id, _| *id >= below);
            // As a resting facet does: the file gets shorter.
            store.give_back_some()?;
        }
        for _ in 0..self.random.below(8) {
            let id = self.random.below(400) as i64;
            let bytes = self.random.below(6000);
            let bytes = self.random.noise(bytes);
            rows.insert(id, model::value(&bytes));
            let params = [Value::Integer(id), Value::Blob(bytes)];
            store.query("INSERT OR REPLACE INTO t VALUES(?, ?)", &params, 1)?;
        }
        Ok(())
    }

    /// Ends a turn: COMMIT, one unit for what was written and for the tree.
    fn seal(&mut self, file: u32, store: &mut FacetStore, content: Content, mut changes: Changes) -> Done {
        let committed = match store.end_turn() {
            Ok(committed) => committed,
            Err(error) => {
                self.undo(&changes);
                return Err(error.into());
            }
        };
        if committed.is_none() && changes.tree.is_empty() && changes.removed.is_empty() {
            assert_eq!(content, self.facets[&file].content, "it has changed without a commit");
            return Ok(());
        }
        if committed.is_some() {
            let mut created = Vec::new();
            self.now_stored(file, &mut created);
            created.append(&mut changes.tree);
            changes.tree = created;
            changes.model.push(Change::Database(file, Some(content.clone())));
            self.facets.get_mut(&file).unwrap().content = content;
        }
        let wrote = committed.is_some();
        let lsn = self.record(committed.into_iter().collect(), changes);
        if wrote {
            store.recorded(lsn);
        }
        Ok(())
    }

    /// Copies that were made for a turn that is lost.
    fn undo(&mut self, changes: &Changes) {
        let files: Vec<_> = changes.copied.iter().map(|copied| copied.file.0).collect();
        if !files.is_empty() {
            files.iter().for_each(|file| drop(self.facets.remove(file)));
            self.queue(TreeUnit::Unchanged, Vec::new(), Vec::new(), files);
        }
    }

    /// Entries for the facet and what is above it.
    fn now_stored(&mut self, file: u32, created: &mut Vec<TreeChange>) {
        match (file, &self.facets[&file]) {
            (0, root) if !root.has_database => created.push(TreeChange::Store { file: FileId::ROOT }),
            (0, _) => {}
            (_, facet) if !facet.has_entry => self.create_entry(file, created),
            _ => {}
        }
        self.facets.get_mut(&file).unwrap().has_database = true;
    }

    fn create_entry(&mut self, file: u32, created: &mut Vec<TreeChange>) {
        let parent = self.facets[&file].parent;
        if parent != 0 && !self.facets[&parent].has_entry {
            self.create_entry(parent, created);
        }
        let facet = self.facets.get_mut(&file).unwrap();
        facet.has_entry = true;
        created.push(TreeChange::Create {
            file: FileId(file),
            parent: FileId(parent),
            name: FacetName::new(&facet.name).unwrap(),
            startup: startup(facet.version).into(),
            // The journal does not look into records.
            has_database: true,
        });
    }

    fn record(&mut self, members: Vec<crate::storage::Committed>, mut changes: Changes) -> Lsn {
        let mut tree = TreeUnit::Unchanged;
        if !changes.tree.is_empty() {
            let seq = self.next_seq;
            self.next_seq += 1;
            let is_new = !std::mem::replace(&mut self.has_index, true);
            tree = TreeUnit::Append(TreeAppend::new(
                object_id(self.number),
                is_new,
                FileId(self.next_file),
                seq,
                &changes.tree,
            ));
            changes.model.push(Change::Index(Some(self.entries())));
        }
        for file in &changes.removed {
            changes.model.push(Change::Database(*file, None));
        }
        // Numbers are given in the order in which the model hears of them.
        let history = self.host.history.clone();
        let mut history = history.lock().unwrap();
        if self.host.splits_units && tree != TreeUnit::Unchanged && !members.is_empty() {
            self.queue(tree, Vec::new(), changes.copied, changes.removed);
            let lsn = self.queue(TreeUnit::Unchanged, members, Vec::new(), Vec::new());
            history.unit(lsn, self.number, changes.model);
            return lsn;
        }
        let lsn = self.queue(tree, members, changes.copied, changes.removed);
        history.unit(lsn, self.number, changes.model);
        lsn
    }

    fn queue(
        &self,
        tree: TreeUnit,
        members: Vec<crate::storage::Committed>,
        copied: Vec<Copied>,
        removed: Vec<u32>,
    ) -> Lsn {
        self.append(tree, members, Vec::new(), copied, removed)
    }

    fn append(
        &self,
        tree: TreeUnit,
        members: Vec<crate::storage::Committed>,
        copying: Vec<Announced>,
        copied: Vec<Copied>,
        removed: Vec<u32>,
    ) -> Lsn {
        self.host.journal.append(Unit {
            members,
            copying,
            copied,
            removed: removed.into_iter().map(FileId).collect(),
            tree,
            ..Unit::of(self.host.dir.as_path().into(), object_id(self.number))
        })
    }

    fn new_facet(&mut self, parent: u32) -> u32 {
        let file = self.next_file;
        self.next_file += 1;
        self.names += 1;
        let facet = Facet {
            parent,
            name: format!("n{}", self.names),
            version: self.random.below(250) as u8,
            has_entry: false,
            has_database: false,
            content: Content::default(),
            store: None,
        };
        self.facets.insert(file, facet);
        file
    }

    fn depth(&self, file: u32) -> usize {
        if file == 0 {
            0
        } else {
            1 + self.depth(self.facets[&file].parent)
        }
    }

    fn create(&mut self) -> Done {
        let parent = self.any();
        if self.facets.len() >= FACETS_MAX || self.depth(parent) >= 3 {
            return Ok(());
        }
        let file = self.new_facet(parent);
        self.turn(file, false)
    }

    /// A turn of the parent deletes a subtree, and may write as well.
    fn delete(&mut self, file: u32) -> Done {
        let parent = self.facets[&file].parent;
        let mut files = vec![file];
        files.extend(self.below(file));
        let mut changes = Changes::default();
        for file in &files {
            let facet = &self.facets[file];
            if facet.has_entry {
                changes.tree.push(TreeChange::Delete { file: FileId(*file) });
            }
            if facet.has_database {
                changes.removed.push(*file);
            }
        }
        let above = self.store(parent);
        let mut above = above.lock().unwrap();
        let mut content = self.facets[&parent].content.clone();
        if self.random.one_in(2) {
            let before = content.clone();
            content = match self.write(&mut above, before, false) {
                Ok(content) => content,
                Err(refused) => {
                    above.discard_turn();
                    return Err(refused);
                }
            };
        }
        // Those who go close their databases before the record or after it.
        let closes_late = self.random.one_in(2);
        let mut stores = Vec::new();
        for file in &files {
            if let Some(store) = self.facets.get_mut(file).unwrap().store.take() {
                match closes_late {
                    true => stores.push(store),
                    false => drop(store.lock().unwrap().close_for_good(true)?),
                }
            }
        }
        let gone: Vec<_> = files
            .iter()
            .map(|file| (*file, self.facets.remove(file).unwrap()))
            .collect();
        if changes.tree.is_empty() && changes.removed.is_empty() {
            let sealed = self.seal(parent, &mut above, content, changes);
            close(stores);
            return sealed;
        }
        let sealed = self.seal(parent, &mut above, content, changes);
        match sealed {
            // As the isolate does: whose file is nobody's any more commits nothing.
            Ok(()) => stores.iter().for_each(|store| store.lock().unwrap().forsake()),
            Err(_) => {
                self.facets.extend(gone);
                close(stores);
            }
        }
        sealed
    }

    fn restart(&mut self, file: u32) -> Done {
        self.close(file)?;
        let Some(facet) = self.facets.get_mut(&file) else {
            return Ok(());
        };
        facet.version = facet.version.wrapping_add(1);
        if facet.has_entry {
            let startup = startup(facet.version);
            let changes = Changes {
                tree: vec![TreeChange::Restart {
                    file: FileId(file),
                    startup: startup.into(),
                }],
                ..Changes::default()
            };
            self.record(Vec::new(), changes);
        }
        Ok(())
    }

    /// A turn of the parent that clones a subtree.
    fn copy(&mut self, file: u32) -> Done {
        let parent = self.facets[&file].parent;
        if !self.facets[&file].has_entry || self.facets.len() + self.below(file).len() >= FACETS_MAX {
            return Ok(());
        }
        let mut sources = vec![file];
        sources.extend(self.below(file).into_iter().filter(|file| self.facets[file].has_entry));
        let mut copies = BTreeMap::from([(parent, parent)]);
        let mut changes = Changes::default();
        for from in &sources {
            let to = self.new_facet(copies[&self.facets[from].parent]);
            copies.insert(*from, to);
        }
        if let Err(refused) = self.announce(&copies) {
            copies
                .into_values()
                .filter(|to| *to != parent)
                .for_each(|to| drop(self.facets.remove(&to)));
            return Err(refused);
        }
        for from in sources {
            let to = copies[&from];
            if !self.facets[&from].has_database {
                continue;
            }
            let path = self.path(to);
            let dst = db_file(&self.host.dir, self.number, to);
            let store = self.store(from);
            let made = store.lock().unwrap().copy_committed_to(&dst, &path);
            let made = made.and_then(|made| match made {
                Some(pages) => sync_copies(&self.host.disk, std::slice::from_ref(&dst)).map(|()| Some(pages)),
                None => Ok(None),
            });
            match made {
                Ok(Some(pages)) => {
                    let content = self.facets[&from].content.clone();
                    let file = FileId(to);
                    changes.copied.push(Copied { file, pages });
                    changes.model.push(Change::Database(to, Some(content.clone())));
                    let facet = self.facets.get_mut(&to).unwrap();
                    (facet.has_database, facet.content) = (true, content);
                }
                Ok(None) => self.host.journal.pins().is_copied(&dst),
                Err(error) => {
                    self.undo(&changes);
                    self.host.journal.pins().is_copied(&dst);
                    copies
                        .into_values()
                        .filter(|to| *to != parent)
                        .for_each(|to| drop(self.facets.remove(&to)));
                    return Err(error.into());
                }
            }
        }
        copies.remove(&parent);
        let made: Vec<u32> = copies.into_values().collect();
        for to in &made {
            if self.facets[to].has_database && !self.facets[to].has_entry {
                self.create_entry(*to, &mut changes.tree);
            }
        }
        let store = self.store(parent);
        let mut store = store.lock().unwrap();
        let content = self.facets[&parent].content.clone();
        let sealed = self.seal(parent, &mut store, content, changes);
        for to in made {
            if !self.facets.get(&to).is_some_and(|facet| facet.has_entry) {
                self.facets.remove(&to);
            }
        }
        sealed
    }

    /// Copies are announced before their files are made.
    fn announce(&mut self, copies: &BTreeMap<u32, u32>) -> Done {
        if !rules::hold(Rule::CopyIsAnnounced, &self.host.dir) {
            return Ok(());
        }
        let announced = copies
            .iter()
            .filter(|(from, _)| self.facets[from].has_database && copies[from] != **from);
        let announced = announced.map(|(from, to)| Announced {
            file: FileId(*to),
            from: FileId(*from),
        });
        let lsn = self.append(
            TreeUnit::Unchanged,
            Vec::new(),
            announced.collect(),
            Vec::new(),
            Vec::new(),
        );
        self.host.power.as_ref().inspect(|power| power.hold(false));
        let waited = self.host.journal.progress().wait(lsn);
        waited.map_err(|error| Refused(error.to_string()))
    }

    /// The facet stops; what is empty then leaves nothing.
    fn evict(&mut self, file: u32) -> Done {
        self.close(file)?;
        let gone: Vec<u32> = self
            .facets
            .iter()
            .filter(|(_, f)| !f.has_entry && f.store.is_none())
            .map(|(f, _)| *f)
            .collect();
        for file in gone {
            if file != 0 && self.below(file).is_empty() && !self.facets[&file].has_database {
                self.facets.remove(&file);
            }
        }
        Ok(())
    }

    fn close(&mut self, file: u32) -> Done {
        self.host.power.as_ref().inspect(|power| power.hold(false));
        let Some(store) = self.facets.get_mut(&file).unwrap().store.take() else {
            return Ok(());
        };
        let emptied = store.lock().unwrap().close_for_good(true)?;
        if !emptied {
            return Ok(());
        }
        assert!(self.facets[&file].content.is_empty());
        let mut changes = Changes::default();
        if file != 0 {
            if self.has_entries_below(file) {
                return Ok(());
            }
            let mut gone = file;
            loop {
                changes.tree.push(TreeChange::Delete { file: FileId(gone) });
                let facet = self.facets.get_mut(&gone).unwrap();
                (facet.has_entry, facet.has_database) = (false, false);
                let parent = facet.parent;
                // Whoever lives below it gets another file when it is started again.
                if self.below(gone).is_empty() {
                    self.facets.remove(&gone);
                }
                gone = parent;
                if gone == 0 || self.facets[&gone].has_database || self.has_entries_below(gone) {
                    break;
                }
                if !self.facets[&gone].has_entry {
                    break;
                }
            }
        }
        if let Some(facet) = self.facets.get_mut(&file) {
            facet.has_database = false;
        }
        if file == 0 {
            changes.tree.push(TreeChange::Empty { file: FileId::ROOT });
        }
        changes.removed.push(file);
        // Files whose facet is gone are never used again; one that stays without an entry must not be either.
        self.rename_bare();
        if !self.has_index || !self.entries().is_empty() {
            let lsn = self.record(Vec::new(), changes);
            self.settled(lsn);
            return Ok(());
        }
        self.has_index = false;
        changes
            .model
            .extend(changes.removed.iter().map(|file| Change::Database(*file, None)));
        changes.model.push(Change::Index(None));
        let history = self.host.history.clone();
        let mut history = history.lock().unwrap();
        let lsn = self.queue(TreeUnit::Removed, Vec::new(), Vec::new(), changes.removed);
        history.unit(lsn, self.number, changes.model);
        drop(history);
        self.settled(lsn);
        Ok(())
    }

    /// Facets that are not stored any more get other files.
    fn rename_bare(&mut self) {
        let bare: BTreeSet<u32> = self
            .facets
            .iter()
            .filter(|(file, facet)| **file != 0 && !facet.has_entry && facet.store.is_none())
            .map(|(file, _)| *file)
            .collect();
        for file in bare {
            let facet = self.facets.remove(&file).unwrap();
            let to = self.next_file;
            self.next_file += 1;
            for child in self.facets.values_mut() {
                if child.parent == file {
                    child.parent = to;
                }
            }
            self.facets.insert(to, facet);
        }
    }

    /// The root's `delete-all`: its own rows and everything below it.
    fn delete_all(&mut self) -> Done {
        match self.random.one_in(3) {
            true => self.delete_everything(),
            false => Ok(()),
        }
    }

    fn delete_everything(&mut self) -> Done {
        let mut changes = Changes::default();
        for file in self.below(0) {
            self.host.power.as_ref().inspect(|power| power.hold(false));
            if let Some(store) = self.facets.get_mut(&file).unwrap().store.take() {
                store.lock().unwrap().close_for_good(true)?;
            }
            let facet = &self.facets[&file];
            if facet.has_entry {
                changes.tree.push(TreeChange::Delete { file: FileId(file) });
            }
            if facet.has_database {
                changes.removed.push(file);
            }
        }
        let store = self.store(0);
        let mut store = store.lock().unwrap();
        if let Err(error) = store.delete_all() {
            store.discard_turn();
            return Err(error.into());
        }
        let before = std::mem::take(&mut self.facets);
        let (root, children) = before.into_iter().partition(|(file, _)| *file == 0);
        self.facets = root;
        let sealed = self.seal(0, &mut store, Content::default(), changes);
        if sealed.is_err() {
            self.facets.extend::<BTreeMap<u32, Facet>>(children);
        }
        sealed
    }

    /// Everything stops; the object is loaded again, if nothing is stored with numbers that begin anew.
    fn vanish(&mut self) -> Done {
        if self.random.one_in(2) {
            self.delete_everything()?;
        }
        let files: Vec<u32> = self.facets.keys().rev().copied().collect();
        for file in files {
            if self.facets.contains_key(&file) {
                self.close(file)?;
            }
        }
        let history = self.host.history.clone();
        let last = history.lock().unwrap().last;
        self.settled(last);
        if self.is_over() {
            return Ok(());
        }
        if let crate::storage::Durability::Failed(why) = &*self.host.journal.progress().durability().borrow() {
            return Err(Refused(why.to_string()));
        }
        let stored = history
            .lock()
            .unwrap()
            .at(last)
            .remove(&self.number)
            .unwrap_or_default();
        *self = Self::load(&self.host.clone(), self.number, &stored, self.random.fork());
        Ok(())
    }

    /// Closes all databases; empty ones go.
    pub(super) fn stop(&mut self) -> Done {
        let files: Vec<u32> = self.facets.keys().rev().copied().collect();
        for file in files {
            if self.facets.contains_key(&file) {
                self.close(file)?;
            }
        }
        Ok(())
    }
}

fn close(stores: Vec<Arc<Mutex<FacetStore>>>) {
    for store in stores {
        let _ = store.lock().unwrap().close_for_good(true);
    }
}

/// The namespace's directory below a root.
pub(super) fn namespace(root: &Path) -> PathBuf {
    root.join("t")
}
