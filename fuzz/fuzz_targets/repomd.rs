//! Any bytes for `imgasm_fuzz::repomd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::repomd(bytes));
