//! Objects of other namespaces, for root classes that the operator bound to them.

use crate::bindings::facetd::runtime::objects as host;
use crate::error::Result;
use crate::stub::Stub;

/// The object of that name.
pub fn by_name(namespace: &str, name: &str) -> Result<Stub> {
    Ok(Stub::from_raw(host::by_name(namespace, name)?))
}

/// The object of that id: 64 hexadecimal digits.
pub fn by_id(namespace: &str, id: &str) -> Result<Stub> {
    Ok(Stub::from_raw(host::by_id(namespace, id)?))
}

/// A fresh id that no name leads to.
pub fn unique_id(namespace: &str) -> Result<String> {
    Ok(host::unique_id(namespace)?)
}
