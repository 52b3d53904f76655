//! `alarm.*`: the facet's own alarm, and what its handler does.

use std::time::Duration;

use facetd_sdk::alarms::{self, Alarm};
use facetd_sdk::{Result as SdkResult, clock, kv};
use serde_json::{Value, json};

use crate::op::{Op, Outcome, invalid};
use crate::{ALARM_COUNT, ALARM_PROGRAM, Puppet, thrown};

impl Puppet {
    /// `in_ms` from now; negative is past. `at_ms`: by the clock of the host.
    pub(crate) fn alarm_set(&self, op: &Op<'_>) -> Outcome {
        match (op.get("in_ms"), op.optional_number("at_ms")?) {
            (None, Some(at_ms)) => alarms::set_at(at_ms)?,
            (Some(_), None) => match op.integer("in_ms")? {
                ms @ 0.. => alarms::set_in(Duration::from_millis(ms.unsigned_abs()))?,
                ms => alarms::set_at(clock::now_ms().saturating_sub(ms.unsigned_abs()))?,
            },
            _ => return Err(invalid("either `in_ms` or `at_ms`")),
        }
        Ok(Value::Null)
    }

    /// Milliseconds from now, 0 for what is due; or null.
    pub(crate) fn alarm_get(&self) -> Outcome {
        Ok(json!(alarms::get().map(|at_ms| at_ms.saturating_sub(clock::now_ms()))))
    }

    pub(crate) fn alarm_delete(&self) -> Outcome {
        alarms::delete();
        Ok(Value::Null)
    }

    pub(crate) fn alarm_program(&self, op: &Op<'_>) -> Outcome {
        kv::put(ALARM_PROGRAM, op.list("ops")?)?;
        Ok(Value::Null)
    }

    /// Counts itself under `alarms`, then runs the program with what it was told under `alarm.retry` and `alarm.late`
    /// (milliseconds since it was scheduled, or `early`), and keeps the results under `alarm.results`.
    pub(crate) async fn run_alarm(&self, alarm: Alarm) -> SdkResult<()> {
        let program = kv::get::<Vec<Value>>(ALARM_PROGRAM)?;
        // A facet that never programmed its handler is to store nothing because of it.
        let Some(program) = program else { return Ok(()) };
        let count = kv::get_text(ALARM_COUNT)?
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
            + 1;
        kv::put_text(ALARM_COUNT, &count.to_string())?;
        kv::put_text("alarm.retry", &alarm.retry.to_string())?;
        let late = clock::now_ms().checked_sub(alarm.scheduled_ms);
        kv::put_text("alarm.late", &late.map_or("early".into(), |late| late.to_string()))?;
        let results = self.run(&program).await.map_err(thrown)?;
        kv::put_text("alarm.results", &Value::Array(results).to_string())?;
        Ok(())
    }
}
