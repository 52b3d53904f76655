//! `snippet`: the tokens of a text with the most matches.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::c_int;
use std::slice;

use rusqlite::ffi;

use super::super::bytes;
use super::writer::{Matches, Range, Writer};
use super::{Checked, Row, answer, column_number};

/// Tokens of a snippet, at most.
const SNIPPET_TOKENS_MAX: i64 = 64;
/// What the first match of a phrase in a snippet counts; every further one counts 1.
const PHRASE_SCORE: i32 = 1000;
/// What it counts that a snippet begins with a sentence, and with the first one.
const SENTENCE_SCORE: i32 = 100;
const FIRST_SENTENCE_SCORE: i32 = 120;

/// `snippet(table, column, open, close, ellipsis, tokens)`.
pub(super) unsafe extern "C" fn snippet(
    api: *const ffi::Fts5ExtensionApi,
    fts: *mut ffi::Fts5Context,
    context: *mut ffi::sqlite3_context,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: FTS5's contract of an auxiliary function; the arguments live until this returns.
    unsafe {
        if count != 5 {
            let message = c"wrong number of arguments to function snippet()";
            return ffi::sqlite3_result_error(context, message.as_ptr(), -1);
        }
        let arguments = slice::from_raw_parts(arguments, 5);
        let row = Row { api: &*api, fts };
        let text = |index: usize| bytes(arguments[index]).unwrap_or(&[]);
        let tokens = ffi::sqlite3_value_int64(arguments[4]).clamp(0, SNIPPET_TOKENS_MAX) as c_int;
        let marks = (text(1), text(2));
        answer(
            context,
            snipped(row, column_number(arguments[0]), marks, text(3), tokens),
        );
    }
}

/// Where the best snippet found so far begins.
struct Best {
    column: c_int,
    first: c_int,
    score: i32,
    column_tokens: c_int,
}

fn snipped(
    row: Row<'_>,
    column: c_int,
    marks: (&[u8], &[u8]),
    ellipsis: &[u8],
    tokens: c_int,
) -> Checked<Option<Vec<u8>>> {
    let mut best = Best {
        column: column.max(0),
        first: 0,
        score: 0,
        column_tokens: 0,
    };
    let mut scorer = Scorer {
        row,
        count: row.match_count()?,
        tokens,
        seen: vec![false; row.phrase_count()?],
    };
    for candidate in 0..row.column_count()? {
        if column < 0 || column == candidate {
            scorer.look_at(candidate, &mut best)?;
        }
    }
    let text = row.text(best.column)?;
    if best.column_tokens == 0 {
        best.column_tokens = row.column_tokens(best.column)?;
    }
    let Some(text) = text else { return Ok(None) };
    let range = Range {
        first: best.first,
        last: best.first + tokens - 1,
    };
    let matches = Matches::new(row, best.column)?;
    let mut writer = Writer::new(marks, text, matches, (range.last >= 0).then_some(range));
    if best.first > 0 {
        writer.append(ellipsis)?;
    }
    while writer.matches.present.is_some_and(|(first, _)| first < best.first) {
        writer.matches.advance()?;
    }
    writer.write(row, best.column)?;
    if range.last >= best.column_tokens - 1 {
        writer.text_up_to(text.len())?;
    } else {
        writer.append(ellipsis)?;
    }
    Ok(Some(writer.out))
}

/// Finds the best snippet.
struct Scorer<'a> {
    row: Row<'a>,
    /// Matches in the row.
    count: c_int,
    /// Tokens of a snippet.
    tokens: c_int,
    /// Phrases that the snippet has already.
    seen: Vec<bool>,
}

impl Scorer<'_> {
    /// Tries a snippet around each match in a column, and one that begins with the sentence of the match.
    fn look_at(&mut self, column: c_int, best: &mut Best) -> Checked<()> {
        let row = self.row;
        let Some(text) = row.text(column)? else { return Ok(()) };
        let sentences = sentences(row, column, text)?;
        let column_tokens = row.column_tokens(column)?;
        for index in row.first_match(self.count, column, c_int::MIN)?..self.count {
            let found = row.match_at(index)?;
            if found.column != column {
                break;
            }
            if found.token > column_tokens {
                return Err(ffi::SQLITE_CORRUPT_VTAB);
            }
            let mut offer = |score: i32, first: c_int| {
                if score > best.score {
                    *best = Best {
                        column,
                        first,
                        score,
                        column_tokens,
                    };
                }
            };
            let (score, first) = self.score(column, found.token, column_tokens)?;
            offer(score, first);
            if column_tokens <= self.tokens {
                continue;
            }
            let before = sentences.partition_point(|first| *first <= found.token);
            if let Some(first) = sentences
                .get(before.saturating_sub(1))
                .filter(|first| **first < found.token)
            {
                let (score, _) = self.score(column, *first, column_tokens)?;
                let begins = if *first == 0 {
                    FIRST_SENTENCE_SCORE
                } else {
                    SENTENCE_SCORE
                };
                offer(score + begins, *first);
            }
        }
        Ok(())
    }

    /// The score of the snippet that begins with a token, and where it should begin for its matches to be in the middle.
    fn score(&mut self, column: c_int, token: c_int, column_tokens: c_int) -> Checked<(i32, c_int)> {
        self.seen.fill(false);
        let end = token.saturating_add(self.tokens);
        let (mut score, mut first, mut last) = (0, -1, 0);
        for index in self.row.first_match(self.count, column, token)?..self.count {
            let found = self.row.match_at(index)?;
            if found.column != column || found.token >= end {
                break;
            }
            let seen = usize::try_from(found.phrase)
                .ok()
                .and_then(|phrase| self.seen.get_mut(phrase));
            let is_new = seen.is_some_and(|seen| !std::mem::replace(seen, true));
            score += if is_new { PHRASE_SCORE } else { 1 };
            if first < 0 {
                first = found.token;
            }
            last = found.token + self.row.phrase_tokens(found.phrase)?;
        }
        let begin = first - (self.tokens - (last - first)) / 2;
        let begin = begin.min(column_tokens.saturating_sub(self.tokens)).max(0);
        Ok((score, begin))
    }
}

/// The numbers of the tokens that begin sentences: the first, and those behind a full stop or a colon and a blank.
fn sentences(row: Row<'_>, column: c_int, text: &[u8]) -> Checked<Vec<c_int>> {
    let (mut found, mut token) = (Vec::new(), 0);
    row.tokenize(column, text, |start, _| {
        let before = &text[..start.min(text.len())];
        let blanks = before
            .iter()
            .rev()
            .take_while(|byte| b" \t\n\r".contains(*byte))
            .count();
        let ends = blanks > 0 && matches!(before[..before.len() - blanks].last(), Some(b'.' | b':'));
        if token == 0 || ends {
            found.push(token);
        }
        token += 1;
        Ok(())
    })?;
    Ok(found)
}
