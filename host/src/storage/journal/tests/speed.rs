//! How long recovery takes, where the time goes, and what an open database weighs. Ignored: it writes some GiB, a busy disk
//! proves nothing, and memory is measured for the whole process.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::model::db_file;
use super::random::Random;
use super::world::namespace;
use crate::ids::{FileId, ObjectId};
use crate::storage::file::DbFile;
use crate::storage::journal::disk::{Op, Probe};
use crate::storage::journal::{Disk, Journal, JournalOptions, LocalJournal, recovery};
use crate::storage::store::FacetStore;
use crate::storage::value::Value;
use crate::sys::{clock, layout};

/// Objects, each with one database, and turns of each: nearly as much as a journal takes.
const DATABASES: u32 = 2_000;
const TURNS: usize = 2;
const ROWS: usize = 54;
/// What recovery of a full journal may take, on a disk that lends so many syncs.
const SECONDS_MAX: u64 = 30;
const SYNC: Duration = Duration::from_millis(4);

/// Adds up what each kind of call takes.
#[derive(Default)]
struct Times(
    Mutex<BTreeMap<&'static str, (u64, Duration)>>,
    Mutex<Option<std::time::Instant>>,
);

impl Probe for Times {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        if op.is_sync() {
            std::thread::sleep(SYNC);
        }
        *self.1.lock().unwrap() = Some(clock::now());
        Ok(())
    }

    fn after(&self, op: Op<'_>) {
        let took = self
            .1
            .lock()
            .unwrap()
            .take()
            .map_or(Duration::ZERO, |begun| begun.elapsed());
        let took = took + if op.is_sync() { SYNC } else { Duration::ZERO };
        let what = match op {
            Op::WriteSynced { .. } => "write synced",
            Op::Write(_) => "write pages",
            Op::Allocate(_) => "allocate",
            Op::SyncFile(_) => "sync files",
            Op::SyncDir(_) => "sync directories",
            Op::SyncAll(_) => "sync all",
            Op::Rename(_) | Op::Remove(_) => "names",
        };
        let mut times = self.0.lock().unwrap();
        let (count, sum) = times.entry(what).or_default();
        *count += 1;
        *sum += took;
    }
}

/// The database of the root of one of many objects, which lie in all directories.
fn root_of(dir: &Path, object: u32) -> DbFile {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&object.to_le_bytes());
    DbFile {
        dir: dir.into(),
        object: ObjectId(id),
        file: FileId::ROOT,
    }
}

#[test]
#[ignore = "writes some GiB; cargo test --release -p facetd --lib a_full_journal -- --ignored --nocapture"]
fn a_full_journal_is_recovered_in_time() {
    let root = tempfile::tempdir().unwrap();
    let dir = namespace(root.path());
    layout::make_homes(&dir).unwrap();
    let (journal, _) = LocalJournal::open(root.path(), false, &JournalOptions::default(), |_| Ok(())).unwrap();
    let journal = Arc::new(journal);
    let mut random = Random::new(1);
    let mut stores: Vec<_> = (0..DATABASES)
        .map(|object| {
            FacetStore::new(
                root_of(&dir, object),
                String::new(),
                false,
                1 << 30,
                Arc::default(),
                journal.clone(),
            )
        })
        .collect();
    let mut last = Vec::new();
    for turn in 0..TURNS {
        for store in &mut stores {
            store
                .query("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b BLOB)", &[], 1)
                .unwrap();
            for row in 0..ROWS {
                let params = [
                    Value::Integer((turn * ROWS + row) as i64),
                    Value::Blob(random.noise(3900)),
                ];
                store.query("INSERT INTO t VALUES(?, ?)", &params, 1).unwrap();
            }
            let committed = store.end_turn().unwrap().unwrap();
            last.push(store.record_alone(committed));
        }
    }
    journal.progress().wait(last.pop().unwrap()).unwrap();
    // As a kill: nothing is moved into databases.
    journal.fail("the test says so");
    drop(stores);
    drop(journal);
    let begun = clock::now();
    let read = recovery::read(&root.path().join("journal"), |_, _| Ok(())).unwrap();
    let reading = begun.elapsed();
    let mib = read.segments.iter().map(|old| old.end).sum::<u64>() >> 20;
    let times = Arc::new(Times::default());
    let options = JournalOptions {
        disk: Disk::probed(times.clone()),
        ..JournalOptions::default()
    };
    let begun = clock::now();
    let (journal, recovered) = LocalJournal::open(root.path(), true, &options, |_| Ok(())).unwrap();
    let took = begun.elapsed();
    drop(journal);
    println!(
        "{mib} MiB, {} units, {} databases: {took:?}",
        recovered.units, recovered.databases
    );
    println!("of that twice reading and checking, {reading:?} each; calls, with those of a clean stop:");
    for (what, (count, sum)) in times.0.lock().unwrap().iter() {
        println!("{count:>8} {what:<18} {sum:?}");
    }
    assert_eq!(recovered.databases, DATABASES as usize);
    assert!(mib > 800, "the journal has only {mib} MiB");
    assert!(took < Duration::from_secs(SECONDS_MAX), "{took:?}");
}

/// What an open database with a table, a row, a key and their statements may take: 32 of it is the index of its log, 22 are pages
/// of its cache, 8 are pages that SQLite works in, and 12 compiled statements.
const CONNECTION_KIB_MAX: u64 = 96;
const CONNECTIONS: u32 = 1_000;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "the process must be alone; cargo test --release -p facetd --lib an_open_connection -- --ignored --nocapture"]
fn an_open_connection_is_small() {
    let root = tempfile::tempdir().unwrap();
    let dir = namespace(root.path());
    layout::make_homes(&dir).unwrap();
    let (journal, _) = LocalJournal::open(root.path(), false, &JournalOptions::default(), |_| Ok(())).unwrap();
    let journal = Arc::new(journal);
    let open = |file| {
        let file = db_file(&dir, 1, file);
        let mut store = FacetStore::new(file, String::new(), false, 1 << 30, Arc::default(), journal.clone());
        let text = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t(v) VALUES ('a row')";
        store.query(text, &[], 1).unwrap();
        store.kv_put("key", b"value").unwrap();
        let committed = store.end_turn().unwrap().unwrap();
        let lsn = store.record_alone(committed);
        journal.progress().wait(lsn).unwrap();
        store
            .query("SELECT v FROM t WHERE id = ?", &[Value::Integer(1)], 1)
            .unwrap();
        store.end_turn().unwrap();
        store
    };
    // What is taken once, by the first, is not theirs.
    let mut stores: Vec<_> = (0..10).map(open).collect();
    let before_kib = resident_kib();
    stores.extend((10..10 + CONNECTIONS).map(open));
    let each_kib = (resident_kib() - before_kib) / u64::from(CONNECTIONS);
    println!("{each_kib} KiB for each of {CONNECTIONS} open databases");
    assert!(each_kib <= CONNECTION_KIB_MAX, "{each_kib} KiB");
}
