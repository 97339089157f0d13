//! Any bytes for `imgasm_fuzz::origin`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::origin(bytes));
