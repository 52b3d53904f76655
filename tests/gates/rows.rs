//! The matrix: one row for each effect and the write before it. Operations are those of the puppet.

use serde_json::{Value, json};

pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Carried out and stored before the host is slow.
    pub(crate) setup: Value,
    /// A call that is under way when `act` begins: begun first, and its log line has been seen.
    pub(crate) before: Option<(&'static str, &'static str)>,
    pub(crate) act: Act,
    pub(crate) seen: Seen,
    pub(crate) waits: bool,
    /// Where `seen` must not wait: what it must come before.
    pub(crate) later: Later,
}

pub(crate) enum Act {
    /// Operations on the root.
    Call(&'static str),
    /// `GET` of what `http.program` has stored.
    Get,
}

/// The effect.
pub(crate) enum Seen {
    Answer,
    Line(&'static str),
    /// A text in the body, the head included.
    Text(&'static str),
    End,
}

/// What waits for the same write, as another row shows.
pub(crate) enum Later {
    /// Nothing was written: the time of one sync.
    Nothing,
    Answer,
    OtherAnswer,
    Line(&'static str),
    Text(&'static str),
    End,
}

/// Two children with a key each, the root with one, and another object.
fn family() -> Value {
    let child = |name: &str| {
        json!([
            {"op": "facet.get", "name": name, "class": "puppet", "as": name},
            {"op": "call", "stub": name, "ops": [{"op": "kv.put", "key": "k", "value": "old"}]},
        ])
    };
    let mut ops = vec![json!({"op": "kv.put", "key": "k", "value": "old"})];
    for name in ["a", "b"] {
        ops.extend(child(name).as_array().cloned().unwrap_or_default());
    }
    ops.into()
}

fn with(more: Value) -> Value {
    let mut ops = family();
    if let (Some(ops), Some(more)) = (ops.as_array_mut(), more.as_array()) {
        ops.extend(more.iter().cloned());
    }
    ops
}

fn waits(name: &'static str, ops: &'static str, seen: Seen) -> Row {
    Row {
        name,
        setup: family(),
        before: None,
        act: Act::Call(ops),
        seen,
        waits: true,
        later: Later::Nothing,
    }
}

fn at_once(name: &'static str, ops: &'static str, seen: Seen, later: Later) -> Row {
    Row {
        waits: false,
        later,
        ..waits(name, ops, seen)
    }
}

/// Gets stubs of both children again: those of the setup went with its host.
macro_rules! ops {
    ($ops:literal) => {
        concat!(
            r#"[{"op": "facet.get", "name": "a", "class": "puppet", "as": "a"},"#,
            r#"{"op": "facet.get", "name": "b", "class": "puppet", "as": "b"},"#,
            r#"{"op": "object.get", "namespace": "u", "name": "gate-{row}", "as": "o"},"#,
            $ops,
            "]"
        )
    };
}

/// The write of most rows.
const WRITE: &str = r#"[{"op": "kv.put", "key": "k", "value": "new"}]"#;

pub(crate) fn all() -> Vec<Row> {
    let mut rows = answers();
    rows.extend(inside());
    rows.extend(through_the_parent());
    rows.extend(other_objects());
    rows.extend(bodies());
    rows
}

/// Answers to clients.
fn answers() -> Vec<Row> {
    vec![
        waits("answer-after-write", WRITE, Seen::Answer),
        waits(
            "answer-after-sql",
            r#"[{"op": "sql", "q": "create table t(x)", "params": []}]"#,
            Seen::Answer,
        ),
        waits(
            "error-after-write",
            r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "throw", "message": "no"}]"#,
            Seen::Answer,
        ),
        waits(
            "trap-after-sealed-write",
            r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "sleep", "ms": 0}, {"op": "trap"}]"#,
            Seen::Answer,
        ),
        waits(
            "answer-after-delete",
            r#"[{"op": "facet.delete", "name": "a"}]"#,
            Seen::Answer,
        ),
        waits(
            "answer-after-clone",
            r#"[{"op": "facet.clone", "src": "a", "dst": "b"}]"#,
            Seen::Answer,
        ),
        waits(
            "answer-after-delete-all",
            r#"[{"op": "storage.delete-all"}]"#,
            Seen::Answer,
        ),
        Row {
            setup: with(json!([{"op": "start.program", "ops": [{"op": "kv.put", "key": "started", "value": "1"}]}])),
            ..waits(
                "answer-after-write-at-start",
                r#"[{"op": "echo", "value": 1}]"#,
                Seen::Answer,
            )
        },
        Row {
            before: Some((
                r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "sleep", "ms": 0}, {"op": "log", "message": "wrote"}]"#,
                "wrote",
            )),
            ..waits(
                "read-after-anothers-write",
                r#"[{"op": "kv.get", "key": "k"}]"#,
                Seen::Answer,
            )
        },
        at_once(
            "answer-after-unconfirmed-write",
            r#"[{"op": "storage.allow-unconfirmed"}, {"op": "kv.put", "key": "k", "value": "new"}]"#,
            Seen::Answer,
            Later::Nothing,
        ),
        waits(
            "answer-after-unconfirmed-and-confirmed-write",
            r#"[{"op": "storage.allow-unconfirmed"}, {"op": "kv.put", "key": "k", "value": "new"}, {"op": "sleep", "ms": 0},
                {"op": "kv.put", "key": "k", "value": "newer"}]"#,
            Seen::Answer,
        ),
        waits(
            "answer-after-write-declared-unconfirmed-too-late",
            r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "storage.allow-unconfirmed"}]"#,
            Seen::Answer,
        ),
        waits(
            "answer-after-unconfirmed-write-and-delete",
            r#"[{"op": "storage.allow-unconfirmed"}, {"op": "kv.put", "key": "k", "value": "new"},
                {"op": "facet.delete", "name": "a"}]"#,
            Seen::Answer,
        ),
        at_once(
            "answer-without-write",
            r#"[{"op": "kv.get", "key": "k"}]"#,
            Seen::Answer,
            Later::Nothing,
        ),
        at_once(
            "answer-after-lost-write",
            r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "trap"}]"#,
            Seen::Answer,
            Later::Nothing,
        ),
    ]
}

/// Calls and answers between the facets of an object, sync and log.
fn inside() -> Vec<Row> {
    vec![
        at_once(
            "log-after-write",
            r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "sleep", "ms": 0}, {"op": "log", "message": "x"}]"#,
            Seen::Line("x"),
            Later::Answer,
        ),
        waits(
            "sync-after-write",
            r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "storage.sync"}, {"op": "log", "message": "x"}]"#,
            Seen::Line("x"),
        ),
        at_once(
            "call-inside",
            ops!(
                r#"{"op": "kv.put", "key": "k", "value": "new"},
                {"op": "call", "stub": "a", "ops": [{"op": "log", "message": "x"}]}"#
            ),
            Seen::Line("x"),
            Later::Answer,
        ),
        at_once(
            "answer-inside",
            ops!(
                r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"}]},
                {"op": "log", "message": "x"}"#
            ),
            Seen::Line("x"),
            Later::Answer,
        ),
        at_once(
            "error-inside",
            ops!(
                r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"}, {"op": "throw"}]},
                {"op": "log", "message": "x"}"#
            ),
            Seen::Line("x"),
            Later::Answer,
        ),
        waits(
            "answer-after-childs-write",
            ops!(r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"}]}"#),
            Seen::Answer,
        ),
        waits(
            "answer-after-childs-error",
            ops!(
                r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"}, {"op": "throw"}]}"#
            ),
            Seen::Answer,
        ),
        waits(
            "answer-after-childs-trap",
            ops!(
                r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"},
                {"op": "sleep", "ms": 0}, {"op": "trap"}]}"#
            ),
            Seen::Answer,
        ),
        // The root learns from b what b learned from a.
        waits(
            "answer-after-what-a-sibling-read",
            ops!(
                r#"{"op": "stub.send", "stub": "a", "to": "b", "as": "a"},
                {"op": "call.start", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"},
                {"op": "mem.add", "key": "wrote", "by": 1}, {"op": "sleep", "ms": 60000}], "as": "p"},
                {"op": "call", "stub": "b", "ops": [{"op": "call", "stub": "a",
                "ops": [{"op": "mem.wait", "key": "wrote", "least": 1}, {"op": "kv.get", "key": "k"}]}]}"#
            ),
            Seen::Answer,
        ),
        // The root knows nothing of what its child writes until the child answers.
        Row {
            before: Some((
                ops!(
                    r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"},
                    {"op": "sleep", "ms": 0}, {"op": "log", "message": "wrote"}, {"op": "storage.sync"},
                    {"op": "log", "message": "synced"}]}"#
                ),
                "wrote",
            )),
            ..at_once(
                "answer-of-a-root-that-knows-nothing",
                r#"[{"op": "kv.get", "key": "k"}]"#,
                Seen::Answer,
                Later::Line("synced"),
            )
        },
        // Nor does one child of what the other writes.
        Row {
            before: Some((
                ops!(
                    r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"},
                    {"op": "sleep", "ms": 0}, {"op": "log", "message": "wrote"}, {"op": "storage.sync"},
                    {"op": "log", "message": "synced"}]}"#
                ),
                "wrote",
            )),
            ..at_once(
                "sync-of-a-facet-that-wrote-nothing",
                ops!(r#"{"op": "call", "stub": "b", "ops": [{"op": "storage.sync"}, {"op": "log", "message": "x"}]}"#),
                Seen::Line("x"),
                Later::Line("synced"),
            )
        },
    ]
}

/// Requests through the parent, inside an object like calls.
fn through_the_parent() -> Vec<Row> {
    let kid =
        r#"{"op": "facet.get", "name": "kid", "class": "net", "as": "kid", "grants": {"egress": {"via": "parent"}}}"#;
    let kid: Value = serde_json::from_str(kid).unwrap_or_default();
    let logs = json!([{"op": "log", "message": "<request-through-the-parent: x>"}]);
    vec![Row {
        setup: json!([
            {"op": "outbound.program", "act": "answer", "ops": logs},
            kid,
            {"op": "call", "stub": "kid", "ops": [{"op": "kv.put", "key": "k", "value": "old"}]},
        ]),
        ..at_once(
            "request-through-the-parent",
            r#"[{"op": "facet.get", "name": "kid", "class": "net", "as": "kid", "grants": {"egress": {"via": "parent"}}},
                {"op": "call", "stub": "kid", "ops": [{"op": "kv.put", "key": "k", "value": "new"},
                                                      {"op": "egress.get", "url": "http://a.test/"}]}]"#,
            Seen::Line("x"),
            Later::Answer,
        )
    }]
}

/// Calls to other objects, and their answers.
fn other_objects() -> Vec<Row> {
    vec![
        waits(
            "call-to-another-object",
            ops!(
                r#"{"op": "kv.put", "key": "k", "value": "new"},
                {"op": "call", "stub": "o", "ops": [{"op": "log", "message": "x"}]}"#
            ),
            Seen::Line("x"),
        ),
        waits(
            "call-to-another-object-after-childs-write",
            ops!(
                r#"{"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": "new"}]},
                {"op": "call", "stub": "o", "ops": [{"op": "log", "message": "x"}]}"#
            ),
            Seen::Line("x"),
        ),
        waits(
            "answer-of-another-object",
            ops!(
                r#"{"op": "call", "stub": "o", "ops": [{"op": "kv.put", "key": "k", "value": "new"}]},
                {"op": "log", "message": "x"}"#
            ),
            Seen::Line("x"),
        ),
        waits(
            "error-of-another-object",
            ops!(
                r#"{"op": "call", "stub": "o", "ops": [{"op": "kv.put", "key": "k", "value": "new"}, {"op": "throw"}]},
                {"op": "log", "message": "x"}"#
            ),
            Seen::Line("x"),
        ),
        at_once(
            "call-to-another-object-before-the-write",
            ops!(
                r#"{"op": "call", "stub": "o", "ops": [{"op": "log", "message": "x"}]},
                {"op": "kv.put", "key": "k", "value": "new"}"#
            ),
            Seen::Line("x"),
            Later::Answer,
        ),
        // The other object writes in a call that has not answered; asking it something else reveals nothing yet known.
        Row {
            before: Some((
                r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "sleep", "ms": 0}, {"op": "log", "message": "wrote"}]"#,
                "wrote",
            )),
            act: Act::Call(r#"[{"op": "log", "message": "asked"}]"#),
            ..at_once(
                "log-while-another-event-waits",
                WRITE,
                Seen::Line("asked"),
                Later::OtherAnswer,
            )
        },
    ]
}

fn streamed(name: &'static str, stream: Value, seen: Seen, waits: bool, later: Later) -> Row {
    Row {
        name,
        setup: with(json!([{"op": "http.program", "status": 200, "headers": [], "stream": stream}])),
        before: None,
        act: Act::Get,
        seen,
        waits,
        later,
    }
}

/// HTTP responses: head, pieces of the body, its end.
fn bodies() -> Vec<Row> {
    let piece_then_end = || json!([["write", "first"], ["sleep", 0], ["put", "k", "new"], ["sleep", 0]]);
    let put_then_piece = || json!([["sleep", 50], ["put", "k", "new"], ["write", "second"]]);
    vec![
        Row {
            before: Some((
                r#"[{"op": "kv.put", "key": "k", "value": "new"}, {"op": "sleep", "ms": 0}, {"op": "log", "message": "wrote"}]"#,
                "wrote",
            )),
            ..streamed(
                "head-after-anothers-write",
                json!([["write", "first"]]),
                Seen::Text("HTTP/1.1 200"),
                true,
                Later::Nothing,
            )
        },
        streamed(
            "head-before-the-write",
            put_then_piece(),
            Seen::Text("HTTP/1.1 200"),
            false,
            Later::Text("second"),
        ),
        streamed(
            "piece-after-the-write",
            put_then_piece(),
            Seen::Text("second"),
            true,
            Later::Nothing,
        ),
        streamed(
            "piece-before-the-write",
            piece_then_end(),
            Seen::Text("first"),
            false,
            Later::End,
        ),
        streamed("end-after-the-write", piece_then_end(), Seen::End, true, Later::Nothing),
    ]
}
