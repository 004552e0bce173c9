//! A new PostgreSQL cluster: what `initdb` makes, complete or not at all.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::user::{User, become_user};

/// Where the clusters of root live when an ordinary user may not enter the data folder.
const ROOTS_CLUSTERS: &str = "/var/lib/waybill";

/// Runs `initdb` beside `link` and puts the result there when it is complete.
pub(crate) async fn create(bin: &Path, link: &Path, user: Option<User>) -> Result<()> {
    let parent = link.parent().context("the cluster has a folder above it")?;
    let elsewhere = user.is_some_and(|user| !user.may_enter(parent));
    let home = if elsewhere {
        // The number keeps apart what different data folders have here.
        let number = RandomState::new().hash_one(std::process::id());
        Path::new(ROOTS_CLUSTERS).join(format!("postgres-{number:016x}"))
    } else {
        parent.join("cluster.new")
    };
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("removing {}", home.display()))?;
    }
    make_home(&home, user).with_context(|| format!("creating {}", home.display()))?;

    let mut initdb = Command::new(bin.join("initdb"));
    initdb
        .arg("-D")
        .arg(&home)
        // Messages in English, text in order of its bytes: the same on every machine.
        .args(["--username=waybill_admin", "--auth=trust", "--encoding=UTF8", "--no-locale"])
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    become_user(&mut initdb, user);
    let output = initdb.output().await.context("starting initdb")?;
    if !output.status.success() {
        // The reason is worth more than a tidy folder.
        let _ = fs::remove_dir_all(&home);
        bail!(
            "initdb could not create the PostgreSQL data ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    if elsewhere {
        tracing::info!(
            "PostgreSQL does not run as root, and its user may not enter {}: the data is in {}",
            parent.display(),
            home.display()
        );
        symlink(&home, link)
    } else {
        fs::rename(&home, link)
    }
    .with_context(|| format!("creating {}", link.display()))
}

fn make_home(home: &Path, user: Option<User>) -> io::Result<()> {
    if let Some(parent) = home.parent().filter(|parent| !parent.exists()) {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
    }
    fs::DirBuilder::new().mode(0o700).create(home)?;
    if let Some(user) = user {
        chown(home, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}
