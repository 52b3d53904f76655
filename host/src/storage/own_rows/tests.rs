//! SQLite finds in these pages what was put there, and what it writes is found.

use super::*;
use crate::storage::page::{self, PAGE_BYTES};
use crate::storage::tests::{Dir, MIB, committed, sql};
use crate::storage::{FacetStore, check_database};

#[test]
fn the_hosts_tables_begin_where_they_are_looked_for() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("a", b"1").unwrap();
    sql(
        &mut store,
        "CREATE TABLE t(x UNIQUE); CREATE TABLE u(x UNIQUE); INSERT INTO u VALUES(1)",
    )
    .unwrap();
    committed(&mut store);
    sql(&mut store, "DROP TABLE t").unwrap();
    committed(&mut store);
    store.close().unwrap();
    let conn = rusqlite::Connection::open(dir.file(1).path()).unwrap();
    for (name, root) in [
        ("_facetd_kv", KV_ROOT),
        ("_facetd_meta", META_ROOT),
        ("_facetd_alarm", ALARM_ROOT),
    ] {
        let found: u32 = conn
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", (name,), |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(found, root, "{name}");
    }
}

fn page(bytes: &[u8], number: u32) -> &[u8] {
    &bytes[(number as usize - 1) * PAGE..][..PAGE]
}

#[test]
fn an_identity_is_what_sqlite_makes_of_it() {
    let dir = Dir::new();
    for (number, path) in [
        (1, String::new()),
        (127, "a/b".into()),
        (128, "é".repeat(300)),
        (u32::MAX, "p".repeat(3_900)),
    ] {
        let mut store: FacetStore = dir.store_of(dir.file(number), &path, false, MIB, Default::default());
        store.kv_put("a", b"1").unwrap();
        store.set_alarm(5_000, 0).unwrap();
        committed(&mut store);
        store.close().unwrap();
        let place = dir.file(number).path();
        let mut bytes = std::fs::read(&place).unwrap();
        let found = belongs(page(&bytes, META_ROOT)).unwrap();
        assert_eq!(
            (found.object, found.file.0, &found.path),
            (dir.file(number).object, number, &path)
        );
        assert!(is_one_page(page(&bytes, ALARM_ROOT)));
        // By hand, as another's.
        for (root, made) in [
            (META_ROOT, identity(&dir.file(9), &path).unwrap()),
            (ALARM_ROOT, empty()),
        ] {
            let at = u64::from(root - 1) * PAGE_BYTES;
            let target = &mut bytes[at as usize..][..PAGE];
            target.copy_from_slice(&made);
            page::stamp(target, root);
        }
        assert_eq!(belongs(page(&bytes, META_ROOT)).unwrap().file.0, 9);
        std::fs::write(dir.file(9).path(), &bytes).unwrap();
        assert_eq!(check_database(&dir.file(9), &path), [""; 0]);
        let mut store = dir.store_of(dir.file(9), &path, true, MIB, Default::default());
        assert_eq!(store.alarm().unwrap(), None);
        assert_eq!(store.kv_get("a").unwrap().unwrap(), b"1");
        store.close().unwrap();
    }
    assert!(identity(&dir.file(1), &"p".repeat(4_000)).is_none());
}

#[test]
fn any_bytes_can_be_read_as_an_identity() {
    let dir = Dir::new();
    let good = identity(&dir.file(9), "a/b").unwrap();
    for at in (0..16).chain(CONTENT_BYTES - 80..CONTENT_BYTES) {
        for byte in 0..=255 {
            let mut page = good;
            page[at] = byte;
            let _ = belongs(&page);
        }
    }
}

/// Whether there is anything to copy is told alike by the pages and by SQLite.
#[test]
fn what_counts_as_data_counts_on_pages_too() {
    let cases = [
        ("", false),
        ("PRAGMA user_version = 7", true),
        ("CREATE TABLE t(x)", true),
        ("CREATE TABLE t(x); DROP TABLE t", false),
    ];
    for (text, has_data) in cases {
        let dir = Dir::new();
        let mut store = dir.store(1, false);
        // An alarm alone is none.
        store.set_alarm(5, 0).unwrap();
        if !text.is_empty() {
            sql(&mut store, text).unwrap();
        }
        committed(&mut store);
        assert_eq!(store.has_data().unwrap(), has_data, "SQLite: {text}");
        store.close().unwrap();
        let file = std::fs::read(dir.file(1).path()).unwrap();
        let page = |number: u32| &file[(number as usize - 1) * PAGE..][..PAGE];
        let found = super::has_data(page(1), page(KV_ROOT));
        assert!(found.is_none_or(|found| found == has_data), "pages: {text}: {found:?}");
    }
}
