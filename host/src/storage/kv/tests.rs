//! Keys are checked against a `BTreeMap`, which orders strings by their bytes as well.

use std::collections::BTreeMap;

use super::*;
use crate::storage::tests::Dir;

/// Each is a run of its own; a failure names it and the round.
const SEEDS: std::ops::Range<u64> = 1..13;
const ROUNDS: u32 = 1500;

/// Good enough for test data, and the same in each run: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// Characters of all lengths in UTF-8, at the edges of these lengths, and few, so that keys meet.
    fn text(&mut self) -> String {
        let letters = [
            '\0',
            'a',
            'b',
            '\u{7f}',
            '\u{80}',
            'é',
            '\u{7ff}',
            '\u{800}',
            '世',
            '\u{ffff}',
            '\u{10000}',
            '\u{10ffff}',
        ];
        let letter = |random: &mut Self| letters[random.below(letters.len() as u64) as usize];
        (0..=self.below(4)).map(|_| letter(self)).collect()
    }

    /// A key that is there more often than not, for deletes and bounds that hit.
    fn near(&mut self, map: &Map) -> String {
        if self.chance(3) || map.is_empty() {
            return self.text();
        }
        let at = self.below(map.len() as u64) as usize;
        let key = map.keys().nth(at).expect("below the length");
        match self.below(3) {
            0 => key.chars().take(1).collect(),
            _ => key.clone(),
        }
    }

    fn bound(&mut self, map: &Map) -> Option<String> {
        // The empty text is a bound like any other.
        match self.below(12) {
            0 => Some(String::new()),
            1..=4 => Some(self.near(map)),
            _ => None,
        }
    }

    fn range(&mut self, map: &Map) -> KvRange {
        KvRange {
            prefix: self.bound(map),
            start: self.bound(map),
            start_after: self.bound(map),
            end: self.bound(map),
            reverse: self.chance(2),
            limit: self.chance(3).then(|| self.below(6) as u32),
        }
    }
}

type Map = BTreeMap<String, Vec<u8>>;

fn expected(map: &Map, range: &KvRange) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = map
        .iter()
        .filter(|(key, _)| {
            range.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
                && range.start.as_ref().is_none_or(|start| *key >= start)
                && range.start_after.as_ref().is_none_or(|after| *key > after)
                && range.end.as_ref().is_none_or(|end| *key < end)
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if range.reverse {
        found.reverse();
    }
    found.truncate(range.limit.map_or(usize::MAX, |limit| limit as usize));
    found
}

/// The whole range, page by page, as the contract says it is walked; no further than there can be entries.
fn walked(store: &mut FacetStore, range: &KvRange, page: u32, entries_max: usize) -> Vec<(String, Vec<u8>)> {
    let (mut all, mut next) = (Vec::new(), range.clone());
    next.limit = Some(page);
    loop {
        let found = store.kv_list(&next).unwrap();
        let Some((last, _)) = found.last() else { return all };
        match range.reverse {
            false => next.start_after = Some(last.clone()),
            true => next.end = Some(last.clone()),
        }
        all.extend(found);
        if all.len() > entries_max {
            return all;
        }
    }
}

/// The store, what it should hold, and what it held when the turn began.
struct Checked {
    store: FacetStore,
    map: Map,
    committed: Map,
}

impl Checked {
    fn step(&mut self, random: &mut Random, round: u32) {
        let Self { store, map, committed } = self;
        let value = round.to_le_bytes()[..random.below(5) as usize].to_vec();
        match random.below(20) {
            0..=3 => {
                let key = random.text();
                store.kv_put(&key, &value).unwrap();
                map.insert(key, value);
            }
            4 => {
                let batch = (0..random.below(6)).map(|_| (random.near(map), value.clone()));
                let batch: Vec<_> = batch.collect();
                store.kv_put_many(&batch).unwrap();
                map.extend(batch);
            }
            5 => {
                // One bad key refuses the whole batch.
                let batch = [(random.text(), value.clone()), (String::new(), value)];
                assert!(store.kv_put_many(&batch).is_err());
            }
            6..=7 => {
                let key = random.near(map);
                assert_eq!(store.kv_delete(&key).unwrap(), map.remove(&key).is_some());
            }
            8 => {
                let keys: Vec<_> = (0..random.below(6)).map(|_| random.near(map)).collect();
                let found = keys.iter().filter_map(|key| Some((key.clone(), map.get(key)?.clone())));
                assert_eq!(store.kv_get_many(&keys).unwrap(), found.collect::<Vec<_>>());
                for key in &keys {
                    assert_eq!(store.kv_get(key).unwrap().as_ref(), map.get(key));
                }
            }
            9 => match random.below(4) {
                0 => {
                    store.discard_turn();
                    map.clone_from(committed);
                }
                1 => {
                    if let Some(committed) = store.end_turn().unwrap() {
                        store.record_alone(committed);
                    }
                    committed.clone_from(map);
                }
                2 => {
                    let undone = store.begin().unwrap();
                    let key = random.near(map);
                    store.kv_put(&key, b"undone").unwrap();
                    store.kv_delete(&random.near(map)).unwrap();
                    store.rollback(undone).unwrap();
                }
                _ => {
                    let kept = store.begin().unwrap();
                    let key = random.near(map);
                    store.kv_put(&key, &value).unwrap();
                    store.commit(kept).unwrap();
                    map.insert(key, value);
                }
            },
            10 if random.chance(20) => {
                store.delete_all().unwrap();
                map.clear();
            }
            10..=12 => {
                let range = KvRange {
                    limit: None,
                    ..random.range(map)
                };
                let page = 1 + random.below(4) as u32;
                assert_eq!(
                    walked(store, &range, page, map.len()),
                    expected(map, &range),
                    "{range:?} by {page}"
                );
            }
            _ => {
                let range = random.range(map);
                assert_eq!(store.kv_list(&range).unwrap(), expected(map, &range), "{range:?}");
            }
        }
    }
}

#[test]
fn keys_are_those_of_a_map() {
    let mut entries = 0;
    for seed in SEEDS {
        let dir = Dir::new();
        let mut checked = Checked {
            store: dir.store(1, false),
            map: Map::new(),
            committed: Map::new(),
        };
        // Small seeds begin with small numbers.
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for round in 0..ROUNDS {
            let step = std::panic::AssertUnwindSafe(|| checked.step(&mut random, round));
            if let Err(panic) = std::panic::catch_unwind(step) {
                eprintln!("seed {seed}, round {round}");
                std::panic::resume_unwind(panic);
            }
        }
        if let Some(committed) = checked.store.end_turn().unwrap() {
            checked.store.record_alone(committed);
        }
        checked.store.close().unwrap();
        let range = KvRange::default();
        assert_eq!(
            checked.store.kv_list(&range).unwrap(),
            expected(&checked.map, &range),
            "seed {seed}, closed"
        );
        entries += checked.map.len();
    }
    assert!(
        entries > 20 * SEEDS.count(),
        "only {entries} entries at the end of all runs"
    );
}

#[test]
fn limits_are_named() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let code = |result: Result<(), StorageError>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), "limit");
        error.code()
    };
    assert_eq!(code(store.kv_put("", b"")), "key");
    assert_eq!(code(store.kv_put(&"k".repeat(2049), b"")), "key");
    assert_eq!(code(store.kv_put("k", &vec![0; KV_VALUE_BYTES_MAX + 1])), "value");
    assert_eq!(
        code(store.kv_get_many(&vec!["k".to_owned(); 1001]).map(drop)),
        "entries"
    );
    assert_eq!(
        code(store.kv_put_many(&vec![("k".to_owned(), vec![]); 1001])),
        "entries"
    );
    assert!(!dir.file(1).path().exists());
    store.kv_put(&"k".repeat(2048), &vec![0; KV_VALUE_BYTES_MAX]).unwrap();
    // Keys count: four of them are the limit, exactly.
    store.kv_put("l", &vec![0; KV_VALUE_BYTES_MAX - 1]).unwrap();
    store.kv_put("m", &vec![0; KV_VALUE_BYTES_MAX - 2]).unwrap();
    let fits = vec!["l".to_owned(); 4];
    assert_eq!(store.kv_get_many(&fits).unwrap().len(), 4);
    let less = vec!["m".to_owned(); 4];
    assert_eq!(store.kv_get_many(&less).unwrap().len(), 4);
    let beyond = [&fits[..], &["l".to_owned()][..]].concat();
    assert_eq!(code(store.kv_get_many(&beyond).map(drop)), "result");
    store.kv_put("n", &vec![0; KV_VALUE_BYTES_MAX]).unwrap();
    let beyond = [&fits[..3], &["n".to_owned()][..]].concat();
    assert_eq!(
        code(store.kv_get_many(&beyond).map(drop)),
        "result",
        "one byte too many"
    );
    for (entries, taken) in [(999, true), (1000, true), (1001, false)] {
        assert_eq!(store.kv_get_many(&vec!["no".to_owned(); entries]).is_ok(), taken);
        let batch: Vec<_> = (0..entries).map(|i| (format!("b{i}"), vec![])).collect();
        assert_eq!(store.kv_put_many(&batch).is_ok(), taken);
    }
    let many = vec!["k".repeat(2048); 5];
    assert_eq!(code(store.kv_get_many(&many).map(drop)), "result");
    assert_eq!(store.kv_get_many(&many[..2]).unwrap().len(), 2);
}

#[test]
fn a_list_is_bounded_and_can_be_continued() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    for index in 0..6 {
        store
            .kv_put(&format!("big-{index}"), &vec![0; KV_VALUE_BYTES_MAX])
            .unwrap();
    }
    let range = KvRange {
        prefix: Some("big-".to_owned()),
        ..KvRange::default()
    };
    let first = store.kv_list(&range).unwrap();
    assert_eq!(first.len(), 3);
    let rest = KvRange {
        start_after: Some(first[2].0.clone()),
        ..range
    };
    assert_eq!(store.kv_list(&rest).unwrap().len(), 3);
    // Four that fit exactly, and one byte more.
    for index in 0..4 {
        store
            .kv_put(&format!("fit-{index}"), &vec![0; KV_VALUE_BYTES_MAX - 5])
            .unwrap();
    }
    let fits = KvRange {
        prefix: Some("fit-".to_owned()),
        ..KvRange::default()
    };
    assert_eq!(store.kv_list(&fits).unwrap().len(), 4);
    store.kv_put("fit-3", &vec![0; KV_VALUE_BYTES_MAX - 4]).unwrap();
    assert_eq!(store.kv_list(&fits).unwrap().len(), 3);
    store.kv_put("fit-3", &vec![0; KV_VALUE_BYTES_MAX - 6]).unwrap();
    assert_eq!(store.kv_list(&fits).unwrap().len(), 4);
    for chunk in 0..11 {
        let entries: Vec<_> = (0..1000)
            .map(|index| (format!("small-{chunk:02}-{index:03}"), vec![]))
            .collect();
        store.kv_put_many(&entries).unwrap();
    }
    let range = KvRange {
        start: Some("small".to_owned()),
        ..KvRange::default()
    };
    assert_eq!(store.kv_list(&range).unwrap().len(), KV_LIST_MAX);
}

#[test]
fn empty_and_binary_values_are_kept() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    store.kv_put("empty", b"").unwrap();
    store.kv_put("a\0b", &[0, 255, 0]).unwrap();
    assert_eq!(store.kv_get("empty").unwrap().unwrap(), b"");
    assert_eq!(store.kv_get("a\0b").unwrap().unwrap(), [0, 255, 0]);
    assert_eq!(store.kv_get("a").unwrap(), None);
    let asked = ["nothing".to_owned(), "empty".to_owned(), "a\0b".to_owned()];
    let found: Vec<_> = store
        .kv_get_many(&asked)
        .unwrap()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(found, ["empty", "a\0b"]);
}
