//! Any bytes for `imgasm_fuzz::filelists`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::filelists(bytes));
