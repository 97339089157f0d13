//! What happens to a command that is told to stop.

use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// On SIGINT and SIGTERM, removes the outputs that are not whole, ends a machine that runs, and ends the process by that
/// signal.
pub(super) fn remove_partial_outputs() {
    // Without handlers, the next run overwrites what is left.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    thread::spawn(move || {
        for signal in signals.forever() {
            imgasm_block::Output::abandon_all();
            crate::boot::running::end();
            let _ = emulate_default_handler(signal);
        }
    });
}
