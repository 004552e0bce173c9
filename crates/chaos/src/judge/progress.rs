//! The progress of a check on standard error, if it is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Starts the bar of a step that handles about `total` things.
    pub(super) fn new(step: &str, total: i64) -> Self {
        let bar = ProgressBar::new(u64::try_from(total).unwrap_or(0));
        let style = ProgressStyle::with_template("{msg:40} {bar:30} {pos}/{len} {eta}");
        bar.set_style(style.expect("the template is valid"));
        bar.set_message(step.to_owned());
        Self(bar)
    }

    pub(super) fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
