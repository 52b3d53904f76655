//! What a facet does to itself: memory, time, CPU, its end, its programs.

use std::hint::black_box;
use std::time::Duration;

use facetd_sdk::context::FacetId;
use facetd_sdk::{clock, context, json, kv, log, random, timers};
use serde_json::{Value, json};

use crate::op::{Op, Outcome, Stop, invalid};
use crate::{Puppet, START_PROGRAM};

impl Puppet {
    /// A text may be repeated, for answers at their limit.
    pub(crate) fn echo(&self, op: &Op<'_>) -> Outcome {
        match op.get("value") {
            Some(Value::String(_)) => Ok(op.long_text("value")?.into()),
            _ => Ok(op.value("value")),
        }
    }

    /// So many bytes, which it counts.
    pub(crate) fn random(&self, op: &Op<'_>) -> Outcome {
        Ok(random::bytes(op.number("bytes")?.try_into().unwrap_or(u32::MAX))
            .len()
            .into())
    }

    pub(crate) fn mem_add(&self, op: &Op<'_>) -> Outcome {
        let mut numbers = self.numbers.borrow_mut();
        let number = numbers.entry(op.text("key")?.to_owned()).or_default();
        *number = number.wrapping_add(op.integer("by")?);
        Ok(json::to_value(number)?)
    }

    pub(crate) fn mem_get(&self, op: &Op<'_>) -> Outcome {
        Ok(json::to_value(
            &self.numbers.borrow().get(op.text("key")?).copied().unwrap_or(0),
        )?)
    }

    /// Waits until a number is at least that, for another event of this facet to get there.
    pub(crate) async fn mem_wait(&self, op: &Op<'_>) -> Outcome {
        let (key, least) = (op.text("key")?, op.integer("least")?);
        while self.numbers.borrow().get(key).copied().unwrap_or(0) < least {
            timers::sleep(Duration::from_millis(1)).await;
        }
        Ok(Value::Null)
    }

    pub(crate) fn context(&self) -> Outcome {
        let id = match context::id() {
            FacetId::Object(id) | FacetId::Text(id) => id,
        };
        Ok(json!({
            "id": id,
            "path": context::path().join("/"),
            "props": context::props::<Value>()?,
            "class": context::class_digest(),
            "badge": context::badge(),
        }))
    }

    pub(crate) fn usage(&self) -> Outcome {
        Ok(json::to_value(&context::usage()?)?)
    }

    pub(crate) fn start_program(&self, op: &Op<'_>) -> Outcome {
        kv::put(START_PROGRAM, op.list("ops")?)?;
        Ok(Value::Null)
    }

    pub(crate) async fn sleep(&self, op: &Op<'_>) -> Outcome {
        timers::sleep(Duration::from_millis(op.number("ms")?)).await;
        Ok(Value::Null)
    }

    pub(crate) fn spin(&self, op: &Op<'_>) -> Outcome {
        let time = Duration::from_millis(op.number("ms")?);
        let end = clock::monotonic() + time;
        // For ever means without a call to the host in the loop, so that only interruption ends it.
        while time.is_zero() || clock::monotonic() < end {
            for i in 0..100_000 {
                black_box(i);
            }
        }
        Ok(Value::Null)
    }

    /// Memory that was touched; freed afterwards, though a component's memory never shrinks.
    pub(crate) fn alloc(&self, op: &Op<'_>) -> Outcome {
        let bytes = op
            .number("mib")?
            .checked_mul(1 << 20)
            .and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| invalid("more than the address space"))?;
        black_box(vec![1u8; bytes]);
        Ok(Value::Null)
    }

    pub(crate) fn trap(&self) -> Outcome {
        panic!("told to trap")
    }

    pub(crate) fn throw(&self, op: &Op<'_>) -> Outcome {
        let message = op.get("message").map(|_| op.long_text("message")).transpose()?;
        Err(Stop(message.unwrap_or_default()).into())
    }

    pub(crate) fn abort_self(&self, op: &Op<'_>) -> Outcome {
        context::abort_self(op.optional_text("reason")?.unwrap_or_default())
    }

    /// With `drop` the gate is dropped unopened after the operations.
    pub(crate) async fn block(&self, op: &Op<'_>) -> Outcome {
        let ops = op.list("ops")?;
        let unopened = op.optional("drop", "a bool", Value::as_bool)?.unwrap_or(false);
        let gate = context::block()?;
        let results = self.run(ops).await;
        if unopened {
            drop(gate);
            return Ok(results?.into());
        }
        // Opened before a `throw` goes on, because a gate that is dropped breaks the facet.
        gate.open();
        Ok(results?.into())
    }

    pub(crate) fn log(&self, op: &Op<'_>) -> Outcome {
        log::info(op.long_text("message")?);
        Ok(Value::Null)
    }
}
