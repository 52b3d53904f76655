//! Whatever is done to a page of a database, its reader is told, and which page it was; and SQLite never reads a page that
//! was not written.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::storage::tests::{Dir, MIB, committed, one, sql};
use crate::storage::{FacetStore, check_database};

const GOLDEN: &[u8] = include_bytes!("golden.sqlite");
/// Set: writes the file anew, after a deliberate change of the format.
const WRITE_VARIABLE: &str = "FACETD_WRITE_GOLDEN";

/// CRC-32C as docs/formats.md means it, bit by bit.
fn crc(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

fn database(store: &mut FacetStore) {
    store.kv_put("name", b"Ada").unwrap();
    sql(
        store,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b)",
    )
    .unwrap();
    sql(store, "INSERT INTO t VALUES(1, 'a'), (2, x'00ff'), (3, 4.5), (4, NULL)").unwrap();
    committed(store);
}

fn pages(path: &Path) -> Vec<Vec<u8>> {
    std::fs::read(path).unwrap().chunks(PAGE).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_golden_database_is_written_byte_for_byte_and_read() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    database(&mut store);
    store.close().unwrap();
    let path = dir.file(1).path();
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::copy(
            &path,
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/page/golden.sqlite"),
        )
        .unwrap();
        return;
    }
    // SQLite writes its own version into the header.
    let versionless = |file: &[u8]| {
        let mut file = file.to_vec();
        file[92..100].fill(0);
        file[CHECKED_BYTES..PAGE].fill(0);
        file
    };
    let written = std::fs::read(&path).unwrap();
    assert!(versionless(&written) == versionless(GOLDEN), "the format has changed");
    for (page, number) in GOLDEN.chunks(PAGE).zip(1_u32..) {
        let (checked, sum) = page.split_at(4092);
        let expected = crc(number.to_le_bytes().into_iter().chain(checked.iter().copied()));
        assert_eq!(sum, expected.to_le_bytes(), "page {number}");
        assert!(page[4064..4092].iter().all(|byte| *byte == 0));
    }
    let header = |at: usize| u32::from_be_bytes(GOLDEN[at..at + 4].try_into().unwrap());
    assert_eq!((&GOLDEN[16..18], &GOLDEN[18..21]), (&[0x10, 0][..], &[2, 2, 32][..]));
    assert!(header(52) != 0 && header(64) == 1, "auto_vacuum = INCREMENTAL");
    assert_eq!((header(56), header(68)), (1, 0x4661_6374));
    std::fs::write(&path, GOLDEN).unwrap();
    assert_eq!(check_database(&dir.file(1), "facet-1"), [""; 0]);
    let mut store = dir.store(1, true);
    assert_eq!(store.kv_get("name").unwrap().unwrap(), b"Ada");
    assert_eq!(one(&mut store, "SELECT count(*) FROM t WHERE b = 'a' OR b IS NULL"), 2);
}

#[test]
fn each_byte_and_the_number_count() {
    let mut page: Vec<u8> = (0..PAGE).map(|at| (at % 251) as u8).collect();
    stamp(&mut page, 7);
    assert!(is_sound(&page, 7) && !is_sound(&page, 8) && !is_sound(&[0; PAGE], 7) && !is_sound(&page[..4095], 7));
    for at in 0..PAGE {
        for bit in [1, 0x80] {
            page[at] ^= bit;
            assert!(!is_sound(&page, 7), "byte {at}");
            page[at] ^= bit;
        }
    }
    assert!(is_sound(&page, 7) && is_sound(&[0; PAGE], LOCK_PAGE));
}

/// What reading everything answers.
fn read_all(dir: &Dir) -> Result<(), crate::storage::StorageError> {
    let mut store = dir.store(1, true);
    store.kv_get("name")?;
    sql(&mut store, "SELECT id, length(b) FROM t").map(|_| ())?;
    sql(&mut store, "SELECT b FROM t ORDER BY b").map(|_| ())
}

fn told(dir: &Dir, number: usize, what: &str) {
    // Of the reader before.
    let _ = std::fs::remove_file(dir.file(1).wal_path());
    let page = format!("page {number} does not match its checksum");
    let complaints = check_database(&dir.file(1), "facet-1");
    assert!(complaints.contains(&page), "{what}: {complaints:?}");
    // SQLite does not look at the map of pointers, nor at free pages, to read.
    if number != 2 {
        let error = read_all(dir).expect_err(what);
        assert_eq!(error.code(), "corrupt", "{what}: {error}");
        assert!(error.to_string().contains(&page), "{what}: {error}");
    }
}

#[test]
fn a_flipped_byte_is_told_with_its_page() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    database(&mut store);
    store.close().unwrap();
    let path = dir.file(1).path();
    let whole = std::fs::read(&path).unwrap();
    // Of the header each byte, of the rest some: the check itself is tried with all of them above.
    for at in (0..PAGE).filter(|at| *at < 110 || at % 61 == 0 || *at >= 4060) {
        for number in [1, 3, whole.len() / PAGE] {
            let mut bytes = whole.clone();
            bytes[(number - 1) * PAGE + at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            told(&dir, number, &format!("byte {at} of page {number}"));
        }
    }
    std::fs::write(&path, &whole).unwrap();
    read_all(&dir).unwrap();
}

#[test]
fn pages_of_other_places_are_told() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    database(&mut store);
    store.close().unwrap();
    let mut other = dir.store(2, false);
    database(&mut other);
    sql(&mut other, "INSERT INTO t VALUES(5, 'b')").unwrap();
    committed(&mut other);
    other.close().unwrap();
    let path = dir.file(1).path();
    let (whole, foreign) = (pages(&path), pages(&dir.file(2).path()));
    for (a, b) in [(3, 4), (4, 5), (1, 3)] {
        let mut swapped = whole.clone();
        swapped.swap(a - 1, b - 1);
        std::fs::write(&path, swapped.concat()).unwrap();
        let _ = std::fs::remove_file(dir.file(1).wal_path());
        assert_eq!(check_database(&dir.file(1), "facet-1").len(), 2);
        assert_eq!(read_all(&dir).unwrap_err().code(), "corrupt");
    }
    // A page of another file at its own place is a page: what tells it is the identity on it, or the tree that it breaks.
    std::fs::write(&path, foreign.concat()).unwrap();
    assert_eq!(read_all(&dir).unwrap_err().code(), "identity");
    let mut zeroed = whole.clone();
    zeroed[3].fill(0);
    std::fs::write(&path, zeroed.concat()).unwrap();
    told(&dir, 4, "a hole");
    let mut cut = whole.concat();
    cut.truncate((whole.len() - 1) * PAGE + 100);
    std::fs::write(&path, &cut).unwrap();
    let _ = std::fs::remove_file(dir.file(1).wal_path());
    assert!(check_database(&dir.file(1), "facet-1")[0].contains("cut off after 100 bytes"));
    assert_eq!(read_all(&dir).unwrap_err().code(), "corrupt");
}

#[test]
fn the_middle_of_a_long_value_is_checked() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    database(&mut store);
    store.kv_put("name", &[7; 100_000]).unwrap();
    committed(&mut store);
    store.close().unwrap();
    let path = dir.file(1).path();
    let whole = pages(&path);
    let filled: Vec<_> = (0..whole.len())
        .filter(|at| whole[*at][2000..3000] == [7; 1000])
        .collect();
    assert!(filled.len() > 20);
    for at in [filled[1], filled[10], filled[filled.len() - 1]] {
        let mut damaged = whole.clone();
        damaged[at][2500] = 8;
        std::fs::write(&path, damaged.concat()).unwrap();
        told(&dir, at + 1, "a page of a long value");
    }
}

#[test]
fn nothing_of_a_turn_that_met_damage_is_committed() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    database(&mut store);
    store.close().unwrap();
    let path = dir.file(1).path();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut store = dir.store(1, true);
    store.kv_put("name", b"Eva").unwrap();
    let error = sql(&mut store, "SELECT b FROM t ORDER BY b").unwrap_err();
    assert!(error.code() == "corrupt" && error.transaction_lost(), "{error}");
    assert_eq!(store.end_turn().unwrap_err().code(), "corrupt");
    assert_eq!(store.kv_get("name").unwrap().unwrap(), b"Ada");
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left as it is");
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u32),
    Delete(u8),
    Rows(u16, u16),
    DeleteRows(u8),
    Drop,
    DeleteAll,
    Undo,
    Commit,
    Checkpoint,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, 0..60_000_u32).prop_map(|(key, bytes)| Step::Put(key, bytes)),
        3 => (0..6_u8).prop_map(Step::Delete),
        4 => (1..400_u16, 1..3000_u16).prop_map(|(count, bytes)| Step::Rows(count, bytes)),
        3 => (1..5_u8).prop_map(Step::DeleteRows),
        1 => Just(Step::Drop),
        1 => Just(Step::DeleteAll),
        1 => Just(Step::Undo),
        5 => Just(Step::Commit),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

fn take(store: &mut FacetStore, step: &Step) {
    let table = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b); CREATE INDEX IF NOT EXISTS i ON t(b)";
    match step {
        Step::Put(key, bytes) => store.kv_put(&format!("k{key}"), &vec![*key; *bytes as usize]).unwrap(),
        Step::Delete(key) => drop(store.kv_delete(&format!("k{key}")).unwrap()),
        Step::Rows(count, bytes) => {
            sql(store, table).unwrap();
            let text = format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count}) \
                 INSERT INTO t(b) SELECT randomblob({bytes}) FROM n"
            );
            sql(store, &text).unwrap();
        }
        Step::DeleteRows(of) => {
            sql(store, table).unwrap();
            sql(store, &format!("DELETE FROM t WHERE id % {of} = 0")).unwrap();
        }
        Step::Drop => drop(sql(store, "DROP TABLE IF EXISTS t").unwrap()),
        Step::DeleteAll => store.delete_all().unwrap(),
        Step::Undo => store.discard_turn(),
        Step::Commit => commit(store),
        Step::Checkpoint => {
            commit(store);
            store.checkpoint().unwrap();
        }
        Step::Reopen => {
            commit(store);
            store.close().unwrap();
        }
    }
}

fn commit(store: &mut FacetStore) {
    if let Some(made) = store.end_turn().unwrap() {
        store.record_alone(made);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Free pages, pages that came and went in one turn, and what lies behind the end of a file that was cut: SQLite reads
    /// none that does not have its checksum.
    #[test]
    fn whatever_is_done_all_pages_are_sound(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = Dir::new();
        let mut store = dir.store_with(1, false, 512 * MIB);
        store.kv_put("first", b"1").unwrap();
        committed(&mut store);
        for step in &steps {
            take(&mut store, step);
        }
        commit(&mut store);
        store.close().unwrap();
        prop_assert_eq!(check_database(&dir.file(1), "facet-1"), Vec::<String>::new());
    }
}
