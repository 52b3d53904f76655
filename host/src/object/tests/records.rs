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
