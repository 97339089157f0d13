//! The keyboard of whoever stays in the machine's console.

use std::io::{self, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The key that ends the machine, as in telnet: Ctrl-].
const END: u8 = 0x1d;

/// The settings of the terminal before keys were passed on, for [`give_back`].
static BEFORE: Mutex<Option<String>> = Mutex::new(None);

/// Has a terminal pass keys on as they are pressed, until this is dropped.
pub(super) struct Raw;

impl Raw {
    /// Takes the terminal of this process's input, if it is one.
    pub(super) fn take() -> Self {
        if io::stdin().is_terminal()
            && let Some(settings) = stty(&["-g"])
        {
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
            stty(&["raw", "-echo"]);
        }
        Self
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives a terminal that was taken its settings back.
pub(super) fn give_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(settings) = before {
        stty(&[&settings]);
    }
}

fn stty(args: &[&str]) -> Option<String> {
    let mut command = Command::new("stty");
    command
        .args(args)
        .stdin(Stdio::inherit())
        .stderr(Stdio::null());
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}

/// Passes on what is typed until the input ends or cannot be taken; gives whether the machine is to
/// end.
pub(super) fn pass_on(mut from: impl Read, mut to: impl Write) -> bool {
    let mut keys = [0; 256];
    loop {
        let keys = match from.read(&mut keys) {
            Ok(count) if count > 0 => &keys[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return false,
        };
        let end = keys.iter().position(|key| *key == END);
        let passed = to.write_all(&keys[..end.unwrap_or(keys.len())]);
        if end.is_some() {
            return true;
        }
        if passed.is_err() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_but_one_reach_the_machine() {
        let mut passed = Vec::new();
        assert!(!pass_on(&b"ls\r\x03"[..], &mut passed));
        assert!(pass_on(&b"exit\r\x1dno more"[..], &mut passed));
        assert_eq!(passed, b"ls\r\x03exit\r");
    }
}
