//! A Redis server of one test, without persistence, and the values of the order service in it.

use std::{net::TcpListener, process::Stdio};

use rustix::process::Signal;
use testkit::{TestEnvironment, eventually, wait_until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

pub(crate) struct Redis {
    child: Child,
    port: u16,
    prefix: String,
}

impl Redis {
    /// Starts a Redis server. The functions about orders read the keys of the services of `env`.
    pub(crate) async fn start(env: &TestEnvironment) -> Self {
        Self::start_with(env, "--port", &[]).await
    }

    /// Starts a Redis server that accepts only TLS. `options` name its certificate.
    pub(crate) async fn start_tls(env: &TestEnvironment, options: &[String]) -> Self {
        Self::start_with(env, "--tls-port", &[&["--port".into(), "0".into()], options].concat())
            .await
    }

    async fn start_with(env: &TestEnvironment, port_option: &str, options: &[String]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args([port_option, &port.to_string(), "--bind", "127.0.0.1"]).args(options);
        command.args(["--save", "", "--appendonly", "no"]).kill_on_drop(true);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.expect("redis-server is installed");
        let redis = Self { child, port, prefix: format!("waybill:{}:order:", env.name) };
        wait_until("Redis to answer", async || {
            TcpStream::connect(("127.0.0.1", redis.port)).await.is_ok()
        })
        .await;
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns its address with TLS, without a password if that is empty.
    pub(crate) fn tls_url(&self, password: &str) -> String {
        let login = if password.is_empty() { String::new() } else { format!(":{password}@") };
        format!("rediss://{login}localhost:{}", self.port)
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal, for example to freeze it or to let it continue.
    pub(crate) fn signal(&self, signal: Signal) {
        super::signal(&self.child, signal);
    }

    /// Sends one command and returns the reply as it comes over the wire.
    pub(crate) async fn run(&self, words: &[&[u8]]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        stream.write_all(&request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        reply
    }

    pub(crate) fn key(&self, uid: &str) -> String {
        format!("{}{uid}", self.prefix)
    }

    /// Waits until there is a value for an order, and returns it.
    pub(crate) async fn value(&self, uid: &str) -> Vec<u8> {
        let key = self.key(uid);
        let reply = eventually("the order to be in Redis", async || {
            let reply = self.run(&[b"GET", key.as_bytes()]).await;
            (!reply.starts_with(b"$-1")).then_some(reply)
        })
        .await;
        let start = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        reply[start..reply.len() - 2].to_vec()
    }

    /// Returns the time until an order's value expires; negative if there is none.
    pub(crate) async fn milliseconds_left(&self, uid: &str) -> i64 {
        let key = self.key(uid);
        let reply = self.run(&[b"PTTL", key.as_bytes()]).await;
        let number = std::str::from_utf8(&reply).unwrap().trim().strip_prefix(':');
        number.expect("an integer").parse().unwrap()
    }

    /// Sets a value without an expiry.
    pub(crate) async fn set(&self, uid: &str, value: &[u8]) {
        let key = self.key(uid);
        assert_eq!(self.run(&[b"SET", key.as_bytes(), value]).await, b"+OK\r\n");
    }

    /// Sets a value that expires after this number of milliseconds.
    pub(crate) async fn set_for(&self, uid: &str, value: &[u8], milliseconds: u64) {
        let (key, left) = (self.key(uid), milliseconds.to_string());
        let command: [&[u8]; 5] = [b"SET", key.as_bytes(), value, b"PX", left.as_bytes()];
        assert_eq!(self.run(&command).await, b"+OK\r\n");
    }
}

/// Returns the value of an order as a service writes it whose consumer groups begin with `group` and
/// whose REDIS_VALUE_KEY is `secret`.
pub(crate) fn value_in_redis(
    group: &str,
    secret: &str,
    uid: &str,
    version: i32,
    json: &str,
) -> Vec<u8> {
    let mut key = blake3::Hasher::new_derive_key("waybill orders: values in Redis");
    key.update(&(group.len() as u64).to_le_bytes());
    key.update(group.as_bytes()).update(secret.as_bytes());
    let head = format!("{version:010}{:010}", 1);
    let mut checksum = blake3::Hasher::new_keyed(key.finalize().as_bytes());
    checksum.update(head.as_bytes()).update(uid.as_bytes()).update(b"\0").update(json.as_bytes());
    [head.as_bytes(), checksum.finalize().as_bytes(), json.as_bytes()].concat()
}
