//! Every rule of the comparison has an example that must match and one that must not: a checker that cannot fail proves
//! nothing.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::compare;

type Check = (&'static str, fn() -> Result<(), String>);

/// Ordinary `#[test]`s do not run in a target without the standard harness, so these are trials as well.
pub(crate) fn trials() -> Vec<Trial> {
    let checks: &[Check] = &[
        ("bare_value_stands_for_ok", bare_value_stands_for_ok),
        ("any_at_the_top_is_still_an_ok", any_at_the_top_is_still_an_ok),
        ("nested_lists_are_written_out", nested_lists_are_written_out),
        ("lists_have_equal_length", lists_have_equal_length),
        ("objects_have_equal_fields", objects_have_equal_fields),
        ("numbers_are_exact", numbers_are_exact),
        ("bounds_take_numbers_only", bounds_take_numbers_only),
        ("expressions_search_text", expressions_search_text),
        ("errors_match_by_kind_and_more", errors_match_by_kind_and_more),
        ("a_mismatch_names_its_place", a_mismatch_names_its_place),
        ("misspelt_matchers_are_refused", misspelt_matchers_are_refused),
    ];
    let trial = |(name, check): &Check| {
        let check = *check;
        Trial::test(format!("compare::{name}"), move || Ok(check()?))
    };
    checks.iter().map(trial).collect()
}

fn same(wanted: Value, got: Value) -> Result<(), String> {
    compare::check(&wanted)?;
    let (Value::Array(wanted), Value::Array(got)) = (&wanted, &got) else {
        return Err("lists, please".into());
    };
    compare::results(wanted, got).map_err(|found| format!("should match: {found:?}"))
}

fn different(wanted: Value, got: Value) -> Result<(), String> {
    compare::check(&wanted)?;
    let (Value::Array(wanted), Value::Array(got)) = (&wanted, &got) else {
        return Err("lists, please".into());
    };
    match compare::results(wanted, got) {
        Ok(()) => Err(format!("should differ: wanted {wanted:?}, got {got:?}")),
        Err(_) => Ok(()),
    }
}

fn bare_value_stands_for_ok() -> Result<(), String> {
    same(
        json!([null, "x", {"a": 1}]),
        json!([{"ok": null}, {"ok": "x"}, {"ok": {"a": 1}}]),
    )?;
    same(json!([{"ok": 1}]), json!([{"ok": {"ok": 1}}]))?;
    different(json!([{"ok": 1}]), json!([{"ok": 1}]))?;
    different(json!(["x"]), json!(["x"]))?;
    different(json!(["x"]), json!([{"ok": "x", "err": null}]))
}

fn any_at_the_top_is_still_an_ok() -> Result<(), String> {
    same(json!([{"$any": 1}]), json!([{"ok": [1, 2]}]))?;
    different(json!([{"$any": 1}]), json!([{"err": {"kind": "broken"}}]))
}

fn nested_lists_are_written_out() -> Result<(), String> {
    let inner = json!([{"ok": null}, {"err": {"kind": "aborted", "message": "m"}}, {"err": {"kind": "broken"}}]);
    same(
        json!([[{"ok": null}, {"$err": "aborted"}, {"$any": 1}]]),
        json!([{"ok": inner}]),
    )?;
    different(
        json!([[null, {"$err": "aborted"}, {"$any": 1}]]),
        json!([{"ok": inner}]),
    )?;
    different(
        json!([[{"ok": null}, {"$err": "deleted"}, {"$any": 1}]]),
        json!([{"ok": inner}]),
    )
}

fn lists_have_equal_length() -> Result<(), String> {
    different(json!([1]), json!([{"ok": 1}, {"ok": 1}]))?;
    different(json!([1, 1]), json!([{"ok": 1}]))?;
    different(json!([[{"ok": 1}]]), json!([{"ok": []}]))?;
    different(json!([[]]), json!([{"ok": [{"ok": 1}]}]))?;
    same(json!([[]]), json!([{"ok": []}]))
}

fn objects_have_equal_fields() -> Result<(), String> {
    same(
        json!([{"a": {"$any": 1}, "b": 2}]),
        json!([{"ok": {"b": 2, "a": null}}]),
    )?;
    different(json!([{"a": {"$any": 1}}]), json!([{"ok": {}}]))?;
    different(json!([{"a": 1}]), json!([{"ok": {"a": 1, "b": 2}}]))?;
    same(json!([{"$b64": "AA=="}]), json!([{"ok": {"$b64": "AA=="}}]))?;
    different(json!([{"$b64": "AA=="}]), json!([{"ok": {"$b64": "AQ=="}}]))
}

fn numbers_are_exact() -> Result<(), String> {
    same(json!([1, 1.0, -0.5]), json!([{"ok": 1.0}, {"ok": 1}, {"ok": -0.5}]))?;
    different(json!([9007199254740993_i64]), json!([{"ok": 9007199254740992_i64}]))?;
    different(json!([u64::MAX]), json!([{"ok": -1}]))?;
    different(json!([1]), json!([{"ok": "1"}]))?;
    different(json!([1]), json!([{"ok": true}]))?;
    different(json!([0]), json!([{"ok": null}]))
}

fn bounds_take_numbers_only() -> Result<(), String> {
    same(
        json!([{"$gte": 3}, {"$lte": 3}, {"$gte": 0.5}]),
        json!([{"ok": 3}, {"ok": 3}, {"ok": 1}]),
    )?;
    different(json!([{"$gte": 3}]), json!([{"ok": 2.9}]))?;
    different(json!([{"$lte": 3}]), json!([{"ok": 3.1}]))?;
    different(json!([{"$gte": 3}]), json!([{"ok": "4"}]))?;
    different(json!([{"$lte": 3}]), json!([{"ok": null}]))
}

fn expressions_search_text() -> Result<(), String> {
    same(
        json!([{"$re": "b+"}, {"a": {"$re": "^x$"}}]),
        json!([{"ok": "abbc"}, {"ok": {"a": "x"}}]),
    )?;
    different(json!([{"$re": "^b"}]), json!([{"ok": "abb"}]))?;
    different(json!([{"$re": "1"}]), json!([{"ok": 1}]))
}

fn errors_match_by_kind_and_more() -> Result<(), String> {
    let got = json!([{"err": {"kind": "broken", "code": "cpu", "message": "used 30 s", "outcome": "unknown"}}]);
    same(json!([{"$err": "broken"}]), got.clone())?;
    same(
        json!([{"$err": "broken", "message": "30 s", "code": "cpu", "outcome": "unknown"}]),
        got.clone(),
    )?;
    same(json!([{"$err": {"$re": "^(broken|failed)$"}}]), got.clone())?;
    different(json!([{"$err": "brok"}]), got.clone())?;
    different(json!([{"$err": "broken", "message": "31 s"}]), got.clone())?;
    different(json!([{"$err": "broken", "code": "cp"}]), got.clone())?;
    different(json!([{"$err": "broken", "outcome": "applied"}]), got.clone())?;
    different(
        json!([{"$err": "broken"}]),
        json!([{"ok": {"err": {"kind": "broken"}}}]),
    )?;
    different(
        json!([{"$err": "broken", "message": "x"}]),
        json!([{"err": {"kind": "broken"}}]),
    )
}

fn a_mismatch_names_its_place() -> Result<(), String> {
    let wanted = [json!(null), json!([{"ok": {"rows": [[1, 2]]}}])];
    let got = [json!({"ok": null}), json!({"ok": [{"ok": {"rows": [[1, 3]]}}]})];
    match compare::results(&wanted, &got) {
        Err(found) if found.path == "[1].ok[0].ok.rows[0][1]" && found.wanted == 2 && found.got == 3 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn misspelt_matchers_are_refused() -> Result<(), String> {
    let bad = [
        json!([{"$anny": 1}]),
        json!([{"$any": 2}]),
        json!([{"$any": 1, "x": 1}]),
        json!([{"$gte": "3"}]),
        json!([{"$re": "("}]),
        json!([{"a": {"$lt": 1}}]),
        json!([{"$err": "broken", "mesage": "x"}]),
        json!([{"$err": null}]),
    ];
    match bad.iter().find(|bad| compare::check(bad).is_ok()) {
        Some(missed) => Err(format!("not refused: {missed}")),
        None => Ok(()),
    }
}
