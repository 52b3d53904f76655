//! Functions that take a set of characters: `trim`, `ltrim` and `rtrim` of two arguments, `unhex` with what it passes over.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::collections::{HashMap, HashSet};
use std::ffi::c_int;

use rusqlite::ffi;

use super::{answer_text, bytes};

/// Bytes of a character, and different lengths in a set. UTF-8 has at most 4.
const CHARACTER_BYTES_MAX: usize = 6;

/// Where the character that begins `text` ends, as SQLite sees it: text need not be UTF-8.
fn character_end(text: &[u8]) -> usize {
    match text.first() {
        Some(0xc0..) => 1 + text[1..].iter().take_while(|byte| **byte & 0xc0 == 0x80).count(),
        Some(_) => 1,
        None => 0,
    }
}

/// Characters, each with its place in the list: where several fit, the first one counts.
struct Characters<'a> {
    places: HashMap<&'a [u8], usize>,
    /// The same for those of one byte, which are most.
    bytes: [Option<usize>; 256],
    /// Which lengths there are.
    lengths: Vec<usize>,
}

impl<'a> Characters<'a> {
    /// None if a character is longer than characters are.
    fn of(list: &'a [u8]) -> Option<Self> {
        let (mut places, mut bytes, mut lengths) = (HashMap::new(), [None; 256], Vec::new());
        // A NUL ends the list.
        let mut rest = list.split(|byte| *byte == 0).next().unwrap_or(&[]);
        while !rest.is_empty() {
            let (character, after) = rest.split_at(character_end(rest));
            if character.len() > CHARACTER_BYTES_MAX {
                return None;
            }
            if !lengths.contains(&character.len()) {
                lengths.push(character.len());
            }
            let place = places.len();
            let place = *places.entry(character).or_insert(place);
            if let [byte] = character {
                bytes[usize::from(*byte)] = Some(place);
            }
            rest = after;
        }
        Some(Self { places, bytes, lengths })
    }

    /// The length of the first one in the list for which `piece` gives it back.
    fn first<'t>(&self, piece: impl Fn(usize) -> Option<&'t [u8]>) -> Option<usize> {
        let fitting = self.lengths.iter().filter_map(|length| {
            let place = match piece(*length)? {
                [byte] => self.bytes[usize::from(*byte)],
                character => self.places.get(character).copied(),
            };
            Some((place?, *length))
        });
        fitting.min().map(|(_, length)| length)
    }
}

/// What is trimmed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

fn trimmed<'t>(mut text: &'t [u8], characters: &Characters<'_>, side: Side) -> &'t [u8] {
    if side != Side::Right {
        while let Some(length) = characters.first(|length| text.get(..length)) {
            text = &text[length..];
        }
    }
    if side != Side::Left {
        while let Some(length) = characters.first(|length| text.get(text.len().checked_sub(length)?..)) {
            text = &text[..text.len() - length];
        }
    }
    text
}

/// # Safety
/// SQLite hands over two arguments, which live until this returns.
unsafe fn trim_side(context: *mut ffi::sqlite3_context, arguments: *mut *mut ffi::sqlite3_value, side: Side) {
    // SAFETY: the caller's promise; SQLite copies the answer.
    unsafe {
        let (Some(text), Some(list)) = (bytes(*arguments), bytes(*arguments.add(1))) else {
            return;
        };
        match Characters::of(list) {
            Some(characters) => answer_text(context, trimmed(text, &characters, side)),
            None => {
                let message = c"the characters to trim are not UTF-8";
                ffi::sqlite3_result_error(context, message.as_ptr(), -1);
            }
        }
    }
}

/// `trim(text, characters)`.
pub(super) unsafe extern "C" fn trim(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite's contract of a function of two arguments.
    unsafe { trim_side(context, arguments, Side::Both) }
}

/// `ltrim(text, characters)`.
pub(super) unsafe extern "C" fn ltrim(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite's contract of a function of two arguments.
    unsafe { trim_side(context, arguments, Side::Left) }
}

/// `rtrim(text, characters)`.
pub(super) unsafe extern "C" fn rtrim(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite's contract of a function of two arguments.
    unsafe { trim_side(context, arguments, Side::Right) }
}

/// The code of the character that begins `text`, as SQLite reads it, and what is behind it.
fn code(text: &[u8]) -> (u32, &[u8]) {
    let (character, rest) = text.split_at(character_end(text));
    let first = u32::from(character[0]);
    if first < 0xc0 {
        return (first, rest);
    }
    let begun = match first {
        0xc0..=0xdf => first & 0x1f,
        0xe0..=0xef => first & 0x0f,
        0xf0..=0xf7 => first & 0x07,
        0xf8..=0xfb => first & 0x03,
        0xfc | 0xfd => first & 0x01,
        _ => 0,
    };
    let code = character[1..]
        .iter()
        .fold(begun, |code, byte| (code << 6).wrapping_add(u32::from(*byte & 0x3f)));
    let is_one = code >= 0x80 && code & 0xffff_f800 != 0xd800 && code & 0xffff_fffe != 0xfffe;
    (if is_one { code } else { 0xfffd }, rest)
}

/// The bytes that hexadecimal digits stand for; none if something else stands between the pairs that `passed` has not.
fn unhexed(text: &[u8], passed: &[u8]) -> Option<Vec<u8>> {
    let (mut codes, mut list) = (HashSet::new(), passed);
    while !list.is_empty() {
        let (one, rest) = code(list);
        codes.insert(one);
        list = rest;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut rest = text.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let mut answer = Vec::with_capacity(rest.len() / 2);
    while let Some(first) = rest.first() {
        match digit(*first) {
            Some(high) => {
                let low = digit(*rest.get(1)?)?;
                answer.push(high << 4 | low);
                rest = &rest[2..];
            }
            None => {
                let (one, after) = code(rest);
                if !codes.contains(&one) {
                    return None;
                }
                rest = after;
            }
        }
    }
    Some(answer)
}

/// `unhex(text, passed)`.
pub(super) unsafe extern "C" fn unhex(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite hands over two arguments, which live until this returns, and copies the answer.
    unsafe {
        let (Some(text), Some(passed)) = (bytes(*arguments), bytes(*arguments.add(1))) else {
            return;
        };
        if let Some(answer) = unhexed(text, passed) {
            let (start, count) = (answer.as_ptr().cast(), answer.len() as u64);
            ffi::sqlite3_result_blob64(context, start, count, ffi::SQLITE_TRANSIENT());
        }
    }
}
