//! Any bytes for `imgasm_fuzz::sqlite`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::sqlite(bytes));
