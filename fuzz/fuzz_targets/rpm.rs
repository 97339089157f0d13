//! Any bytes for `imgasm_fuzz::rpm`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::rpm(bytes));
