//! Creates a PostgreSQL cluster (its data folder) with `initdb`, complete or not at all.

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

use crate::{
    folder::remove_if_present,
    user::{User, become_user},
};

/// The folder of clusters whose user may not enter the data folder; used only if this process is
/// root.
const SHARED_CLUSTERS: &str = "/var/lib/waybill";

/// Runs `initdb` in a temporary folder and moves the complete result to `link`.
pub(crate) async fn create(bin: &Path, link: &Path, user: Option<User>) -> Result<()> {
    let parent = link.parent().context("the cluster has a folder above it")?;
    let is_shared = user.is_some_and(|user| !user.may_enter(parent));
    let home = if is_shared {
        // The number separates the clusters of different data folders.
        let number = RandomState::new().hash_one(std::process::id());
        Path::new(SHARED_CLUSTERS).join(format!("postgres-{number:016x}"))
    } else {
        parent.join("cluster.new")
    };
    remove_if_present(&home)?;
    make_home(&home, user).with_context(|| format!("creating {}", home.display()))?;
    initdb(bin, &home, user).await?;
    // `link` appears in one step, after `initdb` has succeeded: a process that ends before leaves
    // no link, and the next start creates a new cluster.
    if is_shared {
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

async fn initdb(bin: &Path, home: &Path, user: Option<User>) -> Result<()> {
    let mut initdb = Command::new(bin.join("initdb"));
    initdb
        .arg("-D")
        .arg(home)
        // English messages, and text sorted by its bytes: the same on all machines.
        .args(["--username=waybill_admin", "--auth=trust", "--encoding=UTF8", "--no-locale"])
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    become_user(&mut initdb, user);
    let output = initdb.output().await.context("starting initdb")?;
    if !output.status.success() {
        // A failure to remove the folder must not hide the error of initdb.
        let _ = fs::remove_dir_all(home);
        bail!(
            "initdb could not create the PostgreSQL data ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
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
