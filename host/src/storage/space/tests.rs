//! What was freed is given back while a facet rests, in small pieces, and nothing is lost by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::storage::check_database;
use crate::storage::journal::Journal as _;
use crate::storage::page::PAGE_BYTES;
use crate::storage::tests::{Dir, MIB, committed, one, sql};
use crate::storage::turn::alone;

fn file_bytes(dir: &Dir) -> u64 {
    std::fs::metadata(dir.file(1).path()).unwrap().len()
}

fn fill(store: &mut FacetStore, mib: u64) {
    sql(store, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b)").unwrap();
    for _ in 0..mib {
        let text = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 256) \
             INSERT INTO t(b) SELECT zeroblob(4000) FROM n";
        sql(store, text).unwrap();
    }
    committed(store);
}

#[test]
fn an_emptied_database_shrinks_while_it_rests() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("kept", &[7; 10_000]).unwrap();
    fill(&mut store, 50);
    store.close().unwrap();
    assert!(file_bytes(&dir) > 50 * MIB);
    sql(&mut store, "DELETE FROM t WHERE id <> 12800").unwrap();
    committed(&mut store);
    let mut rests = 1;
    while store.rest().unwrap() == Rest::GoesOn {
        rests += 1;
        assert!(rests < 10, "it never ends");
        assert!(!store.in_turn());
    }
    assert!(rests > 1, "not everything at once");
    assert!(file_bytes(&dir) < 2 * MIB, "{}", file_bytes(&dir));
    assert_eq!(check_database(&dir.file(1), "facet-1"), [""; 0]);
    assert_eq!(store.kv_get("kept").unwrap().unwrap(), [7; 10_000]);
    assert_eq!(one(&mut store, "SELECT id FROM t"), 12_800);
    store.discard_turn();
    assert_eq!(store.rest().unwrap(), Rest::Closed);
}

#[test]
fn units_are_small_and_a_tight_journal_is_left_alone() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    // The last pages are those in use, so all of them must be moved.
    fill(&mut store, 12);
    sql(&mut store, "DELETE FROM t WHERE id < 1800").unwrap();
    committed(&mut store);
    let before = store.open.as_mut().unwrap().page_count().unwrap();
    store.give_back_some().unwrap();
    let pages = committed(&mut store);
    assert!(
        pages.numbers.len() as u64 * PAGE_BYTES < 2 * MIB,
        "{}",
        pages.numbers.len()
    );
    assert_eq!(u64::from(pages.page_count), before - 256);
    dir.1.set_full(true);
    assert_eq!(store.rest().unwrap(), Rest::Closed);
    assert!(file_bytes(&dir) > 10 * MIB);
}

#[test]
fn few_free_pages_are_kept() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    fill(&mut store, 8);
    // Many, but less than a quarter.
    sql(&mut store, "DELETE FROM t WHERE id < 400").unwrap();
    committed(&mut store);
    let before = store.open.as_mut().unwrap().page_count().unwrap();
    assert_eq!(store.rest().unwrap(), Rest::Closed);
    assert_eq!(file_bytes(&dir), before * PAGE_BYTES);
}

#[test]
fn the_quota_counts_pages_in_use() {
    let dir = Dir::new();
    let mut store = dir.store_with(1, false, 20 * MIB);
    fill(&mut store, 18);
    sql(&mut store, "DELETE FROM t").unwrap();
    committed(&mut store);
    fill(&mut store, 18);
    assert_eq!(store.kv_put("a", &[1; 2_000_000]).unwrap_err().code(), "full");
    assert!(store.bytes() < 20 * MIB);
}

#[test]
fn what_is_committed_while_a_facet_rests_goes_through_its_object() {
    let dir = Dir::new();
    let journal = dir.1.clone();
    let mut store = dir.store(1, false);
    fill(&mut store, 12);
    sql(&mut store, "DELETE FROM t WHERE id > 1").unwrap();
    committed(&mut store);
    let asked = Arc::new(AtomicU32::new(0));
    let (counted, appended) = (asked.clone(), journal.progress().durable());
    // Its second commit comes after the facet was deleted.
    store.record_by(move |committed| {
        let is_deleted = counted.fetch_add(1, Ordering::SeqCst) > 0;
        (!is_deleted).then(|| journal.append(alone(committed)))
    });
    assert_eq!(store.rest().unwrap(), Rest::Closed);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(
        dir.1.progress().durable(),
        appended.next(),
        "a unit that its object does not know"
    );
    assert!(store.is_closed());
    let pins = dir.1.pins();
    assert!(!pins.open(&dir.file(1)), "its log counts for nothing any more");
}
