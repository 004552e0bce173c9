//! The data folder of one server: its lock, its log, and the free space on its disk.
//!
//! ```text
//! .waybill/postgres/lock     held while the server runs; contains the id of its parent process
//! .waybill/postgres/pid      the id of the server's process
//! .waybill/postgres/log      the server's output; `log.1` is that of the run before
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{Obstacle, process_id::command_line};

/// The least free space for a start: PostgreSQL and Kafka both end when the disk is full.
const MIN_FREE_BYTES: u64 = 500_000_000;

/// Bounds the wait for the servers of a killed run, which `watch.sh` stops within ten seconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// Bounds the wait for a lock whose holder runs: it may have stopped its server, and the server's
/// watcher releases the lock a moment later.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// A locked folder. The lock is released when this value *and* the server in the folder are gone.
#[derive(Debug)]
pub struct Folder {
    pub(crate) path: PathBuf,
    lock: File,
}

pub(crate) struct Log {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl Folder {
    /// Creates the folder if it is missing, and takes its lock.
    pub async fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)
            .and_then(|()| path.canonicalize())
            .and_then(|path| {
                let mut options = File::options();
                let lock = options.read(true).write(true).create(true).truncate(false);
                Ok(Self { lock: lock.open(path.join("lock"))?, path })
            })
            .with_context(|| {
                Obstacle(format!(
                    "cannot use the folder {}: choose another with --data-dir",
                    path.display()
                ))
            })?
            .locked()
            .await
    }

    async fn locked(mut self) -> Result<Self> {
        let began = Instant::now();
        // The kernel releases the lock when the last process that has the file open ends, so no
        // lock of a killed run remains. The file itself is never removed: otherwise two processes
        // could lock two files of the same name.
        loop {
            match self.lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", self.path.display()));
                }
                Err(TryLockError::WouldBlock) => {
                    // The holder writes its id after it has taken the lock, so the id may be
                    // missing, or be that of an earlier holder; both are treated as a run that is
                    // ending.
                    let holder = self.read_number("lock");
                    // After a killed run, the watchers hold the lock until its servers have ended.
                    let is_ending = holder.is_none_or(|id| command_line(id).is_empty());
                    let limit = if is_ending { LOCK_TIMEOUT } else { RELEASE_TIMEOUT };
                    if began.elapsed() > limit {
                        let holder =
                            holder.map_or("another process".into(), |id| format!("process {id}"));
                        bail!(Obstacle(format!(
                            "the folder {} is in use by {holder}: stop that one first, or choose \
                             another folder with --data-dir",
                            self.path.display()
                        )));
                    }
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        // This process has the lock, so no other one writes the file.
        self.lock
            .set_len(0)
            .and_then(|()| writeln!(self.lock, "{}", std::process::id()))
            .with_context(|| format!("writing to {}", self.path.display()))?;
        check_free_space(&self.path, free_bytes(&self.path)?)?;
        Ok(self)
    }

    /// Returns a second handle on the lock, for the watcher.
    pub(crate) fn lock_handle(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// Creates an empty log, and keeps the previous one as `log.1`.
    pub(crate) fn new_log(&self) -> io::Result<Log> {
        let path = self.path.join("log");
        if path.exists() {
            fs::rename(&path, self.path.join("log.1"))?;
        }
        Ok(Log { file: File::create(&path)?, path })
    }

    pub(crate) fn write_process_id(&self, id: u32) -> Result<()> {
        let path = self.path.join("pid");
        fs::write(&path, format!("{id}\n")).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads the id of the last server in this folder, which may be of an earlier run.
    pub(crate) fn read_process_id(&self) -> Option<u32> {
        self.read_number("pid")
    }

    fn read_number(&self, name: &str) -> Option<u32> {
        fs::read_to_string(self.path.join(name)).ok()?.trim().parse().ok()
    }
}

/// Removes a folder that an earlier attempt may have left unfinished.
pub(crate) fn remove_if_present(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn free_bytes(path: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(path)
        .with_context(|| format!("asking for the free space of {}", path.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn check_free_space(path: &Path, free: u64) -> Result<()> {
    if free < MIN_FREE_BYTES {
        bail!(Obstacle(format!(
            "the disk of {} has {} MB left, and at least {} MB are needed: free some space, or \
             choose a folder on another disk with --data-dir",
            path.display(),
            free / 1_000_000,
            MIN_FREE_BYTES / 1_000_000
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_refused_with_a_way_out() {
        let error =
            check_free_space(Path::new("/somewhere"), MIN_FREE_BYTES - 1).unwrap_err().to_string();
        assert!(error.contains("/somewhere has 499 MB left"), "{error}");
        assert!(error.contains("--data-dir"), "{error}");
        assert!(check_free_space(Path::new("/somewhere"), MIN_FREE_BYTES).is_ok());
    }
}
