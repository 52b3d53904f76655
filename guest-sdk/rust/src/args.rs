//! Arguments of a method: a JSON array, read one by one so that an error can name the argument.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Payload, Result};
use crate::json;
use crate::stub::Stub;

/// The arguments of one call, not read yet.
pub struct Args<'a> {
    method: &'a str,
    names: &'a [&'a str],
    values: std::vec::IntoIter<Value>,
    next: usize,
}

impl<'a> Args<'a> {
    /// Reads all arguments with `read`, which takes them with [`next`](Self::next).
    pub fn read<T>(
        method: &'a str,
        names: &'a [&'a str],
        payload: &Payload,
        stubs: Vec<Stub>,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let values = match payload.value() {
            Ok(Value::Array(values)) => values,
            Ok(Value::Null) => Vec::new(),
            Ok(_) => return Err(bad(format!("{method} takes its arguments as a JSON array"))),
            Err(error) => return Err(bad(format!("the arguments of {method} are not JSON: {error}"))),
        };
        if values.len() > names.len() {
            let expected = match names {
                [] => "no arguments".into(),
                [name] => format!("1 argument ({name})"),
                names => format!("{} arguments ({})", names.len(), names.join(", ")),
            };
            return Err(bad(format!("{method} takes {expected}, got {}", values.len())));
        }
        let mut args = Args {
            method,
            names,
            values: values.into_iter(),
            next: 0,
        };
        let stubs = stubs.into_iter().map(Stub::into_raw).collect();
        json::with_stubs(stubs, || read(&mut args))
    }

    /// The next argument. One that is left out reads as null, so trailing `Option`s may be left out.
    #[expect(clippy::should_implement_trait, reason = "every argument has a type of its own")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        let (name, number) = (self.names.get(self.next).copied().unwrap_or("?"), self.next + 1);
        self.next += 1;
        match self.values.next() {
            Some(value) => json::from_value(value).map_err(|error| {
                bad(format!(
                    "argument {number} ({name}) of {}: {}",
                    self.method,
                    error.message()
                ))
            }),
            None => json::from_value(Value::Null)
                .map_err(|_| bad(format!("argument {number} ({name}) of {} is missing", self.method))),
        }
    }
}

fn bad(message: String) -> Error {
    Error::new("bad-arguments", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(i64, Option<String>)> {
        let payload = Payload::json(&serde_json::from_str::<Value>(json).unwrap()).unwrap();
        Args::read("move", &["by", "note"], &payload, vec![], |args| {
            Ok((args.next()?, args.next()?))
        })
    }

    fn message(json: &str) -> String {
        let error = read(json).unwrap_err();
        assert_eq!(error.code(), "bad-arguments");
        error.message().to_owned()
    }

    #[test]
    fn arguments_are_read_in_order() {
        assert_eq!(read("[1, \"x\"]").unwrap(), (1, Some("x".into())));
        assert_eq!(read("[1]").unwrap(), (1, None));
        assert_eq!(read("[\"9223372036854775807\", null]").unwrap(), (i64::MAX, None));
        assert_eq!(
            Args::read("now", &[], &Payload::bytes([]), vec![], |_| Ok(7)).unwrap(),
            7
        );
    }

    #[test]
    fn errors_name_the_argument() {
        assert_eq!(
            message("[\"x\"]"),
            "argument 1 (by) of move: invalid type: string \"x\", expected i64"
        );
        assert_eq!(
            message("[1, 2]"),
            "argument 2 (note) of move: invalid type: integer `2`, expected a string"
        );
        assert_eq!(message("[]"), "argument 1 (by) of move is missing");
        assert_eq!(message("[1, null, 3]"), "move takes 2 arguments (by, note), got 3");
        assert_eq!(message("{\"by\": 1}"), "move takes its arguments as a JSON array");
    }
}
