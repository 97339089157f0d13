//! Any bytes for `imgasm_fuzz::script`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::script(bytes));
