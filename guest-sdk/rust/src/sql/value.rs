//! Rust values as parameters and columns. Nothing is converted silently: what does not fit is an error.

use crate::bindings::facetd::runtime::sql::Value;

/// Rust values that can be parameters.
pub trait ToSql {
    /// As SQLite sees it.
    fn to_sql(&self) -> Value;
}

/// Rust values that can be read from a column. Nothing is converted silently: text that looks like a number is text.
pub trait FromSql: Sized {
    /// For the error message.
    const EXPECTED: &'static str;
    /// None if the value is of another type or out of range.
    fn from_sql(value: &Value) -> Option<Self>;
}

macro_rules! integers {
    ($($t:ty)*) => {
        $(impl ToSql for $t {
            fn to_sql(&self) -> Value {
                Value::Integer((*self).into())
            }
        })*
    };
}
integers!(i8 i16 i32 i64 u8 u16 u32 bool);

macro_rules! from_integers {
    ($($t:ty)*) => {
        $(impl FromSql for $t {
            const EXPECTED: &'static str = stringify!($t);

            fn from_sql(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(n) => (*n).try_into().ok(),
                    _ => None,
                }
            }
        })*
    };
}
from_integers!(i8 i16 i32 i64 u8 u16 u32 u64 usize);

impl FromSql for bool {
    const EXPECTED: &'static str = "0 or 1";

    fn from_sql(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(n @ (0 | 1)) => Some(*n == 1),
            _ => None,
        }
    }
}

impl ToSql for f64 {
    fn to_sql(&self) -> Value {
        Value::Real(*self)
    }
}

impl FromSql for f64 {
    const EXPECTED: &'static str = "a number";

    /// An integer is a number, too, as long as it is exact.
    fn from_sql(value: &Value) -> Option<Self> {
        match value {
            Value::Real(x) => Some(*x),
            Value::Integer(n) if n.unsigned_abs() <= 1 << 53 => Some(*n as f64),
            _ => None,
        }
    }
}

impl ToSql for str {
    fn to_sql(&self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl ToSql for String {
    fn to_sql(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl FromSql for String {
    const EXPECTED: &'static str = "text";

    fn from_sql(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl ToSql for [u8] {
    fn to_sql(&self) -> Value {
        Value::Blob(self.to_vec())
    }
}

impl ToSql for Vec<u8> {
    fn to_sql(&self) -> Value {
        Value::Blob(self.clone())
    }
}

impl FromSql for Vec<u8> {
    const EXPECTED: &'static str = "a blob";

    fn from_sql(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Value {
        self.clone()
    }
}

impl FromSql for Value {
    const EXPECTED: &'static str = "anything";

    fn from_sql(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn to_sql(&self) -> Value {
        (**self).to_sql()
    }
}

impl<T: ToSql> ToSql for Option<T> {
    fn to_sql(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToSql::to_sql)
    }
}

impl<T: FromSql> FromSql for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_sql(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_sql(value).map(Some),
        }
    }
}
