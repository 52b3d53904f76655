//! What is found is compared with what was promised: at any moment, when everything rests, and by the next process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disk::{Disk, File, Journal, Lsn};
use super::promised::{self, Promised, ROOT, Rows, Snapshot, Uid};
use super::world::World;
use super::{Checked, Missing, OBJECT, check, number, startup};
use crate::ids::FileId;
use crate::index;
use crate::object::{StoredFacet, Tree};

impl World {
    /// Loads what lies there, as `live::load` does, and compares it with what was promised last.
    pub(super) fn reopen(&mut self, disk: Disk) -> Checked {
        let loaded = disk
            .index
            .as_deref()
            .map(|bytes| index::parse(bytes, OBJECT))
            .transpose()?;
        self.has_index = loaded.is_some();
        let (next_file, next_seq) = loaded.as_ref().map_or((FileId(1), 1), |l| (l.next_file, l.next_seq));
        let loaded = loaded.unwrap_or(index::Loaded::nothing(FileId(1), 1));
        let (entries, root_has_database) = (loaded.entries, loaded.root_has_database);
        let rows = |file| disk.files.get(&file).map(|file: &File| file.rows.unwrap_or_default());
        let mut found = vec![(String::new(), 0, rows(FileId::ROOT))];
        let mut files = vec![FileId::ROOT];
        let mut paths = BTreeMap::from([(FileId::ROOT, String::new())]);
        paths.extend(entries.keys().map(|file| (*file, named(&entries, *file))));
        let mut by_path: Vec<_> = entries.iter().collect();
        by_path.sort_by_key(|(file, _)| &paths[file]);
        for (file, entry) in by_path {
            found.push((paths[file].clone(), number(&entry.startup), rows(*file)));
            files.push(*file);
        }
        check(root_has_database == disk.files.contains_key(&FileId::ROOT), || {
            format!("the index is wrong about the root's database: {root_has_database}")
        })?;
        for (file, entry) in &entries {
            check(entry.has_database == disk.files.contains_key(file), || {
                format!(
                    "the index is wrong about the database of {}: {}",
                    paths[file], entry.has_database
                )
            })?;
        }
        for (file, stored) in &disk.files {
            let path = paths.get(file).ok_or_else(|| format!("nothing names {file:?}"))?;
            check(**path == *stored.path, || {
                format!("{path} has the database of {}", stored.path)
            })?;
        }
        let parents: BTreeSet<_> = entries.values().map(|entry| entry.parent).collect();
        for (file, entry) in &entries {
            check(entry.has_database || parents.contains(file), || {
                format!("the database of {:?}, {file:?}, is lost", entry.name)
            })?;
        }
        let stored = entries.into_iter().map(|(file, entry)| StoredFacet {
            file,
            parent: entry.parent,
            name: entry.name,
            startup: entry.startup,
            has_database: entry.has_database,
        });
        self.tree = Tree::new(Arc::new(startup(0)), root_has_database, stored, next_file);
        self.promised = Promised::reopened(&found);
        let uids: BTreeMap<_, _> = self
            .promised
            .committed
            .keys()
            .map(|uid| (promised::path(&self.promised.committed, *uid), *uid))
            .collect();
        self.files = files.iter().map(|file| (*file, uids[&paths[file]])).collect();
        let rows = |uid: &Uid| self.promised.committed[uid].database;
        self.unopened = self
            .files
            .values()
            .copied()
            .filter(|uid| rows(uid) == Some(Rows::default()))
            .collect();
        let alarms = self
            .files
            .iter()
            .filter_map(|(file, uid)| Some((*file, rows(uid)?.alarm_ms?)));
        self.alarms = alarms.collect();
        self.alarms_under_way.clear();
        self.removed.clear();
        self.ringing.clear();
        self.history = vec![(0, self.promised.snapshot())];
        (self.next_seq, self.kept_until, self.observed, self.stopped) = (next_seq, 0, 0, false);
        self.controls.clear();
        self.calls.clear();
        self.journal = Journal::new(disk.clone());
        self.disk = disk;
        self.compare()
    }

    /// What was promised after the unit of that number.
    pub(super) fn promised_at(&self, lsn: Lsn) -> &Snapshot {
        let mut past = self.history.iter().rev();
        &past.find(|(at, _)| *at <= lsn).expect("it begins with 0").1
    }

    /// The tree is as it is promised to be.
    pub(super) fn compare(&mut self) -> Checked {
        self.changed = false;
        self.tree.check();
        let all = self.promised.all();
        let (must, may) = self.promised.existing(&all);
        let mut listed = BTreeSet::new();
        for info in self.tree.subtree(self.tree.root()) {
            let names = info.path.split('/').filter(|name| !name.is_empty());
            let uid = names
                .into_iter()
                .try_fold(ROOT, |uid, name| promised::child(&all, uid, name));
            let uid = uid.ok_or_else(|| format!("{:?} exists, and should not", info.path))?;
            let facet = &all[&uid];
            let says = |what: &str| format!("{:?} ({uid:?}) has another {what}: {info:?}, not {facet:?}", info.path);
            check(number(&info.startup) == facet.startup, || says("startup"))?;
            check(info.incarnation == self.promised.live.get(&uid).copied(), || {
                says("incarnation")
            })?;
            check(info.database.is_some() == facet.database.is_some(), || says("database"))?;
            if let Some(file) = info.database {
                check(self.files.get(&file) == Some(&uid), || says("file"))?;
            }
            check(uid == ROOT || may.contains(&uid), || {
                format!("{:?} exists, and nothing keeps it", info.path)
            })?;
            listed.insert(uid);
        }
        let missing: Vec<_> = must.difference(&listed).map(|uid| promised::path(&all, *uid)).collect();
        check(missing.is_empty(), || format!("{missing:?} should exist"))
    }

    /// Everything has settled: exactly what holds something is stored (S12).
    pub(super) fn nothing_is_left_over(&self) -> Checked {
        self.promised.is_at_rest()?;
        let unanswered = self
            .calls
            .iter()
            .position(|call| call.released && call.answer.is_none());
        check(unanswered.is_none(), || format!("call {unanswered:?} is not answered"))?;
        let view = &self.promised.committed;
        for (uid, facet) in view {
            check(
                facet.database != Some(Rows::default()) || self.unopened.contains(uid),
                || {
                    format!(
                        "{:?} has stopped with nothing in its database, which is there",
                        promised::path(view, *uid)
                    )
                },
            )?;
        }
        let path = |uid: &Uid| promised::path(view, *uid);
        let databases = view.iter().filter(|(_, facet)| facet.database.is_some());
        let expected: BTreeSet<_> = databases.map(|(uid, _)| path(uid)).collect();
        let found: BTreeSet<_> = self.disk.files.values().map(|file| file.path.to_string()).collect();
        check(found == expected && found.len() == self.disk.files.len(), || {
            format!("files of {:?} are there, not of {expected:?}", self.disk.files)
        })?;
        let mut stored: BTreeSet<_> = promised::stored(view).iter().map(path).collect();
        stored.remove("");
        let index::Loaded {
            entries,
            root_has_database,
            ..
        } = match &self.disk.index {
            Some(bytes) => index::parse(bytes, OBJECT)?,
            None => index::Loaded::nothing(FileId(1), 1),
        };
        let is_of_nothing = entries.is_empty() && !root_has_database;
        let paths: BTreeSet<_> = entries.keys().map(|file| named(&entries, *file)).collect();
        check(paths == stored && paths.len() == entries.len(), || {
            format!("{paths:?} are in the index, not {stored:?}")
        })?;
        check(root_has_database == found.contains(""), || {
            format!("the index is wrong about the root's database: {root_has_database}")
        })?;
        check(self.tree.needs_no_index() == is_of_nothing, || {
            format!("the index is needed: {}", !self.tree.needs_no_index())
        })?;
        check(self.disk.index.is_none() || !is_of_nothing, || {
            "an index of nothing is left over".to_owned()
        })
    }

    pub(super) fn is_unloadable(&self) -> bool {
        let kept = self.journal.settled < self.kept_until && !self.lacks(Missing::KeptUntilSettled);
        self.running.is_empty() && self.lives.is_empty() && self.copyings.is_empty() && !kept
    }
}

fn named(entries: &BTreeMap<FileId, index::Entry>, file: FileId) -> String {
    match entries.get(&file) {
        Some(entry) => format!("{}/{}", named(entries, entry.parent), entry.name)
            .trim_start_matches('/')
            .to_owned(),
        None => String::new(),
    }
}
