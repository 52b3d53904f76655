//! Keys and values of this facet. Keys are text, ordered by their UTF-8 bytes; values are bytes, and these functions
//! read and write them as JSON, as text or as they are. Nothing here waits; all of it is part of the turn.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::facetd::runtime::kv as host;
pub use crate::bindings::facetd::runtime::kv::{Entry, Range};
use crate::error::Result;
use crate::json;

/// The value written with [`put`].
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    get_text(key)?.map(|text| json::from_str(&text)).transpose()
}

/// Keeps `value` as JSON.
pub fn put<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<()> {
    put_text(key, &json::to_string(value)?)
}

/// The value as text; an error if it is not UTF-8.
pub fn get_text(key: &str) -> Result<Option<String>> {
    Ok(host::get(key)?.map(String::from_utf8).transpose()?)
}

/// Keeps text as it is.
pub fn put_text(key: &str, value: &str) -> Result<()> {
    put_bytes(key, value.as_bytes())
}

/// The bytes as they are.
pub fn get_bytes(key: &str) -> Result<Option<Vec<u8>>> {
    Ok(host::get(key)?)
}

/// Keeps bytes as they are.
pub fn put_bytes(key: &str, value: &[u8]) -> Result<()> {
    Ok(host::put(key, value)?)
}

/// True if there was such a key.
pub fn delete(key: &str) -> Result<bool> {
    Ok(host::delete(key)?)
}

/// The entries of those keys that exist, in the order asked for. At most 1,000.
pub fn get_many(keys: &[impl AsRef<str>]) -> Result<Vec<Entry>> {
    Ok(host::get_many(
        &keys.iter().map(|key| key.as_ref().to_owned()).collect::<Vec<_>>(),
    )?)
}

/// All or none. At most 1,000.
pub fn put_many(entries: &[Entry]) -> Result<()> {
    Ok(host::put_many(entries)?)
}

/// Entries in key order: `kv::list(&kv::Range::prefix("note/"))`. At most 10,000 entries or 8 MiB at a time; go on with
/// `start_after` set to the last key seen.
pub fn list(range: &Range) -> Result<Vec<Entry>> {
    Ok(host::list(range)?)
}

impl Range {
    /// All keys.
    pub fn all() -> Self {
        Range {
            prefix: None,
            start: None,
            start_after: None,
            end: None,
            reverse: false,
            limit: None,
        }
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Range {
            prefix: Some(prefix.into()),
            ..Self::all()
        }
    }
}

impl Default for Range {
    fn default() -> Self {
        Self::all()
    }
}

impl Entry {
    /// A value as JSON.
    pub fn json<T: Serialize + ?Sized>(key: impl Into<String>, value: &T) -> Result<Self> {
        Ok(Entry {
            key: key.into(),
            value: json::to_string(value)?.into_bytes(),
        })
    }

    /// Reads the value as JSON.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        json::from_str(std::str::from_utf8(&self.value)?)
    }
}
