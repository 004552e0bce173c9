//! Progress while a run lasts: a bar on a terminal, otherwise a line now and then. All of it goes
//! to standard error.

use std::{fmt, io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::time::Instant;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far a run is.
pub(super) enum Progress {
    Silent,
    Bar(ProgressBar),
    Lines { next: Instant },
}

impl Progress {
    /// For a run of `limit` records, or of unknown length.
    pub(super) fn new(quiet: bool, limit: Option<u64>) -> Self {
        if quiet {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { next: Instant::now() + LINE_EVERY };
        }
        let template = match limit {
            Some(_) => {
                "{bar:30} {human_pos} of {human_len} sent, {pace} a second, {eta} left {msg}"
            }
            None => "{spinner} {human_pos} sent, {pace} a second, {elapsed} {msg}",
        };
        let style = ProgressStyle::with_template(template)
            .expect("the templates above are well-formed")
            .with_key("pace", |state: &ProgressState, out: &mut dyn fmt::Write| {
                // Fails only if the bar's own buffer does, which then shows nothing anyway.
                let _ = write!(out, "{:.0}", state.per_sec());
            });
        let bar =
            ProgressBar::with_draw_target(limit, ProgressDrawTarget::stderr()).with_style(style);
        Self::Bar(bar)
    }

    pub(super) fn show(&mut self, sent: u64, acknowledged: u64) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_position(sent);
                bar.set_message(format!("({acknowledged} acknowledged)"));
            }
            Self::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + LINE_EVERY;
                    tracing::info!(sent, acknowledged, "sending");
                }
            }
        }
    }

    /// Says something beside the progress.
    pub(super) fn say(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| tracing::warn!("{text}")),
            Self::Silent | Self::Lines { .. } => tracing::warn!("{text}"),
        }
    }

    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
