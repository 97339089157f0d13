//! Any bytes for `imgasm_fuzz::comps`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::comps(bytes));
