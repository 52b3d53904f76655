//! Identity is a type: nothing in this crate passes a bare integer or string that names something.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Characters in a facet name (S1).
pub const FACET_NAME_CHARS_MAX: usize = 128;

/// Bytes in an object's name.
pub const OBJECT_NAME_BYTES_MAX: usize = 1_024;

/// The id of an object: 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u8; 32]);

/// The SHA-256 of a component's bytes, which is what identifies a class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassDigest(pub [u8; 32]);

/// Names one facet's database file within its object; 0 is the root's. Never used again while a file or an index record
/// may name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileId(pub u32);

impl FileId {
    /// The root facet's file.
    pub const ROOT: Self = Self(0);
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NotHex;

macro_rules! hex_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<Self, NotHex> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| NotHex)?;
                Ok(Self(bytes))
            }
        }
    };
}

hex_id!(ObjectId);
hex_id!(ClassDigest);

/// A facet's name among its siblings, known to keep S1. Compared as bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FacetName(Arc<str>);

/// Why a text is no facet name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing at all.
    #[error("a facet name cannot be empty")]
    Empty,
    /// More than [`FACET_NAME_CHARS_MAX`] characters.
    #[error("a facet name has at most {FACET_NAME_CHARS_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// `/`, or a character of Unicode's category Cc.
    #[error("a facet name cannot contain {0:?}")]
    Character(char),
}

impl FacetName {
    /// Checks S1: 1 to 128 characters, none a control character, none `/`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        // `char::is_control` is exactly general category Cc.
        if let Some(bad) = text.chars().find(|c| *c == '/' || c.is_control()) {
            return Err(InvalidName::Character(bad));
        }
        match text.chars().count() {
            0..=FACET_NAME_CHARS_MAX => Ok(Self(text.into())),
            many => Err(InvalidName::TooLong(many)),
        }
    }

    /// Names are in the order of these numbers, as far as those differ: to sort many without looking at their text.
    pub(crate) fn beginning(&self) -> u64 {
        // No name holds a NUL, so what is short is not taken for anything else.
        let mut first = [0; 8];
        let bytes = self.0.as_bytes().get(..8).unwrap_or(self.0.as_bytes());
        first[..bytes.len()].copy_from_slice(bytes);
        u64::from_be_bytes(first)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an object is called: a name that leads to its id. Any text of 1 to [`OBJECT_NAME_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectName(Arc<str>);

/// A text that no object can be called.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object's name has 1 to {OBJECT_NAME_BYTES_MAX} bytes")]
pub struct InvalidObjectName;

impl ObjectName {
    /// Checks its length.
    pub fn new(text: &str) -> Result<Self, InvalidObjectName> {
        match text.len() {
            1..=OBJECT_NAME_BYTES_MAX => Ok(Self(text.into())),
            _ => Err(InvalidObjectName),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// Sound: a name hashes and orders as the text it holds, so that maps can be searched by text.
impl std::borrow::Borrow<str> for FacetName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FacetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_s1() {
        assert!(FacetName::new(&"x".repeat(128)).is_ok());
        assert!(FacetName::new("Grüße, 世界").is_ok());
        assert!(FacetName::new(".").is_ok() && FacetName::new("..").is_ok());
        assert_eq!(FacetName::new(""), Err(InvalidName::Empty));
        assert_eq!(FacetName::new(&"ü".repeat(129)), Err(InvalidName::TooLong(129)));
        assert_eq!(FacetName::new("a/b"), Err(InvalidName::Character('/')));
        assert_eq!(FacetName::new("a\u{85}"), Err(InvalidName::Character('\u{85}')));
    }

    #[test]
    fn beginnings_are_in_the_order_of_names() {
        let names =
            ["a", "aa", "ab", "b", "longer than 8", "longer than 9", "ü"].map(|text| FacetName::new(text).expect("S1"));
        for (a, b) in names.iter().zip(&names[1..]) {
            assert!(a < b && a.beginning() <= b.beginning());
            let is_long = |name: &FacetName| name.as_str().starts_with("longer");
            assert_eq!(a.beginning() == b.beginning(), is_long(a) && is_long(b));
        }
    }

    #[test]
    fn hex_goes_both_ways() {
        let id = ObjectId([0xab; 32]);
        assert_eq!(id.to_string().parse::<ObjectId>().expect("just written"), id);
        assert!("xyz".parse::<ObjectId>().is_err());
    }
}
