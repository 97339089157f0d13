//! Connects the machine to the metadata service. QEMU starts this program with `boot-relay` for
//! each connection, and gives it the connection as its input and output.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

/// Copies between this process's input and output and the socket, until the service is done.
pub fn run(socket: &Path) -> io::Result<()> {
    let mut service = UnixStream::connect(socket)?;
    let mut towards = service.try_clone()?;
    // This thread is not waited for: the machine may keep its side open after the answer.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut towards);
        let _ = towards.shutdown(Shutdown::Write);
    });
    io::copy(&mut service, &mut io::stdout().lock())?;
    Ok(())
}
