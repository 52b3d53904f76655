//! Durability follows order, waits for the disk, and ends with the first failure.

use std::time::Duration;

use super::*;
use crate::ids::{ClassDigest, FacetName};
use crate::startup::{FailurePolicy, Payload, Startup, StartupLimits};
use crate::storage::remove_db;
use crate::storage::tests::Dir;

fn block_on<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn create(file: u32) -> TreeChange {
    let startup = Startup {
        class: ClassDigest([1; 32]),
        props: Payload::empty(),
        id: None,
        limits: StartupLimits::default(),
        on_failure: FailurePolicy::Isolate,
    };
    TreeChange::Create {
        file: FileId(file),
        parent: FileId::ROOT,
        name: FacetName::new(&format!("f{file}")).unwrap(),
        startup,
    }
}

fn append_tree(dir: &Path, object: ObjectId, seq: u64, change: TreeChange) -> TreeAppend {
    TreeAppend::new(dir, object, FileId(1), seq, &[change])
}

#[test]
fn commits_records_and_removals_are_done_in_order() {
    let dir = Dir::new();
    let journal = LocalJournal::start().unwrap();
    let mut durability = journal.durability();
    let DbFile { dir: path, object, .. } = dir.file(0);
    let mut stores: Vec<_> = (1..=20).map(|id| dir.store(id, false)).collect();
    let mut last = Lsn(0);
    for (index, store) in (0..).zip(&mut stores) {
        store.kv_put("a", b"1").unwrap();
        let members = vec![store.end_turn().unwrap().unwrap()];
        let tree = Some(append_tree(&path, object, index, create(index as u32 + 1)));
        let lsn = journal.append(Unit {
            members,
            tree,
            then: vec![],
        });
        assert!(lsn > last);
        last = lsn;
    }
    block_on(wait_durable(&mut durability, last)).unwrap();
    let loaded = index::load(&index::path(&path, object), object, index::Tail::Whole)
        .unwrap()
        .unwrap();
    assert_eq!(
        (loaded.entries.len(), loaded.next_seq, loaded.next_file),
        (20, 20, FileId(21))
    );

    // Closed before the journal comes to it: the checkpoint has made it durable.
    let store = &mut stores[0];
    store.kv_put("a", b"2").unwrap();
    let members = vec![store.end_turn().unwrap().unwrap()];
    store.close().unwrap();
    let lsn = journal.append(Unit {
        members,
        ..Unit::default()
    });
    block_on(wait_durable(&mut durability, lsn)).unwrap();

    // A delete takes the file away once its record is there.
    drop(stores);
    let tree = Some(append_tree(&path, object, 20, TreeChange::Delete { file: FileId(1) }));
    let lsn = journal.append(Unit {
        tree,
        then: vec![AfterDurable::Remove(dir.file(1))],
        ..Unit::default()
    });
    block_on(wait_durable(&mut durability, lsn)).unwrap();
    journal.close();
    assert!(!dir.file(1).path().exists() && dir.file(2).path().exists());
    let loaded = index::load(&index::path(&path, object), object, index::Tail::Whole)
        .unwrap()
        .unwrap();
    assert_eq!((loaded.entries.len(), loaded.next_file), (19, FileId(21)));
}

#[test]
fn an_index_that_is_used_again_is_not_removed() {
    let dir = Dir::new();
    let DbFile { dir: path, object, .. } = dir.file(0);
    let remove = || {
        vec![AfterDurable::RemoveIndex {
            dir: path.clone(),
            object,
        }]
    };
    let unit = |tree, then| Unit {
        tree: Some(tree),
        then,
        ..Unit::default()
    };
    // One batch by hand: a running writer may take the units one by one.
    let journal = LocalJournal::start().unwrap();
    journal.append(unit(append_tree(&path, object, 0, create(1)), vec![]));
    journal.append(unit(
        append_tree(&path, object, 1, TreeChange::Delete { file: FileId(1) }),
        remove(),
    ));
    journal.append(unit(append_tree(&path, object, 2, create(2)), vec![]));
    journal.close();
    let loaded = index::load(&index::path(&path, object), object, index::Tail::Whole)
        .unwrap()
        .unwrap();
    let files: Vec<_> = loaded.entries.keys().collect();
    assert_eq!((files, loaded.next_seq), (vec![&FileId(2)], 3));
}

#[test]
fn a_failure_is_final() {
    let dir = Dir::new();
    let journal = LocalJournal::start().unwrap();
    let mut durability = journal.durability();
    let DbFile { dir: path, object, .. } = dir.file(0);
    let good = journal.append(Unit::default());
    block_on(wait_durable(&mut durability, good)).unwrap();
    let missing = path.join("missing");
    let bad = journal.append(Unit {
        tree: Some(append_tree(&missing, object, 0, create(1))),
        ..Unit::default()
    });
    let error = block_on(wait_durable(&mut durability, bad)).unwrap_err();
    assert!(error.to_string().contains("cannot append to"), "{error}");
    let later = journal.append(Unit::default());
    block_on(wait_durable(&mut durability, later)).unwrap_err();
    journal.close();
}

#[test]
fn many_threads_append_while_it_syncs() {
    let dir = Dir::new();
    let journal = LocalJournal::start().unwrap();
    std::thread::scope(|scope| {
        for id in 1..=4 {
            let (journal, mut store) = (&journal, dir.store(id, false));
            scope.spawn(move || {
                let mut durability = journal.durability();
                for round in 0..30_u32 {
                    store.kv_put("a", &round.to_le_bytes()).unwrap();
                    let members = vec![store.end_turn().unwrap().unwrap()];
                    let lsn = journal.append(Unit {
                        members,
                        ..Unit::default()
                    });
                    block_on(wait_durable(&mut durability, lsn)).unwrap();
                    if round % 7 == 0 {
                        store.close().unwrap();
                    }
                }
            });
        }
    });
    for id in 1..=4 {
        assert_eq!(dir.store(id, true).kv_get("a").unwrap().unwrap(), 29_u32.to_le_bytes());
        remove_db(&dir.file(id)).unwrap();
    }
}

#[test]
fn the_memory_journal_delays_and_fails() {
    let journal = MemoryJournal::new();
    let mut durability = journal.durability();
    let first = journal.append(Unit::default());
    block_on(wait_durable(&mut durability, first)).unwrap();
    journal.hold();
    let second = journal.append(Unit::default());
    let waited = block_on(async {
        tokio::time::timeout(Duration::from_millis(20), wait_durable(&mut durability, second)).await
    });
    assert!(waited.is_err());
    journal.release();
    block_on(wait_durable(&mut durability, second)).unwrap();
    assert_eq!(journal.take_units().len(), 2);
    journal.fail("broken disk");
    let third = journal.append(Unit::default());
    assert_eq!(
        block_on(wait_durable(&mut durability, third)).unwrap_err().to_string(),
        "the journal failed: broken disk"
    );
}
