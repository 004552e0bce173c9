//! The list of failpoints and guards names those in the code, and no others.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use chassis::process::failpoint::{GUARDS, NAMES};

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the names that the code of the services passes to functions of `failpoint`.
fn used_names() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for service in ["chassis", "couriers", "orders", "waybill"] {
        sources(&crates.join(service).join("src"), &mut files);
    }
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| {
            let calls = text.split("failpoint::").skip(1);
            let names = calls.filter_map(|call| call.split_once("(\"")?.1.split_once("\")"));
            names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        })
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || b".-".contains(&byte)))
        .collect()
}

#[test]
fn each_failpoint_of_the_list_is_in_the_code() {
    let listed: BTreeSet<_> =
        NAMES.iter().chain(GUARDS).map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, used_names());
}
