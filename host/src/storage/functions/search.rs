//! Looking for one text in another: `instr` and `replace`.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::borrow::Cow;
use std::ffi::c_int;

use memchr::memmem;
use rusqlite::ffi;

use super::{answer_text, bytes};
use crate::storage::connection::VALUE_BYTES_MAX;

/// True where a character begins, in text that may not be UTF-8.
fn begins_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// The number, from 1, of the first character from which `needle` can be read; 0 if there is none.
fn character_of(haystack: &[u8], needle: &[u8]) -> i64 {
    let Some(first) = needle.first() else { return 1 };
    let found = if begins_character(*first) {
        memmem::find(haystack, needle)
    } else {
        // Only text that is not UTF-8 begins so, and only at its start is that a character of its own.
        haystack.starts_with(needle).then_some(0)
    };
    let Some(at) = found else { return 0 };
    let before = haystack[..=at].iter().skip(1).filter(|byte| begins_character(**byte));
    1 + before.count() as i64
}

/// `instr(haystack, needle)`: characters of text, bytes of two blobs.
pub(super) unsafe extern "C" fn instr(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite hands over two arguments, which live until this returns.
    unsafe {
        let (haystack, needle) = (*arguments, *arguments.add(1));
        let types = (ffi::sqlite3_value_type(haystack), ffi::sqlite3_value_type(needle));
        if types.0 == ffi::SQLITE_NULL || types.1 == ffi::SQLITE_NULL {
            return;
        }
        let (Some(haystack), Some(needle)) = (bytes(haystack), bytes(needle)) else {
            return ffi::sqlite3_result_error_nomem(context);
        };
        let answer = if types == (ffi::SQLITE_BLOB, ffi::SQLITE_BLOB) {
            memmem::find(haystack, needle).map_or(0, |at| at as i64 + 1)
        } else {
            character_of(haystack, needle)
        };
        ffi::sqlite3_result_int64(context, answer);
    }
}

/// `text` with each `pattern` replaced, from the left; none if that is longer than a value may be.
fn replaced(text: &[u8], pattern: &[u8], by: &[u8]) -> Option<Vec<u8>> {
    let longest = usize::try_from(VALUE_BYTES_MAX).unwrap_or(usize::MAX);
    let mut answer = Vec::with_capacity(text.len());
    let mut rest = 0;
    for at in memmem::find_iter(text, pattern) {
        answer.extend_from_slice(&text[rest..at]);
        answer.extend_from_slice(by);
        rest = at + pattern.len();
        if answer.len() > longest {
            return None;
        }
    }
    answer.extend_from_slice(&text[rest..]);
    (answer.len() <= longest).then_some(answer)
}

/// `replace(text, pattern, by)`.
pub(super) unsafe extern "C" fn replace(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite hands over three arguments, which live until this returns, and copies the result. Each argument is
    // converted once, which does not touch the bytes of the others.
    unsafe {
        let (Some(text), Some(pattern)) = (bytes(*arguments), bytes(*arguments.add(1))) else {
            return;
        };
        // SQLite looks for the end of the pattern here by its NUL.
        let answer = if matches!(pattern.first(), None | Some(0)) {
            Some(Cow::Borrowed(text))
        } else {
            let Some(by) = bytes(*arguments.add(2)) else { return };
            replaced(text, pattern, by).map(Cow::Owned)
        };
        match answer {
            None => ffi::sqlite3_result_error_toobig(context),
            Some(answer) => answer_text(context, &answer),
        }
    }
}
