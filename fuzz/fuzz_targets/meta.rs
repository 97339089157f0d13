//! Any bytes for `imgasm_fuzz::meta`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::meta(bytes));
