//! The tools. `explain`, `import`, `rejected` and `probe` are HTTP clients of the
//! services; `migrate` and `audit` connect to the databases and to Kafka, `rewind` to Kafka only.

pub(crate) mod audit;
pub(crate) mod explain;
pub(crate) mod import;
pub(crate) mod migrate;
pub(crate) mod probe;
pub(crate) mod rejected;
pub(crate) mod rewind;
