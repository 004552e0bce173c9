//! The options of HTTP that all services have: further hosts, and the number of connections.

use clap::Args;

use super::site::http_host;
use crate::process::number::within;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpConfig {
    /// Names of further hosts under which the service answers, separated by commas; * allows all.
    ///
    /// The service always answers requests that are addressed to an IP address, to localhost, or to
    /// the host of its own URL, and under any name its health and metrics; any other request gets
    /// 421. Set * only if a proxy in front of the service checks the header Host. Ports do not count.
    #[arg(
        long = "http-hosts",
        env = "HTTP_HOSTS",
        value_name = "NAMES",
        value_delimiter = ',',
        value_parser = http_host,
        hide_short_help = true
    )]
    pub hosts: Vec<String>,
    /// Maximum number of open HTTP connections, for each service, from 1 to 1000000.
    ///
    /// Near the limit, connections that have not sent a request are closed. Beyond it, 64 further
    /// connections are answered for health and metrics, and with 503 otherwise. Live streams take
    /// at most half. The limit of open files is raised where the system allows it.
    #[arg(
        long = "http-connections",
        env = "HTTP_CONNECTIONS",
        default_value_t = 10_000,
        value_name = "N",
        value_parser = within::<u32>(1..=1_000_000),
        hide_short_help = true
    )]
    pub connections: u32,
}
