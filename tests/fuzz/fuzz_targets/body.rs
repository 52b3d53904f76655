#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| facetd::fuzzing::body(bytes));
