//! What is too large, or too much at a time, is refused by name, and the next client is served.

use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::support::client::Client;
use crate::support::wire::{LIMIT, Wire, is_cut};
use crate::{open_site, refused};

#[test]
fn heads_have_a_size_and_a_number_of_headers() -> Result<()> {
    let mut site = open_site("")?;
    let url = site.host.url()?;
    let status = |head: &str| -> Result<u16> {
        let mut wire = Wire::tcp(&url)?;
        wire.send(format!("{head}\r\n\r\n"))?;
        Ok(wire.response()?.status)
    };
    // To the byte: the line, the host, one header, the end.
    let sized = |bytes: usize| {
        let begin = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ";
        begin.to_owned() + &"a".repeat(bytes - begin.len() - 4)
    };
    ensure!(status(&sized(16 << 10))? == 200, "16 KiB are allowed");
    ensure!(status(&sized((16 << 10) + 1))? == 431, "more than 16 KiB");
    ensure!(status(&sized(60 << 10))? == 431, "60 KiB");
    let many = |count: usize| "GET /healthz HTTP/1.1\r\nhost: localhost".to_owned() + &"\r\nx: y".repeat(count - 1);
    ensure!(status(&many(100))? == 200, "100 headers are allowed");
    ensure!(status(&many(101))? == 431, "101 headers");

    // One that never ends is cut with a word while it comes.
    let mut wire = Wire::tcp(&url)?;
    wire.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n")?;
    let line = format!("x: {}\r\n", "a".repeat(1 << 10));
    let begun = Instant::now();
    loop {
        ensure!(begun.elapsed() < LIMIT, "a head without end is taken");
        if wire.send(&line).is_err() {
            break;
        }
    }

    let path = |bytes: usize| format!("/o/n/x/{}", "a".repeat(bytes - "/o/n/x/".len()));
    ensure!(
        Wire::tcp(&url)?.get(&path(8 << 10), &[])?.status == 404,
        "8 KiB are allowed"
    );
    refused(&Wire::tcp(&url)?.get(&path((8 << 10) + 1), &[])?, 429, "limit", "uri")?;
    site.host.stop()
}

#[test]
fn bodies_have_a_size_and_nobody_waits_for_more() -> Result<()> {
    let mut site = open_site("")?;
    let url = site.host.url()?;
    for bytes in [(8 << 20) - 1, 8 << 20] {
        let body = [vec![b' '; bytes - 4], b"[[]]".to_vec()].concat();
        let response = Wire::tcp(&url)?.request("POST", "/rpc/n/x/run", &[], &body)?;
        ensure!(response.status == 200, "{bytes} bytes: {}", response.status);
    }
    let mut wire = Wire::tcp(&url)?;
    // Said before: not a byte of it is waited for.
    wire.send("POST /rpc/n/x/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 8388609\r\n\r\n")?;
    refused(&wire.response()?, 429, "limit", "payload")?;
    // Not said before.
    let mut wire = Wire::tcp(&url)?;
    wire.send("POST /rpc/n/x/run HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")?;
    let piece = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..9 {
        if wire.send(&piece).is_err() {
            break;
        }
    }
    refused(&wire.response()?, 429, "limit", "payload")?;
    site.host.stop()
}

#[test]
fn bodies_of_a_namespace_share_a_number_of_bytes() -> Result<()> {
    let mut site = open_site("http.namespace_bodies_mib_max = 8")?;
    let (tell, told) = channel();
    site.host.watch_log(tell);
    let url = site.host.url()?;
    let args = |bytes: usize, ops: &str| {
        let rest = format!("[[{ops}]]");
        let head = "POST /rpc/n/x/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: ";
        let spaces = vec![b' '; bytes - rest.len()];
        [
            head.as_bytes(),
            format!("{bytes}\r\n\r\n").as_bytes(),
            &spaces,
            rest.as_bytes(),
        ]
        .concat()
    };
    // Arguments are kept until the call is answered.
    let mut held = Wire::tcp(&url)?;
    let ops = r#"{"op": "log", "message": "all came"}, {"op": "sleep", "ms": 600000}"#;
    held.send(args(7 << 20, ops))?;
    let ends = Instant::now() + LIMIT;
    loop {
        let (_, line) = told.recv_timeout(ends.saturating_duration_since(Instant::now()))?;
        if line.contains("all came") {
            break;
        }
    }
    let ask = |bytes: usize| -> Result<_> {
        let mut wire = Wire::tcp(&url)?;
        // It may be answered, and closed, before all is sent.
        let _ = wire.send(args(bytes, ""));
        Ok(wire.response())
    };
    refused(&ask((1 << 20) + 1)??, 429, "limit", "bodies")?;
    ensure!(ask(1 << 10)??.status == 200, "there is room for less");
    drop(held);
    // Until the host knows that nobody waits for that answer any more.
    let begun = Instant::now();
    while ask(2 << 20)?.map_or(0, |response| response.status) != 200 {
        ensure!(
            begun.elapsed() < LIMIT,
            "arguments of a client that has gone are kept for ever"
        );
    }
    site.host.stop()
}

#[test]
fn a_namespace_takes_so_many_requests_at_a_time() -> Result<()> {
    let mut site = open_site("http.namespace_requests_max = 2")?;
    let url = site.host.url()?;
    let program = json!([{"op": "http.program", "stream": [["write", "begun"], ["sleep", 600_000]]}]);
    let made = Client::new().run(&url, "n/x", &program)?;
    ensure!(made.is_ok(), "{made:?}");
    let begin = || -> Result<_> {
        let mut wire = Wire::tcp(&url)?;
        wire.send("GET /o/n/x/ HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        // Its answer has begun, and goes on.
        let came = wire.wait(LIMIT)?;
        Ok((wire, came))
    };
    let held = [begin()?, begin()?];
    refused(&Wire::tcp(&url)?.get("/o/n/x/", &[])?, 429, "limit", "requests")?;
    refused(
        &Wire::tcp(&url)?.request("POST", "/rpc/n/x/run", &[], b"[[]]")?,
        429,
        "limit",
        "requests",
    )?;
    ensure!(Wire::tcp(&url)?.get("/healthz", &[])?.status == 200, "the host answers");
    drop(held);
    let begun = Instant::now();
    while Wire::tcp(&url)?.request("POST", "/rpc/n/x/run", &[], b"[[]]")?.status != 200 {
        ensure!(
            begun.elapsed() < LIMIT,
            "requests of clients that have gone count for ever"
        );
    }
    site.host.stop()
}

/// A connection that is served, or none if it was closed at once.
fn served(url: &str) -> Result<Option<Wire<TcpStream>>> {
    // It may be closed before it is used at all.
    let health = Wire::tcp(url).and_then(|mut wire| Ok((wire.get("/healthz", &[])?, wire)));
    Ok(match health {
        Ok((health, wire)) => {
            ensure!(health.status == 200, "{}", health.status);
            Some(wire)
        }
        Err(error) => {
            let cut = error.downcast_ref::<std::io::Error>().is_none_or(is_cut);
            ensure!(cut, "{error:#}");
            None
        }
    })
}

#[test]
fn so_many_connections_are_served_at_a_time_and_of_one_peer() -> Result<()> {
    for (setting, said) in [
        ("http.connections_max = 3", "connections_max"),
        ("http.connections_per_peer_max = 3", "connections_per_peer_max"),
    ] {
        let mut site = open_site(setting)?;
        let url = site.host.url()?;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.extend(served(&url)?);
        }
        ensure!(held.len() == 3, "{setting}: only {} are served", held.len());
        for _ in 0..5 {
            ensure!(served(&url)?.is_none(), "{setting}: a fourth is served");
        }
        let operator = site.host.admin("/admin/classes")?;
        ensure!(operator.status == 200, "{setting}: the operator is shut out");
        // Those who are in stay in, and make place when they go.
        ensure!(held[0].get("/healthz", &[])?.status == 200);
        held.pop();
        let begun = Instant::now();
        while served(&url)?.is_none() {
            ensure!(begun.elapsed() < LIMIT, "{setting}: a place is not given back");
        }
        drop(held);
        site.host.stop()?;
        let log = site.host.whole_log();
        ensure!(log.contains(said), "the operator is not told of {said}: {log}");
    }
    Ok(())
}

#[test]
fn a_stop_finishes_what_is_under_way_and_closes_the_rest() -> Result<()> {
    let mut site = open_site("")?;
    let url = site.host.url()?;
    let mut idle = served(&url)?.ok_or_else(|| anyhow::anyhow!("it was closed"))?;
    site.host.stop()?;
    ensure!(idle.is_closed()?, "a byte for nothing");
    Ok(())
}
