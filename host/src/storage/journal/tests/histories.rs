//! The units of an object are its history: they follow each other over restarts and segments, files of another time are not mixed with
//! them, and whoever has all of them has the databases, copies included.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::basic::{Data, create};
use crate::ids::FileId;
use crate::index::{self, Head, Unshown};
use crate::storage::file::DbFile;
use crate::storage::journal::recovery;
use crate::storage::journal::rules::Rule;
use crate::storage::journal::rules::tests::Without;
use crate::storage::journal::unit::{DatabaseChange, Decoded};
use crate::storage::journal::*;
use crate::storage::page::{CONTENT_BYTES, PAGE};
use crate::storage::store::FacetStore;

/// All units that a journal holds.
fn units(data: &Data) -> Vec<Decoded> {
    let mut units = Vec::new();
    recovery::read(&data.root().join("journal"), |_, unit| {
        units.push(unit);
        Ok(())
    })
    .unwrap();
    units
}

fn head(data: &Data) -> Option<Head> {
    let file = data.file(0);
    index::head(&index::path(&file.dir, file.object), file.object).unwrap()
}

/// The first unit of the object: a facet, and its first commit.
fn begin(data: &Data, journal: &LocalJournal, store: &mut FacetStore) {
    store.kv_put("k", b"first").unwrap();
    let member = store.end_turn().unwrap().unwrap();
    let tree = TreeUnit::Append(TreeAppend::new(member.file.object, true, FileId(1), 1, &[create(1)]));
    let lsn = journal.append(Unit {
        members: vec![member],
        tree,
        ..data.unit()
    });
    store.recorded(lsn);
}

fn commit(store: &mut FacetStore, value: &[u8]) -> Lsn {
    store.kv_put("k", value).unwrap();
    let member = store.end_turn().unwrap().unwrap();
    store.record_alone(member)
}

#[test]
fn a_history_goes_on_over_clean_stops_and_kills() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    begin(&data, &journal, &mut store);
    commit(&mut store, b"second");
    journal.progress().wait(commit(&mut store, b"third")).unwrap();
    let found = units(&data);
    let (seqs, hashes): (Vec<_>, Vec<_>) = found.iter().map(|unit| (unit.before.seq + 1, unit.hash)).unzip();
    assert_eq!(seqs, [1, 2, 3]);
    let prevs: Vec<_> = found.iter().map(|unit| unit.before.hash).collect();
    assert_eq!(prevs, [0, hashes[0], hashes[1]], "each says the hash of the one before");
    assert_eq!(
        head(&data),
        Some(Head::default()),
        "no file says what may yet be found in the journal alone"
    );
    store.close().unwrap();
    drop(store);
    assert!(journal.close());
    let third = Head {
        seq: 3,
        hash: hashes[2],
    };
    assert_eq!(
        head(&data),
        Some(third),
        "after a clean stop there is nothing but the file"
    );

    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, true);
    journal.progress().wait(commit(&mut store, b"fourth")).unwrap();
    let fourth = units(&data).pop().unwrap();
    assert_eq!(fourth.before, third);
    let killed = data.killed();
    let (journal, recovered) = killed.open(true).unwrap();
    assert!(recovered.doubtful.is_empty());
    let fourth = Head {
        seq: 4,
        hash: fourth.hash,
    };
    assert_eq!(head(&killed), Some(fourth), "recovery says what it has carried out");
    let mut store = killed.store(&journal, 1, true);
    assert_eq!(store.kv_get("k").unwrap().unwrap(), b"fourth");
    journal.progress().wait(commit(&mut store, b"fifth")).unwrap();
    assert_eq!(units(&killed).pop().unwrap().before, fourth);
}

/// Files of an object.
fn files(data: &Data) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let files = [index::path(&data.file(1).dir, data.file(1).object), data.file(1).path()];
    let name = |path: &std::path::Path| path.strip_prefix(data.root()).unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

#[test]
fn files_of_another_time_than_the_journal_are_not_mixed_with_it() {
    let data = Data::new();
    let stop = |journal: Arc<LocalJournal>, mut store: FacetStore| {
        store.close().unwrap();
        drop(store);
        assert!(journal.close());
        files(&data)
    };
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    begin(&data, &journal, &mut store);
    let early = stop(journal, store);
    let again = |value: &[u8]| {
        let (journal, _) = data.open(false).unwrap();
        let mut store = data.store(&journal, 1, true);
        journal.progress().wait(commit(&mut store, value)).unwrap();
        (journal, store)
    };
    let (journal, store) = again(b"second");
    stop(journal, store);
    let (journal, store) = again(b"third");
    let killed = |put: &BTreeMap<std::path::PathBuf, Vec<u8>>, from: &Data| {
        let killed = from.killed();
        for (name, bytes) in put {
            fs::write(killed.root().join(name), bytes).unwrap();
        }
        killed
    };
    let as_it_was = data.killed();
    let late = {
        stop(journal, store);
        let (journal, store) = again(b"fourth");
        stop(journal, store)
    };
    for (what, put) in [("older", &early), ("newer", &late)] {
        let killed = killed(put, &as_it_was);
        let (_journal, recovered) = killed.open(true).unwrap();
        assert_eq!(recovered.doubtful.len(), 1, "{what} files");
        let path = index::path(&killed.file(1).dir, killed.file(1).object);
        let error = index::load(&path, killed.file(1).object, Unshown::Nothing).unwrap_err();
        assert!(error.to_string().contains("facets.lost"), "{what}: {error}");
        for (name, bytes) in put {
            assert_eq!(
                &fs::read(killed.root().join(name)).unwrap(),
                bytes,
                "{what} files are left as they are"
            );
        }
        assert!(killed.file(1).lost_path().exists(), "what the journal held is kept");
    }
    // Without the rule a mixture is served.
    let killed = killed(&early, &as_it_was);
    let _without = Without::new(Some(Rule::HistoriesGoOn), killed.root());
    let (_journal, recovered) = killed.open(true).unwrap();
    assert!(recovered.doubtful.is_empty());
}

/// Databases as the units say, by their files. What is announced and nobody's is not among them.
fn replayed(units: &[Decoded]) -> BTreeMap<u32, Vec<[u8; PAGE]>> {
    let (mut databases, mut announced) = (BTreeMap::<u32, Vec<[u8; PAGE]>>::new(), BTreeMap::new());
    let put = |database: &mut Vec<[u8; PAGE]>, pages: &Pages| {
        let raw = pages.unpacked().unwrap();
        database.resize(pages.page_count as usize, [0; PAGE]);
        for (page, number) in raw.chunks_exact(PAGE).zip(&pages.numbers) {
            database[*number as usize - 1].copy_from_slice(page);
        }
    };
    for (file, change) in units.iter().flat_map(|unit| &unit.databases) {
        match change {
            DatabaseChange::Pages(pages) => put(databases.entry(file.0).or_default(), pages),
            DatabaseChange::Copying(from) => drop(announced.insert(file.0, databases[&from.0].clone())),
            DatabaseChange::Copied(pages) => {
                let mut copy = announced.remove(&file.0).expect("it was announced");
                put(&mut copy, pages);
                databases.insert(file.0, copy);
            }
            DatabaseChange::Removed => drop(databases.remove(&file.0)),
        }
    }
    databases
}

fn on_disk(file: &DbFile) -> Vec<[u8; PAGE]> {
    let bytes = fs::read(file.path()).unwrap();
    bytes.chunks_exact(PAGE).map(|page| page.try_into().unwrap()).collect()
}

#[test]
fn whoever_has_all_units_has_the_databases_and_copies() {
    // The second takes more than a page to say whose it is.
    for path in ["a copy".to_owned(), "p".repeat(9_000)] {
        let data = Data::new();
        let (journal, _) = data.open(false).unwrap();
        let mut store = data.store(&journal, 1, false);
        begin(&data, &journal, &mut store);
        commit(&mut store, &[7; 30_000]);
        let announced = Announced {
            file: FileId(2),
            from: FileId(1),
        };
        let lsn = journal.append(Unit {
            copying: vec![announced],
            ..data.unit()
        });
        journal.progress().wait(lsn).unwrap();
        let pages = store.copy_committed_to(&data.file(2), &path).unwrap().unwrap();
        assert!(
            pages.numbers.len() < 8,
            "it says in what it differs: {:?}",
            pages.numbers
        );
        let copied = vec![Copied { file: FileId(2), pages }];
        // The source goes on before the copy is anybody's.
        commit(&mut store, b"later");
        let lsn = journal.append(Unit { copied, ..data.unit() });
        journal.progress().wait(lsn).unwrap();
        let mut replayed = replayed(&units(&data));
        store.close().unwrap();
        for (file, replayed) in &mut replayed {
            let mut found = on_disk(&data.file(*file));
            for page in found.iter_mut().chain(replayed.iter_mut()) {
                page[CONTENT_BYTES..].fill(0);
            }
            assert_eq!(found.len(), replayed.len());
            let differing: Vec<_> = (1..)
                .zip(found.iter().zip(replayed))
                .filter(|(_, (a, b))| **a != **b)
                .map(|(n, _)| n)
                .collect();
            assert_eq!(differing, [0; 0], "pages of database {file}");
        }
        assert_eq!(replayed.len(), 2);
    }
}

#[test]
fn an_announced_copy_holds_its_segment_until_it_is_somebodys_or_gone() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    begin(&data, &journal, &mut store);
    let announce = |file: u32| {
        let (file, from) = (FileId(file), FileId(1));
        journal.append(Unit {
            copying: vec![Announced { file, from }],
            ..data.unit()
        })
    };
    let lsn = announce(2);
    store.checkpoint().unwrap();
    assert_eq!(journal.pins().oldest(), Some(lsn));
    let lost = announce(3);
    let pages = store.copy_committed_to(&data.file(2), "f2").unwrap().unwrap();
    let copied = journal.append(Unit {
        copied: vec![Copied { file: FileId(2), pages }],
        ..data.unit()
    });
    let settled = |lsn| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(wait_settled(journal.progress(), data.file(1).object, lsn));
    };
    settled(copied);
    assert_eq!(journal.pins().oldest(), Some(lost));
    // As recovery finds it now: one is somebody's, the other is nobody's.
    fs::write(data.file(3).path(), b"a part of a copy").unwrap();
    let killed = data.killed();
    drop(killed.open(true).unwrap());
    assert!(killed.file(2).path().exists() && !killed.file(3).path().exists());
    settled(journal.append(Unit {
        removed: vec![FileId(3)],
        ..data.unit()
    }));
    assert_eq!(journal.pins().oldest(), None);
}

#[test]
fn somebody_elses_database_is_not_cloned() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut own = data.store(&journal, 1, false);
    begin(&data, &journal, &mut own);
    let mut others = FacetStore::new(
        DbFile {
            object: crate::ids::ObjectId([9; 32]),
            ..data.file(5)
        },
        "secret".to_owned(),
        false,
        1 << 30,
        Arc::default(),
        journal.clone(),
    );
    crate::sys::layout::make_homes(&data.file(0).dir).unwrap();
    fs::create_dir_all(others.file.home()).unwrap();
    journal
        .progress()
        .wait(commit(&mut others, b"somebody else's"))
        .unwrap();
    others.close().unwrap();
    own.close().unwrap();
    drop(own);
    // A restore that went wrong.
    fs::copy(others.file.path(), data.file(1).path()).unwrap();
    let mut source = data.store(&journal, 1, true);
    let refused = source.copy_committed_to(&data.file(2), "f2").unwrap_err();
    assert_eq!(refused.code(), "identity");
    assert!(!data.file(2).path().exists());
}

#[test]
fn a_database_that_is_refused_is_not_cloned() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut own = data.store(&journal, 1, false);
    begin(&data, &journal, &mut own);
    own.close().unwrap();
    fs::write(data.file(1).lost_path(), b"newer pages").unwrap();
    let mut source = data.store(&journal, 1, true);
    assert!(source.copy_committed_to(&data.file(2), "f2").is_err());
    assert!(!data.file(2).path().exists());
}

#[test]
fn an_index_of_an_earlier_history_names_no_copy() {
    let data = Data::new();
    let (journal, _) = data.open(false).unwrap();
    let mut store = data.store(&journal, 1, false);
    begin(&data, &journal, &mut store);
    store.close().unwrap();
    drop(store);
    assert!(journal.close());
    let index = index::path(&data.file(1).dir, data.file(1).object);
    let earlier = fs::read(&index).unwrap();
    // Nothing is stored any more, and file ids begin again.
    let (journal, _) = data.open(false).unwrap();
    journal.append(Unit {
        removed: vec![FileId(1)],
        tree: TreeUnit::Removed,
        ..data.unit()
    });
    let (file, from) = (FileId(1), FileId(2));
    let lsn = journal.append(Unit {
        copying: vec![Announced { file, from }],
        ..data.unit()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(wait_settled(journal.progress(), data.file(1).object, lsn));
    let killed = data.killed();
    fs::write(killed.file(1).path(), b"a part of a copy").unwrap();
    // As a power failure leaves it: the removal was not durable.
    fs::write(index::path(&killed.file(1).dir, killed.file(1).object), earlier).unwrap();
    drop(killed.open(true).unwrap());
    assert!(!killed.file(1).path().exists());
}
