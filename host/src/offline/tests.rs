//! What is wrong in a data directory is named, and mended only as far as it is known.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::host::ObjectRef;
use crate::ids::{ClassDigest, FacetName, FileId, ObjectId};
use crate::index::{self, TreeChange};
use crate::namespace::object_id;
use crate::startup::Startup;
use crate::storage::{Committed, DbFile, FacetStore, Journal, Lsn, TreeAppend, TreeUnit, Unit};

/// A data directory and what a host does to it.
struct Data {
    dir: tempfile::TempDir,
    data: Option<DataDir>,
    journal: Option<Arc<LocalJournal>>,
}

impl Data {
    /// As a host has begun it.
    fn new() -> Self {
        let mut data = Self {
            dir: tempfile::tempdir().unwrap(),
            data: None,
            journal: None,
        };
        data.start();
        data
    }

    fn start(&mut self) {
        self.start_with(LeftOvers::Stay);
    }

    fn start_with(&mut self, left_overs: LeftOvers) {
        let data = DataDir::open(self.dir.path()).unwrap();
        data.namespace("t").unwrap();
        let (journal, _) = open_journal(&data, &JournalOptions::default(), left_overs).unwrap();
        (self.data, self.journal) = (Some(data), Some(Arc::new(journal)));
    }

    fn stop(&mut self) {
        assert!(self.journal.take().unwrap().close());
        self.data.take().unwrap().clean_stop().unwrap();
    }

    /// From now on it is what a kill leaves at this moment.
    fn kill(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        copy_all(&self.root(), copy.path());
        // Which file it is says that it is a copy.
        std::fs::write(copy.path().join("DIRTY"), b"").unwrap();
        self.journal.take().unwrap().close();
        self.data = None;
        self.dir = copy;
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn file(&self, name: &str, file: u32) -> DbFile {
        DbFile {
            dir: self.root().join("t").into(),
            object: id(name),
            file: FileId(file),
        }
    }

    fn index(&self, name: &str) -> PathBuf {
        index::path(&self.root().join("t"), id(name))
    }

    fn store(&self, name: &str, file: u32, stored: bool) -> FacetStore {
        let path = if file == 0 { String::new() } else { format!("f{file}") };
        let journal = self.journal.clone().unwrap();
        FacetStore::new(self.file(name, file), path, stored, 1 << 30, Arc::default(), journal)
    }

    fn record(&self, name: &str, members: Vec<Committed>, change: Option<(u64, TreeChange)>) -> Lsn {
        let tree = change.map_or(TreeUnit::Unchanged, |(seq, change)| {
            TreeUnit::Append(TreeAppend::new(id(name), seq == 1, FileId(1), seq, &[change]))
        });
        let journal = self.journal.as_ref().unwrap();
        let lsn = journal.append(Unit {
            members,
            tree,
            ..Unit::of(self.file(name, 0).dir, id(name))
        });
        journal.progress().wait(lsn).unwrap();
        lsn
    }

    /// A turn that writes, and waits until it is durable. `change`: of the tree, with the number of its record.
    fn put(&self, store: &mut FacetStore, name: &str, value: &str, change: Option<(u64, TreeChange)>) {
        store.kv_put("k", value.as_bytes()).unwrap();
        let committed = store.end_turn().unwrap().unwrap();
        let lsn = self.record(name, vec![committed], change);
        store.recorded(lsn);
    }

    /// An object whose root, and child 1, have something.
    fn make(&self, name: &str) {
        let (mut root, mut child) = (self.store(name, 0, false), self.store(name, 1, false));
        self.put(
            &mut root,
            name,
            "root",
            Some((1, TreeChange::Store { file: FileId::ROOT })),
        );
        self.put(&mut child, name, "child", Some((2, create(1))));
        root.close().unwrap();
        child.close().unwrap();
    }

    fn get(&self, name: &str, file: u32) -> Result<Option<String>, String> {
        let mut store = self.store(name, file, true);
        let value = store.kv_get("k").map_err(|error| error.for_operator())?;
        store.close().unwrap();
        Ok(value.map(|value| String::from_utf8(value).unwrap()))
    }

    fn doctor(&self, name: &str, treatment: Treatment) -> Result<Diagnosis, OfflineError> {
        doctor(&self.root(), "t", &ObjectRef::Name(name.to_owned()), None, treatment)
    }

    fn has_database(&self, name: &str, file: u32) -> bool {
        let (loaded, _) = index::read(&self.index(name), id(name)).unwrap().unwrap();
        loaded.has_database(FileId(file))
    }

    fn segment(&self) -> PathBuf {
        let mut found: Vec<_> = std::fs::read_dir(self.root().join("journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "log"))
            .collect();
        found.sort();
        found.pop().unwrap()
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn id(name: &str) -> ObjectId {
    object_id("t", &ObjectRef::Name(name.to_owned())).unwrap()
}

fn create(file: u32) -> TreeChange {
    let startup = Startup::of(ClassDigest([1; 32]));
    TreeChange::Create {
        file: FileId(file),
        parent: FileId::ROOT,
        name: FacetName::new(&format!("f{file}")).unwrap(),
        startup: startup.into(),
        has_database: true,
    }
}

#[test]
fn check_names_an_index_of_alarms_that_is_damaged() {
    let mut data = Data::new();
    data.make("a");
    data.stop();
    assert_eq!(check(&data.root()).unwrap().problems, [""; 0]);
    let alarms = data.root().join("t").join(crate::alarms::INDEX_FILE_NAME);
    for bytes in [&b"garbage"[..], b"", &[7; 8192]] {
        std::fs::write(&alarms, bytes).unwrap();
        let problems = check(&data.root()).unwrap().problems;
        assert!(
            problems.len() == 1 && problems[0].contains("alarms.sqlite") && problems[0].contains("anew"),
            "{problems:?}"
        );
    }
    std::fs::remove_file(&alarms).unwrap();
    std::fs::create_dir(&alarms).unwrap();
    assert_eq!(check(&data.root()).unwrap().problems.len(), 1);
    // After a kill it counts for nothing.
    std::fs::write(data.root().join("DIRTY"), b"").unwrap();
    assert_eq!(check(&data.root()).unwrap().problems, [""; 0]);
}

#[test]
fn check_tells_which_databases_hold_nothing_any_more() {
    let mut data = Data::new();
    data.make("a");
    let mut root = data.store("a", 0, true);
    root.delete_all().unwrap();
    let committed = root.end_turn().unwrap().unwrap();
    let lsn = data.record("a", vec![committed], None);
    root.recorded(lsn);
    std::mem::forget(root);
    data.kill();
    recover(&data.root(), false).unwrap();
    let checked = check(&data.root()).unwrap();
    assert_eq!(checked.problems, [""; 0]);
    let empty: Vec<_> = checked
        .facets
        .iter()
        .map(|facet| (&*facet.path, facet.is_empty))
        .collect();
    assert_eq!(empty, [("", true), ("f1", false)]);
}

#[test]
fn a_repair_forgets_no_database_unless_it_is_told_to() {
    for file in [0, 1] {
        let mut data = Data::new();
        data.make("a");
        data.stop();
        std::fs::remove_file(data.file("a", file).path()).unwrap();
        // Behind the last record.
        let bytes = [std::fs::read(data.index("a")).unwrap(), vec![7; 9]].concat();
        std::fs::write(data.index("a"), bytes).unwrap();
        let found = data.doctor("a", Treatment::Repair).unwrap();
        assert!(found.repaired, "{found:?}");
        assert!(
            found.problems.iter().any(|why| why.contains("--forget-missing")),
            "{found:?}"
        );
        assert!(data.has_database("a", file), "it looks like one that never was");
        data.start();
        assert!(data.get("a", file).unwrap_err().contains("missing"));
        data.stop();
        let found = data.doctor("a", Treatment::Forget).unwrap();
        assert!(found.repaired && found.problems.is_empty(), "{found:?}");
        assert!(!data.has_database("a", file));
    }
}

#[test]
fn what_is_kept_of_a_lost_database_is_never_forgotten() {
    for file in [0, 1] {
        let mut data = Data::new();
        data.make("a");
        data.stop();
        std::fs::rename(data.file("a", file).path(), data.file("a", file).lost_path()).unwrap();
        let bytes = [std::fs::read(data.index("a")).unwrap(), vec![7; 9]].concat();
        std::fs::write(data.index("a"), bytes).unwrap();
        for treatment in [Treatment::Repair, Treatment::Forget] {
            let found = data.doctor("a", treatment).unwrap();
            assert!(found.problems.iter().any(|why| why.contains(".lost")), "{found:?}");
            assert!(data.has_database("a", file));
        }
    }
}

#[test]
fn what_waits_in_the_journal_is_carried_out_before_anything_is_judged() {
    let mut data = Data::new();
    data.make("a");
    data.kill();
    // As somebody does whom its name annoys.
    std::fs::remove_file(data.root().join("DIRTY")).unwrap();
    let why = data.doctor("a", Treatment::Forget).unwrap_err().to_string();
    assert!(why.contains("facetd recover"), "{why}");
}

#[test]
fn a_log_is_not_read_though_somebody_has_removed_the_mark_of_a_kill() {
    let mut data = Data::new();
    data.make("a");
    data.stop();
    data.start();
    let mut root = data.store("a", 0, true);
    data.put(&mut root, "a", "older", None);
    let log = data.file("a", 0).wal_path();
    let left = std::fs::read(&log).unwrap();
    data.put(&mut root, "a", "newest", None);
    root.close().unwrap();
    data.stop();
    // A log of another time than the database, and nothing says that there was a kill.
    std::fs::write(&log, &left).unwrap();
    let checked = check(&data.root()).unwrap();
    assert_eq!((checked.problems.len(), checked.left_over), (0, 1), "{checked:?}");
    data.start();
    assert_eq!(data.get("a", 0).unwrap().unwrap(), "newest");
    assert!(!log.exists());
    data.stop();
}

/// Objects `a` and `b`, and then some commits of `a` alone; all of it is in the journal only. Answers where its last batches begin.
fn written(data: &mut Data) -> Vec<usize> {
    data.make("a");
    data.make("b");
    let mut root = data.store("a", 0, true);
    for value in ["1", "2", "3"] {
        data.put(&mut root, "a", value, None);
    }
    std::mem::forget(root);
    data.kill();
    let bytes = std::fs::read(data.segment()).unwrap();
    (4096..bytes.len())
        .step_by(4096)
        .filter(|at| bytes[*at..].starts_with(b"fbat"))
        .collect()
}

#[test]
fn a_damaged_journal_is_carried_out_up_to_the_damage_and_kept() {
    let mut data = Data::new();
    let batches = written(&mut data);
    // The batch of the value 2, of seven.
    let (segment, at) = (data.segment(), batches[5]);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let database = data.file("a", 0);
    let before = std::fs::read(database.path()).unwrap();
    let log = std::fs::read(database.wal_path()).unwrap();
    let refused = recover(&data.root(), false).unwrap_err().to_string();
    assert!(
        refused.contains("damaged") && refused.contains("--salvage"),
        "{refused}"
    );
    let found = salvage(&data.root(), false).unwrap();
    let damage = found.damage.expect("it is damaged");
    assert_eq!((found.units, damage.upto, damage.left), (5, 5, 1));
    assert_eq!(damage.objects, [format!("t/id:{}", id("a"))]);
    assert!(damage.why.contains(&format!("byte {at}")), "{}", damage.why);
    let kept = damage.kept.join(segment.file_name().unwrap());
    assert_eq!(std::fs::read(kept).unwrap(), bytes, "it is changed");
    // What the object had is not lost, newer as it may be.
    let kept = damage.kept.join("files/t").join(database.path().file_name().unwrap());
    assert_eq!(std::fs::read(&kept).unwrap(), before);
    assert_eq!(std::fs::read(kept.with_extension("sqlite-wal")).unwrap(), log);
    // It is said until somebody has looked.
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(found.problems[0].contains("salvaged.txt"));
    let mark = data.root().join(salvage::MARK);
    let told = std::fs::read_to_string(&mark).unwrap();
    assert!(
        told.contains(&id("a").to_string()) && !told.contains(&id("b").to_string()),
        "{told}"
    );
    std::fs::remove_file(mark).unwrap();
    assert_eq!(check(&data.root()).unwrap().problems, [""; 0]);
    data.start();
    assert_eq!(data.get("a", 0).unwrap().unwrap(), "1");
    assert_eq!(data.get("b", 0).unwrap().unwrap(), "root");
    assert_eq!(data.get("b", 1).unwrap().unwrap(), "child");
    data.stop();
}

#[test]
fn damage_before_everything_leaves_nothing_to_carry_out() {
    let mut data = Data::new();
    written(&mut data);
    let segment = data.segment();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[9] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let found = salvage(&data.root(), false).unwrap();
    let damage = found.damage.expect("it is damaged");
    assert_eq!((found.units, damage.upto, damage.left), (0, 0, 7));
    assert_eq!(damage.objects.len(), 2);
}

#[test]
fn what_is_not_damaged_is_recovered_as_ever() {
    let mut data = Data::new();
    written(&mut data);
    let found = salvage(&data.root(), false).unwrap();
    assert_eq!((found.units, found.damage, found.problems), (7, None, Vec::new()));
    assert!(!data.root().join(salvage::MARK).exists());
    let names: Vec<_> = std::fs::read_dir(data.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !names.iter().any(|name| name.to_string_lossy().starts_with("journal.")),
        "{names:?}"
    );
    data.start();
    assert_eq!(data.get("a", 0).unwrap().unwrap(), "3");
    data.stop();
}

#[test]
fn a_salvage_that_was_killed_between_two_names_is_finished() {
    let mut data = Data::new();
    written(&mut data);
    let (journal, new) = (data.root().join("journal"), data.root().join("journal.salvaged"));
    std::fs::rename(&journal, &new).unwrap();
    assert!(recover(&data.root(), false).is_err());
    let found = salvage(&data.root(), false).unwrap();
    assert_eq!((found.units, found.damage), (7, None));
}

#[test]
fn a_database_that_cannot_be_read_stops_no_start_and_is_left_alone() {
    let mut data = Data::new();
    data.make("a");
    data.make("b");
    data.kill();
    // Nobody's, and it may be anything.
    let unreadable = data.file("a", 9).path();
    std::fs::create_dir(&unreadable).unwrap();
    // So may one that nobody's index names; that goes when all of them are looked at.
    let left = data.file("b", 9).path();
    std::fs::copy(data.file("b", 1).path(), &left).unwrap();
    data.start_with(LeftOvers::Go);
    assert!(unreadable.is_dir() && !left.exists());
    assert_eq!(data.get("a", 1).unwrap().unwrap(), "child");
    data.stop();
}

#[test]
fn a_recovery_mixes_nothing_of_another_time() {
    for newer in [false, true] {
        let mut data = Data::new();
        data.make("a");
        data.stop();
        let put_back = |data: &Data| {
            let paths = [data.index("a"), data.file("a", 0).path()];
            paths.map(|path| std::fs::read(path).unwrap())
        };
        let early = put_back(&data);
        let more = |data: &mut Data, value: &str| {
            let mut root = data.store("a", 0, true);
            data.put(&mut root, "a", value, None);
            root
        };
        data.start();
        more(&mut data, "second").close().unwrap();
        data.stop();
        data.start();
        let mut third = more(&mut data, "third");
        let killed = tempfile::tempdir().unwrap();
        copy_all(&data.root(), killed.path());
        third.close().unwrap();
        data.stop();
        data.start();
        for round in 0..40 {
            let mut root = data.store("a", 0, true);
            root.kv_put(&format!("key{round}"), &[round; 20_000]).unwrap();
            let committed = root.end_turn().unwrap().unwrap();
            let lsn = data.record("a", vec![committed], None);
            root.recorded(lsn);
            root.close().unwrap();
        }
        data.stop();
        let late = put_back(&data);
        std::fs::write(killed.path().join("DIRTY"), b"").unwrap();
        data.dir = killed;
        let put = if newer { &late } else { &early };
        for (path, bytes) in [data.index("a"), data.file("a", 0).path()].iter().zip(put) {
            std::fs::write(path, bytes).unwrap();
        }
        let told = recover(&data.root(), true).map(drop).map_err(|error| error.to_string());
        let database = std::fs::read(data.file("a", 0).path()).unwrap();
        let told = told.unwrap_err();
        assert!(told.contains("another time"), "{told}");
        assert_eq!(database, put[1], "newer: {newer}");
        assert!(data.file("a", 0).lost_path().exists(), "what the journal held is kept");
        // Nor by one that comes later.
        recover(&data.root(), true).unwrap();
        assert_eq!(std::fs::read(data.file("a", 0).path()).unwrap(), put[1]);
    }
}

#[test]
fn a_salvage_leaves_a_copy_that_is_somebodys() {
    use crate::storage::{Announced, Copied};
    {
        let mut data = Data::new();
        data.make("a");
        data.stop();
        data.start();
        let journal = data.journal.clone().unwrap();
        let mut child = data.store("a", 1, true);
        let dir = data.file("a", 0).dir;
        let unit = || Unit::of(dir.clone(), id("a"));
        let (file, from) = (FileId(2), FileId(1));
        let lsn = journal.append(Unit {
            copying: vec![Announced { file, from }],
            ..unit()
        });
        journal.progress().wait(lsn).unwrap();
        let pages = child.copy_committed_to(&data.file("a", 2), "f2").unwrap().unwrap();
        let lsn = journal.append(Unit {
            copied: vec![Copied { file, pages }],
            tree: TreeUnit::Append(TreeAppend::new(id("a"), false, FileId(1), 3, &[create(2)])),
            ..unit()
        });
        journal.progress().wait(lsn).unwrap();
        while !data.has_database("a", 2) {
            std::thread::yield_now();
        }
        child.close().unwrap();
        data.make("b");
        drop((child, journal));
        data.kill();
        let mut bytes = std::fs::read(data.segment()).unwrap();
        let batches: Vec<_> = (4096..bytes.len())
            .step_by(4096)
            .filter(|at| bytes[*at..].starts_with(b"fbat"))
            .collect();
        // root, child, announced, copied, root, child.
        let at = batches[1];
        bytes[at + 200] ^= 1;
        std::fs::write(data.segment(), &bytes).unwrap();
        salvage(&data.root(), false).unwrap();
        assert!(data.file("a", 2).path().exists() && data.has_database("a", 2));
    }
}
