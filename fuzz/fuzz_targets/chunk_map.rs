//! Any bytes for `imgasm_fuzz::chunk_map`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::chunk_map(bytes));
