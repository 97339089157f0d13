//! What happens to a command that is told to stop.

use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::sandbox;

/// The signals that a command waits for.
pub(super) struct Watch(Signals);

impl Watch {
    /// Takes SIGINT and SIGTERM. `None` if that is impossible: then the next run overwrites what is
    /// left.
    pub(super) fn begin() -> Option<Self> {
        Signals::new([SIGINT, SIGTERM]).ok().map(Self)
    }

    /// On a signal, removes the outputs that are not whole, ends a machine that runs, and ends the
    /// process by that signal.
    pub(super) fn start(mut self) {
        thread::spawn(move || {
            for signal in self.0.forever() {
                imgasm_block::Output::abandon_all();
                crate::boot::running::end();
                sandbox::leave();
                let _ = emulate_default_handler(signal);
            }
        });
    }
}
