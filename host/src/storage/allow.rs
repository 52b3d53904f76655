//! What guest SQL may name: functions, pragmas and virtual table modules. Lists of what is allowed, never of what is not,
//! so that a new SQLite brings nothing in by itself. `docs/limits.md` repeats them for people.

use std::ffi::CStr;

/// Modules a guest may create tables with.
pub(super) const MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Modules that stay in a connection: those of [`MODULES`] and the table-valued JSON functions.
pub(super) const MODULES_KEPT: [&CStr; 6] = [
    c"fts5",
    c"fts5vocab",
    c"rtree",
    c"rtree_i32",
    c"json_each",
    c"json_tree",
];

/// Which argument a pragma may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PragmaArgument {
    /// None: the pragma only tells something.
    None,
    /// None, or an SQL boolean: a setting of the connection, which ends with the turn (`settings.rs`).
    Setting,
    /// None, or an SQL boolean that means something for the foreign keys of the turn.
    ForeignKeys,
    /// None, or an integer of 32 bits that is kept in the database.
    OptionalInteger,
    /// The name of a table or index that is not the host's.
    Name,
    /// None, or such a name.
    OptionalName,
    /// None, a number, or such a name.
    OptionalNumberOrName,
    /// None, or a number.
    OptionalNumber,
}

/// Pragmas by lower-case name, sorted.
pub(super) const PRAGMAS: [(&str, PragmaArgument); 19] = [
    ("data_version", PragmaArgument::None),
    ("defer_foreign_keys", PragmaArgument::ForeignKeys),
    ("foreign_key_check", PragmaArgument::OptionalName),
    ("foreign_key_list", PragmaArgument::Name),
    ("foreign_keys", PragmaArgument::ForeignKeys),
    ("ignore_check_constraints", PragmaArgument::Setting),
    ("index_info", PragmaArgument::Name),
    ("index_list", PragmaArgument::Name),
    ("index_xinfo", PragmaArgument::Name),
    ("legacy_alter_table", PragmaArgument::Setting),
    ("optimize", PragmaArgument::OptionalNumber),
    ("page_size", PragmaArgument::None),
    ("quick_check", PragmaArgument::OptionalNumberOrName),
    ("recursive_triggers", PragmaArgument::Setting),
    ("reverse_unordered_selects", PragmaArgument::Setting),
    ("table_info", PragmaArgument::Name),
    ("table_list", PragmaArgument::OptionalName),
    ("table_xinfo", PragmaArgument::Name),
    ("user_version", PragmaArgument::OptionalInteger),
];

/// Pragmas that programs ask for and guests may not use, by lower-case name, sorted: what to do instead.
pub(super) const REFUSED: [(&str, &str); 24] = [
    ("application_id", "it is the host's; `user_version` is yours"),
    ("auto_vacuum", HOST_COMPACTS),
    (
        "busy_timeout",
        "nobody else uses this database, so nothing waits for a lock",
    ),
    ("cache_size", HOST_DECIDES),
    (
        "case_sensitive_like",
        "it would make indexes disagree with their tables. GLOB tells upper from lower case, and so do = and IN",
    ),
    ("database_list", "a facet has one database, `main`"),
    ("encoding", "text is UTF-8"),
    ("freelist_count", STATISTICS),
    ("incremental_vacuum", HOST_COMPACTS),
    (
        "integrity_check",
        "`PRAGMA quick_check` is there, and `facetd check` for the operator",
    ),
    ("journal_mode", HOST_DECIDES),
    ("journal_size_limit", HOST_DECIDES),
    ("locking_mode", HOST_DECIDES),
    (
        "max_page_count",
        "the facet's storage limit is set by its parent and by the operator",
    ),
    ("mmap_size", HOST_DECIDES),
    ("page_count", STATISTICS),
    ("query_only", "there is no connection that outlives the turn"),
    (
        "schema_version",
        "compare the text in sqlite_schema, or keep a number of your own in `user_version`",
    ),
    ("secure_delete", HOST_DECIDES),
    ("synchronous", HOST_DECIDES),
    ("temp_store", HOST_DECIDES),
    ("wal_autocheckpoint", HOST_DECIDES),
    ("wal_checkpoint", HOST_DECIDES),
    ("writable_schema", "change the schema by CREATE, ALTER and DROP"),
];
const HOST_DECIDES: &str = "the host decides how the database is kept, and its journal makes every turn durable";
const HOST_COMPACTS: &str = "the host decides when a database is compacted";
const STATISTICS: &str = "`sql.statistics` tells how large the database is";

/// Functions by lower-case name, sorted.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[&str] = &[
    "->", "->>",
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "avg",
    "bm25",
    "ceil", "ceiling", "changes", "char", "coalesce", "concat", "concat_ws", "cos", "cosh", "count", "cume_dist",
    "current_date", "current_time", "current_timestamp",
    "date", "datetime", "degrees", "dense_rank",
    "exp",
    "first_value", "floor", "format", "fts5_get_locale", "fts5_insttoken", "fts5_locale",
    "glob", "group_concat",
    "hex", "highlight",
    "if", "ifnull", "iif", "instr",
    "json", "json_array", "json_array_insert", "json_array_length", "json_each", "json_error_position", "json_extract",
    "json_group_array", "json_group_object", "json_insert", "json_object", "json_patch", "json_pretty", "json_quote",
    "json_remove", "json_replace", "json_set", "json_tree", "json_type", "json_valid",
    "jsonb", "jsonb_array", "jsonb_array_insert", "jsonb_each", "jsonb_extract", "jsonb_group_array", "jsonb_group_object",
    "jsonb_insert", "jsonb_object", "jsonb_patch", "jsonb_remove", "jsonb_replace", "jsonb_set", "jsonb_tree",
    "julianday",
    "lag", "last_insert_rowid", "last_value", "lead", "length", "like", "likelihood", "likely", "ln", "log", "log10",
    "log2", "lower", "ltrim",
    "match", "max", "median", "min", "mod",
    "nth_value", "ntile", "nullif",
    "octet_length",
    "percent_rank", "percentile", "percentile_cont", "percentile_disc", "pi", "pow", "power", "printf",
    "quote",
    "radians", "random", "randomblob", "rank", "replace", "round", "row_number", "rtreecheck", "rtrim",
    "sign", "sin", "sinh", "snippet", "soundex",
    // Called by ALTER TABLE; SQLite itself refuses them in the text of a guest.
    "sqlite_add_constraint", "sqlite_drop_column", "sqlite_drop_constraint", "sqlite_fail", "sqlite_find_constraint",
    "sqlite_rename_column", "sqlite_rename_quotefix", "sqlite_rename_table", "sqlite_rename_test",
    "sqlite_version", "sqrt", "strftime", "string_agg", "substr", "substring", "subtype", "sum",
    "tan", "tanh", "time", "timediff", "total", "total_changes", "trim", "trunc", "typeof",
    "unhex", "unicode", "unistr", "unistr_quote", "unixepoch", "unlikely", "upper",
    "zeroblob",
];

/// True for a function that guests may call.
pub(super) fn function(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    FUNCTIONS.binary_search(&name.as_str()).is_ok()
}

/// True for a module that guests may use.
pub(super) fn module(name: &str) -> bool {
    MODULES.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

/// The argument that a pragma may have; none for a pragma that guests may not use.
pub(super) fn pragma(name: &str) -> Option<PragmaArgument> {
    let name = name.to_ascii_lowercase();
    let at = PRAGMAS.binary_search_by_key(&name.as_str(), |(name, _)| *name).ok()?;
    Some(PRAGMAS[at].1)
}

/// What to do instead of a pragma that guests may not use, where there is something to say.
pub(super) fn instead_of(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let at = REFUSED.binary_search_by_key(&name.as_str(), |(name, _)| *name).ok()?;
    Some(REFUSED[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(FUNCTIONS.is_sorted() && PRAGMAS.is_sorted_by_key(|(name, _)| *name));
        assert!(function("LOWER") && !function("load_extension") && !function("fts3_tokenizer"));
        assert_eq!(pragma("Table_Info"), Some(PragmaArgument::Name));
        assert_eq!(pragma("journal_mode"), None);
    }
}
