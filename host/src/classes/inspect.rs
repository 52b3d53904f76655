//! What a component says about itself, read without compiling it. Everything it imports must be on the list: a facet can
//! do exactly what its imports let it (S24).

use wasmparser::{CanonicalFunction, CanonicalOption, Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::classes::ClassError;
use crate::grants::{Ability, Need};
use crate::limits::COMPONENT_BYTES_MAX;

/// What matters of a component before it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inspected {
    /// Every export is lifted with a callback, so that events interleave; in doubt they do not (S16).
    pub(crate) interleaves: bool,
    /// What it imports that has to be granted.
    pub(crate) needs: Vec<Need>,
}

/// Interfaces of `facetd:runtime` that a facet may import.
const RUNTIME: [&str; 23] = [
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

/// Checks that the bytes are a component that can be a class.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, ClassError> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(ClassError::TooLarge(bytes.len()));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(ClassError::CoreModule);
    }
    if !Parser::is_component(bytes) {
        return Err(ClassError::NotWasm);
    }
    let features = WasmFeatures::default() | WasmFeatures::COMPONENT_MODEL | WasmFeatures::CM_ASYNC;
    Validator::new_with_features(features)
        .validate_all(bytes)
        .map_err(|error| ClassError::Invalid(error.to_string()))?;
    let (mut has_handler, mut interleaves, mut needs) = (false, true, Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| ClassError::Invalid(error.to_string()))? {
            Payload::Version {
                encoding: Encoding::Component | Encoding::Module,
                ..
            } => depth += 1,
            Payload::End(_) => depth -= 1,
            // Nested components import from the one around them, not from the host.
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let name = import
                        .map_err(|error| ClassError::Invalid(error.to_string()))?
                        .name
                        .name;
                    check_import(name)?;
                    needs.extend(need(name));
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let name = export
                        .map_err(|error| ClassError::Invalid(error.to_string()))?
                        .name
                        .name;
                    has_handler |= ["handler", "blocking-handler"].iter().any(|h| is_runtime(name, h));
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    if let CanonicalFunction::Lift { options, .. } =
                        function.map_err(|error| ClassError::Invalid(error.to_string()))?
                    {
                        interleaves &= options
                            .iter()
                            .any(|option| matches!(option, CanonicalOption::Callback(_)));
                    }
                }
            }
            _ => {}
        }
    }
    if has_handler {
        Ok(Inspected { interleaves, needs })
    } else {
        Err(ClassError::NoHandler)
    }
}

fn is_runtime(name: &str, interface: &str) -> bool {
    name.strip_prefix("facetd:runtime/")
        .and_then(|rest| rest.strip_suffix("@0.1.0"))
        == Some(interface)
}

/// What has to be granted for this import.
fn need(import: &str) -> Option<Need> {
    let ability = Ability::ALL.into_iter().find(|ability| {
        ability
            .interfaces()
            .iter()
            .any(|interface| is_runtime(import, interface))
    })?;
    let import = import.to_owned();
    Some(Need { ability, import })
}

fn check_import(name: &str) -> Result<(), ClassError> {
    let known = RUNTIME.iter().any(|interface| is_runtime(name, interface))
        || name
            .strip_prefix("wasi:")
            .and_then(|rest| rest.split_once("@0.2."))
            .is_some_and(|(interface, _patch)| WASI.contains(&interface));
    if known {
        Ok(())
    } else {
        Err(ClassError::Import(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(wat: &str) -> Result<Inspected, ClassError> {
        inspect(&wat::parse_str(wat).expect("the test's own WAT"))
    }

    #[test]
    fn what_is_no_component_is_refused_by_name() {
        assert!(matches!(inspect(b"hello"), Err(ClassError::NotWasm)));
        assert!(matches!(inspect(b""), Err(ClassError::NotWasm)));
        assert!(matches!(component("(module)"), Err(ClassError::CoreModule)));
        assert!(matches!(component("(component)"), Err(ClassError::NoHandler)));
        let truncated = &wat::parse_str("(component (core module (func)))").expect("WAT")[..20];
        assert!(matches!(inspect(truncated), Err(ClassError::Invalid(_))));
    }

    #[test]
    fn an_import_off_the_list_is_named() {
        for name in [
            "wasi:sockets/tcp@0.2.0",
            "facetd:runtime/kv@0.2.0",
            "acme:secret/door",
            "wasi:io/poll@0.3.0",
        ] {
            let error = component(&format!("(component (import {name:?} (instance)))"));
            assert!(matches!(error, Err(ClassError::Import(n)) if n == name), "{name}");
        }
        assert!(matches!(
            component(r#"(component (import "wasi:io/poll@0.2.9" (instance)))"#),
            Err(ClassError::NoHandler)
        ));
    }
}
