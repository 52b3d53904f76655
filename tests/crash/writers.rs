//! Clients that write to the same facets at the same time: every turn of theirs spans keys and rows, in a transaction and
//! outside of it.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::run_in_child;
use crate::support::client::Client;

const OBJECTS: usize = 2;
const CHILDREN: [&str; 2] = ["left", "right"];
/// Two in each child, so that the turns of one facet and the commits of several meet.
const CLIENTS_PER_CHILD: usize = 2;

/// One client's part of one child: its turn n sets two keys to n and inserts row n.
#[derive(Debug)]
pub(crate) struct Writer {
    object: usize,
    child: &'static str,
    client: usize,
    /// The last turn that is known to be there.
    pub(crate) last: u64,
}

impl Writer {
    pub(crate) fn all() -> Vec<Self> {
        let of_object = |object| CHILDREN.into_iter().map(move |child| (object, child));
        let of_child = |(object, child)| {
            (0..CLIENTS_PER_CHILD).map(move |client| Self {
                object,
                child,
                client,
                last: 0,
            })
        };
        (0..OBJECTS).flat_map(of_object).flat_map(of_child).collect()
    }

    fn on(&self) -> String {
        format!("t/crash-{}", self.object)
    }

    fn keys(&self) -> [String; 2] {
        [format!("a{}", self.client), format!("b{}", self.client)]
    }

    /// The table is made by the first turn, so that creating a database is killed as well.
    pub(crate) fn write(&self, client: &Client, url: &str, n: u64) -> Result<Result<(), String>> {
        let [a, b] = self.keys();
        let insert = "insert into rows values (?, ?)";
        let ops = json!([
            {"op": "sql", "q": "create table if not exists rows(client, n, primary key (client, n))", "params": []},
            {"op": "tx.begin"},
            {"op": "kv.put", "key": a, "value": n.to_string()},
            {"op": "sql", "q": insert, "params": [self.client, n]},
            {"op": "tx.commit"},
            {"op": "tx.begin"},
            {"op": "kv.put", "key": a, "value": "undone"},
            {"op": "sql", "q": insert, "params": [self.client, n + 1]},
            {"op": "tx.rollback"},
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

    /// Checks that the last turn that is there is there entirely, with all before it.
    pub(crate) fn verify(&mut self, client: &Client, url: &str) -> Result<()> {
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
        // One turn was under way: that one may be there, though its acknowledgement was lost.
        let expected = self.last..=self.last + 1;
        ensure!(
            expected.contains(&a),
            "{self:?}: acknowledged up to {}, found {a}",
            self.last
        );
        self.last = a;
        Ok(())
    }
}
