//! The real Apache Kafka as a child process: one KRaft node, broker and controller.
//!
//! An acknowledged record survives the end of any process, but not a power failure: like every
//! Kafka, this one does not wait for the disk, and it has no second replica.

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
    folder::{Folder, remove_if_present},
    java::{Java, Preparation},
    java_paths, port,
    process::{Program, ServerProcess, stop_orphan},
};

const NAME: &str = "Apache Kafka";
const SETTINGS: &str = include_str!("../kafka/server.properties");
const LOGGING: &str = include_str!("../kafka/log4j2.xml");

/// Options for a small heap and a fast start: this broker serves one machine.
const JVM: [&str; 5] = [
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    // The parent notices an ended process, but not one that fails because of a full heap.
    "-XX:+ExitOnOutOfMemoryError",
    // No warning for a class archive of another Java, which is not used.
    "-Xlog:disable",
];

/// The folder and the port of an Apache Kafka.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The folder of its data and log, for this broker alone.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
}

/// An Apache Kafka. Dropping it also stops the process, but does not wait for its end.
#[derive(Debug)]
pub struct Kafka {
    folder: Folder,
    java: Java,
    port: u16,
    /// Lines after the settings of every broker.
    more_settings: String,
    process: ServerProcess,
}

/// The place of a broker in a cluster of several, for a test.
#[derive(Debug, Clone)]
pub struct KafkaNode {
    /// 22 characters of base64, the same for all brokers of the cluster.
    pub cluster_id: String,
    /// Lines after the settings of every broker: a line replaces an earlier one.
    pub settings: String,
}

impl Kafka {
    /// Starts Kafka, on empty data if the folder has none, and waits until it answers.
    ///
    /// The first start on a machine downloads the jars and makes the class archive.
    pub async fn start(options: &KafkaOptions, progress: Progress<'_>) -> Result<Self> {
        let node = KafkaNode { cluster_id: new_cluster_id(), settings: String::new() };
        Self::start_node(options, &node, progress).await
    }

    /// Starts one broker of a cluster and waits until it answers, which may need other brokers.
    pub async fn start_node(
        options: &KafkaOptions,
        node: &KafkaNode,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let java = Java::find(progress).await?;
        if !java.archive.exists() {
            let _alone = Preparation::alone().await?;
            // Another process may have made it while this one waited for the lock.
            if !java.archive.exists() {
                progress("preparing Apache Kafka (once)");
                if let Err(error) = make_archive(&java).await {
                    tracing::warn!("no class archive, Apache Kafka starts slower: {error:#}");
                }
            }
        }
        Self::start_with(java, options, node, &[]).await
    }

    async fn start_with(
        java: Java,
        options: &KafkaOptions,
        node: &KafkaNode,
        jvm: &[OsString],
    ) -> Result<Self> {
        // Before the folder is created; if it is a link, `property` checks its target.
        java_paths::accepted(&options.data_dir)?;
        let folder = Folder::open(&options.data_dir).await?;
        // A server of an earlier run may still hold the port and the lock on Kafka's data.
        stop_orphan(&folder, &folder.path, Signal::TERM).await;
        let port = port::claim(options.port, NAME, "--kafka-port")?;
        let mut kafka = Self {
            folder,
            java,
            port,
            more_settings: node.settings.clone(),
            process: ServerProcess::default(),
        };
        kafka.format(&node.cluster_id).await?;
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

    /// Stops it with SIGTERM: it closes its log, so that the next start need not check it.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }

    /// Ends it at once, as a crash does; the next start recovers its data.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill(Signal::KILL).await
    }

    /// Stops it if it runs, and starts it again on the same port and data.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.run(&[]).await
    }

    /// Restarts it with further lines in its settings, for a test: a line replaces an earlier one.
    /// `@PORT@` and `@CONTROLLER_PORT@` are replaced by its ports.
    pub async fn restart_with(&mut self, settings: &str) -> Result<()> {
        settings.clone_into(&mut self.more_settings);
        self.restart().await
    }

    /// The id of its process, while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits until it ends unexpectedly, and describes the end in a sentence.
    pub async fn died(&mut self) -> anyhow::Error {
        self.process.died().await
    }

    async fn run(&mut self, jvm: &[OsString]) -> Result<()> {
        let settings = self.write_settings(&self.folder.path.join("data"))?;
        let mut args = self.java_args()?;
        args.extend(jvm.iter().cloned());
        args.extend(["kafka.Kafka".into(), settings.into()]);
        let program = Program {
            name: NAME,
            path: &self.java.program,
            args,
            envs: self.environment().into(),
            user: None,
            stop: Signal::TERM,
        };
        self.process.start(program, &self.folder, async |_| is_ready(self.port).await).await
    }

    /// Creates empty data under a temporary name, so that incomplete data is never used.
    async fn format(&self, cluster_id: &str) -> Result<()> {
        let data = self.folder.path.join("data");
        if data.exists() {
            return Ok(());
        }
        let unfinished = self.folder.path.join("data.new");
        remove_if_present(&unfinished)?;
        let settings = self.write_settings(&unfinished)?;
        let format = Command::new(&self.java.program)
            .envs(self.environment())
            .args(self.java_args()?)
            .args(["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c"])
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
        let settings = (SETTINGS.to_owned() + &self.more_settings)
            .replace("@PORT@", &self.port.to_string())
            .replace("@CONTROLLER_PORT@", &port::any_free()?.to_string())
            .replace("@DATA@", &java_paths::property(data)?);
        let path = self.folder.path.join("server.properties");
        fs::write(&path, settings)
            .and_then(|()| fs::write(self.logging(), LOGGING))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    fn logging(&self) -> PathBuf {
        self.folder.path.join("log4j2.xml")
    }

    fn java_args(&self) -> Result<Vec<OsString>> {
        let mut args: Vec<OsString> = JVM.iter().map(OsString::from).collect();
        let logging = java_paths::uri(&self.logging())?;
        args.push(format!("-Dlog4j2.configurationFile={logging}").into());
        if self.java.archive.exists() {
            args.push(option("-XX:SharedArchiveFile=", &self.java.archive));
        }
        Ok(args)
    }

    fn environment(&self) -> [(&'static str, OsString); 2] {
        // With LANG=C, Java could not open a file whose name is not ASCII.
        [("CLASSPATH", self.java.class_path.clone()), ("LC_ALL", "C.UTF-8".into())]
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// Runs a Kafka once in a temporary folder and archives the classes that it has loaded.
async fn make_archive(java: &Java) -> Result<()> {
    let folder = java.archive.with_extension("new");
    let archive = folder.join("archive.jsa");
    let options = KafkaOptions { data_dir: folder.clone(), port: 0 };
    let keep = option("-XX:ArchiveClassesAtExit=", &archive);
    let node = KafkaNode { cluster_id: new_cluster_id(), settings: String::new() };
    let mut kafka = Kafka::start_with(java.clone(), &options, &node, &[keep]).await?;
    kafka.stop().await?;
    fs::rename(&archive, &java.archive).context("keeping the class archive")?;
    remove_if_present(&folder)
}

/// Returns 22 characters of base64, which are 16 bytes: the last character holds two bits only.
#[must_use]
pub fn new_cluster_id() -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let random = RandomState::new();
    let letter = |place: u64| LETTERS[(random.hash_one(place) % LETTERS.len() as u64) as usize];
    (0..21).map(|place| char::from(letter(place))).chain(['A']).collect()
}

/// Returns whether the broker lists itself: it listens before it has joined its own cluster.
async fn is_ready(port: u16) -> bool {
    let answer = timeout(Duration::from_secs(1), count_brokers(port)).await;
    matches!(answer, Ok(Ok(1..)))
}

/// Requests metadata, version 1, of no topic: the response starts with the list of brokers.
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
