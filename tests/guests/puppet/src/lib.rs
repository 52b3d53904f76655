//! A facet that does what it is told: method `run` takes a list of operations and answers a list of results, one for each,
//! whatever the ones before it answered. Conformance cases drive it; `tests/conformance` says what each operation does.
//!
//! It is written on the raw `Facet` trait, because its arguments are data rather than types.

mod alarm;
mod calls;
#[cfg(feature = "egress")]
mod egress_ops;
mod http_ops;
mod op;
mod outbound;
mod run;
mod self_ops;
mod sql_ops;
mod store;
mod tree;

use std::cell::RefCell;
use std::collections::BTreeMap;

use facetd_sdk::alarms::Alarm;
use facetd_sdk::bindings::facetd::runtime::sql::Cursor;
use facetd_sdk::classes::Class;
use facetd_sdk::storage::Transaction;
use facetd_sdk::{Answer, Error, Facet, Payload, Pending, Result, Stub, http, kv, no_such_method};
use serde_json::Value;

use crate::op::Stop;

facetd_sdk::export!(Puppet, alarm, outbound);

/// Key of the operations that run at every start.
const START_PROGRAM: &str = "program.start";
/// Key of the operations that the alarm handler runs.
const ALARM_PROGRAM: &str = "program.alarm";
/// Key of the number of its runs, text.
const ALARM_COUNT: &str = "alarms";
/// Key of what is done with requests of children.
const OUTBOUND_PROGRAM: &str = "program.outbound";
/// Key of the HTTP response.
const HTTP_PROGRAM: &str = "program.http";

/// What the operations keep under a name (`as`). Lost when the isolate ends.
#[derive(Default)]
struct Puppet {
    stubs: RefCell<BTreeMap<String, Stub>>,
    pending: RefCell<BTreeMap<String, Pending>>,
    classes: RefCell<BTreeMap<String, Class>>,
    /// Those without a name; the last is the innermost.
    transactions: RefCell<Vec<Transaction>>,
    named_transactions: RefCell<BTreeMap<String, Transaction>>,
    cursors: RefCell<BTreeMap<String, Cursor>>,
    numbers: RefCell<BTreeMap<String, i64>>,
    programs: RefCell<BTreeMap<String, Program>>,
}

/// A list of operations under a name, for callers that can only send a word, and what it answered last.
#[derive(Default)]
struct Program {
    ops: Vec<Value>,
    results: Value,
}

impl Facet for Puppet {
    async fn start() -> Result<Self> {
        // Other bytes, the same behaviour.
        #[cfg(feature = "second")]
        facetd_sdk::log::trace("puppet2");

        let puppet = Puppet::default();
        if let Some(program) = kv::get::<Vec<Value>>(START_PROGRAM)? {
            puppet.run(&program).await.map_err(thrown)?;
        }
        Ok(puppet)
    }

    async fn call(&self, method: &str, args: Payload, stubs: Vec<Stub>) -> Result<Answer> {
        match method {
            "run" => match word(&args)? {
                Some(name) => Answer::json(&self.run_program(&name).await.map_err(thrown)?),
                None => Answer::json(&self.run(&operations(&args)?).await.map_err(thrown)?),
            },
            // The other end of `stub.send`: keeps the stub that came along.
            "keep" => {
                let [name] = args.decode::<[String; 1]>()?;
                let stub = stubs
                    .into_iter()
                    .next()
                    .ok_or_else(|| Error::msg("no stub came along"))?;
                self.stubs.borrow_mut().insert(name, stub);
                Answer::json(&())
            }
            // The other end of `stub.fetch`: a duplicate comes along with the answer.
            "give" => {
                let [name] = args.decode::<[String; 1]>()?;
                let stub = self.stubs.borrow().get(&name).map(Stub::dup);
                let stub = stub.ok_or_else(|| Error::new("no-stub", format!("no stub is kept as `{name}`")))?;
                Ok(Answer {
                    stubs: vec![stub],
                    ..Answer::json(&name)?
                })
            }
            // Answers its arguments, whatever they are.
            "echo" => Ok(Answer { value: args, stubs }),
            _ => Err(no_such_method(method, &["run", "keep", "give", "echo"])),
        }
    }

    async fn alarm(&self, alarm: Alarm) -> Result<()> {
        self.run_alarm(alarm).await
    }

    async fn outbound(&self, child: String, request: http::Request) -> Result<http::Response> {
        self.run_outbound(child, request).await
    }

    async fn fetch(&self, request: http::Request) -> Result<http::Response> {
        match kv::get::<Value>(HTTP_PROGRAM)? {
            Some(program) => http_ops::answer(&program, request).await,
            None => Ok(http::Response::text(404, "no http.program\n")),
        }
    }
}

/// `run` takes one argument, the list of operations; the operations themselves as arguments will do, too.
fn operations(args: &Payload) -> Result<Vec<Value>> {
    match args.value()? {
        Value::Array(mut args) => match args.first_mut() {
            Some(Value::Array(ops)) => Ok(std::mem::take(ops)),
            _ => Ok(args),
        },
        _ => Err(Error::new("bad-arguments", "run takes a list of operations")),
    }
}

/// The name of a program, where `run` has got one instead of a list.
fn word(args: &Payload) -> Result<Option<String>> {
    Ok(match args.value()? {
        Value::Array(args) => args.first().and_then(Value::as_str).map(str::to_owned),
        _ => None,
    })
}

/// How the operation `throw` leaves the call.
fn thrown(stop: Stop) -> Error {
    Error::new("thrown", stop.0)
}
