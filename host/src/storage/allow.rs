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
    /// None, or an SQL boolean.
    OptionalBoolean,
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
    ("case_sensitive_like", PragmaArgument::OptionalBoolean),
    ("data_version", PragmaArgument::None),
    ("defer_foreign_keys", PragmaArgument::OptionalBoolean),
    ("foreign_key_check", PragmaArgument::OptionalName),
    ("foreign_key_list", PragmaArgument::Name),
    ("foreign_keys", PragmaArgument::OptionalBoolean),
    ("ignore_check_constraints", PragmaArgument::OptionalBoolean),
    ("index_info", PragmaArgument::Name),
    ("index_list", PragmaArgument::Name),
    ("index_xinfo", PragmaArgument::Name),
    ("legacy_alter_table", PragmaArgument::OptionalBoolean),
    ("optimize", PragmaArgument::OptionalNumber),
    ("page_size", PragmaArgument::None),
    ("quick_check", PragmaArgument::OptionalNumberOrName),
    ("recursive_triggers", PragmaArgument::OptionalBoolean),
    ("reverse_unordered_selects", PragmaArgument::OptionalBoolean),
    ("table_info", PragmaArgument::Name),
    ("table_list", PragmaArgument::OptionalName),
    ("table_xinfo", PragmaArgument::Name),
];

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
