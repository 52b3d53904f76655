//! Several facets of one tree: what is left of it is a prefix, for the tree as a whole, of the order in which it was
//! committed.
//!
//! An entry is written by the root, then by its child `left`, then by `right`, then closed by the root, each in a turn of
//! its own and each knowing of the one before. Calls enter in the order made, so `left` has the root's order.

use std::collections::HashSet;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::client::Client;

const OBJECTS: usize = 2;
const CLIENTS_PER_OBJECT: usize = 3;

/// One client of one object; its entries are numbered.
#[derive(Debug)]
pub(crate) struct Clerk {
    object: usize,
    client: usize,
    pub(crate) last: u64,
}

/// An entry: client and number.
type Entry = (u64, u64);

const TABLE: &str = "create table if not exists entries(id integer primary key autoincrement, client, n);
    create table if not exists closed(client, n)";

fn enter(clerk: &Clerk, n: u64) -> Value {
    json!([
        {"op": "sql", "q": TABLE, "params": []},
        {"op": "sql", "q": "insert into entries(client, n) values (?, ?)", "params": [clerk.client, n]},
    ])
}

impl Clerk {
    pub(crate) fn all() -> Vec<Self> {
        let clerks = |object| {
            (0..CLIENTS_PER_OBJECT).map(move |client| Self {
                object,
                client,
                last: 0,
            })
        };
        (0..OBJECTS).flat_map(clerks).collect()
    }

    /// Those of each object together.
    pub(crate) fn by_object(all: &mut [Self]) -> impl Iterator<Item = &mut [Self]> {
        all.chunk_by_mut(|one, other| one.object == other.object)
    }

    fn on(&self) -> String {
        format!("t/ledger-{}", self.object)
    }

    pub(crate) fn write(&self, client: &Client, url: &str, n: u64) -> Result<Result<(), String>> {
        let child = |name: &str| json!({"op": "facet.get", "name": name, "class": "puppet", "as": name});
        let call = |name: &str| json!({"op": "call", "stub": name, "ops": enter(self, n)});
        let mut ops = vec![child("left"), child("right")];
        ops.extend(enter(self, n).as_array().cloned().unwrap_or_default());
        ops.extend([call("left"), call("right")]);
        ops.push(json!({"op": "sql", "q": "insert into closed values (?, ?)", "params": [self.client, n]}));
        Ok(match client.run(url, &self.on(), &ops.into())? {
            Err(failure) => Err(format!("{self:?} could not write {n}: {failure:?}")),
            Ok(results) if results.iter().all(whole) => Ok(()),
            Ok(results) => Err(format!("{self:?} could not write {n}: {results:?}")),
        })
    }

    /// Checks the object of these clerks, who are all of it.
    pub(crate) fn verify(clerks: &mut [Self], client: &Client, url: &str) -> Result<()> {
        let on = clerks.first().context("an object has clerks")?.on();
        let read = |table: &str| json!({"op": "sql", "q": format!("select client, n from {table} order by rowid"), "params": []});
        let mut ops = vec![
            json!({"op": "sql", "q": TABLE, "params": []}),
            read("entries"),
            read("closed"),
        ];
        for name in ["left", "right"] {
            ops.push(json!({"op": "facet.get", "name": name, "class": "puppet", "as": name}));
            ops.push(
                json!({"op": "call", "stub": name, "ops": [{"op": "sql", "q": TABLE, "params": []}, read("entries")]}),
            );
        }
        let results = client.run(url, &on, &ops.into())?;
        let results = results.map_err(|failure| anyhow!("{on} cannot be read: {failure:?}"))?;
        let (root, closed) = (entries(&results[1])?, entries(&results[2])?);
        let (left, right) = (entries(&results[4]["ok"][1])?, entries(&results[6]["ok"][1])?);
        ensure!(
            root.starts_with(&left),
            "{on}: what `left` has is no beginning of what the root has: {:?} after {} that agree",
            tails(&root, &left),
            root.iter().zip(&left).take_while(|(a, b)| a == b).count(),
        );
        within(&on, "right", &right, "left", &left)?;
        within(&on, "the closed ones", &closed, "right", &right)?;
        let mut cut_short = Vec::new();
        for clerk in clerks {
            let mine = |entries: &[Entry]| {
                let numbers = entries.iter().filter(|(client, _)| *client == clerk.client as u64);
                numbers.map(|(_, n)| *n).collect::<Vec<_>>()
            };
            for (facet, entries) in [("the root", &root), ("left", &left), ("right", &right)] {
                let numbers = mine(entries);
                let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
                ensure!(numbers == expected, "{clerk:?}: {facet} has a gap: {numbers:?}");
            }
            let (begun, closed) = (mine(&root).len() as u64, mine(&closed));
            ensure!(
                closed.len() as u64 >= clerk.last && begun <= clerk.last + 1,
                "{clerk:?}: acknowledged up to {}, begun {begun}, closed {closed:?}",
                clerk.last
            );
            // An entry that was cut short is written on as if closed: its number is taken.
            clerk.last = begun;
            if (closed.len() as u64) < begun {
                let place = root.iter().position(|entry| *entry == (clerk.client as u64, begun));
                cut_short.push((place, begun, mine(&left), mine(&right), clerk));
            }
        }
        // In the root's order, which the children are to have.
        cut_short.sort_by_key(|(place, ..)| *place);
        for (_, begun, left, right, clerk) in cut_short {
            clerk.mend(client, url, begun, &left, &right)?;
        }
        Ok(())
    }

    /// Writes what an interrupted entry lacks.
    fn mend(&self, client: &Client, url: &str, n: u64, left: &[u64], right: &[u64]) -> Result<()> {
        let mut ops = Vec::new();
        for (name, has) in [("left", left), ("right", right)] {
            ops.push(json!({"op": "facet.get", "name": name, "class": "puppet", "as": name}));
            if !has.contains(&n) {
                ops.push(json!({"op": "call", "stub": name, "ops": enter(self, n)}));
            }
        }
        ops.push(json!({"op": "sql", "q": "insert into closed values (?, ?)", "params": [self.client, n]}));
        let results = client.run(url, &self.on(), &ops.into())?;
        let results = results.map_err(|failure| anyhow!("{self:?}: {failure:?}"))?;
        ensure!(results.iter().all(whole), "{self:?} could not be mended: {results:?}");
        Ok(())
    }
}

/// No error in it, nor in the results of a call.
fn whole(result: &Value) -> bool {
    match &result["ok"] {
        Value::Array(results) => results.iter().all(whole),
        _ => result.get("ok").is_some(),
    }
}

fn entries(result: &Value) -> Result<Vec<Entry>> {
    let rows = result["ok"]["rows"].as_array();
    let rows = rows.with_context(|| format!("no rows: {result}"))?;
    let entry = |row: &Value| Some((row[0].as_u64()?, row[1].as_u64()?));
    let entries: Option<_> = rows.iter().map(entry).collect();
    entries.with_context(|| format!("not what was written: {result}"))
}

fn within(on: &str, few_name: &str, few: &[Entry], many_name: &str, many: &[Entry]) -> Result<()> {
    let many: HashSet<_> = many.iter().collect();
    let missing: Vec<_> = few.iter().filter(|entry| !many.contains(entry)).collect();
    ensure!(
        missing.is_empty(),
        "{on}: {few_name} have what {many_name} lacks, though it was written there first: {missing:?}"
    );
    Ok(())
}

fn tails<'a>(root: &'a [Entry], left: &'a [Entry]) -> (&'a [Entry], &'a [Entry]) {
    let agreed = root.iter().zip(left).take_while(|(a, b)| a == b).count();
    (&root[agreed..], &left[agreed..])
}
