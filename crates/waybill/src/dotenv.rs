//! The file `.env`: variables for the current folder and the folders below it.

use std::{
    fs::{File, Metadata},
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use chassis::process::exit::ExitReason;

const NAME: &str = ".env";

/// Loads the `.env` of the current folder, or else of the nearest folder above it. It never overrides
/// a variable of the environment, and a missing file is no error. Returns the path of a file above
/// the current folder: the user may not know of it.
pub(crate) fn load() -> anyhow::Result<Option<PathBuf>> {
    // A program without a current folder has no `.env`.
    let Ok(current) = std::env::current_dir() else { return Ok(None) };
    let loading = || {
        let Some((path, mut file)) = find(&current)? else { return Ok(None) };
        let is_in_parent = path.parent() != Some(&current);
        if is_in_parent {
            // The metadata is that of the open file, so that it cannot be replaced in between.
            check_writers(&path, &file.metadata()?)?;
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)
            .map_err(anyhow::Error::from)
            .and_then(|_| set(&text))
            .with_context(|| format!("reading .env, which is {}", path.display()))?;
        anyhow::Ok(is_in_parent.then_some(path))
    };
    loading().context(ExitReason::Configuration)
}

fn find(current: &Path) -> anyhow::Result<Option<(PathBuf, File)>> {
    for folder in current.ancestors() {
        let path = folder.join(NAME);
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {
                let file = File::open(&path)
                    .with_context(|| format!("reading .env, which is {}", path.display()))?;
                return Ok(Some((path, file)));
            }
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("looking for {}", path.display()));
            }
        }
    }
    Ok(None)
}

/// Sets the variables of a file that are not set. The error has the number of a malformed line
/// instead of its text, which may contain a secret.
fn set(text: &[u8]) -> anyhow::Result<()> {
    let mut lines = Lines { rest: text, number: 0 };
    dotenvy::from_read(&mut lines).map_err(|error| match error {
        dotenvy::Error::LineParse(..) => anyhow!(
            "line {} is not NAME=value; put a value with spaces or $ in single quotes",
            lines.number
        ),
        error => error.into(),
    })
}

/// A reader that returns one line at a time, so that it knows the number of the line that is parsed.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let begins_line = !self.rest.is_empty();
        let line = self.rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let length = line.len().min(buffer.len());
        let (part, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(part);
        self.rest = rest;
        // A long line takes several reads; it is counted with the last one.
        self.number += usize::from(begins_line && length == line.len());
        Ok(length)
    }
}

/// Returns an error if another user, except root, can write to the file. Such a user could set the
/// addresses to which this program sends its passwords.
fn check_writers(path: &Path, file: &Metadata) -> anyhow::Result<()> {
    let (path, user) = (path.display(), rustix::process::geteuid().as_raw());
    ensure!(
        [0, user].contains(&file.uid()),
        "{path} belongs to another user (id {}), who could change the settings of this program; \
         remove it, or create a .env in the current folder",
        file.uid()
    );
    ensure!(
        file.mode() & 0o022 == 0,
        "other users can write to {path} and could change the settings of this program; run \
         `chmod go-w {path}`, or create a .env in the current folder"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_malformed_line() {
        let long = format!("LONG='{}'", "x".repeat(20_000));
        for (text, number) in [
            ("PASSWORD=secret word\n", 1),
            ("# PASSWORD=secret word\n\nPASSWORD=secret word", 3),
            ("A='one\ntwo'\r\nsecret\n", 3),
            (&format!("{long}\n{long}\nsecret"), 3),
            ("A='\nsecret\n", 2),
        ] {
            let error = set(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {number} is not")), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
