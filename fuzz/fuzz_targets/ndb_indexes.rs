//! Any bytes for `imgasm_fuzz::ndb_indexes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imgasm_fuzz::ndb_indexes(bytes));
