//! Progress bars on a terminal; nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;
use crate::progress::Progress;

/// Shows one bar at a time on stderr.
pub(super) struct Bars {
    bar: ProgressBar,
}

impl Bars {
    /// A bar that is seen only where stderr is a terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if Output::is_watched() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
        Self { bar }
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, total_bytes: Option<u64>) {
        self.bar.reset();
        let template = if total_bytes.is_some() {
            "{msg:>24} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}"
        } else {
            "{msg:>24} {spinner} {bytes}"
        };
        // A template that does not parse would be our mistake; a plain bar does as well.
        let style = ProgressStyle::with_template(template);
        self.bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        self.bar.set_length(total_bytes.unwrap_or(0));
        self.bar.set_message(what.to_owned());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn end(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }
}
