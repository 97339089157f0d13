//! What is added to the throw-away delta so that the machine reports its state: a script that looks
//! at it, and a unit that starts the script early without affecting anything else.

use std::fmt::Write as _;
use std::time::Duration;

use crate::verify::live::{Clock, Live, Subject};
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};
use imgasm_guest::known_path;

/// The fixed part of the script; what is asked for follows.
const SCRIPT: &str = include_str!("probe.sh");

/// Where policies let services run programs.
const FOLDER: &str = "/usr/libexec/imgasm-boot";
const PROGRAM: &str = "/usr/libexec/imgasm-boot/probe";
const UNIT: &str = "/etc/systemd/system/imgasm-boot-probe.service";
const WANTED: &str = "/etc/systemd/system/sysinit.target.wants/imgasm-boot-probe.service";

/// The serial port that the probe writes to. The first one is the console.
const PORT: &str = "/dev/ttyS1";

/// Seconds between two looks at the machine.
const PAUSE_SECONDS: u64 = 5;

/// What systemd waits for units and devices under emulation, which is many times slower than a
/// processor: by itself it waits 90 seconds.
const PATIENCE: &str = "/etc/systemd/system.conf.d/99-imgasm-boot.conf";
const PATIENT: &str = "[Manager]\nDefaultTimeoutStartSec=5min\nDefaultDeviceTimeoutSec=5min\n";

/// Adds the probe. It looks at the machine when the boot is done, or after `patience`.
pub(super) fn insert(
    editor: &mut Editor<'_>,
    live: &[Live],
    patience: Duration,
    clock: Clock,
) -> tree::Result<()> {
    editor.mkdir_all(&known_path(FOLDER), Attributes::default())?;
    let script = script(live);
    editor.write(
        &known_path(PROGRAM),
        LastLink::Keep,
        script.as_bytes(),
        Attributes::of_root(0o755),
    )?;
    let unit = unit(patience);
    for folder in [
        "/etc/systemd/system",
        "/etc/systemd/system/sysinit.target.wants",
    ] {
        editor.mkdir_all(&known_path(folder), Attributes::default())?;
    }
    editor.write(
        &known_path(UNIT),
        LastLink::Keep,
        unit.as_bytes(),
        Attributes::of_root(0o644),
    )?;
    editor.symlink(&known_path(WANTED), b"../imgasm-boot-probe.service")?;
    if clock == Clock::Emulated {
        let folder = known_path("/etc/systemd/system.conf.d");
        editor.mkdir_all(&folder, Attributes::default())?;
        let content = PATIENT.as_bytes();
        editor.write(
            &known_path(PATIENCE),
            LastLink::Keep,
            content,
            Attributes::of_root(0o644),
        )?;
    }
    Ok(())
}

/// The unit. It needs nothing that may be broken, nothing waits for it, and emergency mode does not
/// end it.
fn unit(patience: Duration) -> String {
    format!(
        "[Unit]\nDescription=Reports the state of the machine to imgasm\nDefaultDependencies=no\n\
         IgnoreOnIsolate=yes\n\n[Service]\nType=simple\nEnvironment=IMGASM_PORT={PORT} \
         IMGASM_PATIENCE={}\nExecStart=/bin/sh {PROGRAM}\nStandardOutput=null\n\
         StandardError=null\n",
        patience.as_secs()
    )
}

/// The script with what is asked for.
fn script(live: &[Live]) -> String {
    let mut script = SCRIPT.to_owned();
    script.push_str("\nexpectations() {\n    :\n");
    for (number, expectation) in live.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = match &expectation.subject {
            Subject::Service { name, .. } => {
                writeln!(script, "    ask_service {number} {}", quoted(name))
            }
            Subject::Command { command, .. } => {
                writeln!(script, "    ask_command {number} {}", quoted(command))
            }
            Subject::Port {
                port,
                http: Some(http),
            } => writeln!(
                script,
                "    ask_http {number} {port} {}",
                quoted(&http.path)
            ),
            Subject::Port { http: None, .. }
            | Subject::Mount { .. }
            | Subject::FailedUnits(_)
            | Subject::BootTime(_) => Ok(()),
        };
    }
    let _ = writeln!(
        script,
        "}}\n\nwhile :; do\n    round\n    sleep {PAUSE_SECONDS}\ndone"
    );
    script
}

/// A word, quoted for the shell; GLib reads it likewise.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_shell() {
        assert_eq!(quoted("date +%Z"), "'date +%Z'");
        assert_eq!(quoted("echo 'a'"), "'echo '\\''a'\\'''");
    }
}
