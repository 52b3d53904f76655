#![no_main]
//! The bytes as they are, and a component that they choose.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    facetd::fuzzing::component(bytes);
    let mut choices = arbitrary::Unstructured::new(bytes);
    if let Ok(chosen) = wasm_smith::Component::new(wasm_smith::Config::default(), &mut choices) {
        facetd::fuzzing::component(&chosen.to_bytes());
    }
});
