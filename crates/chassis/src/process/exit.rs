//! Exit codes that tell a supervisor of processes why the process ended.

/// The reason why a process ends, as the context of an error. An error without a reason is
/// unexpected and ends the process with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExitReason {
    /// Bad configuration, credentials or permissions: exit code 78.
    #[error("bad configuration")]
    Configuration,
    /// A dependency of a tool is unreachable: exit code 69. The text names it and says what to do.
    #[error("{0}")]
    Unreachable(String),
}

/// Returns the exit code of a process that ends with `error`.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<ExitReason>() {
        Some(ExitReason::Configuration) => 78,
        Some(ExitReason::Unreachable(_)) => 69,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_code_is_found_under_any_context() {
        let bad = Err::<(), _>(anyhow!("what is wrong")).context(ExitReason::Configuration);
        assert_eq!(code(&bad.context("starting").unwrap_err()), 78);
        assert_eq!(code(&ExitReason::Unreachable("start it".to_owned()).into()), 69);
        assert_eq!(code(&anyhow!("unexpected")), 1);
    }
}
