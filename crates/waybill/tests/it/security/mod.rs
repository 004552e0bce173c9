//! Requests that the services refuse, because of their origin, their host or the number of
//! connections; and the headers by which a client chooses its answer.

mod connections;
mod hosts;
mod negotiation;
mod origins;

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An answer as it came over the wire.
#[derive(Debug)]
struct RawAnswer {
    status: u16,
    /// By name in lower case; several lines of one name are joined.
    headers: BTreeMap<String, String>,
    body: String,
}

impl RawAnswer {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("the head ends with an empty line");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::<String, String>::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let values = headers.entry(name.to_lowercase()).or_default();
            values.push_str(if values.is_empty() { "" } else { ", " });
            values.push_str(value);
        }
        Self { status, headers, body: body.to_owned() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Connects and sends `text`.
async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads until the service closes the connection. An error counts as its end.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

/// Sends a request with these lines in its head, each ended by a line break, and reads the answer.
async fn exchange(address: SocketAddr, target: &str, lines: &str, body: &str) -> RawAnswer {
    let length = body.len();
    let request = format!(
        "{target} HTTP/1.1\r\n{lines}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    RawAnswer::read(&read_to_end(&mut connect(address, &request).await).await)
}
