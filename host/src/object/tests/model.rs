//! Random operations against a short model: a tree of maps. One turn is open at a time, of any facet; what happens between
//! turns that overlap is for the simulation.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::ids::ObjectId;
use crate::index;
use crate::object::rules::Rule;
use crate::object::rules::tests::Without;

const OBJECT: ObjectId = ObjectId([9; 32]);
const NAMES: [&str; 3] = ["a", "b", "c"];
const OPERATIONS_MAX: usize = 60;

/// A facet as it is meant to be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Model {
    class: u8,
    /// What its database holds, if it has one.
    database: Option<u32>,
    children: BTreeMap<&'static str, Model>,
}

impl Model {
    fn at(&mut self, path: &[&'static str]) -> Option<&mut Self> {
        path.iter().try_fold(self, |facet, name| facet.children.get_mut(name))
    }

    fn is_stored(&self) -> bool {
        self.database.is_some() || self.children.values().any(Self::is_stored)
    }

    fn paths(&self, here: &mut Vec<&'static str>, found: &mut Vec<Vec<&'static str>>) {
        found.push(here.clone());
        for (name, child) in &self.children {
            here.push(name);
            child.paths(here, found);
            here.pop();
        }
    }

    /// Without what nothing is stored of.
    fn stored(&self) -> Self {
        let children = self.children.iter().filter(|(_, child)| child.is_stored());
        Self {
            children: children.map(|(name, child)| (*name, child.stored())).collect(),
            ..self.clone()
        }
    }
}

/// Of the facet at `path`, which is where the turn is.
#[derive(Clone, Debug)]
enum Operation {
    Get(&'static str, u8),
    /// It commits something of its own, and goes on.
    Store(u32),
    Delete(&'static str),
    DeleteAll,
    Clone(&'static str, &'static str),
    Abort(&'static str),
    Commit,
    Lose,
    /// The turn is over, and the next one is of some facet that is known.
    Go(prop::sample::Index),
    /// The facet stops.
    Retire,
    /// It stops with nothing in its database.
    Empty,
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || prop::sample::select(&NAMES[..]);
    prop_oneof![
        6 => (name(), 1..3_u8).prop_map(|(name, class)| Operation::Get(name, class)),
        6 => any::<u32>().prop_map(Operation::Store),
        2 => name().prop_map(Operation::Delete),
        1 => Just(Operation::DeleteAll),
        2 => (name(), name()).prop_map(|(src, dst)| Operation::Clone(src, dst)),
        1 => name().prop_map(Operation::Abort),
        2 => Just(Operation::Commit),
        2 => Just(Operation::Lose),
        8 => any::<prop::sample::Index>().prop_map(Operation::Go),
        1 => Just(Operation::Retire),
        2 => Just(Operation::Empty),
        1 => Just(Operation::Reopen),
    ]
}

/// The tree, its index and what is in its files, beside the model.
struct Both {
    tree: Tree,
    index: Vec<u8>,
    next_seq: u64,
    files: BTreeMap<FileId, u32>,
    /// Databases that the open turn has copied; they are files when it commits.
    copied: BTreeMap<FileId, u32>,
    changes: TurnChanges,
    kills: Vec<Kill>,
    /// The file that each incarnation was started with.
    started: BTreeMap<IncarnationId, FileId>,
    /// What the turn's facet is.
    path: Vec<&'static str>,
    committed: Model,
    /// With what the open turn has done.
    now: Model,
}

impl Both {
    fn new() -> Self {
        Self {
            tree: Tree::new(Arc::new(startup(0)), false, std::iter::empty(), FileId(1)),
            index: index::encode_header(OBJECT, FileId(1), 1),
            next_seq: 1,
            files: BTreeMap::new(),
            copied: BTreeMap::new(),
            changes: TurnChanges::default(),
            kills: Vec::new(),
            started: BTreeMap::new(),
            path: Vec::new(),
            committed: Model::default(),
            now: Model::default(),
        }
    }

    fn here(&mut self) -> &mut Model {
        self.now.at(&self.path).expect("the turn is of a facet that is known")
    }

    /// The facet whose turn it is, running.
    fn node(&mut self) -> NodeId {
        let mut node = self.tree.root();
        for depth in 0..self.path.len() {
            let name = name(self.path[depth]);
            let class = self.now.at(&self.path[..=depth]).expect("it is known").class;
            let got = self
                .tree
                .get(node, &name, startup(class), &mut self.changes, &mut self.kills);
            node = got.expect("there is room").0;
        }
        if let Delivery::Start(start) = self.tree.deliver(node, None) {
            let stored = self.tree.launch(start.incarnation).expect("it was just started");
            self.started.insert(start.incarnation, stored.file);
        }
        node
    }

    fn record(&mut self, record: Vec<TreeChange>, removed: &[FileId]) {
        if !record.is_empty() {
            let record: Vec<_> = record.into_iter().map(index::TreeChange::from).collect();
            self.index.extend(index::encode_record(self.next_seq, &record));
            self.next_seq += 1;
        }
        for file in removed {
            self.files.remove(file);
        }
    }

    fn commit(&mut self, stores: Option<u32>) {
        let node = self.node();
        let mut record = Vec::new();
        if let Some(value) = stores {
            let file = self.started[&self.tree.live_at(node).expect("a facet whose turn it is runs")];
            record = self.tree.now_stored(node, file);
            self.files.insert(file, value);
            self.here().database = Some(value);
        }
        let (more, removed) = self.tree.settle(std::mem::take(&mut self.changes));
        record.extend(more);
        self.files.append(&mut self.copied);
        self.record(record, &removed);
        self.committed = self.now.clone();
    }

    fn lose(&mut self) {
        let removed = self.tree.undo(std::mem::take(&mut self.changes), &mut self.kills);
        self.copied.clear();
        self.record(Vec::new(), &removed);
        // What was only spoken of is forgotten or not; nobody can tell.
        self.now = self.committed.clone();
        if self.now.at(&self.path).is_none() {
            self.path.clear();
        }
    }

    /// Stops the facet whose turn it was, and answers its file.
    fn retire(&mut self) -> FileId {
        self.commit(None);
        let node = self.node();
        let incarnation = self.tree.live_at(node).expect("it runs");
        let file = self.started[&incarnation];
        assert!(self.tree.retire(incarnation));
        self.tree.gone(incarnation);
        file
    }

    fn clone_child(&mut self, src: &'static str, dst: &'static str) {
        let node = self.node();
        let copies = self
            .tree
            .clone_child(node, &name(src), &name(dst), &mut self.changes, &mut self.kills)
            .expect("there is room");
        for copy in copies {
            let held = self.files.get(&copy.file).or(self.copied.get(&copy.file)).copied();
            assert!(!self.files.contains_key(&copy.to), "{:?} is used", copy.to);
            self.copied.insert(copy.to, held.expect("what is copied is there"));
        }
        if src != dst {
            let here = self.here();
            here.children.remove(dst);
            if let Some(source) = here.children.get(src).filter(|source| source.is_stored()) {
                let copy = source.stored();
                here.children.insert(dst, copy);
            }
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Get(child, class) => {
                let node = self.node();
                let got = self
                    .tree
                    .get(node, &name(child), startup(class), &mut self.changes, &mut self.kills);
                if self.path.len() + 1 == crate::limits::TREE_DEPTH_MAX {
                    return assert!(matches!(got, Err(TreeError::TooDeep)));
                }
                got.expect("there is room");
                self.here().children.entry(child).or_default().class = class;
            }
            Operation::Store(value) => self.commit(Some(value)),
            Operation::Delete(child) => {
                let node = self.node();
                self.tree.delete(node, &name(child), &mut self.changes, &mut self.kills);
                self.here().children.remove(child);
            }
            Operation::DeleteAll => {
                let node = self.node();
                self.tree.delete_children(node, &mut self.changes, &mut self.kills);
                self.here().children.clear();
            }
            Operation::Clone(src, dst) => self.clone_child(src, dst),
            Operation::Abort(child) => {
                let node = self.node();
                let cause = Cause::Aborted(String::new());
                self.tree.abort(node, &name(child), cause, &mut self.kills);
            }
            Operation::Commit => self.commit(None),
            Operation::Lose => self.lose(),
            Operation::Go(at) => {
                self.commit(None);
                let mut paths = Vec::new();
                self.now.paths(&mut Vec::new(), &mut paths);
                self.path = at.get(&paths).clone();
            }
            Operation::Retire => {
                self.retire();
            }
            Operation::Empty => {
                let file = self.retire();
                if self.here().database.take().is_some() {
                    let record = self.tree.now_empty(file).expect("it is stored");
                    self.record(record, &[file]);
                }
                self.committed = self.now.clone();
            }
            Operation::Reopen => self.reopen(),
        }
        self.kills.drain(..).for_each(|kill| self.tree.gone(kill.incarnation));
    }

    /// What is open is lost, and so is what is only spoken of.
    fn reopen(&mut self) {
        let loaded = index::parse(&self.index, OBJECT).expect("it can be read");
        let parents: BTreeSet<_> = loaded.entries.values().map(|entry| entry.parent).collect();
        let stored = loaded.entries.iter().map(|(file, entry)| {
            assert_eq!(entry.has_database, self.files.contains_key(file), "{file:?}");
            assert!(
                entry.has_database || parents.contains(file),
                "{entry:?} is there for nothing"
            );
            StoredFacet {
                file: *file,
                parent: entry.parent,
                name: entry.name.clone(),
                startup: entry.startup.clone(),
                has_database: entry.has_database,
            }
        });
        assert!(
            self.files.keys().all(|file| loaded.has_database(*file)),
            "{:?}",
            self.files
        );
        let has_root = loaded.root_has_database;
        assert_eq!(has_root, self.files.contains_key(&FileId::ROOT));
        self.tree = Tree::new(Arc::new(startup(0)), has_root, stored, loaded.next_file);
        self.next_seq = loaded.next_seq;
        self.changes = TurnChanges::default();
        self.copied.clear();
        self.committed = self.committed.stored();
        self.now = self.committed.clone();
        self.path.clear();
    }

    /// What is stored and what runs is what the model says.
    fn compare(&mut self) {
        self.tree.check();
        let (mut stored, mut before) = (self.now.stored(), self.committed.stored());
        let mut listed = 0;
        for info in self.tree.subtree(self.tree.root()) {
            let path: Vec<_> = info.path.split('/').filter(|name| !name.is_empty()).collect();
            let path: Vec<_> = path.iter().map(|name| known(name)).collect();
            let database = info
                .database
                .map(|file| self.files.get(&file).or(self.copied.get(&file)).copied());
            match stored.at(&path) {
                Some(facet) => {
                    assert_eq!(database, facet.database.map(Some), "{path:?}");
                    assert!(path.is_empty() || info.startup.class.0[0] == facet.class, "{path:?}");
                    listed += 1;
                }
                None => {
                    // An entry is kept while the turn that has deleted what is below it may yet be lost.
                    let is_kept = before.at(&path).is_some() || info.incarnation.is_some();
                    assert!(is_kept && database.is_none(), "{path:?} is there for nothing");
                }
            }
        }
        fn many(facet: &Model) -> usize {
            1 + facet.children.values().map(many).sum::<usize>()
        }
        assert_eq!(listed, many(&stored), "{stored:?}");
    }
}

fn known(name: &str) -> &'static str {
    NAMES.iter().find(|known| **known == name).expect("there are no others")
}

fn check(operations: Vec<Operation>) {
    let mut both = Both::new();
    for operation in operations {
        both.apply(operation);
        both.compare();
    }
    both.reopen();
    both.compare();
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..OPERATIONS_MAX)
}

fn config() -> ProptestConfig {
    ProptestConfig {
        // What was found is written as a test of its own.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tree_is_a_tree_of_maps(operations in operations()) {
        check(operations);
    }
}

#[test]
fn a_tree_that_breaks_a_rule_is_not() {
    for rule in [
        Rule::LostDeletesAreUndone,
        Rule::LostRestartsAreUndone,
        Rule::FileIdsAreNew,
        Rule::FileIdsAreKept,
        Rule::EntriesGoWithTheLast,
    ] {
        let _without = Without::new(Some(rule));
        let config = ProptestConfig {
            cases: 2_000,
            max_shrink_iters: 0,
            ..config()
        };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let found = TestRunner::new_with_rng(config, rng).run(&operations(), |operations| {
            let checked = std::panic::catch_unwind(|| check(operations));
            checked.map_err(|_| TestCaseError::fail("it panicked"))
        });
        assert!(found.is_err(), "nobody misses it: {rule:?}");
    }
}
