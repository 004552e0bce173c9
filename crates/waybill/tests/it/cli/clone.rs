//! `make` and `scripts/setup` in a clone below a folder with a space in its name.

use std::{fs, path::Path, process::Command};

use crate::support::Scratch;

#[test]
fn a_clone_below_a_folder_with_a_space_is_built_in_the_cache() {
    let (clone, cache) = (Scratch::new(), std::env::temp_dir().join("waybill-cache"));
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in [
        "Makefile",
        "scripts/setup",
        "rust-toolchain.toml",
        "crates/testkit/axe/pom.xml",
        "crates/testkit/schemathesis/requirements.txt",
    ] {
        let copy = clone.0.join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(repository.join(file), copy).unwrap();
    }
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&clone.0).env_remove("CARGO_TARGET_DIR");
        command.env("XDG_CACHE_HOME", &cache).env_remove("MAKEFLAGS").output().unwrap()
    };

    let output = run(Path::new("make"), &["--dry-run", "up"]);
    let commands = String::from_utf8(output.stdout).unwrap();
    let program = format!("\"{}/waybill/target-", cache.display());
    assert!(commands.contains(&program), "{commands}");

    let output = run(&clone.0.join("scripts/setup"), &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("contains a space: set CARGO_TARGET_DIR"), "{error}");
}
