//! Any bytes for `imgasm_fuzz::berkeley`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::berkeley(bytes));
