//! Any bytes for `imgasm_fuzz::disk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::disk(bytes));
