//! The connection to Redis. It is opened in the background, so that a call never waits for a
//! handshake, and replaced after every failure: a connection may be broken in a way that its client
//! does not notice. What is stored in Redis is decided by [`redis`](super::redis).

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use chassis::process::{certificate::distrust, exit::ExitReason};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisError, aio::MultiplexedConnection};
use tokio::{sync::Notify, time::timeout};

/// Bounds a call.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(200);
/// Bounds the time to connect, with the handshake of TLS and one command.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between a failure and the next connection.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct RedisConnection {
    client: redis::Client,
    /// The command with which a new connection is tried.
    trial: Cmd,
    open: Mutex<Option<MultiplexedConnection>>,
    closed: Notify,
    failures: Counter,
    /// 1 while `open` has no connection.
    unreachable: Gauge,
}

impl RedisConnection {
    pub(super) fn new(
        client: redis::Client,
        trial: Cmd,
        failures: Counter,
        unreachable: Gauge,
    ) -> Self {
        unreachable.set(1);
        let (open, closed) = (Mutex::new(None), Notify::new());
        Self { client, trial, open, closed, failures, unreachable }
    }

    /// Connects once. Returns an error only if an operator must act: a certificate that is not
    /// trusted, wrong credentials, or a missing permission. Redis may be unreachable.
    pub(super) async fn open_first(&self) -> anyhow::Result<()> {
        match self.connect().await {
            Ok(()) => Ok(()),
            Err(failure) => {
                report(&failure);
                refusal(&failure, self.client.get_connection_info().addr())
            }
        }
    }

    /// Opens a new connection whenever there is none. Never ends.
    pub(super) async fn keep_open(&self) {
        loop {
            while self.lock().is_some() {
                self.closed.notified().await;
            }
            let mut is_reported = false;
            while self.lock().is_none() {
                tokio::time::sleep(FAILURE_PAUSE).await;
                if let Err(failure) = self.connect().await
                    && !is_reported
                {
                    report(&failure);
                    is_reported = true;
                }
            }
        }
    }

    /// Runs a call; `None` if it fails, or if there is no connection.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Option<T> {
        let mut connection = self.lock().clone()?;
        // The lock is not held meanwhile.
        match timeout(CALL_TIMEOUT, call(&mut connection)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => report(&error),
            Err(_) => report(&no_answer()),
        }
        self.failures.inc();
        // Other calls that fail on this connection end within `CALL_TIMEOUT`, which is before the
        // next connection is opened: they cannot close that one.
        self.set_open(None);
        self.closed.notify_one();
        None
    }

    /// Opens a connection and tries it.
    async fn connect(&self) -> Result<(), RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = async {
            let mut connection =
                self.client.get_multiplexed_async_connection_with_config(&config).await?;
            self.trial.query_async::<redis::Value>(&mut connection).await?;
            Ok(connection)
        };
        match timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(no_answer())) {
            Ok(connection) => {
                self.set_open(Some(connection));
                Ok(())
            }
            Err(error) => {
                self.failures.inc();
                Err(error)
            }
        }
    }

    fn set_open(&self, connection: Option<MultiplexedConnection>) {
        let mut open = self.lock();
        // Under the lock, so that the gauge always agrees with the connection.
        self.unreachable.set(i64::from(connection.is_none()));
        *open = connection;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_answer() -> RedisError {
    (ErrorKind::Io, "it did not answer in time").into()
}

fn report(failure: &RedisError) {
    tracing::warn!("Redis failed, continuing without it: {failure}");
}

/// Returns an error if only an operator can remove the reason of `error`.
fn refusal(error: &RedisError, address: &redis::ConnectionAddr) -> anyhow::Result<()> {
    let advice = if let Some(reason) = distrust(error) {
        format!(
            "the certificate of Redis at {address} is not trusted ({reason}): check the host in \
             REDIS_URL and REDIS_CA_FILE"
        )
    } else if error.kind() == ErrorKind::AuthenticationFailed
        || ["NOAUTH", "WRONGPASS"].iter().any(|code| error.code() == Some(code))
    {
        format!("Redis at {address} refuses the user or the password in REDIS_URL")
    } else if error.code() == Some("NOPERM") {
        format!(
            "the user of Redis at {address} may not use the keys waybill:* with EVAL, GET, GETRANGE, \
             SET, DEL and PTTL"
        )
    } else {
        return Ok(());
    };
    Err(anyhow!(advice).context(ExitReason::Configuration))
}
