//! A client that is slow on purpose is cut, each kind of slowness at a limit of its own and not before.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::client::{Client, Response};
use crate::support::wire::{Came, LIMIT, Wire};
use crate::{open_site, refused};

/// How often a dripping client sends a byte.
const DRIP: Duration = Duration::from_millis(20);

/// Sends byte after byte until the other side answers or closes, and says which, and after how long.
fn drip(wire: &mut Wire<std::net::TcpStream>, bytes: impl Iterator<Item = u8>) -> Result<(Came, Duration)> {
    let begun = Instant::now();
    for byte in bytes {
        // A byte that cannot be sent any more is no news: what is read next says why.
        let _ = wire.send([byte]);
        match wire.wait(DRIP)? {
            Came::Nothing => ensure!(begun.elapsed() < LIMIT, "it may drip for ever"),
            came @ (Came::Bytes(_) | Came::End) => return Ok((came, begun.elapsed())),
        }
    }
    anyhow::bail!("all bytes were taken")
}

#[test]
fn a_head_that_drips_is_cut_and_a_pause_may_be_longer() -> Result<()> {
    const HEAD: Duration = Duration::from_millis(300);
    const PAUSE: Duration = Duration::from_millis(900);
    let mut site = open_site("http.head_ms = 300\nhttp.keep_alive_ms = 900")?;
    let url = site.host.url()?;

    // The first request, byte by byte; and nothing at all.
    let begun = Instant::now();
    let endless = || "GET /healthz HTTP/1.1\r\nx-".bytes().chain(std::iter::repeat(b'a'));
    let (came, after) = drip(&mut Wire::tcp(&url)?, endless())?;
    ensure!(came == Came::End && after >= HEAD, "{came:?} after {after:?}");
    let mut silent = Wire::tcp(&url)?;
    ensure!(
        silent.is_closed()? && begun.elapsed() >= HEAD,
        "closed after {:?}",
        begun.elapsed()
    );

    // After an answer: the pause, and then again the head.
    let mut wire = Wire::tcp(&url)?;
    for _ in 0..3 {
        ensure!(wire.get("/healthz", &[])?.status == 200);
    }
    let begun = Instant::now();
    ensure!(wire.is_closed()?, "a byte for nothing");
    ensure!(
        begun.elapsed() >= PAUSE - HEAD,
        "a pause ended like a head, after {:?}",
        begun.elapsed()
    );
    let mut wire = Wire::tcp(&url)?;
    ensure!(wire.get("/healthz", &[])?.status == 200);
    let (came, after) = drip(&mut wire, endless())?;
    ensure!(came == Came::End && after >= HEAD, "{came:?} after {after:?}");
    site.host.stop()
}

#[test]
fn a_body_that_stalls_or_drips_is_answered_and_cut() -> Result<()> {
    let mut site = open_site("http.body_idle_ms = 300\nhttp.rpc_body_ms = 900")?;
    let url = site.host.url()?;
    let head = "POST /rpc/n/x/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n[";

    let begun = Instant::now();
    let mut stalls = Wire::tcp(&url)?;
    stalls.send(head)?;
    refused(&stalls.response()?, 429, "limit", "time")?;
    ensure!(
        begun.elapsed() >= Duration::from_millis(300),
        "too early: {:?}",
        begun.elapsed()
    );
    ensure!(stalls.is_closed()?, "the rest of the body would be the next request");

    let begun = Instant::now();
    let mut drips = Wire::tcp(&url)?;
    drips.send(head)?;
    let (came, _) = drip(&mut drips, std::iter::repeat(b' '))?;
    ensure!(matches!(came, Came::Bytes(_)), "{came:?}: cut without a word");
    ensure!(
        begun.elapsed() >= Duration::from_millis(900),
        "too early: {:?}",
        begun.elapsed()
    );

    // A facet that reads a body which stalls sees it broken off.
    let client = Client::new();
    let made = client.run(&url, "n/x", &json!([{"op": "http.program", "echo": true}]))?;
    ensure!(made.is_ok(), "{made:?}");
    let echoed = |body: &str| -> Result<(Response, Value)> {
        let mut wire = Wire::tcp(&url)?;
        wire.send(format!(
            "POST /o/n/x/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n{body}"
        ))?;
        let response = wire.response()?;
        let echo = serde_json::from_slice(&response.body)?;
        Ok((response, echo))
    };
    let (response, echo) = echoed("whole")?;
    ensure!(
        response.status == 200 && echo["body"] == 5,
        "{}: {echo}",
        response.status
    );
    let (response, echo) = echoed("hal")?;
    ensure!(
        response.status == 200 && echo["error"].is_string(),
        "{}: {echo}",
        response.status
    );
    site.host.stop()
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_cut() -> Result<()> {
    const ANSWERS: usize = 24;
    let mut site = open_site("http.answer_idle_ms = 300")?;
    site.host.set_env("FACETD_LOG", "facetd=debug");
    let (tell, told) = channel();
    site.host.watch_log(tell);
    let url = site.host.url()?;
    // More than what sockets take unread.
    let program = json!([{"op": "http.program", "body": "x".repeat(1 << 20)}]);
    let made = Client::new().run(&url, "n/x", &program)?;
    ensure!(made.is_ok(), "{made:?}");
    let mut wire = Wire::tcp(&url)?;
    wire.send("GET /o/n/x/ HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(ANSWERS))?;
    let ends = Instant::now() + LIMIT;
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        let (_, line) = told.recv_timeout(left).context("it waits for ever")?;
        if line.contains("takes nothing") {
            break;
        }
    }
    site.host.stop()
}
