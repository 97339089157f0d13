//! Any bytes for `imgasm_fuzz::primary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::primary(bytes));
