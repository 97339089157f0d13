//! Any bytes for `imgasm_fuzz::guest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::guest(bytes));
