//! What a run reports while it is under way.

/// Gets the reports of what happens.
pub trait Report: Sync {
    /// Something was done.
    fn note(&self, verb: &str, what: &str);
    /// Something that a person should look at.
    fn warning(&self, text: &str);
    /// Something is waited for that others do, and has come so far, in percent.
    fn waiting(&self, what: &str, percent: u64);
    /// Of something under way, so many bytes of so many are done.
    fn progress(&self, what: &str, done: u64, all: u64);
}
