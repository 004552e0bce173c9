//! The user that PostgreSQL runs as, because it refuses to run as root.

use std::{
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::Obstacle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Returns the user for a cluster: `None` unless this process is root, else the owner of the
    /// data, or `postgres`, or `nobody`.
    pub(crate) fn for_cluster(cluster: &Path) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Ok(owner) = cluster.metadata()
            && owner.uid() != 0
        {
            return Ok(Some(Self { uid: owner.uid(), gid: owner.gid() }));
        }
        for name in ["postgres", "nobody"] {
            if let (Some(uid), Some(gid)) = (id("-u", name), id("-g", name)) {
                return Ok(Some(Self { uid, gid }));
            }
        }
        bail!(Obstacle(
            "PostgreSQL does not run as root, and this machine has no user `postgres` or `nobody` \
             to run it as: add one, or start waybill as an ordinary user"
                .to_owned()
        ))
    }

    /// Returns whether this user may enter a folder; the home of another user may be closed.
    pub(crate) fn may_enter(self, folder: &Path) -> bool {
        Command::new("/bin/sh")
            .args(["-c", r#"cd "$1""#, "sh"])
            .arg(folder)
            .current_dir("/")
            .uid(self.uid)
            .gid(self.gid)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Makes a command run as `user`; without one, it runs as the user of this process.
pub(crate) fn become_user(command: &mut tokio::process::Command, user: Option<User>) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}

fn id(which: &str, name: &str) -> Option<u32> {
    let id = Command::new("id").args([which, name]).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(id.stdout).ok()?.trim().parse().ok()
}
