//! A service that runs inside the process of the test.

use std::net::SocketAddr;

use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{eventually, wait::WAIT_TIMEOUT};

pub struct Service {
    /// The base of its addresses, without a slash at the end.
    pub url: String,
    /// An HTTP client for the service. A request fails if no byte arrives for a minute.
    pub http: reqwest::Client,
    address: SocketAddr,
    shutdown: CancellationToken,
    /// Stops the service when a test fails; otherwise the test's runtime would wait for its
    /// threads.
    _shut_down_when_dropped: DropGuard,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    /// Starts a service with `run` at an address, and waits until it is ready.
    pub(crate) async fn start(
        address: SocketAddr,
        run: impl FnOnce(TcpListener, CancellationToken) -> JoinHandle<anyhow::Result<()>>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("it listens");
        let url = format!("http://{address}");
        let shutdown = CancellationToken::new();
        let http = reqwest::Client::builder().read_timeout(WAIT_TIMEOUT).build();
        let http = http.expect("the HTTP client is created");
        let service = Self {
            url,
            address,
            http,
            _shut_down_when_dropped: shutdown.clone().drop_guard(),
            task: run(listener, shutdown.clone()),
            shutdown,
        };
        eventually("the service to be ready", async || {
            let answer = service.http.get(service.at("/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        service
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a path.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Sends a GET request to a path.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(self.at(path)).send().await.expect("the service answers")
    }

    /// Requests a path and returns its JSON answer.
    pub async fn json(&self, path: &str) -> serde_json::Value {
        self.get(path).await.json().await.expect("the answer is JSON")
    }

    /// Stops the service and returns its result.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.outcome().await
    }

    /// Waits until the service ends by itself and returns its result. Panics after a minute.
    pub async fn outcome(self) -> anyhow::Result<()> {
        let outcome = timeout(WAIT_TIMEOUT, self.task).await;
        outcome.expect("the service ends in a minute").expect("the service does not panic")
    }
}
