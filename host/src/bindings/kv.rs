//! `facetd:runtime/kv`.

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::kv::{Entry, Host, Range};
use crate::isolate::FacetState;
use crate::storage::KvRange;

fn entries_out(entries: Vec<(String, Vec<u8>)>) -> Vec<Entry> {
    entries.into_iter().map(|(key, value)| Entry { key, value }).collect()
}

impl Host for FacetState {
    fn get(&mut self, key: String) -> Answered<Option<Vec<u8>>> {
        self.alive()?;
        answered(self.storage().kv_get(&key).map_err(Into::into))
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> Answered<()> {
        self.alive()?;
        answered(self.storage().kv_put(&key, &value).map_err(Into::into))
    }

    fn delete(&mut self, key: String) -> Answered<bool> {
        self.alive()?;
        answered(self.storage().kv_delete(&key).map_err(Into::into))
    }

    fn get_many(&mut self, keys: Vec<String>) -> Answered<Vec<Entry>> {
        self.alive()?;
        answered(self.storage().kv_get_many(&keys).map(entries_out).map_err(Into::into))
    }

    fn put_many(&mut self, entries: Vec<Entry>) -> Answered<()> {
        self.alive()?;
        let entries: Vec<_> = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        answered(self.storage().kv_put_many(&entries).map_err(Into::into))
    }

    fn list(&mut self, range: Range) -> Answered<Vec<Entry>> {
        self.alive()?;
        let Range {
            prefix,
            start,
            start_after,
            end,
            reverse,
            limit,
        } = range;
        let range = KvRange {
            prefix,
            start,
            start_after,
            end,
            reverse,
            limit,
        };
        answered(self.storage().kv_list(&range).map(entries_out).map_err(Into::into))
    }
}
