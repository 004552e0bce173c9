//! Finds the programs of PostgreSQL.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::Obstacle;

/// Returns the folder of `initdb` and `postgres`: `PG_BIN_DIR`, or the first of the usual places.
/// If the cluster exists, its version is used, even if a newer one is installed.
pub(crate) fn find(cluster: &Path) -> Result<PathBuf> {
    if let Some(bin) = env::var_os("PG_BIN_DIR").map(PathBuf::from) {
        if !is_complete(&bin) {
            bail!(Obstacle(format!(
                "PG_BIN_DIR is {}, but this folder does not contain both initdb and postgres: \
                 correct it, or remove it",
                bin.display()
            )));
        }
        return Ok(bin);
    }
    let found = usual_places();
    let Some(first) = found.first() else {
        bail!(Obstacle(
            "PostgreSQL is missing: run scripts/setup, or set PG_BIN_DIR to the folder of initdb \
             and postgres, or set DATABASE_URL to the address of a running server"
                .to_owned()
        ));
    };
    let Ok(wanted) = fs::read_to_string(cluster.join("PG_VERSION")) else {
        return Ok(first.clone());
    };
    let wanted = wanted.trim();
    found.into_iter().find(|bin| major_version(bin).as_deref() == Some(wanted)).with_context(|| {
        Obstacle(format!(
            "{} was created by PostgreSQL {wanted}, which is not installed: install it and set \
                 PG_BIN_DIR to its folder, or start with empty data in another --data-dir",
            cluster.display()
        ))
    })
}

fn usual_places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&path).collect();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ] {
        places.extend(versions(Path::new(parent), prefix));
    }
    places.retain(|bin| is_complete(bin));
    places.iter().filter_map(|bin| real_folder(bin)).collect()
}

fn is_complete(bin: &Path) -> bool {
    bin.join("initdb").exists() && bin.join("postgres").exists()
}

/// Follows a link in `PATH`: PostgreSQL looks for its other files beside the real program.
fn real_folder(bin: &Path) -> Option<PathBuf> {
    bin.join("postgres").canonicalize().ok()?.parent().map(Path::to_owned)
}

/// Returns `parent/<prefix><number>/bin`, the highest number first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_prefix(prefix)?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, bin)| bin).collect()
}

fn major_version(bin: &Path) -> Option<String> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    // "postgres (PostgreSQL) 15.16 (Debian 15.16-0+deb12u1)"
    let version = String::from_utf8(output.stdout).ok()?;
    Some(version.split_whitespace().nth(2)?.split(['.', 'b', 'r']).next()?.to_owned())
}
