//! Components that are not what they say: refused when they come in, or when they are to be started, never trusted.

use crate::attack::{Attack, Must};
use crate::wat::{Fate, call, harmless_with, run, with_core, with_handler};

pub(crate) fn all() -> Vec<Attack> {
    let trap = |word| Fate::Called(Must::Say("broken", "trap", "not-applied", word));
    let handler = |name: &str, func: &str| {
        format!(
            "{func} (instance $h (export \"{name}\" (func $f))) (export \"facetd:runtime/blocking-handler@0.1.0\" (instance $h))"
        )
    };
    let rows: Vec<(&str, String, Fate)> = vec![
        ("harmless", harmless_with(""), Fate::Called(Must::Answer(0.into()))),
        ("no-handler", "(component)".into(), Fate::Refused("handler")),
        ("core-module", "(module)".into(), Fate::Refused("core WebAssembly module")),
        (
            "handler-without-a-function",
            with_handler("(instance $h) (export \"facetd:runtime/blocking-handler@0.1.0\" (instance $h))"),
            Fate::unstarted(""),
        ),
        (
            "handler-that-is-a-function",
            with_handler("(func $f (canon lift (core func $i \"realloc2\"))) (export \"facetd:runtime/blocking-handler@0.1.0\" (func $f))")
                .replace("(func (export \"call\")", "(func (export \"realloc2\")) (func (export \"call\")"),
            Fate::unstarted(""),
        ),
        (
            "handler-of-another-name",
            with_handler(&handler("kall", "(func $f (canon lift (core func $i \"none\")))")).replace("(func (export \"call\")", "(func (export \"none\")) (func (export \"call\")"),
            Fate::unstarted(""),
        ),
        (
            "handler-without-parameters",
            with_handler(&handler("call", "(func $f (canon lift (core func $i \"none\")))")).replace("(func (export \"call\")", "(func (export \"none\")) (func (export \"call\")"),
            Fate::unstarted(""),
        ),
        (
            "handler-with-one-parameter-more",
            with_handler(&handler("call", "(func $f (param \"a\" u32) (param \"b\" u32) (result u32) (canon lift (core func $i \"two\")))"))
                .replace("(func (export \"call\")", "(func (export \"two\") (param i32 i32) (result i32) i32.const 0) (func (export \"call\")"),
            Fate::unstarted(""),
        ),
        (
            "handler-with-a-type-of-its-own",
            with_handler(&handler("call", "(type $mine (resource (rep i32))) (func $f (result (own $mine)) (canon lift (core func $i \"own\")))"))
                .replace("(func (export \"call\")", "(func (export \"own\") (result i32) i32.const 7) (func (export \"call\")"),
            Fate::Either(vec![Fate::unstarted(""), Fate::Refused("")]),
        ),
        (
            "import-of-another-type",
            harmless_with("(import \"facetd:runtime/kv@0.1.0\" (instance (export \"get\" (func (param \"key\" u64) (result u64)))))"),
            Fate::unstarted(""),
        ),
        (
            "import-that-is-not-in-the-interface",
            harmless_with("(import \"facetd:runtime/kv@0.1.0\" (instance (export \"get-all-tenants\" (func))))"),
            Fate::unstarted("get-all-tenants"),
        ),
        (
            "import-of-a-function-for-an-instance",
            harmless_with("(import \"facetd:runtime/kv@0.1.0\" (func))"),
            Fate::unstarted(""),
        ),
        (
            "import-of-what-nobody-has",
            harmless_with("(import \"wasi:sockets/tcp@0.2.0\" (instance))"),
            Fate::Refused("wasi:sockets/tcp@0.2.0"),
        ),
        (
            "import-with-a-name-like-ours",
            harmless_with("(import \"facetd:runtime/kv@0.1.0-evil\" (instance))"),
            Fate::Refused("facetd:runtime/kv@0.1.0-evil"),
        ),
        (
            "import-of-egress-without-a-grant",
            harmless_with("(import \"facetd:runtime/egress@0.1.0\" (instance))"),
            Fate::unstarted("egress"),
        ),
        (
            "import-of-a-core-module",
            harmless_with("(import \"a-module\" (core module (export \"f\" (func))))"),
            Fate::Refused("a-module"),
        ),
        ("answer-outside-of-memory", with_core(&call("i32.const 0x7ffffff0")), trap("")),
        ("answer-not-aligned", with_core(&call("i32.const 1025")), trap("")),
        ("answer-of-an-unknown-case", with_core(&call("(i32.store8 (i32.const 1024) (i32.const 9)) i32.const 1024")), trap("")),
        (
            "answer-with-a-body-outside-of-memory",
            with_core(&call("(i32.store (i32.const 1032) (i32.const 0x7fffffff)) (i32.store (i32.const 1036) (i32.const 100)) i32.const 1024")),
            trap(""),
        ),
        (
            "answer-with-a-body-of-four-gigabytes",
            with_core(&call("(i32.store (i32.const 1036) (i32.const 0xffffffff)) i32.const 1024")),
            trap(""),
        ),
        (
            "answer-with-stubs-that-it-does-not-have",
            with_core(&call("(i32.store (i32.const 1040) (i32.const 2048)) (i32.store (i32.const 1044) (i32.const 1)) (i32.store (i32.const 2048) (i32.const 12345)) i32.const 1024")),
            trap(""),
        ),
        (
            "answer-with-a-billion-stubs",
            with_core(&call("(i32.store (i32.const 1044) (i32.const 0x3fffffff)) i32.const 1024")),
            trap(""),
        ),
        (
            "failure-that-is-no-utf8",
            with_core(&call("(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1032) (i32.const 1)) (i32.store8 (i32.const 2048) (i32.const 0xff)) (i32.store (i32.const 1028) (i32.const 2048)) i32.const 1024")),
            trap(""),
        ),
        (
            "realloc-that-lies",
            with_core(&call("i32.const 1024")).replace("i32.const 4096)", "i32.const -16)"),
            trap(""),
        ),
        ("realloc-that-traps", with_core(&call("i32.const 1024")).replace("i32.const 4096)", "unreachable)"), trap("unreachable")),
        (
            "realloc-that-never-returns",
            with_core(&call("i32.const 1024")).replace("i32.const 4096)", "(loop $l (br $l)) unreachable)"),
            Fate::Called(Must::broken("cpu")),
        ),
        (
            "start-function-that-never-returns",
            with_core(&format!("(func $s (loop $l (br $l))) (start $s) {}", call("i32.const 1024"))),
            Fate::unstarted(""),
        ),
        ("start-function-that-traps", with_core(&format!("(func $s unreachable) (start $s) {}", call("i32.const 1024"))), Fate::unstarted("")),
        (
            "table-grow-for-ever",
            with_core(&format!("(table $t 1 funcref) {}", call("(loop $l (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $l)) unreachable"))),
            Fate::Called(Must::Either(vec![Must::broken("cpu"), Must::broken("memory")])),
        ),
        (
            "table-fill-and-copy-for-ever",
            with_core(&format!(
                "(table $t 100000 funcref) {}",
                call("(loop $l (table.fill $t (i32.const 0) (ref.null func) (i32.const 100000)) \
                      (table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 99999)) (br $l)) unreachable")
            )),
            Fate::Called(Must::broken("cpu")),
        ),
        (
            "table-of-functions-of-another-type",
            with_core(&format!(
                "(table $t 1 funcref) (elem (i32.const 0) $g) (func $g) {}",
                call("(call_indirect $t (result i32) (i32.const 0))")
            )),
            trap("indirect call type mismatch"),
        ),
        ("division-by-zero", with_core(&call("(i32.div_u (i32.const 1) (i32.const 0))")), trap("divide by zero")),
        ("memory-64", harmless_with("(core module (memory i64 1))"), Fate::unstarted("")),
    ];
    rows.into_iter()
        .map(|(name, text, fate)| {
            Attack::new(name, move |arena| {
                let component = wat::parse_str(&text)?;
                fate.check(&run(arena, "lab/liar", &component)?)
            })
        })
        .collect()
}
