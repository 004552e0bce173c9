//! The parameter `wait`: the time for which a call may wait until its order or replay is stored.

use std::time::Duration;

use serde::Deserialize;

use super::{problem::Problem, problems::bad_parameter};
use crate::process::number::decimal;

/// The limit on the wait. A call that waits occupies one of the service's HTTP connections.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The digits of the longest wait in milliseconds.
const MAX_DIGITS: usize = 5;

#[derive(Debug, Deserialize)]
pub struct WaitQuery {
    wait: Option<String>,
}

impl WaitQuery {
    pub fn wait(&self) -> Result<Option<Duration>, Problem> {
        self.wait.as_deref().map(parse_wait).transpose()
    }
}

/// Parses `5s`, `500ms` or a whole number of seconds, at most 30 s. The rule is the pattern of `wait`
/// in the OpenAPI document.
fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let wait = if let Some(milliseconds) = text.strip_suffix("ms") {
        decimal(milliseconds, MAX_DIGITS).map(Duration::from_millis)
    } else {
        decimal(text.strip_suffix('s').unwrap_or(text), MAX_DIGITS).map(Duration::from_secs)
    };
    match wait {
        Some(wait) if wait <= MAX_WAIT => Ok(wait),
        _ => Err(bad_parameter("wait", "must be a time such as 5s or 500ms, at most 30s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_takes_times_up_to_half_a_minute() {
        assert_eq!(parse_wait("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_wait("5").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_wait("250ms").unwrap(), Duration::from_millis(250));
        for wrong in ["31s", "30001ms", "", "s", "5ss", "5sms", "-1s", "+1s", "soon"] {
            assert_eq!(parse_wait(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
