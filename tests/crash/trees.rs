//! Turns that change a tree and write at once: writes, clones, deletions and emptyings of one client, against a model of
//! every state that the tree went through.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::client::Client;

const OBJECTS: usize = 2;
/// The children that there may be.
const NAMES: [&str; 3] = ["x", "y", "z"];

/// One client, alone on its object; its steps are numbered.
#[derive(Debug)]
pub(crate) struct Gardener {
    object: usize,
    pub(crate) last: u64,
    /// What the tree was after step `last`.
    state: State,
}

/// What a whole tree shows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct State {
    /// The root's key: the step that wrote it.
    step: u64,
    children: BTreeMap<&'static str, Child>,
}

/// A child: what its own key says, how many rows it has, and what its child's key says; 0 for nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Child {
    key: u64,
    rows: u64,
    below: u64,
}

/// What a step does beside writing its number to the root's key.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Writes to a child, then to the child's child.
    Write(&'static str),
    Clone(&'static str, &'static str),
    Delete(&'static str),
    /// Clones, then deletes the source: in one turn.
    Move(&'static str, &'static str),
    /// Empties everything, then writes the number.
    DeleteAll,
}

impl Step {
    /// Of step number n: every kind after every kind, and not in the same order for ever.
    fn number(n: u64) -> Self {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let (one, other) = (
            NAMES[(mixed % 3) as usize],
            NAMES[((mixed + 1 + (mixed >> 8) % 2) % 3) as usize],
        );
        match (mixed >> 16) % 12 {
            0..=4 => Self::Write(one),
            5..=7 => Self::Clone(one, other),
            8 => Self::Delete(one),
            9..=10 => Self::Move(one, other),
            _ => Self::DeleteAll,
        }
    }

    fn ops(self, n: u64) -> Value {
        let put = json!({"op": "kv.put", "key": "step", "value": n.to_string()});
        match self {
            Self::Write(name) => json!([
                put,
                {"op": "facet.get", "name": name, "class": "puppet", "as": name},
                {"op": "call", "stub": name, "ops": [
                    {"op": "kv.put", "key": "key", "value": n.to_string()},
                    {"op": "sql", "q": "create table if not exists t(n); insert into t values (?)", "params": [n]},
                    {"op": "facet.get", "name": "below", "class": "puppet", "as": "below"},
                    {"op": "call", "stub": "below", "ops": [{"op": "kv.put", "key": "key", "value": n.to_string()}]},
                ]},
            ]),
            Self::Clone(from, to) => json!([put, {"op": "facet.clone", "src": from, "dst": to}]),
            Self::Delete(name) => json!([{"op": "facet.delete", "name": name}, put]),
            Self::Move(from, to) => json!([
                {"op": "facet.clone", "src": from, "dst": to}, {"op": "facet.delete", "name": from}, put,
            ]),
            Self::DeleteAll => json!([{"op": "storage.delete-all"}, put]),
        }
    }

    /// The states that the tree goes through, one for each commit.
    fn states(self, n: u64, before: &State) -> Vec<State> {
        let mut state = State {
            step: n,
            ..before.clone()
        };
        let copy = |children: &mut BTreeMap<_, _>, from, to| match children.get(from).cloned() {
            Some(child) => _ = children.insert(to, child),
            None => _ = children.remove(to),
        };
        match self {
            Self::Write(name) => {
                let begun = state.clone();
                let child = state.children.entry(name).or_default();
                (child.key, child.rows) = (n, child.rows + 1);
                let half = state.clone();
                state.children.entry(name).or_default().below = n;
                return vec![begun, half, state];
            }
            Self::Clone(from, to) => copy(&mut state.children, from, to),
            Self::Delete(name) => _ = state.children.remove(name),
            Self::Move(from, to) => {
                copy(&mut state.children, from, to);
                state.children.remove(from);
            }
            Self::DeleteAll => state.children.clear(),
        }
        vec![state]
    }
}

impl Gardener {
    pub(crate) fn all() -> Vec<Self> {
        let gardener = |object| Self {
            object,
            last: 0,
            state: State::default(),
        };
        (0..OBJECTS).map(gardener).collect()
    }

    fn on(&self) -> String {
        format!("t/tree-{}", self.object)
    }

    pub(crate) fn write(&self, client: &Client, url: &str, n: u64) -> Result<Result<(), String>> {
        Ok(match client.run(url, &self.on(), &Step::number(n).ops(n))? {
            Err(failure) => Err(format!("step {n}, {:?}: {failure:?}", Step::number(n))),
            Ok(results) => match results.iter().find(|result| result.get("ok").is_none()) {
                Some(error) => Err(format!("step {n}, {:?}: {error}", Step::number(n))),
                None => Ok(()),
            },
        })
    }

    /// `acknowledged`: the last step that was.
    pub(crate) fn verify(&mut self, client: &Client, url: &str, acknowledged: u64) -> Result<()> {
        for n in self.last + 1..=acknowledged {
            self.state = Step::number(n)
                .states(n, &self.state)
                .pop()
                .context("a step ends in a state")?;
        }
        let found = self.read(client, url)?;
        let next = Step::number(acknowledged + 1).states(acknowledged + 1, &self.state);
        ensure!(
            found == self.state || next.contains(&found),
            "tree {}: after step {acknowledged} ({:?}) it is neither what it was nor on the way of the next ({:?}):\n  was {:?}\n  is  {found:?}",
            self.object,
            Step::number(acknowledged),
            Step::number(acknowledged + 1),
            self.state,
        );
        (self.last, self.state) = (found.step, found);
        Ok(())
    }

    fn read(&self, client: &Client, url: &str) -> Result<State> {
        let results = client.run(
            url,
            &self.on(),
            &json!([{"op": "kv.get", "key": "step"}, {"op": "facet.list"}]),
        )?;
        let results = results.map_err(|failure| anyhow!("{}: {failure:?}", self.on()))?;
        let mut state = State {
            step: number(&results[0])?,
            ..State::default()
        };
        let there = results[1]["ok"].as_array().cloned().unwrap_or_default();
        for name in NAMES.into_iter().filter(|name| there.contains(&json!(name))) {
            let ops = json!([
                {"op": "facet.lookup", "name": name, "as": name},
                {"op": "call", "stub": name, "ops": [
                    {"op": "kv.get", "key": "key"},
                    {"op": "sql", "q": "create table if not exists t(n); select count(*) from t", "params": []},
                    {"op": "facet.get", "name": "below", "class": "puppet", "as": "below"},
                    {"op": "call", "stub": "below", "ops": [{"op": "kv.get", "key": "key"}]},
                ]},
            ]);
            let results = client.run(url, &self.on(), &ops)?;
            let results = results.map_err(|failure| anyhow!("{}: {failure:?}", self.on()))?;
            let child = &results[1]["ok"];
            let rows = child[1]["ok"]["rows"][0][0].as_u64();
            let child = Child {
                key: number(&child[0])?,
                rows: rows.with_context(|| format!("{}: {results:?}", self.on()))?,
                below: number(&child[3]["ok"][0])?,
            };
            state.children.insert(name, child);
        }
        ensure!(
            there.len() == state.children.len(),
            "{}: nobody made {there:?}",
            self.on()
        );
        Ok(state)
    }
}

/// A key's value; 0 where there is none.
fn number(result: &Value) -> Result<u64> {
    match result.get("ok") {
        Some(Value::Null) => Ok(0),
        Some(Value::String(text)) => text.parse().with_context(|| format!("{text:?} was never written")),
        _ => Err(anyhow!("no key: {result}")),
    }
}
