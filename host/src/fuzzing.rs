//! What tests/fuzz calls: decoders on any bytes. They answer or refuse; a panic is a bug. Not for anybody else.

/// A segment of the journal.
pub fn segment(bytes: &[u8]) {
    crate::storage::journal::fuzzing::segment(bytes);
}

/// A batch of the journal, with a right checksum.
pub fn batch(bytes: &[u8]) {
    crate::storage::journal::fuzzing::batch(bytes);
}

/// A unit of the journal.
pub fn unit(bytes: &[u8]) {
    crate::storage::journal::fuzzing::decode(bytes);
}

/// A `.facets` file.
pub fn index(bytes: &[u8]) {
    crate::index::parse_any(bytes);
}

/// A component as it comes in, before anything of it is compiled.
pub fn component(bytes: &[u8]) {
    let valid = crate::classes::validate(bytes).is_ok();
    assert_eq!(
        valid,
        crate::classes::read(bytes).is_ok() && valid,
        "what is valid can be read"
    );
    if let Ok(inspected) = crate::classes::inspect(bytes) {
        assert!(
            valid && !inspected.exports.is_empty(),
            "a class is valid and exports a handler"
        );
    }
}

/// Path, `Host`, `Origin` and `Authorization` of a request, a line each.
pub fn request(bytes: &[u8]) {
    crate::server::fuzzing::request(bytes);
}

/// The body of a request to `/rpc`.
pub fn body(bytes: &[u8]) {
    crate::server::fuzzing::body(bytes);
}

/// The text of a `facetd.toml`.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = crate::config::Config::parse(text).and_then(|config| config.check());
    }
}
