//! Any bytes for `imgasm_fuzz::dpkg`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::dpkg(bytes));
