//! Any bytes for `imgasm_fuzz::file_contexts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::file_contexts(bytes));
