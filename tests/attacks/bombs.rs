//! Components that are small, or look it, and want to become huge: when they are checked, compiled, loaded or started. They
//! are refused by name, or end the compiler's process, or the facet; what they never reach is the host's own memory.

use crate::attack::{Attack, Must};
use crate::wat::{Fate, call, harmless_with, run, with_core};

pub(crate) fn all() -> Vec<Attack> {
    let fine = || call("i32.const 1024");
    let starts = || Fate::Called(Must::Answer(0.into()));
    let core = |fields: String| with_core(&format!("{fields} {}", fine()));
    let rows: Vec<(&str, String, Fate)> = vec![
        (
            "table-of-4e9",
            core("(table 4000000000 funcref)".into()),
            Fate::unstarted(""),
        ),
        (
            "memory-of-4-gib",
            core("(memory 65536)".into()),
            Fate::unstarted("memory"),
        ),
        (
            "ninety-memories-of-4-gib",
            core("(memory 65536)".repeat(90)),
            Fate::unstarted("memory"),
        ),
        ("memory-maximum-lies", core("(memory 1 65536)".into()), starts()),
        // The namespace has 64 MiB, 1,024 pages. One is there already.
        ("all-pages-but-one", grown("", 1_022), starts()),
        ("all-pages", grown("", 1_023), starts()),
        ("one-page-more", grown("", 1_024), Fate::Called(Must::broken("memory"))),
        // 16 bytes an element: a page.
        ("all-pages-with-a-table", grown("(table 4096 funcref)", 1_022), starts()),
        (
            "one-page-more-with-a-table",
            grown("(table 4096 funcref)", 1_023),
            Fate::Called(Must::broken("memory")),
        ),
        (
            "one-page-more-with-an-element",
            grown("(table 1 funcref)", 1_023),
            Fate::Called(Must::broken("memory")),
        ),
        // A handler has an instance and a memory.
        ("199-instances", many("", 198), starts()),
        ("200-instances", many("", 199), starts()),
        ("201-instances", many("", 200), Fate::unstarted("")),
        ("199-memories", many("(memory 0)", 198), starts()),
        ("200-memories", many("(memory 0)", 199), starts()),
        ("201-memories", many("(memory 0)", 200), Fate::unstarted("")),
        ("199-tables", many("(table 0 funcref)", 199), starts()),
        ("200-tables", many("(table 0 funcref)", 200), starts()),
        ("201-tables", many("(table 0 funcref)", 201), Fate::unstarted("")),
        (
            "hundreds-of-memories",
            core("(memory 1)".repeat(400)),
            Fate::Refused(""),
        ),
        (
            "hundreds-of-tables",
            core("(table 1 funcref)".repeat(400)),
            Fate::Refused(""),
        ),
        (
            "thousands-of-globals",
            core("(global (mut i64) (i64.const 1))".repeat(20_000)),
            starts(),
        ),
        (
            "thousands-of-instances",
            harmless_with(&"(core instance (instantiate $m))".repeat(900)),
            Fate::unstarted(""),
        ),
        ("two-to-the-ten-instances", doubling(10), Fate::unstarted("")),
        ("two-to-the-sixteen-instances", doubling(16), Fate::unstarted("")),
        (
            "two-to-the-thirty-instances",
            doubling(30),
            Fate::Either(vec![Fate::unstarted(""), Fate::Refused("")]),
        ),
        ("two-to-the-sixty-types", doubling_types(60), Fate::Refused("")),
        (
            "two-to-the-sixteen-types",
            doubling_types(16),
            Fate::Either(vec![starts(), Fate::Refused("")]),
        ),
        (
            "a-million-locals",
            core(format!("(func (local {}))", "i64 ".repeat(1_000_000))),
            Fate::Refused("locals"),
        ),
        (
            "fifty-thousand-locals",
            core(format!("(func (local {}))", "i64 ".repeat(49_000))),
            starts(),
        ),
        (
            "br-table-of-a-million",
            core(format!("(func (br_table {} (i32.const 1)))", "0 ".repeat(1_000_000))),
            Fate::unstarted("br_table"),
        ),
        (
            "br-table-of-sixty-thousand",
            core(format!("(func (br_table {} (i32.const 1)))", "0 ".repeat(60_000))),
            starts(),
        ),
        ("fifty-thousand-functions", core("(func)".repeat(50_000)), starts()),
        (
            "deep-blocks",
            core(format!("(func {}{})", "block ".repeat(50_000), "end ".repeat(50_000))),
            starts(),
        ),
        (
            "deep-expression",
            core(format!(
                "(func (result i32) i32.const 1 {} {})",
                "i32.const 1 ".repeat(50_000),
                "i32.add ".repeat(50_000)
            )),
            starts(),
        ),
        (
            "large-data",
            core(format!("(data (i32.const 2048) \"{}\")", "a".repeat(60_000))),
            starts(),
        ),
        (
            "data-beyond-the-memory",
            core(format!("(data (i32.const 65000) \"{}\")", "a".repeat(60_000))),
            Fate::unstarted(""),
        ),
        (
            "hundred-thousand-data-segments",
            core("(data \"\")".repeat(100_000)),
            Fate::Either(vec![starts(), Fate::Refused("")]),
        ),
        (
            "table-filled-by-a-million-elements",
            core(format!(
                "(table 1000000 funcref) (func $e) (elem (i32.const 0) func {})",
                "$e ".repeat(1_000_000)
            )),
            Fate::Either(vec![starts(), Fate::unstarted("")]),
        ),
        (
            "giant-type-section",
            core("(type (func (param i32 i64 f32 f64) (result i64)))".repeat(100_000)),
            starts(),
        ),
        (
            "thousand-parameters",
            core(format!("(func (param {}))", "i64 ".repeat(1_001))),
            Fate::Refused(""),
        ),
        (
            "giant-name",
            core(format!("(func (export \"{}\"))", "n".repeat(99_000))),
            starts(),
        ),
        (
            "giant-name-beyond",
            core(format!("(func (export \"{}\"))", "n".repeat(1_000_000))),
            Fate::Refused(""),
        ),
        (
            "giant-name-of-an-import",
            harmless_with(&format!("(import \"{}\" (instance))", "n".repeat(90_000))),
            Fate::Refused(""),
        ),
        (
            "ten-thousand-imports",
            harmless_with(
                &(0..10_000)
                    .map(|n| format!("(import \"i{n}\" (func))"))
                    .collect::<String>(),
            ),
            Fate::Refused(""),
        ),
        (
            "nested-components",
            nested(90),
            Fate::Either(vec![starts(), Fate::Refused("")]),
        ),
        ("deep-types", deep_types(5_000), Fate::Refused("")),
        (
            "compile-for-long",
            core(large_functions(60)),
            Fate::Either(vec![starts(), Fate::unstarted("compiling it takes")]),
        ),
    ];
    rows.into_iter()
        .map(|(name, text, fate)| {
            Attack::new(name, move |arena| {
                let component = wat::parse_str(&text)?;
                fate.check(&run(arena, "lab/bomb", &component)?)
            })
        })
        .collect()
}

/// One that grows its memory by so many pages, and traps if it cannot.
fn grown(fields: &str, pages: u32) -> String {
    let grow =
        format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable)) i32.const 1024");
    with_core(&format!("{fields} {}", call(&grow)))
}

/// So many more of what a core module has, few to a module; of instances, where it has nothing.
fn many(field: &str, count: usize) -> String {
    if field.is_empty() {
        return harmless_with(&format!(
            "(core module $e) {}",
            "(core instance (instantiate $e))".repeat(count)
        ));
    }
    let mut parts = String::new();
    for n in 0..count.div_ceil(50) {
        let here = 50.min(count - 50 * n);
        parts += &format!(
            "(core module $p{n} {}) (core instance (instantiate $p{n}))",
            field.repeat(here)
        );
    }
    harmless_with(&parts)
}

/// Each component instantiates the one before twice.
fn doubling(levels: u32) -> String {
    let mut parts = String::from("(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))\n");
    for level in 1..=levels {
        let before = level - 1;
        parts += &format!(
            "(component $c{level} (alias outer 1 $c{before} (component $c)) (instance (instantiate $c)) (instance (instantiate $c)))\n"
        );
    }
    harmless_with(&format!("{parts} (instance (instantiate $c{levels}))"))
}

/// Each type has the one before twice.
fn doubling_types(levels: u32) -> String {
    let mut parts = String::from("(type $d0 (tuple u8 u8))\n");
    for level in 1..=levels {
        let before = level - 1;
        parts += &format!("(type $d{level} (tuple $d{before} $d{before}))\n");
    }
    // Nobody uses it, and it is checked all the same.
    harmless_with(&format!("{parts} (type (func (param \"x\" (list $d{levels}))))"))
}

fn deep_types(levels: u32) -> String {
    let mut parts = String::from("(type $d0 (list u8))\n");
    for level in 1..=levels {
        parts += &format!("(type $d{level} (list $d{}))\n", level - 1);
    }
    harmless_with(&parts)
}

fn nested(levels: usize) -> String {
    harmless_with(&format!("{}{}", "(component ".repeat(levels), ")".repeat(levels)))
}

/// Code that optimisers take long for: many values that live for long.
fn large_functions(functions: usize) -> String {
    let mut body = String::new();
    for n in 0..2_000 {
        body += &format!(
            "(local.set {} (i64.mul (local.get {}) (i64.add (local.get {}) (local.get {}))))",
            n % 100,
            (n * 7 + 1) % 100,
            (n * 13 + 5) % 100,
            (n * 31 + 9) % 100
        );
    }
    format!("(func (local {}) {body})", "i64 ".repeat(100)).repeat(functions)
}
