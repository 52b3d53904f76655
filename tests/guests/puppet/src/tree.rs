//! `facet.*` and `class.load`: the children of this facet and what they run.

use facetd_sdk::children::{self, Startup};
use facetd_sdk::classes::{self, Class};
use facetd_sdk::context::FacetId;
use facetd_sdk::{Bytes, Payload, clock, json};
use serde_json::{Value, json};

use crate::Puppet;
use crate::op::{Op, Outcome, invalid};

/// The most names that the host answers at a time.
const NAMES: u32 = 10_000;

impl Puppet {
    /// Beyond the documented fields: `grants` (`{name: argument}`).
    pub(crate) fn facet_get(&self, op: &Op<'_>) -> Outcome {
        let (name, keep) = (name(op)?, op.text("as")?);
        let mut startup = self.with_class(op.text("class")?, Startup::new)?;
        if let Some(props) = op.get("props") {
            startup = match props {
                Value::String(_) => startup.props(&op.long_text("props")?)?,
                props => startup.props(props)?,
            };
        }
        if op.get("id").is_some() {
            startup = startup.id(&FacetId::Text(op.long_text("id")?));
        }
        if let Some(hex) = op.optional_text("object_id")? {
            startup = startup.id(&FacetId::Object(hex.to_owned()));
        }
        for (name, value) in op
            .optional("limits", "an object", Value::as_object)?
            .into_iter()
            .flatten()
        {
            let value = value
                .as_u64()
                .ok_or_else(|| invalid(format!("limit `{name}` is not a number")))?;
            startup = startup.limit(&name.replace('_', "-"), value)?;
        }
        for (name, argument) in op
            .optional("grants", "an object", Value::as_object)?
            .into_iter()
            .flatten()
        {
            startup = startup.grant(name, &Payload::json(argument)?)?;
        }
        for name in op
            .optional("withhold", "a list", Value::as_array)?
            .into_iter()
            .flatten()
        {
            startup = startup.withhold(&[name.as_str().unwrap_or_default()])?;
        }
        if op.optional_text("policy")? == Some("escalate") {
            startup = startup.escalate()?;
        }
        let stub = children::get(&name, &startup)?;
        self.stubs.borrow_mut().insert(keep.to_owned(), stub);
        Ok(Value::Null)
    }

    /// A class by its name, or one that `class.load` kept: `@` and its `as`.
    fn with_class<T>(&self, class: &str, use_it: impl FnOnce(&Class) -> T) -> Outcome<T> {
        match class.strip_prefix('@') {
            None => Ok(use_it(&classes::named(class)?)),
            Some(kept) => {
                let classes = self.classes.borrow();
                Ok(use_it(
                    classes
                        .get(kept)
                        .ok_or_else(|| invalid(format!("no class is kept as `{kept}`")))?,
                ))
            }
        }
    }

    pub(crate) fn facet_lookup(&self, op: &Op<'_>) -> Outcome {
        let (name, keep) = (name(op)?, op.text("as")?);
        let found = children::lookup(&name)?;
        let exists = found.is_some();
        if let Some(stub) = found {
            self.stubs.borrow_mut().insert(keep.to_owned(), stub);
        }
        Ok(exists.into())
    }

    /// All of them, or with `after` or `max` what one call of the host answers.
    pub(crate) fn facet_list(&self, op: &Op<'_>) -> Outcome {
        let (after, max) = (op.optional_text("after")?, op.optional_number("max")?);
        if after.is_some() || max.is_some() {
            let max = max.map_or(u32::MAX, |max| max.try_into().unwrap_or(u32::MAX));
            return Ok(children::names(after, max).into());
        }
        let mut all = children::names(None, NAMES);
        let mut fetched = all.len();
        while fetched == NAMES as usize {
            let more = children::names(all.last().map(String::as_str), NAMES);
            fetched = more.len();
            all.extend(more);
        }
        Ok(all.into())
    }

    pub(crate) fn facet_info(&self, op: &Op<'_>) -> Outcome {
        let info = children::info(&name(op)?)?;
        let alarm_in_ms = info.alarm_ms.map(|at_ms| at_ms.saturating_sub(clock::now_ms()));
        Ok(json!({
            "state": info.state, "class": info.class, "storage_bytes": info.storage_bytes, "alarm_in_ms": alarm_in_ms,
        }))
    }

    pub(crate) fn facet_abort(&self, op: &Op<'_>) -> Outcome {
        children::abort(&name(op)?, &op.long_text("reason")?)?;
        Ok(Value::Null)
    }

    pub(crate) fn facet_delete(&self, op: &Op<'_>) -> Outcome {
        children::delete(&name(op)?)?;
        Ok(Value::Null)
    }

    pub(crate) fn facet_clone(&self, op: &Op<'_>) -> Outcome {
        children::clone(op.text("src")?, op.text("dst")?)?;
        Ok(Value::Null)
    }

    pub(crate) fn class_load(&self, op: &Op<'_>) -> Outcome {
        let keep = op.text("as")?;
        let Ok(Bytes(component)) = json::from_value(json!({ "$b64": op.text("component")? })) else {
            return Err(invalid("field `component` is not base64"));
        };
        let class = classes::load(&component)?;
        let digest = class.digest();
        self.classes.borrow_mut().insert(keep.to_owned(), class);
        Ok(digest.into())
    }
}

/// The child that is meant; repeated so often, for names at their limits.
fn name(op: &Op<'_>) -> Outcome<String> {
    op.long_text("name")
}
