//! Any bytes for `imgasm_fuzz::undo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::undo(bytes));
