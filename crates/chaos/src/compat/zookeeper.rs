//! An Apache Kafka 3 with its ZooKeeper, as older clusters have it. The local servers of the tests
//! are of the newest version, which needs no ZooKeeper.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use testkit::free_port;
use tokio::net::TcpStream;

use super::programs::Watched;

const JVM: [&str; 3] = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// Kafka and its ZooKeeper.
pub(super) struct KafkaWithZooKeeper {
    folder: PathBuf,
    libs: PathBuf,
    version: String,
    port: u16,
    kafka: Watched,
    zookeeper: Watched,
}

impl KafkaWithZooKeeper {
    /// Starts both with their data in `folder`.
    pub(super) async fn start(libs: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
        let version = version(libs)?;
        let (port, zookeeper_port) = (free_port()?, free_port()?);
        let data = folder.display();
        let settings = format!(
            "dataDir={data}/zookeeper\nclientPort={zookeeper_port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\nmaxClientCnxns=0\n"
        );
        fs::write(folder.join("zookeeper.properties"), settings)?;
        let settings = format!(
            "broker.id=1\nzookeeper.connect=127.0.0.1:{zookeeper_port}\n\
             listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={data}/data\n\
             auto.create.topics.enable=false\noffsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=4\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\n\
             group.initial.rebalance.delay.ms=0\n\
             zookeeper.session.timeout.ms=4000\nlog.retention.ms=-1\n\
             log.cleaner.dedupe.buffer.size=8388608\n"
        );
        fs::write(folder.join("server.properties"), settings)?;
        let server = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        let mut zookeeper = java(libs, folder, "zookeeper", server, "zookeeper.properties")?;
        let is_open = async |port: u16| TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        zookeeper.wait_until_ready("ZooKeeper", async || is_open(zookeeper_port).await).await?;
        let kafka = java(libs, folder, "kafka", "kafka.Kafka", "server.properties")?;
        let (folder, libs) = (folder.to_owned(), libs.to_owned());
        let mut both = Self { folder, libs, version, port, kafka, zookeeper };
        both.wait_until_ready().await?;
        Ok(both)
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Kills Kafka, and starts it again on the same port and data.
    ///
    /// ZooKeeper keeps the registration of the killed broker until its session has expired, and
    /// Kafka ends until then. It is started again, as a supervisor does.
    pub(super) async fn crash(&mut self) -> Result<()> {
        self.kafka.kill().await?;
        let begun = Instant::now();
        loop {
            self.kafka =
                java(&self.libs, &self.folder, "kafka-again", "kafka.Kafka", "server.properties")?;
            match self.wait_until_ready().await {
                Err(error) if begun.elapsed() > RESTART_TIMEOUT => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        self.kafka.stop().await?;
        self.zookeeper.stop().await.map(drop)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let address = ("127.0.0.1", self.port);
        let is_open = async || TcpStream::connect(address).await.is_ok();
        self.kafka.wait_until_ready("Apache Kafka", is_open).await
    }
}

fn java(libs: &Path, folder: &Path, log: &str, class: &str, settings: &str) -> Result<Watched> {
    let program = match std::env::var_os("JAVA_HOME") {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let mut class_path = OsString::from(libs);
    class_path.push("/*");
    let settings = folder.join(settings);
    let args = JVM.map(OsStr::new).into_iter().chain([OsStr::new(class), settings.as_os_str()]);
    let log = folder.join(format!("{log}.log"));
    Watched::start(&program, args, &[("CLASSPATH", class_path.as_os_str())], &log)
}

/// Returns the versions of both, from the names of their jars.
fn version(libs: &Path) -> Result<String> {
    let names: Vec<String> = fs::read_dir(libs)
        .with_context(|| format!("reading {}", libs.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let version = |prefix: &str| {
        let version =
            |name: &String| Some(name.strip_prefix(prefix)?.strip_suffix(".jar")?.to_owned());
        names
            .iter()
            .filter_map(version)
            .find(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    };
    let kafka = version("kafka_2.13-").context("the folder has no jar of Apache Kafka")?;
    let zookeeper = version("zookeeper-").context("the folder has no jar of ZooKeeper")?;
    Ok(format!("Apache Kafka {kafka} with ZooKeeper {zookeeper}"))
}
