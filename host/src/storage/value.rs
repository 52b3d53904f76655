//! Values are exact: 64-bit integers, bytes as they are, text that is UTF-8 (S23).

/// One value of SQLite.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit floating point number. NaN is stored as NULL, as SQLite does.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A column of a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type in CREATE TABLE; none for an expression, and where none is written.
    pub(crate) declared: Option<String>,
}

/// A piece of a result.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Rows {
    /// The columns' names in order.
    pub(crate) columns: Vec<String>,
    /// Values in the order of `columns`.
    pub(crate) rows: Vec<Vec<Value>>,
    /// Rows were left.
    pub(crate) more: bool,
}

/// What a facet has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    /// Rows that statements answered or, in scans of whole tables, passed over.
    pub(crate) rows_read: u64,
    /// Rows inserted, updated and deleted, by triggers and foreign keys as well.
    pub(crate) rows_written: u64,
    /// Pages in use, times their size.
    pub(crate) database_bytes: u64,
}
