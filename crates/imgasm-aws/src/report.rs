//! What a run tells while it is under way.

/// Is told what happens.
pub trait Report: Sync {
    /// Something was done.
    fn note(&self, verb: &str, what: &str);
    /// Something that a person should look at.
    fn warning(&self, text: &str);
    /// Of something under way, this much of this is done.
    fn progress(&self, what: &str, done: u64, all: u64);
}
