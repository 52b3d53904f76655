//! `kv.*`, `tx.*`, `storage.*`: the facet's own database.

use facetd_sdk::{Error, kv, storage};
use serde_json::{Value, json};

use crate::Puppet;
use crate::op::{Op, Outcome, Problem, invalid};

impl Puppet {
    pub(crate) fn kv_get(&self, op: &Op<'_>) -> Outcome {
        Ok(kv::get_text(&key(op)?)?.into())
    }

    pub(crate) fn kv_put(&self, op: &Op<'_>) -> Outcome {
        let value = op.text("value")?.repeat(times(op, "times")?);
        kv::put_text(&key(op)?, &value)?;
        Ok(Value::Null)
    }

    pub(crate) fn kv_delete(&self, op: &Op<'_>) -> Outcome {
        Ok(kv::delete(&key(op)?)?.into())
    }

    pub(crate) fn kv_list(&self, op: &Op<'_>) -> Outcome {
        let text = |field| op.optional_text(field).map(|text| text.map(str::to_owned));
        let range = kv::Range {
            prefix: text("prefix")?,
            start: text("start")?,
            start_after: text("start_after")?,
            end: text("end")?,
            reverse: op.optional("reverse", "a bool", Value::as_bool)?.unwrap_or(false),
            limit: op
                .optional_number("limit")?
                .map(|limit| limit.try_into().unwrap_or(u32::MAX)),
        };
        let entries = kv::list(&range)?;
        Ok(entries
            .iter()
            .map(|entry| json!([entry.key, String::from_utf8_lossy(&entry.value)]))
            .collect())
    }

    /// Bytes of a value; null if there is none.
    pub(crate) fn kv_size(&self, op: &Op<'_>) -> Outcome {
        Ok(kv::get_bytes(&key(op)?)?.map(|value| value.len()).into())
    }

    pub(crate) fn kv_get_many(&self, op: &Op<'_>) -> Outcome {
        let text = |key: &Value| key.as_str().map(str::to_owned);
        let keys: Option<Vec<String>> = op.list("keys")?.iter().map(text).collect();
        let keys = keys.ok_or_else(|| invalid("keys are text"))?;
        let entries = kv::get_many(&vec![keys; times(op, "times")?].concat())?;
        Ok(entries
            .iter()
            .map(|entry| json!([entry.key, String::from_utf8_lossy(&entry.value)]))
            .collect())
    }

    pub(crate) fn kv_put_many(&self, op: &Op<'_>) -> Outcome {
        let entry = |pair: &Value| {
            Some(kv::Entry {
                key: pair[0].as_str()?.to_owned(),
                value: pair[1].as_str()?.as_bytes().to_vec(),
            })
        };
        let entries: Option<Vec<_>> = op.list("entries")?.iter().map(entry).collect();
        let entries = entries.ok_or_else(|| invalid("entries are pairs of texts"))?;
        kv::put_many(&vec![entries; times(op, "times")?].concat())?;
        Ok(Value::Null)
    }

    /// With `as` it is kept under that name, else on a stack.
    pub(crate) fn tx_begin(&self, op: &Op<'_>) -> Outcome {
        let transaction = storage::begin()?;
        match op.optional_text("as")? {
            Some(name) => {
                _ = self
                    .named_transactions
                    .borrow_mut()
                    .insert(name.to_owned(), transaction)
            }
            None => self.transactions.borrow_mut().push(transaction),
        }
        Ok(Value::Null)
    }

    /// A named one stays, whatever comes out; the innermost of the others is taken, and dropping it afterwards changes
    /// nothing if it was committed.
    pub(crate) fn tx_commit(&self, op: &Op<'_>) -> Outcome {
        self.with_transaction(op, |transaction| transaction.commit().map_err(Error::from))??;
        Ok(Value::Null)
    }

    pub(crate) fn tx_rollback(&self, op: &Op<'_>) -> Outcome {
        self.with_transaction(op, storage::Transaction::rollback)?;
        Ok(Value::Null)
    }

    pub(crate) fn tx_drop(&self, op: &Op<'_>) -> Outcome {
        match op.optional_text("as")? {
            Some(name) => drop(
                self.named_transactions
                    .borrow_mut()
                    .remove(name)
                    .ok_or_else(no_transaction)?,
            ),
            None => drop(self.innermost()?),
        }
        Ok(Value::Null)
    }

    fn with_transaction<T>(&self, op: &Op<'_>, run: impl FnOnce(&storage::Transaction) -> T) -> Outcome<T> {
        match op.optional_text("as")? {
            Some(name) => Ok(run(self
                .named_transactions
                .borrow()
                .get(name)
                .ok_or_else(no_transaction)?)),
            None => Ok(run(&self.innermost()?)),
        }
    }

    fn innermost(&self) -> Outcome<storage::Transaction> {
        self.transactions.borrow_mut().pop().ok_or_else(no_transaction)
    }

    pub(crate) async fn storage_sync(&self) -> Outcome {
        storage::sync().await?;
        Ok(Value::Null)
    }

    pub(crate) fn storage_delete_all(&self) -> Outcome {
        storage::delete_all()?;
        Ok(Value::Null)
    }
}

fn no_transaction() -> Problem {
    invalid("no such transaction is open")
}

/// How often something is repeated; once, if that is not said. For keys and values at their limits.
fn times(op: &Op<'_>, field: &str) -> Outcome<usize> {
    Ok(op.optional_number(field)?.unwrap_or(1).try_into().unwrap_or(usize::MAX))
}

fn key(op: &Op<'_>) -> Outcome<String> {
    Ok(op.text("key")?.repeat(times(op, "key_times")?))
}
