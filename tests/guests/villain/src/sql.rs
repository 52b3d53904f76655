//! Deeds against the database.

use std::hint::black_box;
use std::time::Duration;

use facetd_sdk::{Result, kv, sql, timers};
use serde_json::Value;

/// The statement, from so many calls down: the host answers it on what is left of the stack.
pub(crate) fn deep(text: &str, depth: u32) -> Result<Value> {
    let frame = black_box([depth; 64]);
    let answer = match depth {
        0 => sql::query(text, &[]).map(|rows| rows.len().into()),
        _ => deep(text, depth - 1),
    };
    black_box(frame);
    answer
}

pub(crate) fn storm(text: &str) -> Result<Value> {
    loop {
        sql::execute(text, &[])?;
    }
}

pub(crate) async fn write(bytes: usize) -> Result<Value> {
    let value = vec![7; bytes.min(2 << 20)];
    for n in 0_u64.. {
        for part in 0..bytes.div_ceil(value.len()) {
            kv::put_bytes(&format!("{n}-{part}"), &value)?;
        }
        timers::sleep(Duration::ZERO).await;
    }
    Ok(Value::Null)
}
