//! Any bytes for `imgasm_fuzz::modules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::modules(bytes));
