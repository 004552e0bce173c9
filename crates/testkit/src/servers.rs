//! The servers that tests use: one PostgreSQL and one Kafka shared by all tests of a process, and
//! separate ones for tests that stop them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use local::{LocalServers, LocalServersOptions};

/// The addresses of the servers.
#[derive(Debug, Clone)]
pub struct Servers {
    /// The URL of PostgreSQL's superuser.
    pub postgres: String,
    pub kafka: String,
}

impl Servers {
    /// Returns PostgreSQL's host and port.
    pub(crate) fn postgres_host(&self) -> &str {
        let address = self.postgres.split_once('@').expect("the address names a user").1;
        address.split_once('/').expect("the address names a database").0
    }
}

/// Returns the servers that all tests of this process share. They end with the process.
///
/// They run on a thread of their own, because the runtime of each test ends with the test.
#[expect(clippy::zombie_processes, reason = "the shell that removes the folder outlives us")]
pub fn shared() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
            runtime.block_on(async {
                let folder = folder();
                // No code of this process runs when it ends, so a shell removes the folder.
                let _remover = remove_at_exit(&folder);
                let mut own = OwnServers::start_in(folder).await;
                let _ = sender.send(own.servers());
                // Keeps the servers until the process ends. If a server dies first, the tests fail.
                let _ = own.local.died().await;
            });
        });
        receiver.recv().expect("the shared servers start")
    })
}

/// Servers of a single test, which the test may stop and start.
#[derive(Debug)]
pub struct OwnServers {
    pub local: LocalServers,
    folder: PathBuf,
}

impl OwnServers {
    /// Starts PostgreSQL and Kafka on free ports.
    pub async fn start() -> Self {
        Self::start_in(folder()).await
    }

    async fn start_in(folder: PathBuf) -> Self {
        let options = LocalServersOptions {
            data_dir: folder.clone(),
            postgres_port: Some(0),
            kafka_port: Some(0),
        };
        let local =
            LocalServers::start(&options, &|_| {}).await.expect("PostgreSQL and Kafka start");
        Self { local, folder }
    }

    #[must_use]
    pub fn servers(&self) -> Servers {
        let postgres = self.local.postgres.as_ref().expect("PostgreSQL was started").url();
        Servers {
            // The servers have no TLS. Without the parameter, PGSSLMODE could require it.
            postgres: format!("{postgres}?sslmode=disable"),
            kafka: self.local.kafka.as_ref().expect("Kafka was started").brokers(),
        }
    }

    /// Stops both and removes their data.
    pub async fn stop(mut self) {
        self.local.stop().await.expect("the servers stop");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A test that fails leaves consumers, which end only after Kafka has answered, and the runtime of the
/// test waits for them. So its servers end with the process.
impl Drop for OwnServers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget((self.local.postgres.take(), self.local.kafka.take()));
        }
    }
}

/// Starts a shell that removes a folder when this process ends in any way, because the shell's
/// input ends then.
fn remove_at_exit(folder: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "trap '' INT; read _; until rm -rf \"$1\"; do sleep 1; done", "remove"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell starts")
}

/// Returns the path of a new folder, which any user may create. Its name has a space and letters
/// that are not ASCII, because the servers must run below such folders, too.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!(
        "waybill-test-{}-{:08x} Рабочий стол",
        std::process::id(),
        rand::random::<u32>()
    ))
}
