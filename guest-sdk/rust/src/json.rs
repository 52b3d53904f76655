//! Values between facets are JSON with three conventions: integers beyond 2^53 are decimal strings, bytes are
//! `{"$b64": "..."}`, NaN and the infinities are null. What is written this way is read back exactly, by typed readers.
//!
//! Stubs do not fit into JSON. Inside a call they travel beside it, and `{"$stub": n}` marks where the n-th belongs.

use std::cell::RefCell;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::bindings::facetd::runtime::types::{Format, Stub as RawStub};
use crate::de::Lenient;
use crate::error::{Error, Payload, Result};
use crate::stub::Stub;

/// The largest integer that every JSON reader keeps exact.
const SAFE: u64 = 1 << 53;

/// `value` as JSON text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, Conventions::default()))?;
    Ok(String::from_utf8(out)?)
}

/// `value` as JSON text with the keys of all objects sorted, so that equal values are equal bytes.
pub fn to_canonical_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut value = to_value(value)?;
    sort(&mut value);
    Ok(value.to_string())
}

fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Object(map) => {
            // Sorted already, unless some crate of the guest turned on serde_json's `preserve_order`.
            let mut entries: Vec<_> = std::mem::take(map).into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.iter_mut().for_each(|(_, item)| sort(item));
            map.extend(entries);
        }
        _ => {}
    }
}

/// `value` as a JSON value that follows the conventions.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    Ok(serde_json::from_str(&to_string(value)?)?)
}

/// Reads JSON text.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T> {
    from_value(serde_json::from_str(text)?)
}

/// Reads a JSON value.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T> {
    Ok(T::deserialize(Lenient(value))?)
}

impl Payload {
    /// A value as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Payload {
            format: Format::Json,
            body: to_string(value)?.into_bytes(),
        })
    }

    /// Bytes as they are.
    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Payload {
            format: Format::Bytes,
            body: body.into(),
        }
    }

    /// Reads JSON. An empty payload reads as null.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        from_value(self.value()?)
    }

    /// The JSON as it stands; null for an empty payload.
    pub fn value(&self) -> Result<Value> {
        match self.format {
            _ if self.body.is_empty() => Ok(Value::Null),
            Format::Json => Ok(serde_json::from_slice(&self.body)?),
            Format::Bytes | Format::Cbor => Err(Error::new("bad-format", "expected JSON")),
        }
    }
}

thread_local! {
    static OUTGOING: RefCell<Option<Vec<RawStub>>> = const { RefCell::new(None) };
    static INCOMING: RefCell<Vec<Option<RawStub>>> = const { RefCell::new(Vec::new()) };
}

/// Encodes `value` and collects the stubs inside it.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<(Payload, Vec<RawStub>)> {
    OUTGOING.set(Some(Vec::new()));
    let payload = Payload::json(value);
    let stubs = OUTGOING.take().unwrap_or_default();
    Ok((payload?, stubs))
}

/// Runs `decode` with `stubs` at hand for the `{"$stub": n}` it meets.
pub(crate) fn with_stubs<T>(stubs: Vec<RawStub>, decode: impl FnOnce() -> T) -> T {
    INCOMING.set(stubs.into_iter().map(Some).collect());
    let result = decode();
    INCOMING.take();
    result
}

#[derive(Serialize, Deserialize)]
struct StubRef {
    #[serde(rename = "$stub")]
    index: usize,
}

impl Serialize for Stub {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = OUTGOING.with_borrow_mut(|table| {
            let table = table.as_mut()?;
            table.push(self.raw().dup());
            Some(table.len() - 1)
        });
        match index {
            Some(index) => StubRef { index }.serialize(serializer),
            None => Err(serde::ser::Error::custom(
                "a stub can only travel in a call or an answer",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Stub {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let StubRef { index } = StubRef::deserialize(deserializer)?;
        let stub = INCOMING.with_borrow_mut(|table| table.get_mut(index).and_then(Option::take));
        stub.map(Stub::from_raw)
            .ok_or_else(|| serde::de::Error::custom(format_args!("no stub {index} came with it")))
    }
}

/// Writes numbers and bytes by the conventions.
#[derive(Default)]
struct Conventions {
    /// Integers as map keys stand inside quotes already.
    in_string: bool,
}

impl Conventions {
    fn integer<W: ?Sized + io::Write>(
        &self,
        writer: &mut W,
        safe: bool,
        value: impl std::fmt::Display,
    ) -> io::Result<()> {
        if safe || self.in_string {
            write!(writer, "{value}")
        } else {
            write!(writer, "\"{value}\"")
        }
    }
}

impl Formatter for Conventions {
    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.in_string = true;
        CompactFormatter.begin_string(writer)
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.in_string = false;
        CompactFormatter.end_string(writer)
    }

    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.integer(writer, value.unsigned_abs() <= SAFE, value)
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        self.integer(writer, value <= SAFE, value)
    }

    fn write_i128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        self.integer(writer, value.unsigned_abs() <= SAFE.into(), value)
    }

    fn write_u128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        self.integer(writer, value <= SAFE.into(), value)
    }

    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        write!(writer, "{{\"$b64\":\"{}\"}}", crate::base64::encode(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64::Bytes;
    use std::collections::BTreeMap;

    #[test]
    fn integers_are_exact_both_ways() {
        let numbers = [0, -1, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN];
        let text = to_string(&numbers).unwrap();
        assert_eq!(
            text,
            r#"[0,-1,9007199254740992,"9007199254740993","9223372036854775807","-9223372036854775808"]"#
        );
        assert_eq!(from_str::<[i64; 6]>(&text).unwrap(), numbers);
        assert_eq!(from_str::<u64>(&to_string(&u64::MAX).unwrap()).unwrap(), u64::MAX);
    }

    #[test]
    fn integers_as_keys_are_quoted_once() {
        let map = BTreeMap::from([(i64::MAX, 1), (2, u64::MAX as i64)]);
        let text = to_string(&map).unwrap();
        assert_eq!(text, r#"{"2":-1,"9223372036854775807":1}"#);
        assert_eq!(from_str::<BTreeMap<i64, i64>>(&text).unwrap(), map);
    }

    #[test]
    fn bytes_and_nan() {
        let text = to_string(&Bytes(vec![0, 255, 7])).unwrap();
        assert_eq!(text, r#"{"$b64":"AP8H"}"#);
        assert_eq!(from_str::<Bytes>(&text).unwrap().0, [0, 255, 7]);
        assert_eq!(to_string(&[f64::NAN, 0.5]).unwrap(), "[null,0.5]");
        assert!(from_str::<[f64; 2]>("[null,0.5]").unwrap()[0].is_nan());
        assert_eq!(from_str::<Option<f64>>("null").unwrap(), None);
    }

    #[test]
    fn canonical_text_does_not_depend_on_order() {
        let a: Value = serde_json::from_str(r#"{"b":[{"y":1,"x":2}],"a":9007199254740993}"#).unwrap();
        assert_eq!(
            to_canonical_string(&a).unwrap(),
            r#"{"a":"9007199254740993","b":[{"x":2,"y":1}]}"#
        );
    }

    #[test]
    fn payloads_read_json_only() {
        assert_eq!(
            Payload::json(&(1, "x")).unwrap().decode::<(u8, String)>().unwrap(),
            (1, "x".into())
        );
        assert_eq!(Payload::bytes([]).decode::<Option<u8>>().unwrap(), None);
        assert_eq!(Payload::bytes([1]).decode::<u8>().unwrap_err().code(), "bad-format");
    }
}
