//! `call`, `call.*`, `program`, `stub.*`, `self.stub`, `object.get`: other facets and the stubs that lead to them.
//!
//! No borrow of the puppet's memory is held over a wait: another event may run meanwhile.

use std::time::Duration;

use facetd_sdk::{Payload, Stub, context, objects};
use serde_json::{Value, json};

use crate::op::{Op, Outcome, Stop, invalid};
use crate::{Program, Puppet};

/// What `call` and its kin send: method `run` with the operations as its one argument.
fn program(op: &Op<'_>) -> Outcome<Payload> {
    Ok(Payload::json(&[op.list("ops")?])?)
}

fn arguments(op: &Op<'_>) -> Outcome<Payload> {
    Ok(match op.get("args") {
        Some(args) => Payload::json(args)?,
        None => Payload::json(&json!([]))?,
    })
}

impl Puppet {
    /// The stub to call, with field `timeout_ms` where the operation has one.
    fn callee(&self, op: &Op<'_>, field: &str) -> Outcome<Stub> {
        let stub = self.stub(op.text(field)?)?;
        Ok(match op.optional_number("timeout_ms")? {
            Some(ms) => stub.with_timeout(Duration::from_millis(ms)),
            None => stub,
        })
    }

    fn stub(&self, name: &str) -> Outcome<Stub> {
        self.stubs
            .borrow()
            .get(name)
            .cloned()
            .ok_or_else(|| invalid(format!("no stub is kept as `{name}`")))
    }

    pub(crate) async fn call_run(&self, op: &Op<'_>) -> Outcome {
        let stub = self.callee(op, "stub")?;
        let answer = stub.call_raw("run", program(op)?, Vec::new()).await?;
        Ok(answer.value.value()?)
    }

    /// With `method` it calls that one, as `call.method` does.
    pub(crate) fn call_start(&self, op: &Op<'_>) -> Outcome {
        let (stub, keep) = (self.callee(op, "stub")?, op.text("as")?);
        let pending = match op.optional_text("method")? {
            None => stub.start("run", program(op)?, Vec::new()),
            Some(method) => stub.start(method, arguments(op)?, self.along(op)?),
        };
        self.pending.borrow_mut().insert(keep.to_owned(), pending);
        Ok(Value::Null)
    }

    pub(crate) async fn call_join(&self, op: &Op<'_>) -> Outcome {
        let name = op.text("as")?;
        let pending = self.pending.borrow_mut().remove(name);
        let pending = pending.ok_or_else(|| invalid(format!("no call is kept as `{name}`")))?;
        Ok(pending.await?.value.value()?)
    }

    pub(crate) async fn call_method(&self, op: &Op<'_>) -> Outcome {
        let stub = self.callee(op, "stub")?;
        let answer = stub
            .call_raw(&op.long_text("method")?, arguments(op)?, self.along(op)?)
            .await?;
        Ok(answer.value.value()?)
    }

    /// Sends so many bytes to method `echo`; how many came back.
    pub(crate) async fn call_bytes(&self, op: &Op<'_>) -> Outcome {
        let (stub, bytes) = (self.callee(op, "stub")?, op.number("bytes")?);
        let args = Payload::bytes(vec![0; bytes.try_into().unwrap_or(usize::MAX)]);
        let answer = stub.call_raw("echo", args, Vec::new()).await?;
        Ok(answer.value.body.len().into())
    }

    /// Duplicates of the stubs that go along with the arguments.
    fn along(&self, op: &Op<'_>) -> Outcome<Vec<Stub>> {
        let names = op.optional("stubs", "a list", Value::as_array)?.into_iter().flatten();
        let stub = |name: &Value| {
            let name = name.as_str().ok_or_else(|| invalid("names of stubs are text"))?;
            Ok(self.stub(name)?.dup())
        };
        names.map(stub).collect()
    }

    /// Keeps a list of operations, which method `run` carries out when it is given this name instead of a list.
    pub(crate) fn program(&self, op: &Op<'_>) -> Outcome {
        let program = Program {
            ops: op.list("ops")?.to_vec(),
            results: Value::Null,
        };
        self.programs.borrow_mut().insert(op.text("as")?.to_owned(), program);
        Ok(Value::Null)
    }

    /// What it answered when it ran last; null before.
    pub(crate) fn program_results(&self, op: &Op<'_>) -> Outcome {
        let name = op.text("as")?;
        let programs = self.programs.borrow();
        let program = programs
            .get(name)
            .ok_or_else(|| invalid(format!("no program is kept as `{name}`")))?;
        Ok(program.results.clone())
    }

    /// An unknown name is a list of no operations.
    pub(crate) async fn run_program(&self, name: &str) -> Result<Vec<Value>, Stop> {
        let ops = self.programs.borrow().get(name).map(|program| program.ops.clone());
        let results = self.run(&ops.unwrap_or_default()).await?;
        if let Some(program) = self.programs.borrow_mut().get_mut(name) {
            program.results = results.clone().into();
        }
        Ok(results)
    }

    pub(crate) async fn stub_send(&self, op: &Op<'_>) -> Outcome {
        let (stub, to) = (self.stub(op.text("stub")?)?, self.callee(op, "to")?);
        to.call_raw("keep", Payload::json(&[op.text("as")?])?, vec![stub.dup()])
            .await?;
        Ok(Value::Null)
    }

    /// Has another facet answer with a stub that it keeps as `name`.
    pub(crate) async fn stub_fetch(&self, op: &Op<'_>) -> Outcome {
        let (from, keep) = (self.callee(op, "from")?, op.text("as")?);
        let answer = from
            .call_raw("give", Payload::json(&[op.text("name")?])?, Vec::new())
            .await?;
        let stub = answer.stubs.into_iter().next();
        let stub = stub.ok_or_else(|| invalid("no stub came along"))?;
        self.stubs.borrow_mut().insert(keep.to_owned(), stub);
        Ok(Value::Null)
    }

    pub(crate) fn stub_dup(&self, op: &Op<'_>) -> Outcome {
        let stub = self.stub(op.text("stub")?)?.dup();
        self.stubs.borrow_mut().insert(op.text("as")?.to_owned(), stub);
        Ok(Value::Null)
    }

    pub(crate) fn stub_drop(&self, op: &Op<'_>) -> Outcome {
        let name = op.text("as")?;
        match self.stubs.borrow_mut().remove(name) {
            Some(_) => Ok(Value::Null),
            None => Err(invalid(format!("no stub is kept as `{name}`"))),
        }
    }

    pub(crate) fn self_stub(&self, op: &Op<'_>) -> Outcome {
        let badge = op.get("badge").map(|_| op.long_text("badge")).transpose()?;
        let stub = context::self_stub(&badge.unwrap_or_default());
        self.stubs.borrow_mut().insert(op.text("as")?.to_owned(), stub);
        Ok(Value::Null)
    }

    /// By `name`, or by `id` where that is given.
    pub(crate) fn object_get(&self, op: &Op<'_>) -> Outcome {
        let namespace = op.text("namespace")?;
        let stub = match op.optional_text("id")? {
            Some(id) => objects::by_id(namespace, id)?,
            None => objects::by_name(namespace, &op.long_text("name")?)?,
        };
        self.stubs.borrow_mut().insert(op.text("as")?.to_owned(), stub);
        Ok(Value::Null)
    }
}
