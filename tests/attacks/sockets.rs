//! Requests and responses that nobody reads or finishes.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};
use crate::support::wire::{Came, Wire};

/// The connection is closed, without an answer.
const CLOSED: u16 = 0;

pub(crate) fn all() -> Vec<Attack> {
    // How it responds, and what the client must see: a status, or the end.
    let rows: [(&str, &[u16]); 10] = [
        ("never", &[500]),
        ("unfinished", &[200]),
        ("broken-off", &[CLOSED, 200]),
        ("unread", &[200]),
        ("trap-after-head", &[200, 500]),
        ("headers", &[429]),
        ("big-header", &[200, 429, 500]),
        ("split-header", &[500]),
        ("status", &[500]),
        ("encoding", &[200, 500]),
    ];
    let mut all: Vec<_> = rows
        .into_iter()
        .map(|(how, statuses)| Attack::new(how, move |arena| respond(arena, how, statuses)))
        .collect();
    all.extend([
        Attack::new("length-that-is-a-lie", |arena| respond(arena, "length", &[200, 500])),
        Attack::new("endless-and-never-read", endless),
        Attack::new("a-hundred-heads-that-never-end", half_heads),
        Attack::new("bodies-that-never-end", half_bodies),
        Attack::new("unread-body-of-many-megabytes", |arena| {
            let on = program(arena, "large-unread", "unread")?;
            let mut wire = Wire::tcp(&arena.url)?;
            wire.send(format!(
                "POST /o/{on}/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n"
            ))?;
            // It takes what fits into the pipe, and no more.
            let mut sent = 0_u64;
            wire.0.set_write_timeout(Some(Duration::from_millis(500)))?;
            while sent < 512 << 20 {
                match wire.send(vec![7; 1 << 20]) {
                    Ok(()) => sent += 1 << 20,
                    Err(_) => break,
                }
            }
            ensure!(
                sent < 256 << 20,
                "{} MiB went into a body that nobody reads",
                sent >> 20
            );
            Ok(())
        }),
    ]);
    all
}

fn program(arena: &Arena, name: &str, how: &str) -> Result<String> {
    let on = object(name);
    let answer = arena.rpc(&on, "on_fetch", &json!([{"do": "respond", "how": how}]))?;
    Must::Answer(Value::Null).check(answer)?;
    Ok(on)
}

/// One request, until its answer ends or is broken off; then the facet answers as ever.
fn respond(arena: &Arena, how: &str, statuses: &[u16]) -> Result<()> {
    let on = program(arena, how, how)?;
    let mut wire = Wire::tcp(&arena.url)?;
    wire.send(format!(
        "GET /o/{on}/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    ))?;
    let mut all = Vec::new();
    // What is never finished is not waited for.
    wire.0.set_read_timeout(Some(Duration::from_secs(3)))?;
    match std::io::Read::read_to_end(&mut wire.0, &mut all) {
        Ok(_) => {}
        Err(error) => ensure!(!all.is_empty() || crate::support::wire::is_cut(&error), "{error}"),
    }
    let head = String::from_utf8_lossy(&all);
    let status = match all.is_empty() {
        true => Some(CLOSED),
        false => head.split(' ').nth(1).and_then(|status| status.parse().ok()),
    };
    ensure!(
        status.is_some_and(|status| statuses.contains(&status)),
        "expected a status of {statuses:?}: {:?}",
        head.chars().take(300).collect::<String>()
    );
    ensure!(
        !head.to_lowercase().contains("\r\nset-cookie: stolen"),
        "headers were split: {head}"
    );
    drop(wire);
    Must::Answer(json!("pong")).check(arena.rpc(&on, "ping", &json!([]))?)
}

/// Twenty clients ask for it and read nothing: the pipe is full, and stays as large as it is.
fn endless(arena: &Arena) -> Result<()> {
    let on = program(arena, "endless", "endless")?;
    let wires = (0..20)
        .map(|_| {
            let mut wire = Wire::tcp(&arena.url)?;
            wire.send(format!("GET /o/{on}/ HTTP/1.1\r\nhost: localhost\r\n\r\n"))?;
            Ok(wire)
        })
        .collect::<Result<Vec<_>>>()?;
    arena.control.wait_for_answers(30, Duration::from_secs(20))?;
    drop(wires);
    Ok(())
}

fn half_heads(arena: &Arena) -> Result<()> {
    let mut wires = Vec::new();
    for _ in 0..100 {
        let mut wire = Wire::tcp(&arena.url)?;
        wire.send("GET /o/evil/x/ HTTP/1.1\r\nhost: loc")?;
        wires.push(wire);
    }
    arena.control.wait_for_answers(20, Duration::from_secs(20))?;
    for wire in &mut wires {
        ensure!(
            wire.wait(Duration::from_millis(1))? != Came::Bytes(0),
            "answered half a head"
        );
    }
    Ok(())
}

/// To `/rpc`, where the host reads the body: each holds no more than what has come of it.
fn half_bodies(arena: &Arena) -> Result<()> {
    let mut wires = Vec::new();
    for n in 0..20 {
        let mut wire = Wire::tcp(&arena.url)?;
        wire.send(format!(
            "POST /rpc/{}-{n}/take HTTP/1.1\r\nhost: localhost\r\ncontent-length: 8000000\r\n\r\n[\"",
            object("half")
        ))?;
        wires.push(wire);
    }
    arena.control.wait_for_answers(20, Duration::from_secs(20))
}
