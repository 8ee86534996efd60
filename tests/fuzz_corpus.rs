//! The fuzz targets' checks over the committed corpora: what a fuzzer once found stays true without one.

use std::fs;
use std::path::Path;

#[allow(unreachable_pub, reason = "to the fuzz targets it is a crate of its own")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

#[test]
fn requests() {
    replay("request", fuzz::request::check);
}

#[test]
fn replies() {
    replay("reply", fuzz::reply::check);
}

#[test]
fn inline_lines() {
    replay("inline", fuzz::inline::check);
}

#[test]
fn commands() {
    replay("classifier", fuzz::classifier::check);
}

#[test]
fn configurations() {
    replay("config", fuzz::config::check);
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus can be listed") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        check(&fs::read(&path).expect("a file of the corpus can be read"));
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", corpus.display());
}
