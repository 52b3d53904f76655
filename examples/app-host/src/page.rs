//! The page: one HTML file that needs nothing from elsewhere, and may load nothing either.

use facetd_sdk::http::Response;
use facetd_sdk::random;

const HTML: &str = include_str!("page/page.html");
const CSS: &str = include_str!("page/page.css");
const JS: &str = include_str!("page/page.js");

pub(crate) fn response() -> Response {
    let nonce: String = random::bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
    Response::html(200, &assemble(&nonce)).with_header("content-security-policy", &policy(&nonce))
}

/// Only what carries this response's nonce is style or script, and only this host is talked to.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn assemble(nonce: &str) -> String {
    // The nonce first: what is inserted afterwards is not looked at again.
    HTML.replace("{{nonce}}", nonce)
        .replacen("{{style}}", CSS, 1)
        .replacen("{{script}}", JS, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole() {
        let page = assemble("f00d");
        assert!(page.starts_with("<!doctype html>") && !page.contains("{{"));
        assert_eq!(page.matches("nonce=\"f00d\"").count(), 2);
        assert!(page.contains(CSS) && page.contains(JS));
        assert!(policy("f00d").starts_with("default-src 'none'; script-src 'nonce-f00d';"));
    }

    #[test]
    fn nothing_can_end_style_or_script_early() {
        for part in [CSS, JS] {
            assert!(!part.contains("</s") && !part.contains("<!--") && !part.contains("{{"));
        }
    }

    #[test]
    fn what_strangers_wrote_is_never_markup() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "http:",
            "https:",
        ] {
            assert!(!JS.contains(way), "{way}");
        }
    }
}
