//! `UPDATE` and `DELETE` with `LIMIT`. The parser that comes with SQLite's source in one file does not know them, so they
//! are written anew, after it has refused them, as that parser would understand them:
//! `DELETE FROM t WHERE rowid IN (SELECT rowid FROM t WHERE ... ORDER BY ... LIMIT ...) RETURNING ...`.

mod tokens;

use super::connection::Connected;
use super::error::{StorageCode, StorageError};
use super::statement::{Failure, Step};
use tokens::{Token, Tokens};

const TABLE_KIND: &str = "SELECT type, wr FROM pragma_table_list WHERE lower(name) = lower(?1) AND schema = 'main'";
const TABLE_COLUMNS: &str = "SELECT name, pk FROM pragma_table_xinfo(?1)";
/// Names of the row's number; a column may have taken one.
const ROW_NUMBERS: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// A statement that was written anew.
pub(super) struct Rewritten<'s> {
    pub(super) text: String,
    /// What follows the statement.
    pub(super) rest: &'s str,
}

/// True if the parser stopped where such a clause begins.
pub(super) fn may_be_meant(failure: &Failure) -> bool {
    let word = failure.message.strip_prefix("near \"").and_then(|rest| rest.get(..6));
    let word = word.map(|word| word.trim_end_matches('"'));
    word.is_some_and(|word| word.eq_ignore_ascii_case("limit") || word.eq_ignore_ascii_case("order"))
}

fn refused(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageCode::Sql, message)
}

/// Where the parts of a statement are; all parts of the text from a keyword to the next one.
#[derive(Default)]
struct Parts<'s> {
    /// Up to the table's name.
    head: &'s str,
    update: bool,
    /// With its schema, as it is written.
    table: &'s str,
    /// Without it, as it is meant.
    name: String,
    alias: &'s str,
    indexed: &'s str,
    set: &'s str,
    /// `WHERE`, `RETURNING`, `ORDER` and `LIMIT`, each with its keyword.
    filter: &'s str,
    returning: &'s str,
    order: &'s str,
    limit: &'s str,
    /// The text has a part that cannot be limited.
    has_from: bool,
}

impl Connected {
    /// Writes the first statement of `sql` anew; none if it is not an UPDATE or DELETE with such a clause.
    pub(super) fn rewrite_limited<'s>(&mut self, sql: &'s str) -> Result<Option<Rewritten<'s>>, StorageError> {
        let Some((parts, rest)) = Parts::of(sql) else {
            return Ok(None);
        };
        let verb = if parts.update { "UPDATE" } else { "DELETE" };
        if parts.limit.is_empty() {
            return Err(refused(format!("ORDER BY without LIMIT on {verb}")));
        }
        if parts.has_from {
            return Err(refused(
                "UPDATE with FROM and LIMIT is not available: use WHERE rowid IN (SELECT ...)",
            ));
        }
        // Parameters are numbered from the left, and RETURNING moves behind the rest.
        if numbered(parts.returning) && (numbered(parts.order) || numbered(parts.limit)) {
            let message =
                "parameters in RETURNING and behind it: number them (?1, ?2 ...), for RETURNING is moved to the end";
            return Err(refused(message));
        }
        let key = self.row_key(&parts.name)?;
        let Parts {
            head,
            table,
            alias,
            indexed,
            set,
            filter,
            returning,
            order,
            limit,
            ..
        } = parts;
        // Each part may end with a comment.
        let rows = format!("SELECT {key} FROM {table} {alias}\n{indexed}\n{filter}\n{order}\n{limit}\n");
        let text = format!("{head} {table} {alias}\n{set}\nWHERE ({key}) IN ({rows}) {returning}");
        Ok(Some(Rewritten { text, rest }))
    }

    /// The columns that tell a row from all others.
    fn row_key(&mut self, table: &str) -> Result<String, StorageError> {
        // A table that is not there is SQLite's to explain.
        let (is_view, without_rowid) = self.host(TABLE_KIND, |statement| {
            statement.bind_text(1, table.as_bytes())?;
            Ok(match statement.step()? {
                Step::Row => (statement.column_bytes(0) == b"view", statement.column_integer(1) != 0),
                Step::Done => (false, false),
            })
        })?;
        if is_view {
            return Err(refused(format!(
                "ORDER BY and LIMIT are not available for the view {table}"
            )));
        }
        let (mut names, mut key) = (Vec::new(), Vec::new());
        self.host(TABLE_COLUMNS, |statement| {
            statement.bind_text(1, table.as_bytes())?;
            while statement.step()? == Step::Row {
                let name = String::from_utf8_lossy(statement.column_bytes(0)).into_owned();
                if statement.column_integer(1) > 0 {
                    key.push(format!("\"{}\"", name.replace('"', "\"\"")));
                }
                names.push(name);
            }
            Ok(())
        })?;
        if without_rowid {
            return Ok(key.join(", "));
        }
        let free = ROW_NUMBERS
            .into_iter()
            .find(|number| !names.iter().any(|name| name.eq_ignore_ascii_case(number)));
        let message = format!("LIMIT is not available for {table}: its columns hide the row's number");
        free.map(str::to_owned).ok_or_else(|| refused(message))
    }
}

/// True if a text has parameters whose number follows from their place.
fn numbered(text: &str) -> bool {
    Tokens::of(text).any(|token| matches!(token, Token::Parameter { by_place: true, .. }))
}

/// What parts begin with, in their order.
const KEYWORDS: [&str; 9] = [
    "AS",
    "INDEXED",
    "NOT",
    "SET",
    "FROM",
    "WHERE",
    "RETURNING",
    "ORDER",
    "LIMIT",
];

/// Where a keyword has its place; before all of them without one.
fn place(keyword: &str) -> Option<usize> {
    KEYWORDS.iter().position(|word| *word == keyword)
}

impl<'s> Parts<'s> {
    fn of(sql: &'s str) -> Option<(Self, &'s str)> {
        let mut parts = Self::default();
        let mut tokens = Tokens::of(sql).peekable();
        // EXPLAIN and WITH come before; what is in parentheses is not looked at.
        loop {
            let token = tokens.next()?;
            if token.is("UPDATE") {
                parts.update = true;
                break;
            }
            if token.is("DELETE") {
                break;
            }
            if matches!(token, Token::End { .. }) || token.is("SELECT") || token.is("INSERT") || token.is("REPLACE") {
                return None;
            }
        }
        if !parts.update {
            tokens.next().filter(|token| token.is("FROM"))?;
        } else if tokens.next_if(|token| token.is("OR")).is_some() {
            tokens.next()?;
        }
        let table = tokens.next()?;
        parts.head = &sql[..table.start()];
        let mut name = table;
        if tokens.next_if(|token| token.is(".")).is_some() {
            name = tokens.next()?;
        }
        (parts.table, parts.name) = (&sql[table.start()..name.end()], name.name());
        // From here on each part goes from its keyword to the next one.
        let mut begun = (name.end(), "");
        let mut last = "";
        let end = loop {
            let token = tokens.next();
            let (at, end) = match &token {
                Some(Token::End { start, .. }) => (*start, true),
                Some(token) => (token.start(), false),
                None => (sql.len(), true),
            };
            let keyword = token
                .as_ref()
                .and_then(|token| KEYWORDS.into_iter().find(|word| token.is(word)));
            let begins = match keyword {
                // Within an expression these are something else.
                Some("NOT" | "INDEXED" | "AS") => ["", "AS"].contains(&begun.1),
                Some("FROM") => begun.1 == "SET" && !last.eq_ignore_ascii_case("DISTINCT"),
                Some(_) => true,
                None => false,
            };
            if begins || end {
                parts.put(begun.1, sql[begun.0..at].trim())?;
                // Each once, and none before one that comes first.
                if !end && place(keyword.unwrap_or("")) <= place(begun.1) {
                    return None;
                }
                begun = (at, keyword.unwrap_or(""));
            }
            if end {
                break at;
            }
            last = token.as_ref().map_or("", Token::text);
        };
        let rest = sql.get(end + 1..).unwrap_or("");
        if !tokens::are_balanced(&sql[..end]) {
            return None;
        }
        let asks = !parts.limit.is_empty() || !parts.order.is_empty();
        asks.then_some((parts, rest))
    }

    fn put(&mut self, keyword: &str, part: &'s str) -> Option<()> {
        match keyword {
            // An alias needs no AS.
            "" | "AS" => self.alias = part,
            "INDEXED" | "NOT" => self.indexed = part,
            "SET" => self.set = part,
            "FROM" => self.has_from = true,
            "WHERE" => self.filter = part,
            "RETURNING" => self.returning = part,
            "ORDER" => self.order = part,
            "LIMIT" => self.limit = part,
            _other => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
