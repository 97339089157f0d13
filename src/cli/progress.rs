//! Progress bars on a terminal; nothing elsewhere.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;

/// What a bar of bytes shows.
const BYTES: &str = "{msg:>12} [{bar:40}] {bytes}/{total_bytes} {eta}";

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// Where bars are drawn.
fn target() -> ProgressDrawTarget {
    if Output::is_watched() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// The bars of what is done side by side, below each other.
pub(super) struct Beside(MultiProgress);

impl Beside {
    /// No bars yet.
    pub(super) fn new() -> Self {
        Self(MultiProgress::with_draw_target(target()))
    }

    /// A bar for one thing among others, which has this name.
    pub(super) fn bars(&self, name: &str) -> Bars {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style(BYTES));
        Bars {
            bar: self.0.add(bar),
            name: Some(name.to_owned()),
        }
    }

    /// Prints something while the bars are hidden.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

/// Shows one bar at a time on stderr, if that is a terminal. A copy shows the same bar.
#[derive(Clone)]
pub(super) struct Bars {
    bar: ProgressBar,
    /// What the bar belongs to, if there are others.
    name: Option<String>,
}

impl Bars {
    /// A bar that is shown with the first progress.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style(BYTES));
        bar.set_draw_target(target());
        Self { bar, name: None }
    }

    /// A function to call with the bytes done and the bytes in all.
    pub(super) fn reading(&self, what: &str) -> impl Fn(u64, u64) + Sync {
        self.bar.set_message(self.label(what));
        |done, all| {
            self.bar.set_length(all);
            self.bar.set_position(done);
        }
    }

    /// What the bar is called while it shows `what`.
    fn label(&self, what: &str) -> String {
        match &self.name {
            Some(name) => format!("{name}: {what}"),
            None => what.to_owned(),
        }
    }

    /// What the bar belongs to, if there are others.
    #[cfg(feature = "aws")]
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Shows how many bytes of something are done, and how many there are.
    #[cfg(feature = "aws")]
    pub(super) fn show(&self, what: &str, done: u64, all: u64) {
        let label = self.label(what);
        if self.bar.message() != label {
            self.bar.set_message(label);
            self.bar.set_style(style(BYTES));
        }
        self.bar.set_length(all);
        self.bar.set_position(done);
    }

    /// Shows the progress of something that others do, and the time since it began.
    #[cfg(feature = "aws")]
    pub(super) fn waiting(&self, what: &str, percent: u64) {
        let label = self.label(what);
        if self.bar.message() != label {
            self.bar.set_message(label);
            self.bar
                .set_style(style("{msg:>12} [{bar:40}] {pos} % {elapsed}"));
        }
        self.bar.set_length(100);
        self.bar.set_position(percent);
    }

    /// Prints something while the bar is hidden.
    #[cfg(feature = "aws")]
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
