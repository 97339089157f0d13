//! How long work tells how far it is.

/// Told of the phases of a command. All methods may be called from any thread.
pub trait Progress: Sync {
    /// A phase begins: what it does, and the bytes that it will work through where they are known.
    fn begin(&self, what: &str, total_bytes: Option<u64>);

    /// So many more bytes are done.
    fn advance(&self, bytes: u64);

    /// The phase is over.
    fn end(&self);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}
