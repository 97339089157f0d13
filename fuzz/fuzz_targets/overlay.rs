//! Any bytes for `imgasm_fuzz::overlay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::overlay(bytes));
