//! The file `.env`: variables for the current folder and the folders below it.

use std::{
    fs::{File, Metadata},
    io::{ErrorKind, Read as _},
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
            .map_err(dotenvy::Error::Io)
            .and_then(|_| dotenvy::from_read(&*text))
            .map_err(|error| without_line(error, &text))
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

/// Returns the error with the number of the malformed line instead of its text, which may contain a
/// secret.
fn without_line(error: dotenvy::Error, text: &[u8]) -> anyhow::Error {
    let dotenvy::Error::LineParse(line, _) = error else { return error.into() };
    let text = String::from_utf8_lossy(text);
    // The error contains the line or its value; a value in quotes may have several lines.
    let first = line.lines().next().unwrap_or_default().trim_end();
    let ends_so = |one: &str| !first.is_empty() && one.trim_end().ends_with(first);
    let number = text.lines().position(ends_so);
    let number = number.map_or_else(String::new, |number| format!(" {}", number + 1));
    anyhow!("line{number} is not NAME=value; put a value with spaces or $ in single quotes")
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
