//! Both programs together, as `waybill up` wants them.

use std::{path::PathBuf, time::Instant};

use anyhow::Result;

use crate::{Kafka, KafkaOptions, Postgres, PostgresOptions, Progress};

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct LocalServersOptions {
    /// The folder of all data; each program has its own folder in it.
    pub data_dir: PathBuf,
    /// PostgreSQL's port on 127.0.0.1, 0 for a free one; `None` does not start it.
    pub postgres_port: Option<u16>,
    /// Kafka's port on 127.0.0.1, 0 for a free one; `None` does not start it.
    pub kafka_port: Option<u16>,
}

/// What has been started.
#[derive(Debug)]
pub struct LocalServers {
    /// PostgreSQL, unless it was not wanted.
    pub postgres: Option<Postgres>,
    /// Apache Kafka, unless it was not wanted.
    pub kafka: Option<Kafka>,
}

impl LocalServers {
    /// Starts what is wanted, side by side. When one of them cannot start, neither stays.
    pub async fn start(options: &LocalServersOptions, progress: Progress<'_>) -> Result<Self> {
        let postgres = async {
            let Some(port) = options.postgres_port else {
                return Ok(None);
            };
            let data_dir = options.data_dir.join("postgres");
            let begun = Instant::now();
            let postgres = Postgres::start(&PostgresOptions { data_dir, port }, progress).await?;
            progress(&format!("PostgreSQL is ready after {:.1} s", begun.elapsed().as_secs_f64()));
            anyhow::Ok(Some(postgres))
        };
        let kafka = async {
            let Some(port) = options.kafka_port else {
                return Ok(None);
            };
            let data_dir = options.data_dir.join("kafka");
            let begun = Instant::now();
            let kafka = Kafka::start(&KafkaOptions { data_dir, port }, progress).await?;
            progress(&format!(
                "Apache Kafka is ready after {:.1} s",
                begun.elapsed().as_secs_f64()
            ));
            anyhow::Ok(Some(kafka))
        };
        let (postgres, kafka) = tokio::try_join!(postgres, kafka)?;
        Ok(Self { postgres, kafka })
    }

    /// Waits until one of them ends unasked, and tells so in a sentence.
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
            told = postgres => told,
            told = kafka => told,
        }
    }

    /// Stops Kafka, then PostgreSQL: what comes in ends before what keeps it.
    pub async fn stop(&mut self) -> Result<()> {
        let kafka = match &mut self.kafka {
            Some(kafka) => kafka.stop().await,
            None => Ok(()),
        };
        // Trouble with one is no reason to leave the other.
        let postgres = match &mut self.postgres {
            Some(postgres) => postgres.stop().await,
            None => Ok(()),
        };
        kafka.and(postgres)
    }
}
