//! The machine's TPM 2.0: swtpm, a program of its own that QEMU talks to.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::qemu::Sockets;
use super::running::{Process, ended_with};

/// The program, and Debian's package of it.
const PROGRAM: &str = "swtpm";

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a TPM that knows nothing yet. It ends with the machine, or when this is dropped; what it
/// stores is in the machine's folder.
pub(super) fn start(sockets: &Sockets) -> Result<Process, Error> {
    let (state, socket) = (sockets.folder.join("tpm-state"), sockets.tpm());
    let errors = sockets.folder.join("tpm-errors");
    fs::create_dir(&state)?;
    let mut command = Command::new(PROGRAM);
    command
        .args(["socket", "--tpm2", "--terminate", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&errors)?)
        .stderr(fs::File::options().append(true).open(&errors)?);
    let mut process = Process::start(&mut command).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoProgram {
            program: PROGRAM,
            package: PROGRAM,
        },
        _ => Error::Start {
            program: PROGRAM.to_owned(),
            source,
        },
    })?;
    let begun = Instant::now();
    while !socket.exists() {
        let source = match process.try_wait()? {
            Some(status) => ended_with(status),
            None if begun.elapsed() > PATIENCE => io::Error::other("it does not listen"),
            None => {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        return Err(Error::gave_up(PROGRAM, &errors, source));
    }
    Ok(process)
}
