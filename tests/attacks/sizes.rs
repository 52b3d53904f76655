//! Things that are too large: each is refused by its own limit, or costs the facet its life, and never more.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};

pub(crate) fn all() -> Vec<Attack> {
    const MIB: usize = 1 << 20;
    let limit = |word| Must::refused("limit", word);
    let trap = || Must::broken("trap");
    let rows: [(&str, usize, Must); 17] = [
        ("name", MIB, Must::refused("invalid-name", "")),
        ("props", MIB, limit("props")),
        ("id", MIB, limit("id")),
        ("method", MIB, limit("method")),
        ("args", 9 * MIB, limit("payload")),
        ("stubs", 2_000, trap()),
        ("badge", MIB, trap()),
        ("reason", MIB, limit("reason")),
        ("key", MIB, limit("key")),
        ("value", 3 * MIB, limit("value")),
        ("sql", MIB, Must::refused("storage", "")),
        ("random", MIB, trap()),
        ("sleep", 0, Must::broken_later("wall")),
        ("names", 0, Must::Answer(json!("done"))),
        ("limit", MIB, Must::refused("invalid-argument", "")),
        ("digest", MIB, Must::refused("invalid-argument", "64 hexadecimal")),
        ("alarm", 0, Must::refused("invalid-argument", "")),
    ];
    let mut all: Vec<_> = rows
        .into_iter()
        .map(|(what, bytes, must)| Attack::deed(what, json!({"do": "big", "what": what, "bytes": bytes}), must))
        .collect();
    all.extend([
        Attack::deed(
            "more-than-a-host-call-takes",
            json!({"do": "big", "what": "key", "bytes": 17 * MIB}),
            Must::Either(vec![trap(), Must::broken("memory")]),
        ),
        Attack::deed(
            "answer",
            json!({"do": "answer", "bytes": 9 * MIB}),
            Must::Fail("limit", "payload", "applied"),
        ),
        Attack::new("error", large_error),
        Attack::deed(
            "abort-self-reason",
            json!({"do": "abort", "bytes": MIB}),
            Must::broken("abort-self"),
        ),
        Attack::deed(
            "log",
            json!({"do": "log", "lines": 100_000, "bytes": 1_000}),
            log_must(),
        ),
        Attack::new("log-is-cut", log_is_cut),
        Attack::new("log-to-the-byte", log_to_the_byte),
        Attack::new("stdout", stdout),
        Attack::new("stdout-lines", stdout_lines),
        Attack::new("arguments-from-outside", |arena| {
            let body = vec![b'a'; 9 << 20];
            let url = format!("{}/rpc/{}/take", arena.url, object("arguments"));
            let response = match arena.client.http("POST", &url, &[], &body) {
                Ok(response) => response,
                // The host answers without reading on, and may be gone before the last byte was written.
                Err(error) => {
                    ensure!(error.is::<ureq::Error>() || error.is::<std::io::Error>(), "{error:#}");
                    return Ok(());
                }
            };
            ensure!(response.status == 429, "{}", response.status);
            Ok(())
        }),
        Attack::new("arguments-deeply-nested", |arena| {
            let body = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
            let url = format!("{}/rpc/{}/do", arena.url, object("nested"));
            let response = arena.client.http("POST", &url, &[], &body)?;
            ensure!(response.status >= 400 && response.status <= 500, "{}", response.status);
            Ok(())
        }),
    ]);
    all
}

fn log_must() -> Must {
    Must::Either(vec![Must::Answer(json!("logged")), Must::broken("cpu")])
}

/// Code and message of a facet's own error are cut.
fn large_error(arena: &Arena) -> Result<()> {
    match arena.villain(&object("error"), &json!({"do": "fail", "bytes": 2 << 20}))? {
        Err(failure) => {
            let longest = failure.code.len().max(failure.message.len());
            ensure!(
                failure.kind == "failed" && longest <= 65 << 10,
                "{longest} bytes of {}",
                failure.kind
            );
            Ok(())
        }
        Ok(answer) => anyhow::bail!("{answer}"),
    }
}

/// Of a flood 64 KiB get through, without its control characters, and a line says that there was more.
fn log_is_cut(arena: &Arena) -> Result<()> {
    let before = arena.log().len();
    log_must().check(arena.villain(
        &object("log-is-cut"),
        &json!({"do": "log", "lines": 500, "bytes": 1_000}),
    )?)?;
    let log = arena.log();
    let new = &log[before..];
    ensure!(new.contains("flood"), "nothing of it was logged");
    ensure!(new.len() < 160 << 10, "{} KiB of log", new.len() >> 10);
    ensure!(
        !new.contains('\u{1b}') && !new.contains('\0'),
        "control characters in the log"
    );
    Ok(())
}

/// 64 KiB in one line get through, one byte more does not; either way the operator is told that there was more.
fn log_to_the_byte(arena: &Arena) -> Result<()> {
    for (bytes, lines, whole) in [
        (65_535, 1, true),
        (65_536, 1, true),
        (65_536, 2, true),
        (65_537, 1, false),
    ] {
        let before = arena.log().len();
        let ops = vec![json!({"op": "log", "message": "e", "message_times": bytes}); lines];
        let answer = arena.rpc("calm/log-to-the-byte", "run", &json!([ops]))?;
        ensure!(answer.is_ok(), "{answer:?}");
        let log = arena.log();
        let new = &log[before..];
        let more = new.contains("the rest is dropped");
        ensure!(new.contains(&"e".repeat(bytes)) == whole, "{bytes} bytes in a line");
        ensure!(more != (whole && lines == 1), "{lines} of {bytes} bytes: {more}");
    }
    Ok(())
}

fn stdout(arena: &Arena) -> Result<()> {
    let before = arena.log().len();
    let text = "flood ".repeat(200_000);
    let answer = arena.rpc("wasi/flood", "say", &json!([text]))?;
    ensure!(
        answer.is_ok() || answer.as_ref().is_err_and(|failure| failure.kind == "broken"),
        "{answer:?}"
    );
    let new = arena.log().len() - before;
    ensure!(new < 160 << 10, "{} KiB of log", new >> 10);
    Ok(())
}

/// A line is logged in pieces of 4,096 bytes, and there is none for its end alone.
fn stdout_lines(arena: &Arena) -> Result<()> {
    for (bytes, pieces) in [(4_095, 1), (4_096, 1), (4_097, 2)] {
        let before = arena.log().len();
        // The guest writes `said: `, the arguments as they came, and the end of the line.
        let text = "w".repeat(bytes - "said: [\"\"]".len());
        let answer = arena.rpc("wasi/lines", "say", &json!([text]))?;
        ensure!(answer.is_ok(), "{answer:?}");
        let log = arena.log();
        let lines: Vec<_> = log[before..].lines().filter(|line| line.contains("wasi/")).collect();
        let first = lines.iter().position(|line| line.contains("said: "));
        let next = lines.iter().position(|line| line.contains("and complained"));
        let found = first.zip(next).map(|(first, next)| next - first);
        ensure!(found == Some(pieces), "{bytes} bytes: {found:?} of {lines:?}");
    }
    Ok(())
}
