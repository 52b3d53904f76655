//! HTTP requests to a root facet, and its responses; and requests to the network, see [`egress`](crate::egress). A facet that wants them has a method `fetch` (see
//! [`facet`](crate::facet)); what is under `/o/{namespace}/{object}/` arrives there with the rest of the path.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::facetd::runtime::bodies as host;
pub use crate::bindings::facetd::runtime::http_types::{Body, Header, Request, Response};
use crate::error::{Error, Result};
use crate::json;

/// How much [`Body::bytes`] reads at a time.
const PIECE: u32 = 64 << 10;

impl Request {
    /// A request for [`egress::fetch`](crate::egress::fetch); the URI is absolute.
    pub fn new(method: &str, uri: &str, body: Body) -> Self {
        Request {
            method: method.to_owned(),
            uri: uri.to_owned(),
            headers: Vec::new(),
            body,
        }
    }

    /// A GET of that absolute URI.
    pub fn get(uri: &str) -> Self {
        Self::new("GET", uri, Body::of_bytes(&[]))
    }

    /// A POST of a value as JSON to that absolute URI.
    pub fn post_json<T: Serialize + ?Sized>(uri: &str, value: &T) -> Result<Self> {
        let body = Body::of_bytes(json::to_string(value)?.as_bytes());
        Ok(Self::new("POST", uri, body).with_header("content-type", "application/json"))
    }

    /// Sets a header, in place of those of that name.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name = name.to_ascii_lowercase();
        self.headers.retain(|header| header.name != name);
        self.headers.push(Header {
            name,
            value: value.as_bytes().to_vec(),
        });
        self
    }

    /// The path without the query, as it came (percent-encoded).
    pub fn path(&self) -> &str {
        self.uri.split_once('?').map_or(self.uri.as_str(), |(path, _)| path)
    }

    /// The value of a query parameter, decoded; the first if there are several, empty if it has none.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.uri.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key) == name).then(|| percent_decode(value))
        })
    }

    /// The value of a header, if it is there and is text. Names are lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name == name)?;
        std::str::from_utf8(&header.value).ok()
    }
}

/// Undoes percent-encoding and `+`, as forms write query parameters. What is not UTF-8 is replaced.
fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let hex = |i: usize| tail.get(i).and_then(|digit| (*digit as char).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `text` for use between tags and inside quoted attributes of HTML.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

impl Body {
    /// The next bytes, at most `max` and 1 MiB; none at the end.
    pub async fn read(&self, max: u32) -> Result<Option<Vec<u8>>> {
        Ok(host::read(self, max).await?)
    }

    /// All of it. More than `limit` bytes are an error with code `body-too-long`.
    pub async fn bytes(self, limit: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.read(PIECE).await? {
            if all.len() + piece.len() > limit {
                return Err(Error::new(
                    "body-too-long",
                    format_args!("the body is longer than {limit} bytes"),
                ));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// All of it as text.
    pub async fn text(self, limit: usize) -> Result<String> {
        Ok(String::from_utf8(self.bytes(limit).await?)?)
    }

    /// All of it, read as JSON.
    pub async fn json<T: DeserializeOwned>(self, limit: usize) -> Result<T> {
        json::from_str(&self.text(limit).await?)
    }
}

impl Response {
    /// The value of a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(&header.value).ok()
    }

    /// A response with that body.
    pub fn new(status: u16, content_type: &str, body: &[u8]) -> Self {
        Self::stream(status, Body::of_bytes(body)).with_header("content-type", content_type)
    }

    /// A response whose body may still be under way; see [`pipe`].
    pub fn stream(status: u16, body: Body) -> Self {
        Response {
            status,
            headers: Vec::new(),
            body,
        }
    }

    /// Plain text.
    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text.as_bytes())
    }

    /// HTML. Escape what you did not write: [`escape_html`].
    pub fn html(status: u16, html: &str) -> Self {
        Self::new(status, "text/html; charset=utf-8", html.as_bytes())
    }

    /// JSON.
    pub fn json<T: Serialize + ?Sized>(status: u16, value: &T) -> Result<Self> {
        Ok(Self::new(
            status,
            "application/json",
            json::to_string(value)?.as_bytes(),
        ))
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(Header {
            name: name.to_ascii_lowercase(),
            value: value.as_bytes().to_vec(),
        });
        self
    }
}

/// A body to answer with at once and fill afterwards, from a task made by [`spawn`](crate::spawn).
pub fn pipe() -> (Writer, Body) {
    let (writer, body) = host::pipe();
    (Writer(writer), body)
}

/// The writing end of [`pipe`]. Dropped unfinished, it breaks the body off, and the reader can tell.
#[derive(Debug)]
pub struct Writer(host::BodyWriter);

impl Writer {
    /// Waits while the pipe is full. `unavailable`: the reader has gone.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(1 << 20) {
            host::write(&self.0, piece.to_vec()).await?;
        }
        Ok(())
    }

    /// The end of the body.
    pub fn finish(self) {
        host::finish(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_decoded() {
        assert_eq!(percent_decode("a+b%20c%C3%BC%zz%4"), "a b cü%zz%4");
        assert_eq!(percent_decode("%"), "%");
        assert_eq!(percent_decode("%ff"), "\u{fffd}");
    }

    #[test]
    fn html_cannot_break_out() {
        assert_eq!(
            escape_html(r#"<a href="x" id='y'>&"#),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;"
        );
    }
}
