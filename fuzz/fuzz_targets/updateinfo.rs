//! Any bytes for `imgasm_fuzz::updateinfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::updateinfo(bytes));
