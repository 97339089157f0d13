//! Any bytes for `imgasm_fuzz::apply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::apply(bytes));
