mod model;
mod records;
mod sim;

use std::sync::Arc;

use crate::error::Outcome;
use crate::ids::{ClassDigest, FacetName, FileId};
use crate::object::*;
use crate::startup::{FailurePolicy, Startup};

fn name(text: &str) -> FacetName {
    FacetName::new(text).expect("the test's own names")
}

fn startup(class: u8) -> Startup {
    Startup::of(ClassDigest([class; 32]))
}

/// A tree and one turn of its root.
struct Fixture {
    tree: Tree,
    changes: TurnChanges,
    kills: Vec<Kill>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            tree: Tree::new(Arc::new(startup(0)), false, std::iter::empty(), FileId(1)),
            changes: TurnChanges::default(),
            kills: Vec::new(),
        }
    }

    fn get(&mut self, parent: NodeId, text: &str, startup: Startup) -> (NodeId, Arc<Epoch>) {
        self.tree
            .get(parent, &name(text), startup, &mut self.changes, &mut self.kills)
            .expect("there is room")
    }

    fn start(&mut self, node: NodeId) -> IncarnationId {
        match self.tree.deliver(node, None) {
            Delivery::Start(start) => start.incarnation,
            other => panic!("not started: {other:?}"),
        }
    }

    /// Starts the facet and lets it commit something.
    fn store(&mut self, node: NodeId) -> (IncarnationId, FileId, Vec<TreeChange>) {
        let incarnation = self.start(node);
        let file = self.tree.launch(incarnation).expect("it lives").file;
        (incarnation, file, self.tree.now_stored(node, file))
    }

    fn delete(&mut self, parent: NodeId, text: &str) {
        self.tree
            .delete(parent, &name(text), &mut self.changes, &mut self.kills);
    }

    fn names(&self) -> Vec<String> {
        self.tree
            .names(self.tree.root(), None, 100)
            .iter()
            .map(|n| n.as_str().to_owned())
            .collect()
    }

    fn settle(&mut self) -> (Vec<TreeChange>, Vec<FileId>) {
        self.tree.settle(std::mem::take(&mut self.changes))
    }

    fn undo(&mut self) -> Vec<FileId> {
        self.tree.undo(std::mem::take(&mut self.changes), &mut self.kills)
    }
}

#[test]
fn s4_an_equal_startup_is_the_same_facet_and_another_restarts_it() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, first) = f.get(root, "a", startup(1));
    let (b, below) = f.get(a, "b", startup(1));
    let (running, running_below) = (f.start(a), f.start(b));
    assert_eq!(f.get(root, "a", startup(1)).0, a);
    assert!(first.cause().is_none());
    let (again, second) = f.get(root, "a", startup(2));
    assert_eq!(again, a);
    assert_eq!(first.cause().map(|c| (**c).clone()), Some(Cause::Restarted));
    assert_eq!(below.cause().map(|c| (**c).clone()), Some(Cause::Restarted));
    assert!(second.cause().is_none());
    let mut killed: Vec<_> = f.kills.iter().map(|k| k.incarnation).collect();
    killed.sort();
    assert_eq!(killed, [running, running_below]);
}

#[test]
fn s5_a_child_exists_while_it_runs_or_is_stored() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _stub) = f.get(root, "a", startup(1));
    assert!(f.names().is_empty() && f.tree.lookup(root, &name("a")).is_none());
    let (incarnation, ..) = f.store(a);
    assert_eq!(f.names(), ["a"]);
    assert!(f.tree.retire(incarnation));
    f.tree.gone(incarnation);
    assert_eq!(f.names(), ["a"], "stored facets exist while they are idle");
    let (z, _z) = f.get(root, "z", startup(1));
    let (incarnation, ..) = f.store(z);
    assert_eq!(f.tree.names(root, Some("a"), 100), [name("z")]);
    f.tree.retire(incarnation);
    f.tree.gone(incarnation);
}

#[test]
fn s8_a_successor_waits_for_the_killed_incarnation() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, stub) = f.get(root, "a", startup(1));
    let old = f.start(a);
    assert!(
        f.tree
            .abort(root, &name("a"), Cause::Aborted("why".into()), &mut f.kills)
    );
    assert_eq!(f.kills.last().map(|k| k.incarnation), Some(old));
    let Delivery::Ended(cause) = f.tree.deliver(a, Some(&stub)) else {
        panic!("a stub of an older epoch")
    };
    assert_eq!(cause.error(Outcome::NotApplied).message, "why");
    let (a, _stub) = f.get(root, "a", startup(1));
    let Delivery::Start(start) = f.tree.deliver(a, None) else {
        panic!("not started")
    };
    assert_eq!(start.after, [old]);
    assert!(
        !f.tree
            .abort(root, &name("nobody"), Cause::Aborted(String::new()), &mut f.kills)
    );
}

#[test]
fn s8a_the_first_cause_stays() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (_, stub) = f.get(root, "a", startup(1));
    f.tree
        .abort(root, &name("a"), Cause::Aborted("first".into()), &mut f.kills);
    f.tree
        .abort(root, &name("a"), Cause::Aborted("second".into()), &mut f.kills);
    assert_eq!(
        stub.cause().map(|c| (**c).clone()),
        Some(Cause::Aborted("first".into()))
    );
}

#[test]
fn s9_escalate_takes_the_parent_along() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, parent) = f.get(root, "a", startup(1));
    let (b, child) = f.get(
        a,
        "b",
        Startup {
            on_failure: FailurePolicy::Escalate,
            ..startup(1)
        },
    );
    let (_, sibling) = f.get(root, "s", startup(1));
    f.start(a);
    let broken = f.start(b);
    f.tree.broken(
        broken,
        Cause::Broken {
            code: "trap",
            message: String::new(),
        },
        &mut f.kills,
    );
    assert!(parent.cause().is_some() && child.cause().is_some() && sibling.cause().is_none());
}

#[test]
fn s10_delete_is_seen_at_once_and_undone_with_its_turn() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "a", startup(1));
    let (b, _) = f.get(a, "b", startup(1));
    let (_, deep, created) = f.store(b);
    assert_eq!(created.len(), 2, "an entry for the parent, too: {created:?}");
    f.delete(root, "a");
    assert!(f.names().is_empty());
    let (fresh, _) = f.get(root, "a", startup(1));
    assert_ne!(fresh, a, "a new facet of that name starts empty");
    assert_eq!(f.undo(), []);
    assert_eq!(f.names(), ["a"]);
    f.delete(root, "a");
    let (record, files) = f.settle();
    assert_eq!(record.len(), 2);
    assert_eq!(files, [deep], "only that one has a database");
    assert!(f.names().is_empty());
}

#[test]
fn s10a_what_a_lost_turn_deleted_goes_with_the_parent() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "a", startup(1));
    let (b, _) = f.get(a, "b", startup(1));
    let (_, file, _) = f.store(b);
    // The child's turn deletes the grandchild; before it ends, the parent deletes the child.
    let mut lost = TurnChanges::default();
    f.tree.delete(a, &name("b"), &mut lost, &mut f.kills);
    f.delete(root, "a");
    let (record, files) = f.settle();
    assert!(
        record.len() == 2 && record.contains(&TreeChange::Delete { file }),
        "{record:?}"
    );
    assert_eq!(files, [file]);
    assert_eq!(f.tree.undo(lost, &mut f.kills), []);
    f.tree.check();
}

#[test]
fn s12_an_entry_for_the_sake_of_children_goes_with_the_last() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "a", startup(1));
    let (b, _) = f.get(a, "b", startup(1));
    let (_, _, created) = f.store(b);
    assert_eq!(created.len(), 2);
    f.delete(a, "b");
    assert!(!f.tree.needs_no_index(), "the index names it until the turn is over");
    let (record, _) = f.settle();
    assert_eq!(record.len(), 2, "the parent's entry, too: {record:?}");
    assert!(f.tree.needs_no_index());
}

#[test]
fn s10a_what_a_turn_has_deleted_counts_as_stored_until_it_is_over() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (p, _) = f.get(root, "p", startup(1));
    let (a, _) = f.get(p, "a", startup(1));
    let (b, _) = f.get(p, "b", startup(1));
    f.store(a);
    let (incarnation, file, _) = f.store(b);
    // While a turn of the parent that deletes one child is not over, the other one stops with nothing stored.
    f.delete(p, "a");
    f.tree.retire(incarnation);
    let gone = f.tree.now_empty(file);
    assert_eq!(
        gone,
        Some(vec![TreeChange::Delete { file }]),
        "not what is above: the other may come back"
    );
    assert!(!f.tree.needs_no_index());
    assert_eq!(f.undo(), []);
    assert!(f.tree.lookup(p, &name("a")).is_some());
    f.delete(p, "a");
    let (record, _) = f.settle();
    assert_eq!(record.len(), 2, "now the parent's entry goes with it: {record:?}");
}

#[test]
fn s22_the_owner_of_a_file_is_found_and_a_deleted_one_is_missed_only_when_its_turn_is_over() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "a", startup(1));
    let (_, file, _) = f.store(a);
    let (below, _) = f.get(a, "b", startup(1));
    let (_, file_below, _) = f.store(below);
    assert_eq!(f.tree.owner(file), Owner::Facet(a));
    assert_eq!(f.tree.owner(file_below), Owner::Facet(below));
    assert_eq!(f.tree.owner(FileId(77)), Owner::Nobody);
    f.delete(root, "a");
    assert_eq!(
        (f.tree.owner(file), f.tree.owner(file_below)),
        (Owner::Leaving, Owner::Leaving)
    );
    f.undo();
    assert_eq!(f.tree.owner(file), Owner::Facet(a));
    assert!(matches!(f.tree.owner(file_below), Owner::Facet(_)));
    f.delete(root, "a");
    f.settle();
    assert_eq!(
        (f.tree.owner(file), f.tree.owner(file_below)),
        (Owner::Nobody, Owner::Nobody)
    );
}

#[test]
fn s12_nothing_stored_leaves_no_entry_not_even_above() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "a", startup(1));
    let (b, _) = f.get(a, "b", startup(1));
    let (incarnation, file, created) = f.store(b);
    assert_eq!(created.len(), 2);
    f.tree.retire(incarnation);
    let gone = f.tree.now_empty(file).expect("it is stored");
    f.tree.gone(incarnation);
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(f.names().is_empty());
}

#[test]
fn s13_a_clone_gets_new_files_and_keeps_the_source() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "src", startup(1));
    let (b, _) = f.get(a, "b", startup(1));
    f.store(a);
    f.store(b);
    let (src, dst) = (name("src"), name("dst"));
    let pairs = f
        .tree
        .clone_child(root, &src, &dst, &mut f.changes, &mut f.kills)
        .expect("room");
    assert_eq!(pairs.len(), 2);
    assert!(f.kills.is_empty(), "the source goes on running");
    assert_eq!(f.names(), ["dst", "src"]);
    let (record, files) = f.settle();
    assert!(record.iter().all(|c| matches!(c, TreeChange::Create { .. })) && record.len() == 2 && files.is_empty());
    f.tree
        .clone_child(root, &src, &dst, &mut f.changes, &mut f.kills)
        .expect("room");
    let pairs = f.tree.fix_copies(&mut f.changes, |_| true).expect("everything is held");
    assert_eq!(
        (pairs.len(), f.undo().len()),
        (2, 2),
        "the copies of a lost turn are left over"
    );
    assert_eq!(f.names(), ["dst", "src"], "what it replaced is back");
}

#[test]
fn s13_what_is_copied_is_what_is_committed_when_all_is_held() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "src", startup(1));
    f.store(a);
    let asked = f
        .tree
        .clone_child(root, &name("src"), &name("dst"), &mut f.changes, &mut f.kills)
        .expect("room");
    assert_eq!(asked.len(), 1);
    // A turn of the source's ends in between: it has another child, which has something stored.
    let mut others = TurnChanges::default();
    let (b, _) = f
        .tree
        .get(a, &name("b"), startup(1), &mut others, &mut f.kills)
        .expect("room");
    f.tree.settle(others);
    f.store(b);
    let missing = match f.tree.fix_copies(&mut f.changes, |node| node == a) {
        Err(CopiesError::NotHeld(missing)) => missing,
        other => panic!("one is not held, and that is answered: {other:?}"),
    };
    assert_eq!(missing.iter().map(|source| source.node).collect::<Vec<_>>(), [b]);
    let copies = f.tree.fix_copies(&mut f.changes, |_| true).expect("all are held");
    let paths: Vec<_> = copies.iter().map(|copy| copy.to_path.clone()).collect();
    assert_eq!(paths, [vec![name("dst")], vec![name("dst"), name("b")]]);
    assert!(!f.changes.has_undecided());
    // What the turn clones after that is decided by itself, and nothing twice.
    f.tree
        .clone_child(root, &name("src"), &name("more"), &mut f.changes, &mut f.kills)
        .expect("room");
    let more = f.tree.fix_copies(&mut f.changes, |_| true).expect("all are held");
    assert!(more.len() == 2 && more.iter().all(|copy| copy.to_path[0] == name("more")));
    let (record, _) = f.settle();
    assert_eq!(record.len(), 4);
    f.tree.check();
}

#[test]
fn s2_depth_and_number_are_limits() {
    let mut f = Fixture::new();
    let mut parent = f.tree.root();
    for _ in 1..crate::limits::TREE_DEPTH_MAX {
        parent = f.get(parent, "x", startup(1)).0;
    }
    let deeper = f.tree.get(parent, &name("x"), startup(1), &mut f.changes, &mut f.kills);
    assert_eq!(deeper.map(|_| ()), Err(TreeError::TooDeep));

    let mut f = Fixture::new();
    let root = f.tree.root();
    let mut held = Vec::new();
    let full = (0..).find_map(|i| {
        let got = f
            .tree
            .get(root, &name(&i.to_string()), startup(1), &mut f.changes, &mut f.kills);
        got.map(|(_, stub)| held.push(stub)).err()
    });
    assert_eq!(full, Some(TreeError::TooMany));
    held.truncate(10);
    f.get(root, "what nobody holds a stub of is forgotten", startup(1));
}

#[test]
fn s2_what_was_deleted_does_not_count_and_a_clone_that_does_not_fit_changes_nothing() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (stored, _) = f.get(root, "stored", startup(1));
    f.store(stored);
    // Those that run count, be a stub of them held or not. The root is one as well.
    for i in 2..crate::limits::FACETS_PER_OBJECT_MAX {
        let (child, _) = f.get(root, &i.to_string(), startup(1));
        f.start(child);
    }
    let full = |f: &mut Fixture| {
        let more = f
            .tree
            .get(root, &name("more"), startup(1), &mut f.changes, &mut f.kills);
        assert_eq!(more.map(|_| ()), Err(TreeError::TooMany));
        let copies = f
            .tree
            .clone_child(root, &name("stored"), &name("other"), &mut f.changes, &mut f.kills);
        assert_eq!(copies.map(|_| ()), Err(TreeError::TooMany));
        assert!(f.tree.lookup(root, &name("other")).is_none() && f.changes.is_empty() && f.kills.is_empty());
    };
    full(&mut f);
    f.delete(root, "2");
    f.kills.clear();
    f.settle();
    let copies = f
        .tree
        .clone_child(root, &name("stored"), &name("copy"), &mut f.changes, &mut f.kills);
    assert_eq!(copies.expect("there is room for one").len(), 1);
    f.settle();
    full(&mut f);
}

/// Numbers that look arbitrary and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

/// Facets that run, start, store, stop, delete, clone and lose turns in any order.
struct Bustle {
    f: Fixture,
    dice: Dice,
    running: Vec<(IncarnationId, NodeId)>,
    ending: Vec<(IncarnationId, Option<FileId>)>,
    stubs: Vec<(NodeId, Arc<Epoch>)>,
    copies: Vec<FileId>,
}

impl Bustle {
    fn some_running(&mut self) -> Option<(usize, IncarnationId, NodeId)> {
        let at = self.dice.roll(self.running.len().max(1));
        self.running
            .get(at)
            .map(|(incarnation, node)| (at, *incarnation, *node))
    }

    fn start(&mut self, node: NodeId) {
        if let Delivery::Start(start) = self.f.tree.deliver(node, None) {
            self.running.push((start.incarnation, node));
        }
    }

    fn step(&mut self) {
        let Some((at, incarnation, node)) = self.some_running() else {
            let root = self.f.tree.root();
            return self.start(root);
        };
        let child = name(["a", "b", "c"][self.dice.roll(3)]);
        let other = name(["a", "b", "c"][self.dice.roll(3)]);
        let Fixture { tree, changes, kills } = &mut self.f;
        match self.dice.roll(16) {
            0..=4 => {
                let class = u8::from(self.dice.roll(8) == 0);
                if let Ok((child, epoch)) = tree.get(node, &child, startup(class), changes, kills) {
                    self.stubs.push((child, epoch));
                    // Before the turn is over no call of it has left.
                    if self.f.changes.is_empty() {
                        self.start(child);
                    }
                }
            }
            5..=7 => {
                if let Some(stored) = tree.launch(incarnation) {
                    tree.now_stored(node, stored.file);
                }
            }
            8 => {
                let file = tree.launch(incarnation).map(|stored| stored.file);
                assert!(tree.retire(incarnation));
                self.running.remove(at);
                self.ending.push((incarnation, file));
            }
            9 => tree.delete(node, &child, changes, kills),
            10 => {
                tree.abort(node, &child, Cause::Aborted(String::new()), kills);
            }
            11 => {
                if let Ok(copies) = tree.clone_child(node, &child, &other, changes, kills) {
                    self.copies = copies.iter().map(|copy| copy.to).collect();
                }
            }
            12 => {
                tree.unmake(changes, &std::mem::take(&mut self.copies));
            }
            13 => drop(self.f.settle()),
            14 => drop(self.f.undo()),
            _ => {
                let at = self.dice.roll(self.stubs.len().max(1));
                if at < self.stubs.len() {
                    let (node, epoch) = self.stubs.swap_remove(at);
                    drop(epoch);
                    self.f.tree.stub_dropped(node);
                }
            }
        }
        for kill in std::mem::take(&mut self.f.kills) {
            self.running.retain(|(running, _)| *running != kill.incarnation);
            self.ending.push((kill.incarnation, None));
        }
        if self.ending.len() > 5 {
            let (incarnation, file) = self.ending.remove(self.dice.roll(5));
            if let Some(file) = file.filter(|_| self.dice.roll(2) == 0) {
                self.f.tree.now_empty(file);
            }
            self.f.tree.gone(incarnation);
        }
    }
}

#[test]
fn what_is_kept_to_be_found_quickly_is_what_the_nodes_say() {
    for seed in 0..16 {
        let mut bustle = Bustle {
            f: Fixture::new(),
            dice: Dice(seed),
            running: Vec::new(),
            ending: Vec::new(),
            stubs: Vec::new(),
            copies: Vec::new(),
        };
        for _ in 0..500 {
            bustle.step();
            bustle.f.tree.check();
        }
    }
}

#[test]
fn s8_each_waits_for_those_of_its_own_place_only() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (mut old, mut stubs) = (Vec::new(), Vec::new());
    for text in ["a", "b"] {
        let (node, stub) = f.get(root, text, startup(1));
        stubs.push(stub);
        let first = f.start(node);
        assert!(f.tree.retire(first));
        let second = f.start(node);
        assert!(f.tree.retire(second));
        old.push((node, [first, second]));
    }
    let (a, both) = old[0];
    f.tree.gone(both[0]);
    let Delivery::Start(start) = f.tree.deliver(a, None) else {
        panic!("not started")
    };
    assert_eq!(start.after, [both[1]]);
    f.tree.check();
}

#[test]
fn s12_the_index_is_needed_while_anything_is_stored() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (_, file, record) = f.store(root);
    let store = TreeChange::Store { file: FileId::ROOT };
    assert_eq!((file, &record[..]), (FileId::ROOT, &[store.clone()][..]));
    assert!(!f.tree.needs_no_index(), "it says that the root has a database");
    assert_eq!(f.tree.recorded(usize::MAX), Some(vec![store]));
    let empty = TreeChange::Empty { file: FileId::ROOT };
    assert_eq!(f.tree.now_empty(FileId::ROOT), Some(vec![empty]));
    assert!(f.tree.needs_no_index() && f.tree.now_empty(FileId::ROOT).is_none());
    let (a, _) = f.get(root, "a", startup(1));
    let (_, file, _) = f.store(a);
    assert!(!f.tree.needs_no_index() && f.tree.owns(file));
    f.delete(root, "a");
    assert!(
        !f.tree.needs_no_index() && f.tree.owns(file),
        "its turn may yet be lost"
    );
    f.settle();
    assert!(f.tree.needs_no_index() && !f.tree.owns(file));
}
