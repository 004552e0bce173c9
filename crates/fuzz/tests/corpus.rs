//! Gives each fuzz target the inputs of its folder in `corpus/`.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use fuzz::{TARGETS, Target};

fn replay(name: &str) {
    let target = Target::find(name).unwrap();
    let corpus = target.corpus().unwrap();
    assert!(corpus.len() >= 10, "the corpus of {name} has {} inputs", corpus.len());

    let check = |bytes: &[u8]| catch_unwind(AssertUnwindSafe(|| (target.check)(bytes)));
    let failed: Vec<_> =
        corpus.iter().filter(|(_, bytes)| check(bytes).is_err()).map(|(name, _)| name).collect();

    assert!(failed.is_empty(), "{name}: {failed:?}");
}

#[test]
fn the_corpus_of_orders_is_parsed() {
    replay("order");
}

#[test]
fn the_corpus_of_requests_is_parsed() {
    replay("request");
}

#[test]
fn the_corpus_of_json_is_read() {
    replay("json");
}

#[test]
fn the_corpus_of_events_is_read() {
    replay("event");
}

#[test]
fn the_corpus_of_deliveries_is_read() {
    replay("delivery");
}

#[test]
fn the_corpus_of_headers_is_read() {
    replay("headers");
}

#[test]
fn the_corpus_of_cached_values_is_decoded() {
    replay("cached");
}

#[test]
fn the_corpus_of_texts_is_read() {
    replay("text");
}

#[test]
fn each_folder_of_the_corpus_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();

    let mut names = TARGETS.map(|target| target.name);
    names.sort();

    assert_eq!(folders, names);
}
