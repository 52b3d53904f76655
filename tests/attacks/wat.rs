//! Components by hand.

use anyhow::Result;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Must, told_as_answer};

/// Types of the contract that the handler has.
const TYPES: &str = r#"
  (type $types (instance
    (export "stub" (type $stub (sub resource)))
    (type $format' (enum "bytes" "json" "cbor"))
    (export "format" (type $format (eq $format')))
    (type $body (list u8))
    (type $payload' (record (field "format" $format) (field "body" $body)))
    (export "payload" (type $payload (eq $payload')))
    (type $detail (option $payload))
    (type $failure' (record (field "code" string) (field "message" string) (field "detail" $detail)))
    (export "failure" (type $failure (eq $failure')))
    (type $own (own $stub))
    (type $stubs (list $own))
    (type $answer' (record (field "value" $payload) (field "stubs" $stubs)))
    (export "answer" (type $answer (eq $answer')))
  ))
  (import "facetd:runtime/types@0.1.0" (instance $t (type $types)))
  (alias export $t "stub" (type $stub))
  (alias export $t "payload" (type $payload))
  (alias export $t "failure" (type $failure))
  (alias export $t "answer" (type $answer))
  (type $stubs (list (own $stub)))
"#;

/// A core module whose `call` answers no bytes, which is an empty answer.
pub(crate) const HARMLESS: &str = r#"
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
    (func (export "call") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 1024))
  (core instance $i (instantiate $m))
"#;

/// The handler, lifted from an instance `$i`.
const HANDLER: &str = r#"
  (func $call
    (param "method" string) (param "args" $payload) (param "stubs" $stubs) (param "badge" string)
    (result (result $answer (error $failure)))
    (canon lift (core func $i "call") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (instance $handler (export "call" (func $call)))
  (export "facetd:runtime/blocking-handler@0.1.0" (instance $handler))
"#;

/// A class with a core instance `$i`, and something before its handler.
pub(crate) fn facet(parts: &str) -> String {
    format!("(component {TYPES} {parts} {HANDLER})")
}

/// One that does no harm but in what is added to it.
pub(crate) fn harmless_with(parts: &str) -> String {
    facet(&format!("{HARMLESS} {parts}"))
}

/// A class whose core module has more in it, beside an export `call` of the right type.
pub(crate) fn with_core(fields: &str) -> String {
    facet(&format!(
        r#"(core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            {fields})
          (core instance $i (instantiate $m))"#
    ))
}

/// An export `call` with this body.
pub(crate) fn call(body: &str) -> String {
    format!(r#"(func (export "call") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {body})"#)
}

/// With its own handler, whatever that is.
pub(crate) fn with_handler(handler: &str) -> String {
    format!("(component {TYPES} {HARMLESS} {handler})")
}

/// What becomes of a component.
#[derive(Clone)]
pub(crate) enum Fate {
    /// Refused when it is uploaded, with a word of the reason.
    Refused(&'static str),
    /// It is a class, and this comes of a call to a facet that runs it.
    Called(Must),
    /// Any of these.
    Either(Vec<Fate>),
    /// An error of any kind, or an answer: only that the host lives matters.
    Whatever,
}

impl Fate {
    /// It is a class, but it does not start.
    pub(crate) fn unstarted(word: &'static str) -> Self {
        Self::Called(Must::Say("broken", "start", "not-applied", word))
    }

    pub(crate) fn check(&self, told: &Value) -> Result<()> {
        anyhow::ensure!(self.holds(told)?, "not what should have come of it: {told}");
        Ok(())
    }

    fn holds(&self, told: &Value) -> Result<bool> {
        let upload = &told["upload"]["err"];
        let says = |word: &str| {
            upload["message"]
                .as_str()
                .is_some_and(|said| said.contains(word) && said.len() < 5_000)
        };
        Ok(match self {
            Self::Refused(word) => upload["kind"] == "invalid-argument" && upload["code"] == "component" && says(word),
            Self::Called(must) => {
                upload.is_null()
                    && told.get("call").is_some()
                    && must.check(told_as_answer(told["call"].clone())?).is_ok()
            }
            Self::Either(all) => {
                for fate in all {
                    if fate.holds(told)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::Whatever => !upload.is_null() || told.get("call").is_some(),
        })
    }
}

/// Uploads it, and calls a child that runs it.
pub(crate) fn run(arena: &Arena, on: &str, component: &[u8]) -> Result<Value> {
    let component = base64::engine::general_purpose::STANDARD.encode(component);
    let told = arena.rpc(on, "run", &json!([{"$b64": component}]))?;
    told.map_err(|failure| anyhow::anyhow!("who uploaded it: {failure:?}"))
}
