//! Writes a text, or some tokens of it, with its matches marked.

use std::ffi::c_int;

use rusqlite::ffi;

use super::{Checked, Row};
use crate::storage::connection::VALUE_BYTES_MAX;

/// Goes through the matches of one column; those that overlap are one.
pub(super) struct Matches<'a> {
    row: Row<'a>,
    column: c_int,
    next: c_int,
    count: c_int,
    /// First and last token of the present one.
    pub(super) present: Option<(c_int, c_int)>,
}

impl<'a> Matches<'a> {
    pub(super) fn new(row: Row<'a>, column: c_int) -> Checked<Self> {
        let mut matches = Self {
            row,
            column,
            next: 0,
            count: row.match_count()?,
            present: None,
        };
        matches.advance()?;
        Ok(matches)
    }

    pub(super) fn advance(&mut self) -> Checked<()> {
        self.present = None;
        while self.next < self.count {
            let found = self.row.match_at(self.next)?;
            if found.column == self.column {
                let last = found.token - 1 + self.row.phrase_tokens(found.phrase)?;
                match &mut self.present {
                    None => self.present = Some((found.token, last)),
                    Some((_, end)) if found.token <= *end => *end = last.max(*end),
                    Some(_) => break,
                }
            }
            self.next += 1;
        }
        Ok(())
    }
}

/// The tokens of a snippet, or all.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) first: c_int,
    pub(super) last: c_int,
}

/// Writes a text with its matches marked.
pub(super) struct Writer<'a> {
    open: &'a [u8],
    close: &'a [u8],
    text: &'a [u8],
    pub(super) matches: Matches<'a>,
    range: Option<Range>,
    /// The number of the next token.
    token: c_int,
    /// So much of the text is written.
    written: usize,
    is_open: bool,
    pub(super) out: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        (open, close): (&'a [u8], &'a [u8]),
        text: &'a [u8],
        matches: Matches<'a>,
        range: Option<Range>,
    ) -> Self {
        Self {
            open,
            close,
            text,
            matches,
            range,
            token: 0,
            written: 0,
            is_open: false,
            out: Vec::new(),
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Checked<()> {
        self.out.extend_from_slice(bytes);
        if self.out.len() > usize::try_from(VALUE_BYTES_MAX).unwrap_or(0) {
            return Err(ffi::SQLITE_TOOBIG);
        }
        Ok(())
    }

    fn open(&mut self) -> Checked<()> {
        self.is_open = true;
        self.append(self.open)
    }

    fn close(&mut self) -> Checked<()> {
        self.is_open = false;
        self.append(self.close)
    }

    pub(super) fn text_up_to(&mut self, end: usize) -> Checked<()> {
        let text = self.text;
        self.append(text.get(self.written..end).unwrap_or(&[]))?;
        self.written = end;
        Ok(())
    }

    pub(super) fn write(&mut self, row: Row<'_>, column: c_int) -> Checked<()> {
        let text = self.text;
        row.tokenize(column, text, |start, end| self.token(start, end))?;
        if self.is_open {
            self.close()?;
        }
        Ok(())
    }

    fn token(&mut self, start: usize, end: usize) -> Checked<()> {
        let token = self.token;
        self.token += 1;
        if let Some(range) = self.range {
            if token < range.first || token > range.last {
                return Ok(());
            }
            if range.first != 0 && token == range.first {
                self.written = start;
            }
        }
        // The mark ends behind the text that belongs to it, with whatever stands before the next token.
        let before_next = self.matches.present.is_none_or(|(first, _)| token <= first);
        if self.is_open && before_next && start > self.written {
            self.close()?;
        }
        let present = self.matches.present;
        if present.is_some_and(|(first, _)| token == first) && !self.is_open {
            self.text_up_to(start)?;
            self.open()?;
        }
        if present.is_some_and(|(_, last)| token == last) {
            if !self.is_open {
                // The snippet began within the match.
                self.open()?;
            }
            self.text_up_to(end)?;
            self.matches.advance()?;
        }
        if self.range.is_some_and(|range| token == range.last) {
            if self.is_open {
                if self.matches.present.is_some_and(|(first, _)| token >= first) {
                    self.text_up_to(end)?;
                }
                self.close()?;
            }
            self.text_up_to(end)?;
        }
        Ok(())
    }
}
