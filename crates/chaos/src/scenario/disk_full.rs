//! The disk of PostgreSQL is full: it refuses rows, or ends when it cannot write its log, and
//! continues after space was freed.

use std::{fs::File, io::Write as _, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use super::{ScenarioArgs, assert_progress, finish, send, start};
use crate::finding::Verdict;

/// The size of the disk. The start of a server requires half a gigabyte.
const DISK: &str = "size=900m,mode=0755";

const FULL: Duration = Duration::from_secs(8);

pub(super) async fn run(args: &ScenarioArgs, folder: &Path) -> Result<Verdict> {
    let disk = folder.join("postgres");
    std::fs::create_dir_all(&disk).with_context(|| format!("creating {}", disk.display()))?;
    let _mounted = Mounted::tmpfs(&disk)?;
    let system = start(args, folder, 1).await?;
    let senders = send(args, &system)?;
    sleep(Duration::from_secs(args.seconds / 4)).await;
    for round in 1..=2 {
        let filler = disk.join("filler");
        fill(&filler)?;
        sleep(FULL).await;
        std::fs::remove_file(&filler).context("freeing the disk")?;
        // It has ended if it could not write its log.
        system.postgres.lock().await.restart().await?;
        assert_progress(&system, &format!("the disk was full, {round}")).await?;
    }
    finish(args, system, senders, false).await
}

fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path).context("creating the file that fills the disk")?;
    let block = vec![0; 1 << 20];
    // The error of the last write says that the disk is full; smaller pieces fill the rest.
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..4096]).is_ok() {}
    Ok(())
}

/// A mounted file system, which is unmounted when this is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(path: &'a Path) -> Result<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(path);
        let output = mount.output().context("starting mount")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("not tested: a tmpfs cannot be mounted here ({reason})");
        }
        Ok(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: the servers may still run after an error.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
