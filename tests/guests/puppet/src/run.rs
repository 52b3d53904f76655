//! Finds the code of an operation by its name.

use serde_json::{Value, json};

use crate::Puppet;
use crate::op::{Op, Outcome, Stop, invalid, result};

impl Puppet {
    /// All of them, in order; an error ends only its own operation.
    pub(crate) async fn run(&self, ops: &[Value]) -> Result<Vec<Value>, Stop> {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            // Boxed, because `block` runs operations in operations.
            let outcome = Box::pin(self.one(op)).await;
            results.push(result(outcome)?);
        }
        Ok(results)
    }

    /// The same list so often, with the number of the round in place of `{n}` in its texts. A round with an error is the last.
    async fn repeat(&self, op: &Op<'_>) -> Outcome {
        let (times, ops) = (op.number("times")?, op.list("ops")?);
        let mut last = Vec::new();
        for n in 0..times {
            let ops: Vec<Value> = ops.iter().map(|op| numbered(op, &n.to_string())).collect();
            last = self.run(&ops).await?;
            if last.iter().any(|result| result.get("err").is_some()) {
                return Ok(json!({ "done": n, "last": last }));
            }
        }
        Ok(json!({ "done": times, "last": last }))
    }

    async fn one(&self, op: &Value) -> Outcome {
        let op = Op::new(op)?;
        match op.text("op")? {
            "repeat" => self.repeat(&op).await,
            "echo" => self.echo(&op),
            "kv.get" => self.kv_get(&op),
            "kv.put" => self.kv_put(&op),
            "kv.delete" => self.kv_delete(&op),
            "kv.list" => self.kv_list(&op),
            "kv.size" => self.kv_size(&op),
            "kv.get-many" => self.kv_get_many(&op),
            "kv.put-many" => self.kv_put_many(&op),
            "sql" => self.sql(&op),
            "sql.open" => self.sql_open(&op),
            "sql.next" => self.sql_next(&op),
            "sql.walk" => self.sql_walk(&op),
            "sql.drop" => self.sql_drop(&op),
            "sql.statistics" => self.sql_statistics(),
            "tx.begin" => self.tx_begin(&op),
            "tx.commit" => self.tx_commit(&op),
            "tx.rollback" => self.tx_rollback(&op),
            "tx.drop" => self.tx_drop(&op),
            "storage.sync" => self.storage_sync().await,
            "storage.delete-all" => self.storage_delete_all(),
            "storage.allow-unconfirmed" => {
                facetd_sdk::storage::allow_unconfirmed();
                Ok(Value::Null)
            }
            "facet.get" => self.facet_get(&op),
            "facet.lookup" => self.facet_lookup(&op),
            "facet.list" => self.facet_list(&op),
            "facet.info" => self.facet_info(&op),
            "facet.abort" => self.facet_abort(&op),
            "facet.delete" => self.facet_delete(&op),
            "facet.clone" => self.facet_clone(&op),
            "class.load" => self.class_load(&op),
            "call" => self.call_run(&op).await,
            "call.start" => self.call_start(&op),
            "call.join" => self.call_join(&op).await,
            "call.method" => self.call_method(&op).await,
            "call.bytes" => self.call_bytes(&op).await,
            "program" => self.program(&op),
            "program.results" => self.program_results(&op),
            "stub.send" => self.stub_send(&op).await,
            "stub.fetch" => self.stub_fetch(&op).await,
            "stub.dup" => self.stub_dup(&op),
            "stub.drop" => self.stub_drop(&op),
            "self.stub" => self.self_stub(&op),
            "object.get" => self.object_get(&op),
            "mem.add" => self.mem_add(&op),
            "mem.get" => self.mem_get(&op),
            "mem.wait" => self.mem_wait(&op).await,
            "context" => self.context(),
            "usage" => self.usage(),
            "alarm.set" => self.alarm_set(&op),
            "alarm.get" => self.alarm_get(),
            "alarm.delete" => self.alarm_delete(),
            "alarm.program" => self.alarm_program(&op),
            "start.program" => self.start_program(&op),
            "http.program" => self.http_program(&op),
            "outbound.program" => self.outbound_program(&op),
            "pipe" => self.pipe(&op).await,
            #[cfg(feature = "egress")]
            "egress.get" => self.egress_get(&op).await,
            #[cfg(feature = "egress")]
            "egress.fetch" => self.egress_fetch(&op).await,
            #[cfg(feature = "egress")]
            "egress.start" => self.egress_start(&op).await,
            "sleep" => self.sleep(&op).await,
            "spin" => self.spin(&op),
            "alloc" => self.alloc(&op),
            "random" => self.random(&op),
            "trap" => self.trap(),
            "throw" => self.throw(&op),
            "abort-self" => self.abort_self(&op),
            "block" => self.block(&op).await,
            "log" => self.log(&op),
            other => Err(invalid(format!("unknown operation `{other}`"))),
        }
    }
}

fn numbered(value: &Value, n: &str) -> Value {
    match value {
        Value::String(text) => text.replace("{n}", n).into(),
        Value::Array(items) => items.iter().map(|item| numbered(item, n)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), numbered(field, n)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
