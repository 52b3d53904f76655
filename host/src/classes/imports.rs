//! What a component may import. The list is closed; what is not on it is refused with a word on what to do instead.

use std::fmt::Write as _;

/// Interfaces of `facetd:runtime` that a facet may import.
pub(crate) const RUNTIME: [&str; 23] = [
    "types",
    "context",
    "clock",
    "random",
    "log",
    "timers",
    "blocking-timers",
    "storage",
    "durability",
    "blocking-durability",
    "kv",
    "sql",
    "alarms",
    "facets",
    "objects",
    "classes",
    "calls",
    "blocking-calls",
    "http-types",
    "bodies",
    "blocking-bodies",
    "egress",
    "blocking-egress",
];

/// The version of `facetd:runtime` that this host serves.
const VERSION: &str = "0.1.0";

/// Of a name that is refused.
const NAME_CHARS_SHOWN: usize = 200;

/// WASI 0.2 interfaces that ordinary toolchains import whether they need them or not. What they reach is closed: no file,
/// no environment, no input; output goes to the log.
const WASI: [&str; 20] = [
    "io/error",
    "io/poll",
    "io/streams",
    "clocks/wall-clock",
    "clocks/monotonic-clock",
    "random/random",
    "random/insecure",
    "random/insecure-seed",
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "filesystem/types",
    "filesystem/preopens",
];

/// True for `facetd:runtime/INTERFACE` of the version that is served.
pub(crate) fn is_runtime(name: &str, interface: &str) -> bool {
    runtime_interface(name) == Some(interface)
}

/// The interface, if it is one of ours and of this version.
pub(crate) fn runtime_interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix("facetd:runtime/")?.split_once('@')?;
    (version == VERSION).then_some(interface)
}

/// Why a facet cannot have this import; none if it can.
pub(crate) fn refusal(name: &str) -> Option<String> {
    let wasi = name.strip_prefix("wasi:");
    let known = runtime_interface(name).is_some_and(|interface| RUNTIME.contains(&interface))
        || wasi
            .and_then(|rest| rest.split_once("@0.2."))
            .is_some_and(|(interface, _patch)| WASI.contains(&interface));
    if known {
        return None;
    }
    let shown = match name.char_indices().nth(NAME_CHARS_SHOWN) {
        Some((end, _)) => format!("{:?} and so on", &name[..end]),
        None => format!("{name:?}"),
    };
    let mut why = format!("{shown}: ");
    let hint: &str = if let Some(rest) = name.strip_prefix("facetd:runtime/") {
        match rest.split_once('@') {
            Some((interface, _version)) if RUNTIME.contains(&interface) => {
                let _ = write!(why, "this host serves version {VERSION} of the contract; ");
                "build it against the wit/ folder of this host"
            }
            Some(_) | None => "the contract has no such interface; build it against the wit/ folder of this host",
        }
    } else if let Some(rest) = wasi {
        let package = rest.split(['/', '@']).next().unwrap_or_default();
        match package {
            "sockets" => "facets have no sockets; leave out what opens them, or ask over facetd:runtime/egress",
            "http" => "facets answer HTTP by exporting facetd:runtime/http and ask over facetd:runtime/egress",
            "filesystem" => "facets have no files; keep data in facetd:runtime/kv or sql",
            "keyvalue" | "blobstore" | "sql" => "facets keep data in facetd:runtime/kv and sql",
            _ if !rest.contains("@0.2.") => "of WASI, version 0.2 is served; build it for wasm32-wasip2",
            _ => "it is not in the closed part of WASI that facets see; leave out what uses it",
        }
    } else {
        "no host gives it; compose the component that exports it into this one (`wac plug`), or leave out what uses it"
    };
    why.push_str(hint);
    Some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        for (name, said) in [
            ("wasi:sockets/tcp@0.2.0", "egress"),
            ("wasi:http/outgoing-handler@0.2.0", "egress"),
            ("wasi:keyvalue/store@0.2.0-draft", "facetd:runtime/kv"),
            ("wasi:io/poll@0.3.0", "wasm32-wasip2"),
            ("wasi:clocks/timezone@0.2.0", "closed part"),
            ("facetd:runtime/kv@0.2.0", "serves version 0.1.0"),
            ("facetd:runtime/telepathy@0.1.0", "no such interface"),
            ("facetd:runtime/kv", "wit/"),
            ("acme:secret/door", "compose"),
            ("a-function", "compose"),
        ] {
            let refusal = refusal(name).unwrap_or_default();
            assert!(refusal.contains(said) && refusal.contains(name), "{name}: {refusal}");
        }
        for name in ["facetd:runtime/kv@0.1.0", "wasi:io/poll@0.2.0", "wasi:cli/exit@0.2.12"] {
            assert_eq!(refusal(name), None);
        }
    }
}
