//! Where the programs of PostgreSQL are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::Obstacle;

/// The folder of `initdb` and `postgres`: `PG_BIN_DIR`, else the first of the usual places,
/// where one that fits existing data goes before a newer one.
pub(crate) fn find(cluster: &Path) -> Result<PathBuf> {
    let has_both = |bin: &PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    if let Some(bin) = env::var_os("PG_BIN_DIR").map(PathBuf::from) {
        if !has_both(&bin) {
            bail!(Obstacle(format!(
                "PG_BIN_DIR is {}, but initdb and postgres are not both there: correct it, or \
                 leave it out",
                bin.display()
            )));
        }
        return Ok(bin);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = env::split_paths(&path).filter(has_both).collect();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ] {
        found.extend(versions(Path::new(parent), prefix).into_iter().filter(has_both));
    }
    // Links in PATH are followed: PostgreSQL looks for its parts beside the real file.
    let real =
        |bin: &PathBuf| bin.join("postgres").canonicalize().ok()?.parent().map(Path::to_owned);
    let Some(first) = found.first().and_then(real) else {
        bail!(Obstacle(
            "PostgreSQL is missing: run scripts/setup, or name the folder of initdb and postgres \
             in PG_BIN_DIR, or name a running server in DATABASE_URL"
                .to_owned()
        ));
    };
    let Ok(wanted) = fs::read_to_string(cluster.join("PG_VERSION")) else {
        return Ok(first);
    };
    let wanted = wanted.trim();
    found
        .iter()
        .filter_map(real)
        .find(|bin| major_version(bin).as_deref() == Some(wanted))
        .with_context(|| {
            Obstacle(format!(
                "{} was made by PostgreSQL {wanted}, which is not installed: install it and name \
                 its folder in PG_BIN_DIR, or start with empty data under another --data-dir",
                cluster.display()
            ))
        })
}

/// `parent/<prefix><number>/bin`, the highest number first.
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
    let told = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    // "postgres (PostgreSQL) 15.16 (Debian 15.16-0+deb12u1)"
    let told = String::from_utf8(told.stdout).ok()?;
    Some(told.split_whitespace().nth(2)?.split(['.', 'b', 'r']).next()?.to_owned())
}
