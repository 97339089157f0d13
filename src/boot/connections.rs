//! The connections that QEMU makes to this process.
//!
//! What answers them reads the bytes of an image or of the machine, and so runs in threads that are shut
//! off from the host and could take no connection themselves.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// Takes every connection to a new socket at `path`, as long as the receiver is there.
pub(super) fn take(path: &Path) -> io::Result<Receiver<UnixStream>> {
    let listener = UnixListener::bind(path)?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
