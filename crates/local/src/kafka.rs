//! The real Apache Kafka as a child process: one KRaft node, broker and controller.
//!
//! What it has acknowledged survives the death of any process, its own included, but not a power
//! failure: like every Kafka it leaves the disk to the system, and here is no second replica.

use std::{
    ffi::OsString,
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::{
    Progress,
    folder::Folder,
    java::{Java, Preparation},
    port,
    process::{Process, Program, end_orphan},
};

const NAME: &str = "Apache Kafka";
const SETTINGS: &str = include_str!("../kafka/server.properties");
const LOGGING: &str = include_str!("../kafka/log4j2.xml");

/// A small and quick Java: it serves one machine, not a data centre.
const JVM: [&str; 5] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    // Half dead of a full heap is worse than dead: the parent notices the latter.
    "-XX:+ExitOnOutOfMemoryError",
    // An archive of another Java is passed over in silence.
    "-Xlog:disable",
];

/// Where and how to run Apache Kafka.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The folder of its data and log, for this broker alone.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
}

/// A running Apache Kafka. Dropping it stops it too, only that nobody waits for the end.
#[derive(Debug)]
pub struct Kafka {
    folder: Folder,
    java: Java,
    port: u16,
    process: Option<Process>,
}

impl Kafka {
    /// Starts Kafka, on empty data if the folder has none, and waits until it answers.
    ///
    /// The first start of all on a machine downloads the jars and makes the class archive.
    pub async fn start(options: &KafkaOptions, progress: Progress<'_>) -> Result<Self> {
        let java = Java::find(progress).await?;
        if !java.archive.exists() {
            let _alone = Preparation::alone().await?;
            if !java.archive.exists() {
                progress("preparing Apache Kafka (once)");
                if let Err(error) = make_archive(&java).await {
                    tracing::warn!("no class archive, Apache Kafka starts slower: {error:#}");
                }
            }
        }
        Self::start_with(java, options, &[]).await
    }

    async fn start_with(java: Java, options: &KafkaOptions, jvm: &[OsString]) -> Result<Self> {
        let folder = Folder::open(&options.data_dir).await?;
        if let Some(id) = folder.remembered() {
            end_orphan(id, &folder.path, Signal::TERM).await;
        }
        let port = port::claim(options.port, NAME, "--kafka-port")?;
        let mut kafka = Self { folder, java, port, process: None };
        kafka.format().await?;
        kafka.run(jvm).await?;
        Ok(kafka)
    }

    /// The address for clients.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// Ends it at once, as a crash would; the next start recovers.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill(Signal::KILL).await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same port and data, after a stop if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.run(&[]).await
    }

    /// Waits until it ends unasked, and tells so in a sentence.
    pub async fn died(&mut self) -> anyhow::Error {
        match &mut self.process {
            Some(process) => process.ended().await,
            None => std::future::pending().await,
        }
    }

    async fn run(&mut self, jvm: &[OsString]) -> Result<()> {
        let settings = self.write_settings(&self.folder.path.join("data"))?;
        let mut args = self.java_args();
        args.extend(jvm.iter().cloned());
        args.extend(["kafka.Kafka".into(), settings.into()]);
        let program = Program {
            name: NAME,
            path: &self.java.program,
            args,
            envs: vec![("CLASSPATH", self.java.class_path.clone())],
            user: None,
            stop: Signal::TERM,
        };
        let mut process = Process::spawn(program, &self.folder)?;
        process.ready(async || is_ready(self.port).await).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Makes empty data, complete or not at all.
    async fn format(&self) -> Result<()> {
        let data = self.folder.path.join("data");
        if data.exists() {
            return Ok(());
        }
        let unfinished = self.folder.path.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .with_context(|| format!("removing {}", unfinished.display()))?;
        }
        let settings = self.write_settings(&unfinished)?;
        let format = Command::new(&self.java.program)
            .env("CLASSPATH", &self.java.class_path)
            .args(self.java_args())
            .args(["kafka.tools.StorageTool", "format", "-t", &cluster_id(), "-c"])
            .arg(settings)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("starting Java")?;
        if !format.status.success() {
            bail!(
                "Apache Kafka could not create its data in {} ({}):\n{}{}",
                data.display(),
                format.status,
                String::from_utf8_lossy(&format.stdout),
                String::from_utf8_lossy(&format.stderr)
            );
        }
        fs::rename(&unfinished, &data).with_context(|| format!("creating {}", data.display()))
    }

    fn write_settings(&self, data: &Path) -> Result<PathBuf> {
        let settings = SETTINGS
            .replace("@PORT@", &self.port.to_string())
            .replace("@CONTROLLER_PORT@", &port::any_free()?.to_string())
            .replace("@DATA@", &data.display().to_string());
        let path = self.folder.path.join("server.properties");
        fs::write(&path, settings)
            .and_then(|()| fs::write(self.logging(), LOGGING))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    fn logging(&self) -> PathBuf {
        self.folder.path.join("log4j2.xml")
    }

    fn java_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = JVM.iter().map(OsString::from).collect();
        args.push(option("-Dlog4j2.configurationFile=", &self.logging()));
        if self.java.archive.exists() {
            args.push(option("-XX:SharedArchiveFile=", &self.java.archive));
        }
        args
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// Lets a Kafka run once in a folder of its own and keep the classes it has loaded.
async fn make_archive(java: &Java) -> Result<()> {
    let folder = java.archive.with_extension("new");
    let archive = folder.join("archive.jsa");
    let options = KafkaOptions { data_dir: folder.clone(), port: 0 };
    let keep = option("-XX:ArchiveClassesAtExit=", &archive);
    let mut kafka = Kafka::start_with(java.clone(), &options, &[keep]).await?;
    kafka.stop().await?;
    fs::rename(&archive, &java.archive).context("keeping the class archive")?;
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

/// 22 characters of base64 that make 16 bytes; the last one only has two bits to say.
fn cluster_id() -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let random = RandomState::new();
    let letter = |place: u64| LETTERS[(random.hash_one(place) % LETTERS.len() as u64) as usize];
    (0..21).map(|place| char::from(letter(place))).chain(['A']).collect()
}

/// Whether the broker knows itself: it listens before it has joined its own cluster.
async fn is_ready(port: u16) -> bool {
    let answer = timeout(Duration::from_secs(1), count_brokers(port)).await;
    matches!(answer, Ok(Ok(1..)))
}

/// Asks for metadata, version 1, of no topic: the answer starts with the list of brokers.
async fn count_brokers(port: u16) -> io::Result<i32> {
    const METADATA: i16 = 3;
    let mut request = Vec::new();
    request.extend(METADATA.to_be_bytes());
    request.extend(1_i16.to_be_bytes()); // version
    request.extend(7_i32.to_be_bytes()); // correlation
    request.extend((-1_i16).to_be_bytes()); // no client id
    request.extend(0_i32.to_be_bytes()); // no topics

    let mut broker = TcpStream::connect(("127.0.0.1", port)).await?;
    broker.write_i32(request.len() as i32).await?;
    broker.write_all(&request).await?;
    let _length = broker.read_i32().await?;
    let _correlation = broker.read_i32().await?;
    broker.read_i32().await
}
