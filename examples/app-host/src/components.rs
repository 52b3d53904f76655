//! What apps can run: classes that `facetd.toml` names and components that were uploaded. A component is never in this
//! facet's memory as a whole, only the piece that is on its way.

use facetd_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Classes of `facetd.toml` that the page offers, where they are defined.
const EXAMPLES: [&str; 2] = ["counter", "notes"];
/// What one `Upload::write` takes.
const PIECE: u32 = 1 << 20;
const MAX_LABEL_CHARS: usize = 100;
/// Made by the first statement that needs it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS components
    (label TEXT PRIMARY KEY, digest TEXT NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

#[derive(Serialize, Deserialize, Debug)]
pub struct Component {
    pub label: String,
    pub digest: String,
    /// Its size; none for a class of `facetd.toml`.
    pub bytes: Option<u64>,
}

/// The examples first, then the uploads by label.
pub(crate) fn all() -> Result<Vec<Component>> {
    let mut all = Vec::new();
    for label in EXAMPLES {
        if let Some(class) = named(label)? {
            all.push(Component {
                label: label.into(),
                digest: class.digest(),
                bytes: None,
            });
        }
    }
    for row in query("SELECT label, digest, bytes FROM components ORDER BY label", &[])? {
        all.push(Component {
            label: row.get("label")?,
            digest: row.get("digest")?,
            bytes: Some(row.get("bytes")?),
        });
    }
    Ok(all)
}

/// The class that is meant, and what to call it.
pub(crate) fn find(meant: &str) -> Result<(classes::Class, String)> {
    if let Some(class) = named(meant)? {
        return Ok((class, meant.into()));
    }
    let uploaded = query(
        "SELECT label, digest FROM components WHERE label = ?1 OR digest = ?1 ORDER BY label <> ?1, created LIMIT 1",
        params![meant],
    )?;
    if let Some(row) = uploaded.first() {
        return Ok((classes::by_digest(&row.get::<String>("digest")?)?, row.get("label")?));
    }
    if is_digest(meant) {
        return Ok((classes::by_digest(meant)?, meant.chars().take(12).collect()));
    }
    fail!(
        "no-such-class",
        "there is no class {meant:?}: facetd.toml names none, and none was uploaded as that"
    )
}

/// Hands a component to the host while it comes in, and remembers it under a label. The same label again means the new
/// one from then on; apps that run the old one keep it.
pub(crate) async fn upload(label: &str, body: http::Body) -> Result<Component> {
    let label = checked_label(label)?;
    if named(&label)?.is_some() {
        fail!(
            "label-taken",
            "{label:?} is a class of facetd.toml; choose another label"
        );
    }
    let (mut upload, mut bytes) = (classes::Upload::new(), 0_u64);
    while let Some(piece) = body.read(PIECE).await? {
        upload.write(&piece)?;
        bytes += piece.len() as u64;
    }
    let digest = upload.finish()?.digest();
    query(
        "INSERT OR REPLACE INTO components (label, digest, bytes, created) VALUES (?, ?, ?, ?)",
        params![label, digest, i64::try_from(bytes)?, i64::try_from(clock::now_ms())?],
    )?;
    Ok(Component {
        label,
        digest,
        bytes: Some(bytes),
    })
}

fn named(label: &str) -> Result<Option<classes::Class>> {
    match classes::named(label) {
        Ok(class) => Ok(Some(class)),
        Err(error) if error.kind() == "not-found" => Ok(None),
        Err(error) => Err(error),
    }
}

fn query(text: &str, params: &[sql::Value]) -> Result<Vec<sql::Row>> {
    sql::query(&format!("{TABLE} {text}"), params)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn checked_label(label: &str) -> Result<String> {
    let label = label.trim();
    if label.is_empty() || label.chars().count() > MAX_LABEL_CHARS || label.chars().any(char::is_control) {
        fail!(
            "bad-label",
            "a label has 1 to {MAX_LABEL_CHARS} characters, none of them a control character"
        );
    }
    if is_digest(label) {
        fail!("bad-label", "a label must not look like a digest");
    }
    Ok(label.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_text_that_people_can_tell_from_a_digest() {
        assert_eq!(checked_label(" my app.wasm ").expect("a good label"), "my app.wasm");
        for bad in ["", "  ", "a\nb", &"x".repeat(101), &"0f".repeat(32)] {
            assert_eq!(checked_label(bad).expect_err(bad).code(), "bad-label");
        }
    }
}
