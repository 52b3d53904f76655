//! What is recorded, turn by turn, is an index that can be read and says what the tree says.

use std::collections::BTreeMap;

use super::*;
use crate::ids::ObjectId;
use crate::index;

const OBJECT: ObjectId = ObjectId([7; 32]);

/// An index that grows by what the tree answers.
struct Recorded {
    bytes: Vec<u8>,
    next_seq: u64,
}

impl Recorded {
    fn new() -> Self {
        Self {
            bytes: index::encode_header(OBJECT, FileId(1), 1),
            next_seq: 1,
        }
    }

    fn add(&mut self, record: Vec<TreeChange>) {
        let record: Vec<_> = record.into_iter().map(index::TreeChange::from).collect();
        self.bytes.extend(index::encode_record(self.next_seq, &record));
        self.next_seq += 1;
    }

    /// Files by path.
    fn read(&self) -> BTreeMap<String, FileId> {
        let loaded = index::parse(&self.bytes, OBJECT).expect("what was recorded can be read");
        let entries = &loaded.entries;
        let path = |mut file: FileId| {
            let mut names = Vec::new();
            while let Some(entry) = entries.get(&file) {
                names.push(entry.name.as_str());
                file = entry.parent;
            }
            names.reverse();
            names.join("/")
        };
        entries.keys().map(|file| (path(*file), *file)).collect()
    }
}

#[test]
fn s12_an_entry_that_comes_back_names_the_file_of_the_facet_that_runs() {
    let (mut f, mut index) = (Fixture::new(), Recorded::new());
    let root = f.tree.root();
    let (p, _p) = f.get(root, "p", startup(1));
    let running = f.start(p);
    let file = f.tree.launch(running).expect("it lives").file;
    let (x, _x) = f.get(p, "x", startup(1));
    index.add(f.store(x).2);
    f.delete(p, "x");
    index.add(f.settle().0);
    assert_eq!(index.read(), BTreeMap::new());
    let (y, _y) = f.get(p, "y", startup(1));
    index.add(f.store(y).2);
    index.add(f.tree.now_stored(p, file));
    assert_eq!(index.read().get("p"), Some(&file), "its data would be lost");
    assert_eq!(f.tree.owner(file), Owner::Facet(p));
}

#[test]
fn s13_an_entry_that_was_copied_for_nothing_is_not_there() {
    let (mut f, mut index) = (Fixture::new(), Recorded::new());
    let root = f.tree.root();
    let (p, _) = f.get(root, "p", startup(1));
    let (below, _) = f.get(p, "below", startup(1));
    index.add(f.store(below).2);
    let copies = f
        .tree
        .clone_child(root, &name("p"), &name("q"), &mut f.changes, &mut f.kills)
        .expect("room");
    let unmade: Vec<_> = copies.iter().map(|copy| copy.to).collect();
    // The source holds an alarm and nothing else, say.
    f.tree.unmake(&mut f.changes, &unmade);
    index.add(f.settle().0);
    assert_eq!(f.names(), ["p"]);
    let (q, _q) = f.get(root, "q", startup(1));
    let (deep, _deep) = f.get(q, "deep", startup(1));
    index.add(f.store(deep).2);
    assert_eq!(index.read().keys().collect::<Vec<_>>(), ["p", "p/below", "q", "q/deep"]);
}

#[test]
fn s10a_what_a_lost_turn_deleted_below_a_facet_that_comes_back_comes_back() {
    for parent_first in [false, true] {
        let mut f = Fixture::new();
        let root = f.tree.root();
        let (a, _) = f.get(root, "a", startup(1));
        let (b, _) = f.get(a, "b", startup(1));
        let (_, file, _) = f.store(b);
        let mut lost = TurnChanges::default();
        f.tree.delete(a, &name("b"), &mut lost, &mut f.kills);
        f.delete(root, "a");
        // Both turns are lost, in either order.
        for parents in [parent_first, !parent_first] {
            let changes = match parents {
                true => std::mem::take(&mut f.changes),
                false => std::mem::take(&mut lost),
            };
            assert_eq!(f.tree.undo(changes, &mut f.kills), []);
        }
        let (a, _) = f.tree.lookup(root, &name("a")).expect("it is back");
        assert!(f.tree.lookup(a, &name("b")).is_some());
        assert!(matches!(f.tree.owner(file), Owner::Facet(_)));
    }
}

#[test]
fn s13_a_copy_is_nobodys_until_its_turn_is_over() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _) = f.get(root, "a", startup(1));
    f.store(a);
    let mut clone = |src, dst| {
        let copies = f
            .tree
            .clone_child(root, &name(src), &name(dst), &mut f.changes, &mut f.kills);
        copies.expect("room")[0].to
    };
    let copies = [clone("a", "b"), clone("b", "c")];
    // Nothing may come of the first: then the second is not one of a database that is lost.
    assert!(copies.iter().all(|file| !f.tree.owns(*file)));
    f.settle();
    assert!(copies.iter().all(|file| f.tree.owns(*file)));
}

#[test]
fn s12_an_entry_goes_with_a_copy_that_comes_to_nothing() {
    for is_lost in [false, true] {
        let (mut f, mut index) = (Fixture::new(), Recorded::new());
        let root = f.tree.root();
        let (p, _p) = f.get(root, "p", startup(1));
        f.start(p);
        let (a, _a) = f.get(p, "a", startup(1));
        let (incarnation, file, created) = f.store(a);
        index.add(created);
        let copies = f
            .tree
            .clone_child(p, &name("a"), &name("b"), &mut f.changes, &mut f.kills)
            .expect("room");
        // Its source is emptied before anything is copied.
        f.tree.retire(incarnation);
        index.add(f.tree.now_empty(file).expect("it is stored"));
        assert_eq!(
            index.read(),
            BTreeMap::new(),
            "if the host ended now, what would the entry be there for?"
        );
        f.tree.gone(incarnation);
        if is_lost {
            f.undo();
        } else {
            f.tree.unmake(&mut f.changes, &[copies[0].to]);
            index.add(f.settle().0);
        }
        assert_eq!(index.read(), BTreeMap::new(), "lost: {is_lost}");
        assert!(f.tree.needs_no_index());
        f.tree.check();
    }
}

#[test]
fn s8_a_commit_that_was_sealed_before_a_delete_is_back_if_the_delete_is_lost() {
    for is_lost in [false, true] {
        let (mut f, mut index) = (Fixture::new(), Recorded::new());
        let root = f.tree.root();
        let (a, _) = f.get(root, "a", startup(1));
        let incarnation = f.start(a);
        let file = f.tree.launch(incarnation).expect("it lives").file;
        // Its turn is sealed; before it is recorded, the parent deletes it.
        f.delete(root, "a");
        index.add(f.tree.now_stored(a, file));
        assert_eq!(f.tree.owner(file), Owner::Leaving);
        assert!(matches!(f.tree.deliver(a, None), Delivery::Ended(cause) if *cause == Cause::Deleted));
        if is_lost {
            assert_eq!(f.undo(), []);
            assert_eq!((f.names(), f.tree.owner(file)), (vec!["a".to_owned()], Owner::Facet(a)));
        } else {
            let (record, removed) = f.settle();
            index.add(record);
            assert_eq!((f.names(), removed), (Vec::new(), vec![file]));
        }
        assert_eq!(index.read().len(), usize::from(is_lost));
        f.tree.gone(incarnation);
        f.tree.check();
    }
}

#[test]
fn s8_a_commit_that_was_sealed_before_an_abort_finds_its_place() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, stub) = f.get(root, "a", startup(1));
    let incarnation = f.start(a);
    let file = f.tree.launch(incarnation).expect("it lives").file;
    f.tree
        .abort(root, &name("a"), Cause::Aborted(String::new()), &mut f.kills);
    drop(stub);
    f.tree.stub_dropped(a);
    assert_eq!(
        f.tree.now_stored(a, file).len(),
        1,
        "its parent may have dropped its stub by then"
    );
    f.tree.gone(incarnation);
    assert_eq!(f.names(), ["a"]);
}

#[test]
fn s13_a_clone_below_a_facet_whose_delete_is_lost_is_in_the_index() {
    let (mut f, mut index) = (Fixture::new(), Recorded::new());
    let root = f.tree.root();
    let (p, _) = f.get(root, "p", startup(1));
    let (a, _) = f.get(p, "a", startup(1));
    index.add(f.store(a).2);
    let mut sealed = TurnChanges::default();
    f.tree
        .clone_child(p, &name("a"), &name("b"), &mut sealed, &mut f.kills)
        .expect("room");
    // The turn that clones is sealed; before it is recorded, its facet is deleted, in a turn that is lost.
    f.delete(root, "p");
    index.add(f.tree.settle(sealed).0);
    f.undo();
    assert_eq!(index.read().keys().collect::<Vec<_>>(), ["p", "p/a", "p/b"]);
    let (b, _) = f.tree.lookup(p, &name("b")).expect("it was committed");
    let (deep, _deep) = f.get(b, "deep", startup(1));
    index.add(f.store(deep).2);
    assert!(index.read().contains_key("p/b/deep"));
}

#[test]
fn s13_copies_of_a_facet_that_goes_for_good_before_they_are_recorded_go_too() {
    for is_lost in [false, true] {
        let mut f = Fixture::new();
        let root = f.tree.root();
        let (p, _) = f.get(root, "p", startup(1));
        let (a, _) = f.get(p, "a", startup(1));
        f.store(a);
        let mut other = TurnChanges::default();
        f.tree
            .clone_child(p, &name("a"), &name("b"), &mut other, &mut f.kills)
            .expect("room");
        let copies = f.tree.fix_copies(&mut other, |_| true).expect("everything is held");
        f.delete(root, "p");
        let (record, _) = f.settle();
        let copy = copies[0].to;
        assert!(
            !record.contains(&TreeChange::Delete { file: copy }),
            "no record names it"
        );
        let removed = match is_lost {
            true => f.tree.undo(other, &mut f.kills),
            false => f.tree.settle(other).1,
        };
        assert_eq!(removed, [copy]);
        f.tree.check();
    }
}

#[test]
fn s10a_a_startup_is_recorded_with_the_turn_that_has_set_it() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (a, _a) = f.get(root, "a", startup(1));
    let incarnation = f.start(a);
    let file = f.tree.launch(incarnation).expect("it lives").file;
    f.get(root, "a", startup(2));
    let recorded = |record: &[TreeChange]| match record {
        [TreeChange::Create { startup, .. } | TreeChange::Restart { startup, .. }] => startup.class.0[0],
        other => panic!("{other:?}"),
    };
    // It had been sealed before the restart.
    assert_eq!(recorded(&f.tree.now_stored(a, file)), 1);
    f.tree.gone(incarnation);
    // Its alarm wakes it, with what its parent wants it to be by now. That turn is lost.
    let woken = f.start(a);
    assert_eq!(f.tree.launch(woken).expect("it lives").lineage[1].class.0[0], 2);
    f.kills.clear();
    f.undo();
    assert_eq!(f.kills.first().map(|kill| kill.incarnation), Some(woken));
    f.tree.gone(woken);
    f.get(root, "a", startup(2));
    assert_eq!(recorded(&f.settle().0), 2);
}

#[test]
fn s13_a_clone_is_of_what_is_committed_and_of_what_its_own_turn_has_done() {
    let mut f = Fixture::new();
    let root = f.tree.root();
    let (src, _) = f.get(root, "src", startup(1));
    for text in ["kept", "deleted", "restarted"] {
        let (child, _) = f.get(src, text, startup(1));
        f.store(child);
    }
    // A turn of the source that is not over.
    let mut other = TurnChanges::default();
    let Fixture { tree, kills, .. } = &mut f;
    tree.delete(src, &name("deleted"), &mut other, kills);
    tree.clone_child(src, &name("kept"), &name("copied"), &mut other, kills)
        .expect("room");
    tree.get(src, &name("restarted"), startup(2), &mut other, kills)
        .expect("room");
    f.get(root, "src", startup(3));
    f.settle();
    let copies = f
        .tree
        .clone_child(root, &name("src"), &name("dst"), &mut f.changes, &mut f.kills)
        .expect("room");
    assert_eq!(copies.len(), 3);
    let (dst, _) = f.tree.lookup(root, &name("dst")).expect("it is there");
    let found: Vec<_> = f.tree.subtree(dst);
    let found: Vec<_> = found
        .iter()
        .map(|info| (&info.path[..], info.startup.class.0[0]))
        .collect();
    assert_eq!(
        found,
        [("dst", 3), ("dst/deleted", 1), ("dst/kept", 1), ("dst/restarted", 1)]
    );
    f.tree.undo(other, &mut f.kills);
    f.undo();
    f.tree.check();
}

#[test]
fn s12_a_database_goes_though_something_is_stored_below_it() {
    let (mut f, mut index) = (Fixture::new(), Recorded::new());
    let root = f.tree.root();
    let (p, _p) = f.get(root, "p", startup(1));
    let (incarnation, file, created) = f.store(p);
    index.add(created);
    let (below, _) = f.get(p, "below", startup(1));
    index.add(f.store(below).2);
    f.tree.retire(incarnation);
    let record = f.tree.now_empty(file).expect("it is stored");
    assert_eq!(record, [TreeChange::Empty { file }]);
    index.add(record);
    f.tree.gone(incarnation);
    assert!(f.tree.database(p).is_none() && f.names() == ["p"]);
    let (again, same, record) = f.store(p);
    assert_eq!((same, &record[..]), (file, &[TreeChange::Store { file }][..]));
    f.tree.retire(again);
    f.delete(p, "below");
    index.add(f.settle().0);
    index.add(f.tree.now_empty(file).expect("it is stored"));
    assert_eq!(index.read(), BTreeMap::new());
}
