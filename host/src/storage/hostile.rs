//! Statements of somebody who means harm. Each is denied or bounded, as the table says; afterwards the facet works, its
//! keys are as they were, and no file outside its own was touched.

mod statements;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use statements::{GROUPS, made};

use super::tests::{Dir, MIB, one, sql};
use super::{FacetStore, InterruptCell, StorageError};
use crate::sys::clock;

/// What a statement may run that is to be stopped, and any other.
const TIME: Duration = Duration::from_millis(40);
const TIME_MAX: Duration = Duration::from_secs(20);
/// CPU time that a statement may take beyond that: what one call of a function takes with the longest values.
const ONE_CALL: Duration = Duration::from_millis(1500);
/// What is built before each statement that is not harmless.
const SCHEMA: &str = "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2);
    CREATE TABLE big(a INTEGER PRIMARY KEY, b);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) INSERT INTO big SELECT i, i % 7 FROM n;
    CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES('one two three');
    CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 2, 3);
    CREATE VIEW v AS SELECT a FROM t;
    CREATE TABLE child(k)";

/// All names and texts of the schema.
const NAMES: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name";

/// Stops statements that run too long, as the host's watchdog does.
struct Watch {
    begun: Instant,
    interrupt: Arc<InterruptCell>,
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[allow(clippy::disallowed_methods, reason = "a test has no host to ask for the time")]
impl Watch {
    fn new(interrupt: &Arc<InterruptCell>) -> Self {
        let begun = Instant::now();
        let (cell, done) = (Arc::clone(interrupt), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                cell.look(begun.elapsed().as_millis() as u64);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            begun,
            interrupt: Arc::clone(interrupt),
            done,
            thread: Some(thread),
        }
    }

    fn run<R>(&self, time: Duration, work: impl FnOnce() -> R) -> R {
        let deadline = self.begun.elapsed() + time;
        self.interrupt.begin_statement(deadline.as_millis() as u64);
        let result = work();
        self.interrupt.end_statement();
        result
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// What a facet could reach if it could reach anything: its directory, the one above, the current one, those for
/// temporary files.
fn outside(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let canary = dir.join("canary");
    let mut found: Vec<_> = [dir, Path::new("."), Path::new("/var/tmp"), Path::new("/etc")]
        .into_iter()
        .filter_map(|place| place.read_dir().ok())
        .flatten()
        .filter_map(|entry| Some((entry.ok()?.path(), Vec::new())))
        .collect();
    found.sort();
    found.push((canary.clone(), std::fs::read(canary).unwrap()));
    found
}

fn expected(result: &Result<Vec<Vec<super::Value>>, StorageError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) if error.transaction_lost() => format!("{} lost", error.code()),
        Err(error) => error.code().to_owned(),
    }
}

#[test]
fn hostile_statements_are_denied_or_bounded() {
    let dir = Dir::new();
    let interrupt = Arc::new(InterruptCell::default());
    let mut store = dir.store_of(dir.file(1), "facet-1", false, 64 * MIB, Arc::clone(&interrupt));
    store.kv_put("key", b"value").unwrap();
    sql(&mut store, SCHEMA).unwrap();
    super::tests::committed(&mut store);
    std::fs::write(dir.file(1).dir.join("canary"), "sings").unwrap();
    let names = sql(&mut store, NAMES).unwrap();
    store.discard_turn();
    // With its log, which the database has as long as it is open.
    let before = outside(&dir.file(1).dir);
    let watch = Watch::new(&interrupt);
    let (mut count, mut wrong) = (0, Vec::new());
    let mut attack = |store: &mut FacetStore, group: &str, text: &str, expect: &str| {
        count += 1;
        let time = if expect.contains("cpu") { TIME } else { TIME_MAX };
        let begun = clock::thread_cpu();
        let result = watch.run(time, || sql(store, text));
        let took = clock::thread_cpu() - begun;
        let found = expected(&result);
        let start: String = text.chars().take(120).collect();
        // What takes long on a loaded machine may meet the time first: it is bounded either way.
        let bounded = group == "too many" && found.starts_with("cpu");
        if !bounded && !expect.split('|').any(|one| one.trim() == found) {
            let message = result.map_or_else(|error| error.to_string(), |rows| format!("{rows:?}"));
            wrong.push(format!("{group}: {start}\n    {found}, not {expect}: {:.200}", message));
        }
        if took > TIME + ONE_CALL {
            wrong.push(format!("{group}: {start}\n    took {took:?}"));
        }
        if found.ends_with("lost") {
            assert!(store.end_turn().is_err(), "{start}");
        }
        store.discard_turn();
        assert_eq!(store.kv_get("key").unwrap().unwrap(), b"value", "{start}");
        assert_eq!(one(store, "SELECT count(*) FROM t"), 2, "{start}");
        sql(store, "INSERT INTO t VALUES(3); DELETE FROM t WHERE a = 3").unwrap();
        store.discard_turn();
        assert_eq!(outside(&dir.file(1).dir), before, "{start}");
    };
    for (group, expect, texts) in GROUPS {
        for text in texts.lines().map(str::trim).filter(|line| !line.is_empty()) {
            attack(&mut store, group, text, expect);
        }
    }
    for (group, expect, text) in made() {
        attack(&mut store, group, &text, expect);
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 250, "{count}");
    // Nothing of all that was kept.
    assert!(store.end_turn().unwrap().is_none());
    assert_eq!(sql(&mut store, NAMES).unwrap(), names);
}
