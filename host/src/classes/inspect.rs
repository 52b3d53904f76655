//! What a component says about itself, read without compiling it. Everything it imports must be on the list: a facet can
//! do exactly what its imports let it (S24).

use serde::{Deserialize, Serialize};
use wasmparser::{
    CanonicalFunction, CanonicalOption, Encoding, MemoryType, Parser, Payload, TableType, Validator, WasmFeatures,
};

use crate::classes::{ClassError, imports};
use crate::limits::COMPONENT_BYTES_MAX;

/// Bytes of a page of a memory that does not say otherwise.
const PAGE_BYTES_LOG2: u32 = 16;

/// Imports that are refused by name; of more it is said how many there are.
const REFUSALS_SAID_MAX: usize = 16;

/// What a component is made of, and what it asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inspected {
    /// Every export is lifted with a callback, so that events interleave; in doubt they do not (S16).
    pub(crate) interleaves: bool,
    /// Names of what the host has to give.
    pub(crate) imports: Vec<String>,
    /// Names of what it offers.
    pub(crate) exports: Vec<String>,
    /// Core modules in it, nested components included.
    pub(crate) core_modules: u32,
    /// What its memories take before it runs, bytes, if each module is instantiated once.
    pub(crate) memory_bytes_min: u64,
    /// Elements of its tables, likewise.
    pub(crate) table_elements_min: u64,
}

impl Inspected {
    fn exports_handler(&self) -> bool {
        ["handler", "blocking-handler"]
            .iter()
            .any(|handler| self.exports.iter().any(|name| imports::is_runtime(name, handler)))
    }
}

/// Checks that the bytes are a component that can be a class. Takes as long as reading each of its instructions once.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, ClassError> {
    validate(bytes)?;
    let inspected = read(bytes)?;
    check(&inspected)?;
    Ok(inspected)
}

/// The same for what has been checked before.
pub(crate) fn read_checked(bytes: &[u8]) -> Result<Inspected, ClassError> {
    let inspected = read(bytes)?;
    check(&inspected)?;
    Ok(inspected)
}

/// That the bytes are a component, whatever it may ask for.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), ClassError> {
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
        .map_err(invalid)?;
    Ok(())
}

fn check(inspected: &Inspected) -> Result<(), ClassError> {
    let mut refused = inspected.imports.iter().filter_map(|name| imports::refusal(name));
    let mut said: Vec<_> = refused.by_ref().take(REFUSALS_SAID_MAX).collect();
    if !said.is_empty() {
        match refused.count() {
            0 => {}
            more => said.push(format!("and {more} more")),
        }
        return Err(ClassError::Import(said.join("; ")));
    }
    if !inspected.exports_handler() {
        return Err(ClassError::NoHandler);
    }
    Ok(())
}

fn invalid(error: wasmparser::BinaryReaderError) -> ClassError {
    ClassError::Invalid(error.to_string())
}

/// What a valid component consists of.
pub(crate) fn read(bytes: &[u8]) -> Result<Inspected, ClassError> {
    let mut inspected = Inspected {
        interleaves: true,
        ..Inspected::default()
    };
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                inspected.core_modules += u32::from(encoding == Encoding::Module);
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            // Nested components import from the one around them, not from the host.
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    inspected.imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    inspected.exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    if let CanonicalFunction::Lift { options, .. } = function.map_err(invalid)? {
                        inspected.interleaves &= options
                            .iter()
                            .any(|option| matches!(option, CanonicalOption::Callback(_)));
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    inspected.add_memory(&memory.map_err(invalid)?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    inspected.add_table(&table.map_err(invalid)?.ty);
                }
            }
            _ => {}
        }
    }
    Ok(inspected)
}

impl Inspected {
    fn add_memory(&mut self, memory: &MemoryType) {
        let page_bytes = 1_u64
            .checked_shl(memory.page_size_log2.unwrap_or(PAGE_BYTES_LOG2))
            .unwrap_or(u64::MAX);
        let bytes = memory.initial.saturating_mul(page_bytes);
        self.memory_bytes_min = self.memory_bytes_min.saturating_add(bytes);
    }

    fn add_table(&mut self, table: &TableType) {
        self.table_elements_min = self.table_elements_min.saturating_add(table.initial);
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
            assert!(
                matches!(&error, Err(ClassError::Import(said)) if said.contains(name)),
                "{name}: {error:?}"
            );
        }
        assert!(matches!(
            component(r#"(component (import "wasi:io/poll@0.2.9" (instance)))"#),
            Err(ClassError::NoHandler)
        ));
    }

    #[test]
    fn every_import_off_the_list_is_named_at_once() {
        let error = component(r#"(component (import "a:b/c" (instance)) (import "d:e/f" (instance)))"#)
            .expect_err("two too many");
        let said = error.to_string();
        assert!(said.contains("a:b/c") && said.contains("d:e/f"), "{said}");
    }

    #[test]
    fn a_refusal_is_no_longer_than_somebody_reads() {
        let many: String = (0..1_000).map(|n| format!("(import \"i{n}\" (func))")).collect();
        let said = component(&format!("(component {many})"))
            .expect_err("none of them")
            .to_string();
        assert!(
            said.contains("\"i0\"") && said.contains("and 984 more") && said.len() < 4_000,
            "{said}"
        );
        let long = "n".repeat(90_000);
        let said = component(&format!("(component (import {long:?} (instance)))"))
            .expect_err("not that")
            .to_string();
        assert!(said.contains("nnn") && said.len() < 1_000, "{} bytes", said.len());
    }

    #[test]
    fn what_it_needs_before_it_runs_is_summed_over_its_modules() {
        let wat = r#"(component
            (core module (memory 2) (table 10 funcref))
            (component (core module (memory 3 9) (table 5 funcref))))"#;
        let read = read(&wat::parse_str(wat).expect("WAT")).expect("valid");
        assert_eq!(
            (read.core_modules, read.memory_bytes_min, read.table_elements_min),
            (2, 5 << 16, 15)
        );
    }
}
