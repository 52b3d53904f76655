//! The tables, brought up to date when the facet starts: steps that ran never change, new ones are added at the end.

use facetd_sdk::prelude::*;

const STEPS: &[&str] = &[
    "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, body TEXT NOT NULL) STRICT",
    "ALTER TABLE notes ADD COLUMN created INTEGER NOT NULL DEFAULT 0",
    // The index holds no copy of the text; triggers keep it equal to the table.
    "CREATE VIRTUAL TABLE notes_fts USING fts5 (title, body, content = 'notes', content_rowid = 'id', prefix = '2 3');
     CREATE TRIGGER notes_added AFTER INSERT ON notes BEGIN
         INSERT INTO notes_fts (rowid, title, body) VALUES (new.id, new.title, new.body);
     END;
     CREATE TRIGGER notes_deleted AFTER DELETE ON notes BEGIN
         INSERT INTO notes_fts (notes_fts, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
     END;
     INSERT INTO notes_fts (notes_fts) VALUES ('rebuild')",
];

/// Runs the steps that this notebook has not seen. `start` is one turn, so it happens as a whole or not at all.
pub(crate) fn migrate() -> Result<()> {
    let done: usize = kv::get("schema")?.unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        sql::execute(step, &[])?;
    }
    if done < STEPS.len() {
        kv::put("schema", &STEPS.len())?;
    }
    Ok(())
}

/// What people type as an FTS5 expression: every word quoted, so that nothing in it is an operator, and as a prefix.
pub(crate) fn all_words(query: &str) -> String {
    let words = query
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(|word| format!("\"{word}\"*")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_is_an_operator() {
        assert_eq!(all_words("green tea"), "\"green\"* \"tea\"*");
        assert_eq!(all_words("\"a\" OR NOT b*"), "\"a\"* \"OR\"* \"NOT\"* \"b\"*");
        assert_eq!(all_words("Ü-Ei"), "\"Ü\"* \"Ei\"*");
        assert_eq!(all_words(" ()\" "), "");
    }
}
