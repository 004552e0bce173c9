//! How a process ends: the exit codes that tell more than "it failed".

/// Why it ends, as the context of an error; an error without one is unexpected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExitReason {
    /// Bad configuration, credentials or rights: 78.
    #[error("bad configuration")]
    Configuration,
    /// What a tool depends on is silent, and what to do about it: 69.
    #[error("{0}")]
    Unreachable(String),
}

/// The exit code of a process that ends with `error`.
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
