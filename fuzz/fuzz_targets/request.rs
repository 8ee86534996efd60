//! Feeds `request::check` with what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redis_ambassador_fuzz::request::check(bytes));
