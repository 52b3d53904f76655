//! Whatever stands in a request's first line and in the headers that the host reads.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use super::names::{Names, same_origin};
use super::target::Target;
use super::{access, is_host_name};

/// The body of a request to `/rpc`: what a facet is handed is JSON, whatever reads it.
pub(crate) fn body(bytes: &[u8]) {
    let accepted = super::rpc::check(bytes).is_ok();
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        assert_eq!(accepted, value.is_array(), "an array is taken, and nothing else");
    }
    if accepted {
        assert!(std::str::from_utf8(bytes).is_ok(), "JSON is text");
    }
}

/// Lines: a path, then `Host`, `Origin` and `Authorization`.
pub(crate) fn request(bytes: &[u8]) {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let path = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, line) in [header::HOST, header::ORIGIN, header::AUTHORIZATION]
        .into_iter()
        .zip(lines)
    {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    let uri = Uri::try_from(path).unwrap_or_default();
    let _ = Target::parse(uri.path());
    let _ = std::str::from_utf8(path).map(|path| (Target::parse(path).is_ok(), is_host_name(path)));
    let listed = ["facets.example".to_owned()];
    // What a page of another site could send is never taken for one of ours, whatever the port.
    if Names::of(&[], true).accept(&uri, &headers) {
        assert!(Names::of(&listed, true).accept(&uri, &headers), "names can only add");
        assert!(
            !Names::of(&listed, false).accept(&uri, &headers),
            "a loopback name is nobody else's"
        );
    }
    let _ = same_origin(&headers);
    assert!(access::bearer(&headers).is_none_or(|token| !token.is_empty()));
}
