//! A number that survives, alone or as the child of another counter.

use facetd_sdk::prelude::*;

#[derive(Default)]
pub struct Counter;

#[facet]
impl Counter {
    /// Adds `by`; answers the new value.
    pub fn increment(&self, by: i64) -> Result<i64> {
        let Some(value) = self.value()?.checked_add(by) else {
            fail!("overflow", "{by} more is too much")
        };
        kv::put("value", &value)?;
        Ok(value)
    }

    pub fn value(&self) -> Result<i64> {
        Ok(kv::get("value")?.unwrap_or(0))
    }

    /// Forgets everything, the children included.
    pub fn reset(&self) -> Result<()> {
        storage::delete_all()
    }

    /// Adds `by` to a child counter, which has a database of its own; answers the child's new value.
    pub async fn add_via(&self, name: String, by: i64) -> Result<i64> {
        let startup = Startup::new(&classes::own()?);
        let child = CounterStub::from(children::get(&name, &startup)?);
        child.increment(by).await
    }

    /// Names of the child counters.
    pub fn children(&self) -> Vec<String> {
        children::names(None, 100)
    }
}
