//! Fuzz targets: functions that accept any bytes, and panic if a property of the code does not hold.
//!
//! The properties are beside the code that they describe, in the modules `fuzzing` of `chassis` and
//! `orders`, and in [`events`](mod@events) here. `make test` gives each target the inputs of its
//! folder in `corpus/`; `make fuzz` lets libFuzzer search for further ones. An input that found a
//! fault stays in the folder.

mod events;

use std::{fs, io, path::PathBuf};

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Panics if a property does not hold for these bytes.
    pub check: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    Target { name: "order", check: orders::fuzzing::order },
    Target { name: "request", check: orders::fuzzing::request },
    Target { name: "json", check: orders::fuzzing::json },
    Target { name: "event", check: events::event },
    Target { name: "delivery", check: events::delivery },
    Target { name: "headers", check: chassis::fuzzing::headers },
    Target { name: "cached", check: orders::fuzzing::cached },
    Target { name: "text", check: text },
];

impl Target {
    /// Returns the target of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Reads the inputs of the repository for this target, with their file names.
    pub fn corpus(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let files = fs::read_dir(folder)?.map(|file| {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, fs::read(&path)?))
        });
        files.collect()
    }
}

fn text(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        events::text(text);
        chassis::fuzzing::text(text);
        orders::fuzzing::text(text);
    }
}
