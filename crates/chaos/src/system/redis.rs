//! A Redis server without persistence, and the values of the order service in it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::child::{WatchedChild, log_file};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Redis {
    process: WatchedChild,
    port: u16,
    log: PathBuf,
}

impl Redis {
    /// Starts it on a port, and waits until it answers.
    pub(crate) async fn start(port: u16, folder: &Path) -> Result<Self> {
        let log = folder.join("redis.log");
        let process = spawn(port, &log)?;
        let redis = Self { process, port, log };
        redis.wait_until_ready().await?;
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL);
        self.process.wait().await?;
        Ok(())
    }

    /// Starts it again, empty.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.process = spawn(self.port, &self.log)?;
        self.wait_until_ready().await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends one command and returns its reply as it comes over the wire.
    pub(crate) async fn run(&self, words: &[&[u8]]) -> Result<Vec<u8>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let exchange = async {
            let mut stream = TcpStream::connect(address).await?;
            let mut request = format!("*{}\r\n", words.len()).into_bytes();
            for word in words {
                request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                request.extend_from_slice(word);
                request.extend_from_slice(b"\r\n");
            }
            stream.write_all(&request).await?;
            stream.shutdown().await?;
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).await?;
            std::io::Result::Ok(reply)
        };
        timeout(ANSWER_TIMEOUT, exchange).await.context("Redis does not answer")?.context("Redis")
    }

    /// Returns up to about `count` keys.
    pub(crate) async fn keys(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let reply = self.run(&[b"SCAN", b"0", b"COUNT", count.to_string().as_bytes()]).await?;
        // An array of the cursor and of the array of keys: every second line is a text.
        let lines: Vec<&[u8]> = reply.split(|byte| *byte == b'\n').collect();
        let is_key = |line: &&[u8]| line.starts_with(b"waybill:");
        let trimmed = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        Ok(lines.into_iter().filter(is_key).map(trimmed).collect())
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.run(&[b"PING"]).await.is_err() {
            if Instant::now() > deadline {
                bail!("Redis is not ready; its log is {}", self.log.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn spawn(port: u16, log: &Path) -> Result<WatchedChild> {
    let port = port.to_string();
    let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let variables: [(&str, &str); 0] = [];
    WatchedChild::spawn(Path::new("redis-server"), args, variables, log_file(log)?)
        .context("starting redis-server: run scripts/setup --tests")
}
