//! Notes in SQLite with full-text search. One object is one notebook: it cannot see the notes of another one, and
//! nothing has to be done to keep it so.

mod page;
mod schema;

use facetd_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Notes on a page of a list.
const PAGE: u32 = 20;
/// The longest note, in bytes.
const MAX_BODY: usize = 100_000;

pub struct Notes;

#[derive(Serialize, Deserialize, Debug)]
pub struct Note {
    pub id: i64,
    pub title: String,
    pub body: String,
    /// Milliseconds since 1970.
    pub created: i64,
}

#[derive(Serialize, Deserialize, Debug)]
pub struct Hit {
    pub id: i64,
    pub title: String,
    /// The best part of the body, with `[` and `]` around what was found.
    pub snippet: String,
}

#[facet]
impl Notes {
    fn start() -> Result<Self> {
        schema::migrate()?;
        Ok(Notes)
    }

    /// Answers the id of the new note.
    pub fn add(&self, title: String, body: String) -> Result<i64> {
        if title.trim().is_empty() {
            fail!("no-title", "a note needs a title");
        }
        if body.len() > MAX_BODY {
            fail!("too-long", "a note has at most {MAX_BODY} bytes, not {}", body.len());
        }
        let created = i64::try_from(clock::now_ms())?;
        let id = sql::query_value(
            "INSERT INTO notes (title, body, created) VALUES (?, ?, ?) RETURNING id",
            params![title, body, created],
        )?;
        id.ok_or_else(|| Error::msg("the new note has no id"))
    }

    pub fn get(&self, id: i64) -> Result<Note> {
        match sql::query_row("SELECT id, title, body, created FROM notes WHERE id = ?", params![id])? {
            Some(row) => note(&row),
            None => fail!("no-such-note", "there is no note {id}"),
        }
    }

    /// The newest first, in pages from 1.
    pub fn list(&self, page: Option<u32>) -> Result<Vec<Note>> {
        let skip = u64::from(page.unwrap_or(1).saturating_sub(1)) * u64::from(PAGE);
        let rows = sql::query(
            "SELECT id, title, body, created FROM notes ORDER BY id DESC LIMIT ? OFFSET ?",
            params![PAGE, i64::try_from(skip)?],
        )?;
        rows.iter().map(note).collect()
    }

    /// Notes that contain all of these words or beginnings of words, the best first. A word in the title counts more.
    pub fn search(&self, query: String) -> Result<Vec<Hit>> {
        let words = schema::all_words(&query);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sql::query(
            "SELECT rowid AS id, title, snippet(notes_fts, 1, '[', ']', '...', 12) AS snippet
             FROM notes_fts WHERE notes_fts MATCH ? ORDER BY bm25(notes_fts, 5.0, 1.0), rowid DESC LIMIT ?",
            params![words, PAGE],
        )?;
        rows.iter()
            .map(|row| {
                Ok(Hit {
                    id: row.get("id")?,
                    title: row.get("title")?,
                    snippet: row.get("snippet")?,
                })
            })
            .collect()
    }

    /// True if there was such a note.
    pub fn delete(&self, id: i64) -> Result<bool> {
        Ok(sql::query_row("DELETE FROM notes WHERE id = ? RETURNING id", params![id])?.is_some())
    }

    pub fn count(&self) -> Result<i64> {
        Ok(sql::query_value("SELECT count(*) FROM notes", &[])?.unwrap_or(0))
    }

    /// `GET /` lists the notes, `GET /?q=...` those that were found.
    async fn fetch(&self, request: http::Request) -> Result<http::Response> {
        if request.path() != "/" {
            return Ok(http::Response::text(404, "not found\n"));
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Ok(http::Response::text(405, "only GET\n").with_header("allow", "GET, HEAD"));
        }
        let html = match request.query("q").filter(|query| !query.trim().is_empty()) {
            Some(query) => page::found(&query, &self.search(query.clone())?),
            None => {
                let page = request.query("page").and_then(|page| page.parse().ok());
                page::list(self.count()?, &self.list(page)?)
            }
        };
        Ok(http::Response::html(200, &html).with_header("content-security-policy", "default-src 'none'"))
    }
}

fn note(row: &sql::Row) -> Result<Note> {
    Ok(Note {
        id: row.get("id")?,
        title: row.get("title")?,
        body: row.get("body")?,
        created: row.get("created")?,
    })
}
