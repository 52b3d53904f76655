//! Lists are checked against a `BTreeMap`, which orders strings by their bytes as well.

use std::collections::BTreeMap;

use super::*;
use crate::storage::tests::Dir;

/// Good enough for test data, and the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'b', '\u{7f}', 'é', '\u{7ff}', '世', '\u{ffff}', '\u{10ffff}'];
        (0..=self.below(3)).map(|_| letters[self.below(8) as usize]).collect()
    }

    fn maybe(&mut self) -> Option<String> {
        (self.below(3) == 0).then(|| self.text())
    }
}

fn expected(map: &BTreeMap<String, Vec<u8>>, range: &KvRange) -> Vec<(String, Vec<u8>)> {
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

#[test]
fn lists_are_those_of_a_map() {
    let dir = Dir::new();
    let mut store = dir.store(1, false);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut map = BTreeMap::new();
    for round in 0..3000_u32 {
        match random.below(4) {
            0 => {
                let (key, value) = (random.text(), round.to_le_bytes().to_vec());
                store.kv_put(&key, &value).unwrap();
                map.insert(key, value);
            }
            1 => {
                let key = random.text();
                assert_eq!(store.kv_delete(&key).unwrap(), map.remove(&key).is_some());
            }
            _ => {
                let range = KvRange {
                    prefix: random.maybe(),
                    start: random.maybe(),
                    start_after: random.maybe(),
                    end: random.maybe(),
                    reverse: random.below(2) == 0,
                    limit: (random.below(3) == 0).then(|| random.below(5) as u32),
                };
                assert_eq!(store.kv_list(&range).unwrap(), expected(&map, &range), "{range:?}");
            }
        }
    }
    assert!(map.len() > 20);
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
