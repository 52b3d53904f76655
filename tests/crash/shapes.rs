//! What a whole object shows, read without changing it, and the operations that change a tree in one turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::identity;

/// Keys and props of one facet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facet {
    keys: Value,
    props: Value,
}

/// Facets by path; the root's is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shape(BTreeMap<String, Facet>);

impl Shape {
    /// Facets that exist, those with nothing in them included.
    pub(crate) fn read(client: &Client, url: &str, on: &str) -> Result<Self> {
        let mut shape = Self::default();
        let mut todo = vec![String::new()];
        while let Some(path) = todo.pop() {
            let look = json!([{"op": "kv.list"}, {"op": "context"}, {"op": "facet.list"}]);
            let Some(results) = at(client, url, on, &path, look)? else {
                // It was stopping, with nothing left, when its name was read.
                continue;
            };
            let [keys, context, children] = &results[..] else {
                return Err(anyhow!("{on}/{path}: {results:?}"));
            };
            for child in children["ok"].as_array().context("no list of children")? {
                let child = child.as_str().context("names are text")?;
                todo.push(if path.is_empty() {
                    child.to_owned()
                } else {
                    format!("{path}/{child}")
                });
            }
            let facet = Facet {
                keys: keys["ok"].clone(),
                props: context["ok"]["props"].clone(),
            };
            shape.0.insert(path, facet);
        }
        Ok(shape)
    }

    /// Without those that store nothing, which are gone when they have stopped.
    pub(crate) fn stored(mut self) -> Self {
        while let Some(path) = self.0.keys().find(|path| !self.is_needed(path)).cloned() {
            self.0.remove(&path);
        }
        self
    }

    fn is_needed(&self, path: &str) -> bool {
        self.has_data(path) || self.0.keys().any(|other| is_below(other, path))
    }

    fn has_data(&self, path: &str) -> bool {
        self.0[path].keys.as_array().is_some_and(|keys| !keys.is_empty())
    }

    /// The same without a subtree.
    fn without(mut self, path: &str) -> Self {
        self.0.retain(|other, _| other != path && !is_below(other, path));
        self
    }

    /// The same with other keys in one facet.
    fn with_keys(mut self, path: &str, keys: Value) -> Self {
        if let Some(facet) = self.0.get_mut(path) {
            facet.keys = keys;
        }
        self
    }

    /// The same with other props of one facet.
    fn with_props(mut self, path: &str, props: Value) -> Self {
        if let Some(facet) = self.0.get_mut(path) {
            facet.props = props;
        }
        self
    }

    /// Whether the files of the object are those of this tree. `at_rest`: and of nothing else; before that, those that have lost all
    /// they stored may have theirs still, and there may be some to which nothing was ever committed.
    pub(crate) fn check_files(&self, data: &Path, on: &str, at_rest: bool) -> Result<()> {
        let (namespace, name) = on.split_once('/').context("`on` is \"namespace/object\"")?;
        let id = identity::object_id(namespace, name);
        let (mut found, mut blank) = (Vec::new(), 0);
        for entry in fs::read_dir(identity::home(data, namespace, &id))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_prefix(&id) {
                if name.ends_with(".sqlite") && is_blank(&fs::read(entry.path())?) {
                    blank += 1;
                }
                found.push(name.to_owned());
            }
        }
        let databases = found.iter().filter(|name| name.ends_with(".sqlite")).count();
        let stored = self.clone().stored();
        let with_data = stored.0.keys().filter(|path| self.has_data(path)).count();
        let has_index = found.iter().any(|name| name == ".facets");
        let needs_index = !stored.0.is_empty();
        let live = ["-wal", "-shm"];
        let strange = found.iter().find(|name| {
            let known = name.ends_with(".sqlite") || *name == ".facets";
            let companion = !at_rest && live.iter().any(|end| name.ends_with(end));
            !known && !companion
        });
        let right = match at_rest {
            true => databases == with_data && has_index == needs_index,
            false => databases >= with_data && databases - blank <= self.0.len() && has_index >= needs_index,
        };
        ensure!(
            right && strange.is_none(),
            "{on}: {databases} databases, {with_data} facets with data; files: {found:?}, strange: {strange:?}; tree: {self:?}"
        );
        Ok(())
    }
}

/// True for a file that says nothing of whose it is: the fourth page, which does, has no row. What was committed may be in a log yet.
fn is_blank(database: &[u8]) -> bool {
    const PAGE: usize = 4096;
    let rows = database.get(3 * PAGE..).and_then(|page| page.get(3..5));
    rows.is_none_or(|rows| rows == [0, 0])
}

fn is_below(path: &str, top: &str) -> bool {
    let inside = path.strip_prefix(top);
    match top {
        "" => !path.is_empty(),
        _ => inside.is_some_and(|rest| rest.starts_with('/')),
    }
}

/// Has the facet at a path carry out operations. None if it does not exist.
fn at(client: &Client, url: &str, on: &str, path: &str, ops: Value) -> Result<Option<Vec<Value>>> {
    let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
    let nested = names.iter().rev().fold(
        ops,
        |ops, name| json!([{"op": "facet.lookup", "name": name, "as": name}, {"op": "call", "stub": name, "ops": ops}]),
    );
    let results = client.run(url, on, &nested)?;
    let mut results = results.map_err(|failure| anyhow!("{on}/{path}: {failure:?}"))?;
    for _ in names {
        if results.first().is_some_and(|found| found["ok"] == false) {
            return Ok(None);
        }
        let inner = results.pop().unwrap_or_default()["ok"].take();
        results = serde_json::from_value(inner).with_context(|| format!("{on}/{path} cannot be read"))?;
    }
    Ok(Some(results))
}

/// Something that a root does with its tree. Each turn of it is one unit of the journal.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// Turns that make the tree that it is done to.
    pub(crate) prepare: Vec<Value>,
    pub(crate) act: Value,
    /// What the tree may be on the way from one to the other.
    pub(crate) halfway: fn(&Shape) -> Option<Shape>,
}

fn put(value: &str) -> Value {
    json!({"op": "kv.put", "key": "k", "value": value})
}

/// Operations of a child, which is made if it is not there.
fn child(name: &str, ops: Vec<Value>) -> Vec<Value> {
    vec![
        json!({"op": "facet.get", "name": name, "class": "puppet", "as": name}),
        json!({"op": "call", "stub": name, "ops": ops}),
    ]
}

fn with_child(first: Value, name: &str, ops: Vec<Value>) -> Vec<Value> {
    let mut all = vec![first];
    all.extend(child(name, ops));
    all
}

/// The child `a` with so many bytes of props.
pub(crate) fn with_props(text: &str, times: u32) -> Value {
    json!([
        {"op": "facet.get", "name": "a", "class": "puppet", "as": "a", "props": text, "props_times": times},
        {"op": "call", "stub": "a", "ops": [{"op": "kv.put", "key": "k", "value": text}]},
    ])
}

pub(crate) fn operations() -> Vec<Operation> {
    let forest = || {
        let a = with_child(put("root"), "a", with_child(put("a"), "b", vec![put("b")]));
        let z = child("z", with_child(put("z"), "y", vec![put("y")]));
        let e = child("e", vec![put("e")]);
        vec![Value::Array([a, z, e].concat())]
    };
    let new = |name, prepare, act: Vec<Value>| Operation {
        name,
        prepare,
        act: act.into(),
        halfway: |_| None,
    };
    let delete = || json!({"op": "facet.delete", "name": "a"});
    let delete_n = json!({"op": "facet.delete", "name": "n"});
    let clone = |to: &str| json!({"op": "facet.clone", "src": "a", "dst": to});
    let delete_all = || json!({"op": "storage.delete-all"});
    let restart = json!({"op": "facet.get", "name": "a", "class": "puppet", "as": "a", "props": 2});
    let erase = json!({"op": "kv.delete", "key": "k"});
    let abort = json!({"op": "facet.abort", "name": "e", "reason": "r"});
    vec![
        new("create-root", vec![], vec![put("new")]),
        new("create-first", vec![json!([put("root")])], child("n", vec![put("new")])),
        new("create", forest(), child("n", vec![put("new")])),
        new("create-deep", forest(), child("p", child("q", vec![put("new")]))),
        new("delete", forest(), vec![delete(), put("done")]),
        new(
            "delete-running",
            forest(),
            [child("a", child("b", vec![])), vec![delete(), put("done")]].concat(),
        ),
        new("delete-all", forest(), vec![delete_all(), put("done")]),
        new("empty", forest(), vec![delete_all()]),
        // The last that there was, while it runs.
        new(
            "vanish",
            vec![child("n", vec![put("n")]).into()],
            [child("n", vec![]), vec![delete_n]].concat(),
        ),
        new("clone", forest(), vec![clone("n"), put("done")]),
        new("clone-over", forest(), vec![clone("z"), put("done")]),
        new("move", forest(), vec![clone("n"), delete(), put("done")]),
        new("restart", forest(), vec![restart, put("done")]),
        // The index is mostly history by then, and begins anew with what counts.
        Operation {
            halfway: |before| Some(before.clone().with_props("a", json!("d".repeat(10_000)))),
            ..new(
                "history",
                ["a", "b", "c"].map(|text| with_props(text, 60_000)).to_vec(),
                serde_json::from_value(with_props("d", 10_000)).expect("it is a list"),
            )
        },
        new("erase", forest(), [child("e", vec![erase]), vec![abort]].concat()),
        Operation {
            halfway: |before| Some(before.clone().without("a").with_keys("", json!([["k", "done"]]))),
            ..new(
                "recreate",
                forest(),
                [vec![put("done"), delete()], child("a", vec![put("new")])].concat(),
            )
        },
    ]
}
