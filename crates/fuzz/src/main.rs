//! The program of `make fuzz`: libFuzzer with the target that `FUZZ_TARGET` names.

#![no_main]

use std::sync::LazyLock;

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names = TARGETS.map(|target| target.name).join(", ");
    Target::find(&name).unwrap_or_else(|| panic!("set FUZZ_TARGET to one of: {names}"))
});

fuzz_target!(|bytes: &[u8]| (TARGET.check)(bytes));
