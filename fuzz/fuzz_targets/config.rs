//! Feeds `config::check` with what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redis_ambassador_fuzz::config::check(bytes));
