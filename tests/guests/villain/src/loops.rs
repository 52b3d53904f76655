//! Deeds that never end, or end the stack or the memory.

use std::hint::black_box;
use std::time::Duration;

use facetd_sdk::{Error, Result, clock, context, kv, random, spawn, sql, storage, timers};
use serde_json::Value;

const PAGE: usize = 64 << 10;

pub(crate) fn spin() -> Result<Value> {
    let mut state = 1_u64;
    loop {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// A buffer as large as there is memory for, which the loop then goes over and over.
fn all_memory() -> Vec<u8> {
    let mut bytes = 16 << 20;
    loop {
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(bytes).is_ok() {
            buffer.resize(bytes, 1);
            return buffer;
        }
        bytes /= 2;
    }
}

pub(crate) fn fill() -> Result<Value> {
    let mut all = all_memory();
    loop {
        black_box(&mut all).fill(7);
    }
}

pub(crate) fn copy() -> Result<Value> {
    let mut all = all_memory();
    let half = all.len() / 2;
    loop {
        black_box(&mut all).copy_within(..half, half / 2);
    }
}

pub(crate) fn ask_for_memory() -> Result<Value> {
    loop {
        black_box(core::arch::wasm32::memory_grow(0, 60_000));
    }
}

pub(crate) fn host(what: &str) -> Result<Value> {
    loop {
        match what {
            "clock" => drop(black_box(clock::now_ms())),
            "random" => drop(black_box(random::bytes(65_536))),
            "kv" => drop(black_box(kv::get_bytes("k")?)),
            "self-stub" => drop(context::self_stub("b")),
            "usage" => drop(black_box(context::usage()?)),
            "transactions" => storage::begin()?.rollback(),
            "cursors" => drop(black_box(sql::stream("SELECT 1", &[])?)),
            _ => return Err(Error::msg(format!("no such function: {what}"))),
        }
    }
}

pub(crate) async fn doze() -> Result<Value> {
    loop {
        timers::sleep(Duration::ZERO).await;
    }
}

pub(crate) async fn tasks() -> Result<Value> {
    loop {
        for _ in 0..100 {
            spawn(timers::sleep(Duration::from_secs(3_600)));
        }
        timers::sleep(Duration::ZERO).await;
    }
}

pub(crate) async fn sleep(ms: u64) -> Result<Value> {
    timers::sleep(Duration::from_millis(ms)).await;
    Ok("slept".into())
}

/// Memory that is touched, so that it is not only asked for.
pub(crate) fn hoard(step: usize) -> Result<Value> {
    let mut kept = Vec::new();
    loop {
        let mut piece = vec![0_u8; step];
        piece.iter_mut().step_by(PAGE / 16).for_each(|byte| *byte = 1);
        kept.push(black_box(piece));
    }
}

pub(crate) async fn hold_memory(bytes: usize, ms: u64) -> Result<Value> {
    let held = black_box(vec![1_u8; bytes]);
    sleep(ms).await?;
    Ok(held.len().into())
}

#[expect(unconditional_recursion, reason = "that is the deed")]
pub(crate) fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 16]);
    recurse(n + 1) + black_box(frame)[3]
}
