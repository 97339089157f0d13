//! What happens to a command that is told to stop.

use std::fs;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::sandbox;

/// The signals that a command waits for.
pub(super) struct Watch(Signals);

impl Watch {
    /// Takes the signals that end a command. `None` if that is impossible: then the next run overwrites
    /// what is left.
    pub(super) fn begin() -> Option<Self> {
        Signals::new(heeded()).ok().map(Self)
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

/// The signals that end a command: SIGINT, SIGTERM and SIGHUP, those of them that it was not started to
/// ignore, as `nohup` and a shell's background have it.
pub(super) fn heeded() -> Vec<i32> {
    // Bit N - 1 is that of signal N (proc(5)).
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let ignored = ignored.unwrap_or(0);
    let signals = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let heeded = signals.filter(|signal| ignored >> (signal - 1) & 1 == 0);
    heeded.collect()
}
