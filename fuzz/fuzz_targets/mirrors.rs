//! Any bytes for `imgasm_fuzz::mirrors`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::mirrors(bytes));
