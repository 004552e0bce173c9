//! A folder with the data of one program: its lock, its log, and the room on its disk.
//!
//! ```text
//! .waybill/postgres/lock     held while the program runs; says by which process
//! .waybill/postgres/pid      the program's own process
//! .waybill/postgres/log      what it says, `log.1` what it said in the run before
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{Obstacle, process::command_line};

/// Below this the start is refused: PostgreSQL and Kafka both end when the disk is full, and a
/// database that ends in the middle of its first minutes teaches nobody anything.
const ROOM: u64 = 500_000_000;

/// How long the children of a killed run may take to end; see `watch.sh`.
const HANDOVER: Duration = Duration::from_secs(15);

/// A locked folder. The lock ends with this value *and* with the program started in it.
#[derive(Debug)]
pub struct Folder {
    pub(crate) path: PathBuf,
    lock: File,
}

/// A fresh log file.
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl Folder {
    /// Makes the folder if need be, and takes its lock.
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
        let deadline = Instant::now() + HANDOVER;
        loop {
            match self.lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", self.path.display()));
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = self.read_number("lock");
                    // A killed run leaves its lock to its watchers until its programs are gone.
                    let is_leaving = holder.is_none_or(|id| command_line(id).is_empty());
                    if !is_leaving || Instant::now() > deadline {
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
        self.lock
            .set_len(0)
            .and_then(|()| writeln!(self.lock, "{}", std::process::id()))
            .with_context(|| format!("writing to {}", self.path.display()))?;
        enough_room(&self.path, free_bytes(&self.path)?)?;
        Ok(self)
    }

    /// A second handle on the lock, for the watcher.
    pub(crate) fn lock_handle(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// An empty log; the one of the run before is kept beside it.
    pub(crate) fn new_log(&self) -> io::Result<Log> {
        let path = self.path.join("log");
        if path.exists() {
            fs::rename(&path, self.path.join("log.1"))?;
        }
        Ok(Log { file: File::create(&path)?, path })
    }

    /// Writes down the process of the program.
    pub(crate) fn remember(&self, id: u32) -> Result<()> {
        let path = self.path.join("pid");
        fs::write(&path, format!("{id}\n")).with_context(|| format!("writing {}", path.display()))
    }

    /// The process that [`Self::remember`] was told of, in this run or an earlier one.
    pub(crate) fn remembered(&self) -> Option<u32> {
        self.read_number("pid")
    }

    fn read_number(&self, name: &str) -> Option<u32> {
        fs::read_to_string(self.path.join(name)).ok()?.trim().parse().ok()
    }
}

fn free_bytes(path: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(path)
        .with_context(|| format!("asking for the free space of {}", path.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn enough_room(path: &Path, free: u64) -> Result<()> {
    if free < ROOM {
        bail!(Obstacle(format!(
            "the disk of {} has {} MB left, and at least {} MB are needed: free some space, or \
             choose a folder on another disk with --data-dir",
            path.display(),
            free / 1_000_000,
            ROOM / 1_000_000
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_refused_with_a_way_out() {
        let told = enough_room(Path::new("/somewhere"), ROOM - 1).unwrap_err().to_string();
        assert!(told.contains("/somewhere has 499 MB left"), "{told}");
        assert!(told.contains("--data-dir"), "{told}");
        assert!(enough_room(Path::new("/somewhere"), ROOM).is_ok());
    }
}
