//! Any bytes for `imgasm_fuzz::filesystem`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::filesystem(bytes));
