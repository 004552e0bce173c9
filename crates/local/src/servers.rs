//! Both servers together, for `waybill up` and for the tests.

use std::{
    path::{PathBuf, absolute},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{Kafka, KafkaOptions, Postgres, PostgresOptions, Progress, java_paths};

/// The servers to start, and their folder and ports.
#[derive(Debug, Clone)]
pub struct LocalServersOptions {
    /// The folder of all data; each program has its own folder in it.
    pub data_dir: PathBuf,
    /// PostgreSQL's port on 127.0.0.1, 0 for a free one; `None` does not start it.
    pub postgres_port: Option<u16>,
    /// Kafka's port on 127.0.0.1, 0 for a free one; `None` does not start it.
    pub kafka_port: Option<u16>,
}

impl LocalServersOptions {
    /// Checks the name of the folder, so that a wrong one is reported before anything is created.
    pub fn check(&self) -> Result<()> {
        if self.kafka_port.is_some() {
            let folder = absolute(&self.data_dir).context("reading the current folder")?;
            java_paths::accepted(&folder)?;
        }
        Ok(())
    }
}

/// The servers that were started.
#[derive(Debug)]
pub struct LocalServers {
    pub postgres: Option<Postgres>,
    pub kafka: Option<Kafka>,
}

impl LocalServers {
    /// Starts the servers in parallel. If one of them cannot start, the other one is stopped.
    pub async fn start(options: &LocalServersOptions, progress: Progress<'_>) -> Result<Self> {
        options.check()?;
        let postgres = async {
            let Some(port) = options.postgres_port else { return Ok(None) };
            let options = PostgresOptions { data_dir: options.data_dir.join("postgres"), port };
            let starting = Postgres::start(&options, progress);
            report_ready("PostgreSQL", starting, progress).await.map(Some)
        };
        let kafka = async {
            let Some(port) = options.kafka_port else { return Ok(None) };
            let options = KafkaOptions { data_dir: options.data_dir.join("kafka"), port };
            let starting = Kafka::start(&options, progress);
            report_ready("Apache Kafka", starting, progress).await.map(Some)
        };
        // If one fails, `try_join!` drops the future of the other one, and with it the process: its
        // watcher then stops the program. Dropping does not wait, but the watcher holds the lock on
        // the folder until the program has ended, so the next start waits for it.
        let (postgres, kafka) = tokio::try_join!(postgres, kafka)?;
        Ok(Self { postgres, kafka })
    }

    /// Waits until one of them ends unexpectedly, and describes the end in a sentence.
    pub async fn died(&mut self) -> anyhow::Error {
        let postgres = async {
            match &mut self.postgres {
                Some(postgres) => postgres.died().await,
                None => std::future::pending().await,
            }
        };
        let kafka = async {
            match &mut self.kafka {
                Some(kafka) => kafka.died().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = postgres => error,
            error = kafka => error,
        }
    }

    /// Stops Kafka, then PostgreSQL: the source of the records stops before their store.
    pub async fn stop(&mut self) -> Result<()> {
        let kafka = match &mut self.kafka {
            Some(kafka) => kafka.stop().await,
            None => Ok(()),
        };
        // PostgreSQL is stopped even if Kafka could not be.
        let postgres = match &mut self.postgres {
            Some(postgres) => postgres.stop().await,
            None => Ok(()),
        };
        kafka.and(postgres)
    }
}

async fn report_ready<T>(
    name: &str,
    starting: impl Future<Output = Result<T>>,
    progress: Progress<'_>,
) -> Result<T> {
    let begun = Instant::now();
    let server = starting.await?;
    progress(&format!("{name} is ready after {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(server)
}
