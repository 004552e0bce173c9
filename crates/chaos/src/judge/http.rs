//! A minimal HTTP/1.1 client that sends several requests before it reads the first answer, so that
//! millions of orders can be requested.

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};
use url::Url;

pub(super) struct Connection {
    stream: BufStream<TcpStream>,
    host: String,
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Connection {
    pub(super) async fn open(url: &Url) -> anyhow::Result<Self> {
        let (host, port) = (url.host_str(), url.port_or_known_default());
        let (host, port) = host.zip(port).context("the URL of a replica has a host and a port")?;
        let host = format!("{host}:{port}");
        let stream = TcpStream::connect(&host).await;
        let stream = stream.with_context(|| format!("connecting to {host}"))?;
        Ok(Self { stream: BufStream::new(stream), host })
    }

    /// Sends a request for each path.
    pub(super) async fn request(
        &mut self,
        paths: impl Iterator<Item = String>,
    ) -> anyhow::Result<()> {
        for path in paths {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\r\n",
                self.host
            );
            self.stream.write_all(request.as_bytes()).await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Reads the next answer.
    pub(super) async fn answer(&mut self) -> anyhow::Result<Answer> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.context("an answer starts with its status")?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').context("a header has a colon")?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        answer.body.resize(length.context("an answer has a length")?, 0);
        self.stream.read_exact(&mut answer.body).await?;
        Ok(answer)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Returns a text as a segment of a path.
pub(super) fn encode(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}
