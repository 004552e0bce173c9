//! The environment of the process, before anything reads it: an empty variable counts as unset, and
//! the file `.env` is loaded.

use std::path::PathBuf;

use chassis::postgres::address::keep_variables;

use crate::dotenv;

/// Prepares the environment. Call it first, while the process has a single thread. Returns the path
/// of a `.env` above the current folder.
pub(crate) fn prepare() -> anyhow::Result<Option<PathBuf>> {
    // Also before `.env` is loaded, because its lines do not override variables of the environment.
    remove_empty();
    let parent_dotenv = dotenv::load()?;
    remove_empty();
    keep_variables().for_each(remove);
    Ok(parent_dotenv)
}

fn remove_empty() {
    for (name, value) in std::env::vars_os() {
        // A name can only be malformed if a program passes it on directly.
        if value.is_empty() && !name.is_empty() {
            remove(&name);
        }
    }
}

#[expect(unsafe_code, reason = "the standard library has no other way to remove a variable")]
fn remove(name: impl AsRef<std::ffi::OsStr>) {
    // SAFETY: `main` calls `prepare` first, so no other thread exists that could read or change the
    // environment at the same time.
    unsafe { std::env::remove_var(name) };
}
