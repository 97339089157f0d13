//! Any bytes for `imgasm_fuzz::container`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::container(bytes));
