//! What SQLite takes is bounded, whoever frees it, and what stops a statement stops the taking of memory.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::sync::Arc;

use super::*;
use crate::storage::FacetStore;
use crate::storage::tests::{Dir, MIB, committed, one, sql};

fn used(store: &FacetStore) -> usize {
    store.open.as_ref().unwrap().heap.used_bytes()
}

#[test]
fn statements_that_want_too_much_are_refused() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    sql(&mut store, "CREATE TABLE t(x)").unwrap();
    committed(&mut store);
    for text in [
        format!("SELECT {}", vec!["randomblob(8000000)"; 400].join(",")),
        format!("SELECT {}", vec!["hex(zeroblob(4000000))"; 100].join(",")),
        format!(
            "WITH n(s) AS (SELECT hex(zeroblob(4000000))) SELECT {} FROM n",
            (0..40)
                .map(|i| format!("group_concat(s || {i})"))
                .collect::<Vec<_>>()
                .join(",")
        ),
        format!(
            "INSERT INTO t SELECT max({}) ",
            vec!["randomblob(8000000)"; 100].join(",")
        ),
        format!(
            "SELECT length(json_pretty('[{}1]', hex(zeroblob(100000))))",
            "1,".repeat(2000)
        ),
    ] {
        let error = sql(&mut store, &text).unwrap_err();
        assert!(["memory", "too-big"].contains(&error.code()), "{:.60}: {error}", text);
        store.discard_turn();
        assert_eq!(one(&mut store, "SELECT count(*) FROM t"), 0);
        assert!(used(&store) < MIB as usize, "{}", used(&store));
    }
    // What fits is answered.
    assert_eq!(one(&mut store, "SELECT length(hex(zeroblob(4000000)))"), 8_000_000);
}

#[test]
fn what_is_freed_elsewhere_is_given_back() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let cursor = store
        .open_cursor("SELECT hex(zeroblob(3000000)) AS a, 1 UNION ALL SELECT 1, 2", &[])
        .unwrap();
    let held = used(&store);
    assert!(held > 5_000_000, "{held}");
    let mut store = std::thread::spawn(move || {
        store.close_cursor(cursor);
        store
    })
    .join()
    .unwrap();
    assert!(used(&store) < held / 4, "{}", used(&store));
    for round in 0..50 {
        sql(&mut store, &format!("SELECT {round}, hex(zeroblob(1000000))")).unwrap();
    }
    assert!(used(&store) < MIB as usize, "{}", used(&store));
    let heap = Arc::clone(&store.open.as_ref().unwrap().heap);
    store.close().unwrap();
    drop(store);
    assert_eq!(heap.used_bytes(), 0, "a closed connection holds nothing");
}

#[test]
fn a_stopped_statement_takes_no_more_memory() {
    let interrupt = Arc::new(InterruptCell::default());
    let meter = Meter::new(Arc::clone(&interrupt));
    install();
    let take = |bytes: i32| {
        let _entered = meter.enter();
        // SAFETY: an allocation of SQLite's, freed below.
        unsafe { ffi::sqlite3_malloc(bytes) }
    };
    let free = |memory| {
        // SAFETY: it is one of `take`.
        unsafe { ffi::sqlite3_free(memory) }
    };
    let some = take(1000);
    assert!(!some.is_null() && meter.used_bytes() >= 1000);
    interrupt.interrupt_for_ever();
    let all: Vec<_> = (0..40).map(|_| take(1 << 20)).collect();
    assert!(all.iter().any(|memory| memory.is_null()));
    assert_eq!(meter.take_refusal(), Some(HeapRefusal::Stopped));
    all.into_iter().for_each(free);
    free(some);
    assert_eq!(meter.used_bytes(), 0);
}
