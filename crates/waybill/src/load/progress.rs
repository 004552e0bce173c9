//! The progress of a run on standard error: a bar on a terminal, otherwise a log line every 5 seconds.

use std::{fmt, io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::time::Instant;

/// The interval between two log lines, if standard error is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) enum Progress {
    Hidden,
    Bar(ProgressBar),
    Lines { next: Instant },
}

impl Progress {
    /// Creates the progress of a run of `limit` records; `None` is no limit.
    pub(super) fn new(quiet: bool, limit: Option<u64>) -> Self {
        if quiet {
            return Self::Hidden;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { next: Instant::now() + LINE_INTERVAL };
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
                // Writing to the bar's buffer cannot fail.
                let _ = write!(out, "{:.0}", state.per_sec());
            });
        let bar =
            ProgressBar::with_draw_target(limit, ProgressDrawTarget::stderr()).with_style(style);
        Self::Bar(bar)
    }

    pub(super) fn show(&mut self, sent: u64, acknowledged: u64) {
        match self {
            Self::Hidden => {}
            Self::Bar(bar) => {
                bar.set_position(sent);
                bar.set_message(format!("({acknowledged} acknowledged)"));
            }
            Self::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + LINE_INTERVAL;
                    tracing::info!(sent, acknowledged, "sending records");
                }
            }
        }
    }

    /// Logs a warning without disturbing the bar.
    pub(super) fn warn(&self, text: &str) {
        self.beside(|| tracing::warn!("{text}"));
    }

    /// Logs a step of the run without disturbing the bar. With --quiet, does nothing.
    pub(super) fn info(&self, text: &str) {
        if !matches!(self, Self::Hidden) {
            self.beside(|| tracing::info!("{text}"));
        }
    }

    fn beside(&self, log: impl FnOnce()) {
        match self {
            Self::Bar(bar) => bar.suspend(log),
            Self::Hidden | Self::Lines { .. } => log(),
        }
    }

    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
