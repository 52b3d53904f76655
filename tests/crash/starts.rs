//! A start after a crash looks at what the journal names and at nothing else, says how far it is to whoever asks, and loses no
//! alarm (S22), whatever has become of the index of alarms.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::identity;
use crate::support::process::Process;
use crate::support::wire::Wire;
use crate::{config, object_file, run_in_child};

/// Long enough for a host to be killed before.
const SOON_MS: u64 = 4_000;
/// For alarms that are due.
const RINGS: Duration = Duration::from_secs(60);
/// Far less than a start takes that waits for somebody.
const HANGS: Duration = Duration::from_secs(30);

fn put(client: &Client, url: &str, object: &str, value: &str) -> Result<()> {
    let ops = json!([{"op": "kv.put", "key": "k", "value": value}]);
    ensure!(client.run(url, object, &ops)?.is_ok());
    Ok(())
}

fn get(client: &Client, url: &str, object: &str) -> Result<Value> {
    let ops = json!([{"op": "kv.get", "key": "k"}]);
    let results = client.run(url, object, &ops)?;
    let results = results.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    Ok(results[0]["ok"].clone())
}

/// Whoever opens a FIFO to read from it waits for ever.
#[test]
fn what_the_journal_does_not_name_is_not_opened() -> Result<()> {
    let mut host = Host::new(&config())?;
    let client = Client::new();
    let url = host.url()?;
    for object in ["t/idle", "t/busy"] {
        put(&client, &url, object, "old")?;
    }
    host.stop()?;
    let url = host.url()?;
    put(&client, &url, "t/busy", "new")?;
    host.kill()?;
    let id = identity::object_id("t", "idle");
    for suffix in [".sqlite", ".facets"] {
        let path = object_file(&host, &id, suffix)?;
        fs::remove_file(&path)?;
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    }
    let begun = Instant::now();
    let mut command = host.serve_command();
    let mut process = Process::spawn(command.stdout(std::process::Stdio::piped()))?;
    let stdout = process.child().stdout.take().context("stdout was piped")?;
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::BufRead as _;
        let lines = std::io::BufReader::new(stdout).lines().map_while(Result::ok);
        lines.for_each(|line| drop(tell.send(line)));
    });
    let line = told
        .recv_timeout(HANGS)
        .context("the start waits for a file that the journal does not name")?;
    let url = line
        .strip_prefix(crate::support::host::SERVING)
        .context(line.clone())?
        .trim()
        .to_owned();
    println!("served after {:?}", begun.elapsed());
    ensure!(get(&client, &url, "t/busy")? == json!("new"));
    process.kill()
}

/// An alarm whose handler writes down that it has rung.
fn program(in_ms: u64) -> Value {
    json!([
        {"op": "alarm.program", "ops": [{"op": "kv.put", "key": "k", "value": "rung"}]},
        {"op": "alarm.set", "in_ms": in_ms},
    ])
}

fn rings(client: &Client, url: &str, object: &str) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < RINGS {
        if get(client, url, object)? == json!("rung") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the alarm of {object} has not rung")
}

/// What has become of the index of alarms when the host is started again.
#[derive(Clone, Copy, Debug)]
enum Index {
    Kept,
    Lost,
    Older,
    Damaged,
}

fn index_files(data: &Path) -> [std::path::PathBuf; 2] {
    [data.join("t/alarms.sqlite"), data.join("t/alarms.sqlite-wal")]
}

fn alarms_ring(index: Index) -> Result<()> {
    let mut host = Host::new(&config())?;
    let client = Client::new();
    let url = host.url()?;
    // In the databases and the index, and in no journal.
    ensure!(client.run(&url, "t/stopped", &program(SOON_MS))?.is_ok());
    ensure!(client.run(&url, "t/undone", &program(SOON_MS))?.is_ok());
    host.stop()?;
    let files = index_files(&host.data());
    let older = files[0].with_extension("older");
    fs::copy(&files[0], &older)?;
    let url = host.url()?;
    // In the journal; deleted, set again, and one of a child.
    ensure!(client.run(&url, "t/journal", &program(SOON_MS))?.is_ok());
    ensure!(client.run(&url, "t/undone", &json!([{"op": "alarm.delete"}]))?.is_ok());
    ensure!(client.run(&url, "t/again", &program(3_600_000))?.is_ok());
    ensure!(
        client
            .run(&url, "t/again", &json!([{"op": "alarm.set", "in_ms": SOON_MS}]))?
            .is_ok()
    );
    ensure!(run_in_child(&client, &url, "t/parent", "a", program(SOON_MS))?.is_ok());
    host.kill()?;
    match index {
        Index::Kept => {}
        Index::Lost => {
            for file in files.iter().filter(|file| file.exists()) {
                fs::remove_file(file)?;
            }
        }
        Index::Older => {
            drop(fs::remove_file(&files[1]));
            fs::copy(&older, &files[0])?;
        }
        Index::Damaged => fs::write(&files[0], "no database at all")?,
    }
    let url = host.url()?;
    std::thread::sleep(Duration::from_millis(SOON_MS));
    for object in ["t/stopped", "t/journal", "t/again"] {
        rings(&client, &url, object)?;
    }
    let asked = || run_in_child(&client, &url, "t/parent", "a", json!([{"op": "kv.get", "key": "k"}]));
    let begun = Instant::now();
    while !matches!(&asked()?, Ok(results) if results[0]["ok"] == "rung") {
        ensure!(begun.elapsed() < RINGS, "a child's alarm has not rung");
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(
        get(&client, &url, "t/undone")? == Value::Null,
        "an alarm that was deleted has rung"
    );
    host.stop()?;
    let data = host.data();
    let checked = crate::support::cli::facetd(&["check", "--data", data.to_str().unwrap_or_default()])?;
    ensure!(checked.status.success(), "{index:?}: {checked:?}");
    Ok(())
}

#[test]
fn alarms_ring_after_a_kill() -> Result<()> {
    alarms_ring(Index::Kept)
}

#[test]
fn alarms_ring_if_their_index_is_lost() -> Result<()> {
    alarms_ring(Index::Lost)
}

#[test]
fn alarms_ring_if_their_index_is_older() -> Result<()> {
    alarms_ring(Index::Older)
}

#[test]
fn alarms_ring_if_their_index_is_damaged() -> Result<()> {
    alarms_ring(Index::Damaged)
}

#[test]
fn who_asks_while_it_recovers_hears_how_far_it_is() -> Result<()> {
    let mut host = Host::new(&config())?;
    let client = Client::new();
    let url = host.url()?;
    put(&client, &url, "t/busy", "new")?;
    host.kill()?;
    let mut command: Command = host.serve_command();
    command.env("FACETD_TEST_SYNC_DELAY_MS", "1500");
    let mut process = Process::spawn(command.stdout(std::process::Stdio::null()))?;
    let socket = host.admin_socket();
    let begun = Instant::now();
    let mut heard = Vec::new();
    loop {
        ensure!(begun.elapsed() < HANGS, "it does not become ready: {heard:?}");
        let Ok(mut wire) = Wire::unix(&socket) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let health = wire.get("/healthz", &[])?;
        let body = String::from_utf8_lossy(&health.body).into_owned();
        if health.status == 200 {
            break;
        }
        ensure!(health.status == 503, "{}: {body}", health.status);
        heard.push(body);
        let other = Wire::unix(&socket)?.get("/admin/classes", &[])?;
        if other.status == 503 {
            let body: Value = serde_json::from_slice(&other.body)?;
            ensure!(body["error"]["kind"] == "unavailable", "{body}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(heard.iter().any(|text| text.contains("recovering")), "{heard:?}");
    process.kill()?;
    let url = host.url()?;
    ensure!(get(&client, &url, "t/busy")? == json!("new"));
    host.stop()
}
