//! A facet as a database of sqllogictest: one statement is one call of the puppet's operation `sql`.

use serde_json::{Value, json};
use sqllogictest::{ColumnType, DB, DBOutput};

use super::support::client::Client;

pub(crate) struct Facet {
    client: Client,
    url: String,
    on: String,
}

/// What the values of a column are. Compared strictly, so that a number that became text is a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Integer,
    Real,
    Text,
    Blob,
    /// Nothing but NULL, or no rows.
    Null,
    /// More than one kind.
    Mixed,
}

const LETTERS: [(Kind, char, &str); 6] = [
    (Kind::Integer, 'I', "integer"),
    (Kind::Real, 'R', "real"),
    (Kind::Text, 'T', "text"),
    (Kind::Blob, 'B', "blob"),
    (Kind::Null, 'N', "null"),
    (Kind::Mixed, '?', ""),
];

impl ColumnType for Kind {
    fn from_char(letter: char) -> Option<Self> {
        LETTERS.iter().find(|(_, l, _)| *l == letter).map(|(kind, ..)| *kind)
    }

    fn to_char(&self) -> char {
        let letter = LETTERS
            .iter()
            .find(|(kind, ..)| kind == self)
            .map(|(_, letter, _)| *letter);
        letter.expect("every kind has a letter")
    }
}

/// An error that the facet was answered, or a broken host.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Facet {
    pub(crate) fn new(url: &str, on: &str) -> Self {
        Self {
            client: Client::new(),
            url: url.to_owned(),
            on: on.to_owned(),
        }
    }

    fn answer(&self, sql: &str) -> anyhow::Result<Value> {
        let ops = json!([{"op": "sql", "q": sql, "params": [], "bits": true, "types": true}]);
        let results = self.client.run(&self.url, &self.on, &ops)?;
        let mut results =
            results.map_err(|failure| anyhow::anyhow!("the whole call failed: {}", failure.to_result()))?;
        Ok(results.remove(0))
    }
}

impl DB for Facet {
    type Error = Failure;
    type ColumnType = Kind;

    fn run(&mut self, sql: &str) -> Result<DBOutput<Kind>, Failure> {
        let answer = self.answer(sql).map_err(|error| Failure(format!("{error:#}")))?;
        let Some(answer) = answer.get("ok") else {
            let message = answer["err"]["message"].as_str().unwrap_or_default();
            return Err(Failure(message.to_owned()));
        };
        let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        let (columns, rows, types) = (list("columns"), list("rows"), list("types"));
        if columns.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let kinds = (0..columns.len()).map(|at| kind_of(types.iter().map(|row| &row[at])));
        let rows = rows.iter().zip(&types);
        let rows = rows.map(|(row, types)| (0..columns.len()).map(|at| shown(&row[at], &types[at])).collect());
        Ok(DBOutput::Rows {
            types: kinds.collect(),
            rows: rows.collect(),
        })
    }
}

fn kind_of<'a>(types: impl Iterator<Item = &'a Value>) -> Kind {
    types.fold(Kind::Null, |so_far, name| {
        let found = LETTERS.iter().find(|(_, _, n)| name == n).map(|(kind, ..)| *kind);
        match (so_far, found.expect("SQLite has five types")) {
            (one, Kind::Null) => one,
            (Kind::Null, other) => other,
            (one, other) if one == other => one,
            _ => Kind::Mixed,
        }
    })
}

/// As the scripts write it: reals by the fewest digits that tell them apart, blobs in hexadecimal digits.
fn shown(value: &Value, type_name: &Value) -> String {
    match (type_name.as_str(), value) {
        (Some("null"), _) => "NULL".to_owned(),
        (Some("real"), value) => {
            let bits = value["bits"]
                .as_str()
                .and_then(|bits| u64::from_str_radix(bits, 16).ok());
            shown_real(f64::from_bits(bits.expect("reals are answered as bits")))
        }
        (Some("blob"), value) => {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(value["$b64"].as_str().unwrap_or_default());
            format!("x'{}'", hex::encode(bytes.expect("blobs are answered in base64")))
        }
        (_, Value::String(text)) if text.is_empty() => "(empty)".to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

fn shown_real(real: f64) -> String {
    if real.is_infinite() {
        return if real > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    format!("{real:?}")
}
