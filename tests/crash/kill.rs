//! SIGKILL at any moment loses no acknowledged turn and leaves no half of one.
//!
//! `FACETD_CRASH_ROUNDS` sets the number of kills, `FACETD_CRASH_SEED` replays the moments of an earlier run (the order of
//! the clients stays the scheduler's).

use std::collections::HashMap;
use std::env;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::support::client::Client;
use crate::support::host::Host;
use crate::{config, run_in_child};

const ROUNDS: u64 = 12;
const OBJECTS: usize = 3;
const CHILDREN: [&str; 2] = ["left", "right"];
/// Two in each child, so that the turns of one facet and the commits of several meet.
const CLIENTS_PER_CHILD: usize = 2;
/// Acknowledgements in a round before the kill, at most.
const ACKS_MAX: u64 = 150;
/// Between two acknowledgements, whoever gets them; a debug build on a loaded machine is slow, a hanging one never answers.
const ACK_LIMIT: Duration = Duration::from_secs(60);

/// One client's part of one child: its turn n sets two keys to n and inserts row n.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Writer {
    object: usize,
    child: &'static str,
    client: usize,
}

impl Writer {
    fn all() -> impl Iterator<Item = Self> {
        let of_object = |object| CHILDREN.into_iter().map(move |child| (object, child));
        let of_child = |(object, child)| (0..CLIENTS_PER_CHILD).map(move |client| Self { object, child, client });
        (0..OBJECTS).flat_map(of_object).flat_map(of_child)
    }

    fn on(&self) -> String {
        format!("t/crash-{}", self.object)
    }

    fn keys(&self) -> [String; 2] {
        [format!("a{}", self.client), format!("b{}", self.client)]
    }

    /// The table is made by the first turn, so that creating a database is killed as well.
    /// The outer error is a connection that broke, as kills do; the inner one is an answer, which none of these turns may get.
    fn write(&self, client: &Client, url: &str, n: u64) -> Result<Result<(), String>> {
        let [a, b] = self.keys();
        let ops = json!([
            {"op": "sql", "q": "create table if not exists rows(client, n, primary key (client, n))", "params": []},
            {"op": "kv.put", "key": a, "value": n.to_string()},
            {"op": "sql", "q": "insert into rows values (?, ?)", "params": [self.client, n]},
            {"op": "kv.put", "key": b, "value": n.to_string()},
        ]);
        Ok(match run_in_child(client, url, &self.on(), self.child, ops)? {
            Err(failure) => Err(format!("{self:?} could not write {n}: {failure:?}")),
            Ok(results) => match results.iter().find(|result| result.get("ok").is_none()) {
                Some(error) => Err(format!("{self:?} could not write {n}: {error}")),
                None => Ok(()),
            },
        })
    }

    /// The last turn that is there, checked to be there entirely and with all before it.
    fn read(&self, client: &Client, url: &str) -> Result<u64> {
        let [a, b] = self.keys();
        let ops = json!([
            {"op": "kv.get", "key": a},
            {"op": "kv.get", "key": b},
            {"op": "sql", "q": "create table if not exists rows(client, n, primary key (client, n))", "params": []},
            {"op": "sql", "q": "select count(*), coalesce(max(n), 0) from rows where client = ?", "params": [self.client]},
        ]);
        let results = run_in_child(client, url, &self.on(), self.child, ops)?;
        let results = results.map_err(|failure| anyhow::anyhow!("{self:?} cannot be read: {failure:?}"))?;
        let key = |i: usize| match &results[i]["ok"] {
            serde_json::Value::Null => Ok(0),
            text => text
                .as_str()
                .and_then(|t| t.parse().ok())
                .with_context(|| format!("{self:?}: {results:?}")),
        };
        let rows = &results[3]["ok"]["rows"][0];
        let (a, b): (u64, u64) = (key(0)?, key(1)?);
        let whole = rows[0] == a && rows[1] == a && a == b;
        ensure!(
            whole,
            "{self:?} shows a part of a turn: keys {a} and {b}, [rows, last row] {rows}"
        );
        Ok(a)
    }
}

#[test]
fn acknowledged_turns_survive_sigkill() -> Result<()> {
    let rounds = parameter("FACETD_CRASH_ROUNDS")?.unwrap_or(ROUNDS);
    let seed = match parameter("FACETD_CRASH_SEED")? {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64,
    };
    println!("replay the moments of these kills with FACETD_CRASH_SEED={seed} FACETD_CRASH_ROUNDS={rounds}");
    let mut random = Random(seed);
    let mut host = Host::new(&config())?;
    let mut last: HashMap<Writer, u64> = Writer::all().map(|writer| (writer, 0)).collect();
    for round in 0..rounds {
        let result = one_round(&mut host, &mut random, &mut last);
        result.map_err(|error| anyhow::anyhow!("seed {seed}, round {round}: {error:#}\n{}", host.log()))?;
    }
    verify(&mut host, &mut last).with_context(|| host.log())?;
    ensure!(
        last.values().sum::<u64>() >= rounds,
        "hardly anything was written: {last:?}"
    );
    host.stop()
}

/// Verifies what the last kill left, writes on, kills.
fn one_round(host: &mut Host, random: &mut Random, last: &mut HashMap<Writer, u64>) -> Result<()> {
    if random.below(3) == 0 {
        // Recovery is killed, too; it has to be as good the next time.
        host.kill_while_starting(Duration::from_millis(random.below(60)))?;
    }
    verify(host, last)?;
    let url = host.url()?;
    let acks_wanted = 1 + random.below(ACKS_MAX);
    let pause = Duration::from_micros(random.below(3000));
    let (acknowledge, acknowledged) = channel();
    let clients: Vec<_> = last
        .iter()
        .map(|(writer, n)| {
            let (writer, n, url, acknowledge) = (*writer, *n, url.clone(), acknowledge.clone());
            thread::spawn(move || write_until_killed(writer, n, &url, &acknowledge))
        })
        .collect();
    drop(acknowledge);
    let mut silent = false;
    for _ in 0..acks_wanted {
        match acknowledged.recv_timeout(ACK_LIMIT) {
            Ok((writer, n)) => _ = last.insert(writer, n),
            Err(_) => {
                silent = true;
                break;
            }
        }
    }
    // The moments between acknowledgements announce themselves by nothing, so a random pause has to find them.
    thread::sleep(pause);
    host.kill()?;
    for client in clients {
        client
            .join()
            .expect("clients do not panic")
            .map_err(anyhow::Error::msg)?;
    }
    // What came in until the kill was acknowledged as well.
    last.extend(acknowledged.try_iter());
    ensure!(!silent, "no acknowledgement for {ACK_LIMIT:?}");
    Ok(())
}

/// Writes turn after turn until the connection breaks, which the kill makes sure of.
fn write_until_killed(
    writer: Writer,
    mut n: u64,
    url: &str,
    acknowledge: &Sender<(Writer, u64)>,
) -> Result<(), String> {
    let client = Client::new();
    loop {
        n += 1;
        match writer.write(&client, url, n) {
            Ok(answer) => answer?,
            Err(_) => return Ok(()),
        }
        if acknowledge.send((writer, n)).is_err() {
            return Ok(());
        }
    }
}

fn verify(host: &mut Host, last: &mut HashMap<Writer, u64>) -> Result<()> {
    let url = host.url()?;
    let client = Client::new();
    for (writer, acknowledged) in last {
        let found = writer.read(&client, &url)?;
        // A writer has one turn under way: that one may be there, though its acknowledgement was lost.
        let expected = *acknowledged..=*acknowledged + 1;
        ensure!(
            expected.contains(&found),
            "{writer:?}: acknowledged up to {acknowledged}, found {found}"
        );
        *acknowledged = found;
    }
    Ok(())
}

fn parameter(name: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    text.parse()
        .map(Some)
        .with_context(|| format!("{name}={text:?} is not a number"))
}

/// SplitMix64: a seed is all its state, and it needs no crate.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
