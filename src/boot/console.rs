//! What the machine writes to its console, and what that says about how far it starts.

use std::io::{self, Read, Write};

/// The most bytes of the console that are kept: a machine may write forever.
const LIMIT: usize = 8 << 20;

/// The most bytes of a line that are kept of what was dropped.
const LINE_LIMIT: usize = 1 << 10;

/// What was written to the console.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// Of what was dropped, the first line with each mark.
    telling: Vec<String>,
    text: Vec<u8>,
}

impl Console {
    /// Adds output. If it becomes too much, the older part is dropped, but for the lines from which
    /// conclusions are drawn.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.text.len() + bytes.len() > LIMIT {
            let most = self.text.len().saturating_sub(LIMIT / 2);
            let is_end = |byte: &u8| *byte == b'\n';
            let end = self.text[..most].iter().rposition(is_end);
            let dropped: Vec<u8> = self.text.drain(..end.map_or(most, |at| at + 1)).collect();
            for line in lines(&dropped) {
                self.remember(&line);
            }
        }
        self.text.extend(bytes);
    }

    /// Keeps a line if it has a mark that no kept line has.
    fn remember(&mut self, line: &str) {
        let signs = SIGNS.iter().map(|sign| sign.mark);
        let stages = [INIT_MARKS, KERNEL_MARKS, LOADER_MARKS]
            .into_iter()
            .flatten();
        for mark in signs.chain(stages.copied()) {
            let Some(at) = line.find(mark) else { continue };
            if !self.telling.iter().any(|line| line.contains(mark)) {
                let from = line.floor_char_boundary(at.saturating_sub(LINE_LIMIT / 2));
                let to = line.floor_char_boundary(from + LINE_LIMIT);
                self.telling.push(line[from..to].to_owned());
            }
        }
    }

    /// The lines, without escape sequences that move the cursor or set colours.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut all = self.telling.clone();
        all.extend(lines(&self.text));
        all
    }
}

fn lines(text: &[u8]) -> Vec<String> {
    let plain = anstream::adapter::strip_bytes(text).into_vec();
    let text = String::from_utf8_lossy(&plain);
    let lines = text.split(['\n', '\r']).map(|line| {
        let printable = line.chars().filter(|c| !c.is_control() || *c == '\t');
        printable.collect::<String>().trim_end().to_owned()
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// Copies until the end of `source`; a piece that cannot be taken is lost.
pub(super) fn copy(mut source: impl Read, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Shows what is written to the console to whoever watches.
pub(super) fn show(bytes: &[u8]) {
    let mut stderr = io::stderr().lock();
    // Whoever has stopped listening misses nothing important.
    let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
}

/// How far the start came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The firmware found nothing, or what it found said nothing.
    Firmware,
    /// The boot loader.
    Loader,
    /// The kernel.
    Kernel,
    /// The root is mounted and its init runs.
    Init,
}

/// A sign in a line of the console of why a start fails.
struct Sign {
    /// What the line contains.
    mark: &'static str,
    /// What it means; the line follows.
    meaning: &'static str,
    /// Whether nothing more comes after that line.
    is_end: bool,
}

const fn sign(mark: &'static str, meaning: &'static str, is_end: bool) -> Sign {
    Sign {
        mark,
        meaning,
        is_end,
    }
}

/// What systemd's shell of emergency mode says, and what it says if root has no password.
const EMERGENCY: &str = "You are in emergency mode";
const EMERGENCY_WITHOUT_LOGIN: &str = "Cannot open access to console";

/// The signs, the most telling ones first.
const SIGNS: [Sign; 28] = [
    sign(
        "No bootable device",
        "the firmware finds no boot loader",
        true,
    ),
    sign(
        "BdsDxe: No bootable option",
        "the firmware finds no boot loader",
        true,
    ),
    // QEMU's firmware has a shell, that of EC2 has none.
    sign(
        "UEFI Interactive Shell",
        "the firmware finds no boot loader",
        true,
    ),
    sign(
        "error: no such device",
        "the boot loader does not find a filesystem",
        false,
    ),
    sign(
        "error: no such partition",
        "the boot loader does not find its partition",
        true,
    ),
    sign(
        "error: unknown filesystem",
        "the boot loader cannot read its filesystem",
        true,
    ),
    sign(
        "error: file `",
        "the boot loader does not find a file",
        false,
    ),
    sign(
        "you need to load the kernel first",
        "the boot loader has no kernel",
        false,
    ),
    sign(
        "Failed to boot both default and fallback entries",
        "the boot loader cannot start what it offers",
        true,
    ),
    sign(
        "grub rescue>",
        "the boot loader does not find its own files",
        true,
    ),
    sign(
        "Dropping to a shell!",
        "the initial RAM disk does not find the root",
        true,
    ),
    sign(
        "Gave up waiting for root",
        "the initial RAM disk does not find the root",
        false,
    ),
    sign(
        "dracut-initqueue timeout",
        "the initial RAM disk waits for a device",
        false,
    ),
    sign(
        "Unable to mount root fs",
        "the kernel cannot mount the root",
        true,
    ),
    sign(
        "Cannot open root device",
        "the kernel does not find the root",
        false,
    ),
    sign(
        "No working init found",
        "there is no init that the kernel can start",
        true,
    ),
    sign(
        "Target filesystem doesn't have requested",
        "the root has no init",
        false,
    ),
    sign("Kernel panic - not syncing", "the kernel panicked", true),
    sign(
        "No init found",
        "there is no init that can be started",
        false,
    ),
    sign(
        "can't access tty; job control turned off",
        "the initial RAM disk gave up and waits at a shell",
        true,
    ),
    sign("Freezing execution", "systemd cannot go on", true),
    sign(
        "Found ordering cycle",
        "units wait for each other in a cycle",
        false,
    ),
    sign(
        "Timed out waiting for device",
        "a device does not appear",
        false,
    ),
    sign(
        "Dependency failed for",
        "a unit is not started, because what it needs failed",
        false,
    ),
    sign("Failed to mount", "a filesystem cannot be mounted", false),
    sign("No space left on device", "a filesystem is full", false),
    sign(EMERGENCY, "the machine is in emergency mode", false),
    sign(
        EMERGENCY_WITHOUT_LOGIN,
        "the machine is in emergency mode, and nobody can log in",
        false,
    ),
];

/// What shows how far the start came.
const INIT_MARKS: &[&str] = &[
    "systemd[1]:",
    "Welcome to",
    "Run /sbin/init as init",
    "INIT: version",
    "login:",
];
const KERNEL_MARKS: &[&str] = &["Linux version ", "Booting Linux", "Kernel command line"];
const LOADER_MARKS: &[&str] = &["GRUB", "grub", "Booting `", "error: "];

/// How far the start came, judged by the console.
pub(super) fn stage(lines: &[String]) -> Stage {
    let has = |marks: &[&str]| {
        lines
            .iter()
            .any(|line| marks.iter().any(|mark| line.contains(mark)))
    };
    if has(INIT_MARKS) {
        Stage::Init
    } else if has(KERNEL_MARKS) {
        Stage::Kernel
    } else if has(LOADER_MARKS) {
        Stage::Loader
    } else {
        Stage::Firmware
    }
}

/// Whether somebody could log in. What others write to the console may follow on the same line.
pub(super) fn asks_for_login(lines: &[String]) -> bool {
    let is_prompt = |line: &String| line.split_whitespace().take(2).any(|word| word == "login:");
    lines.iter().any(is_prompt)
}

/// Whether the machine is in emergency mode, in which it stays until somebody helps.
pub(super) fn is_in_emergency(lines: &[String]) -> bool {
    let marks = [EMERGENCY, EMERGENCY_WITHOUT_LOGIN];
    lines
        .iter()
        .any(|line| marks.iter().any(|mark| line.contains(mark)))
}

/// Whether the machine has stopped for good.
pub(super) fn has_ended(lines: &[String]) -> bool {
    let ends = |sign: &Sign| sign.is_end && lines.iter().any(|line| line.contains(sign.mark));
    SIGNS.iter().any(ends)
}

/// What the console says about why the machine does not start: each kind of sign once.
pub(super) fn causes(lines: &[String]) -> Vec<String> {
    let causes = SIGNS.iter().filter_map(|sign| {
        let said = lines.iter().find(|line| line.contains(sign.mark))?;
        Some(format!("{}: {}", sign.meaning, without_time(said)))
    });
    let mut causes: Vec<String> = causes.collect();
    let started = lines.last().filter(|line| {
        let firmware = ["Booting from 0000:7c00", "BdsDxe: starting Boot"];
        firmware.iter().any(|mark| line.contains(mark))
    });
    if let Some(line) = started {
        causes.push(format!(
            "the boot loader writes nothing to the serial port, as without a configuration: {line}"
        ));
    }
    causes
}

/// A line without the kernel's time at its start.
fn without_time(line: &str) -> &str {
    let line = line.trim_start();
    match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        super::lines(text.as_bytes())
    }

    #[test]
    fn colours_and_cursors_are_left_out() {
        let text = "\x1b[2J\x1b[1;1HGRUB loading.\r\n[\x1b[0;32m  OK  \x1b[0m] Started A.\r\r\n";
        assert_eq!(lines(text), ["GRUB loading.", "[  OK  ] Started A."]);
    }

    #[test]
    fn the_cause_is_what_the_line_says() {
        let panic = lines(
            "[    0.000000] Linux version 6.1\n[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
        );
        assert_eq!(stage(&panic), Stage::Kernel);
        assert!(has_ended(&panic));
        assert_eq!(
            causes(&panic)[0],
            "the kernel cannot mount the root: Kernel panic - not syncing: VFS: Unable to mount \
             root fs on unknown-block(0,0)"
        );
        let loader = lines("error: file `/boot/vmlinuz-1' not found.\nPress any key\n");
        assert_eq!(stage(&loader), Stage::Loader);
        assert!(!has_ended(&loader));
        assert_eq!(causes(&loader).len(), 1);
        assert!(causes(&lines("systemd[1]: x\nsh: y: not found.\n")).is_empty());
        // With nothing left to start, it waits for a key for good.
        let menu = "Failed to boot both default and fallback entries.\nPress any key\n";
        assert!(has_ended(&lines(menu)));
        // GRUB goes on to the kernel without an initial RAM disk.
        let kernel = lines(
            "error: file `/boot/initrd.img' not found.\n[    0.0] Linux version 6.1\n\
             [    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n",
        );
        assert!(causes(&kernel)[0].starts_with("the boot loader does not find a file"));
        let shell = lines("BdsDxe: failed to load Boot0001\nUEFI Interactive Shell v2.2\nShell> ");
        assert!(has_ended(&shell) && causes(&shell)[0].contains("finds no boot loader"));
        let silent = lines("SeaBIOS\nBooting from Hard Disk...\nBooting from 0000:7c00\n");
        assert!(causes(&silent)[0].contains("as without a configuration"));
    }

    #[test]
    fn a_prompt_may_be_written_over() {
        let up = "Debian GNU/Linux 12 ip-172-31-16-10 ttyS0\n\nip-172-31-16-10 login: [  98.1] cloud-init[1]";
        assert!(asks_for_login(&lines(up)));
        assert!(asks_for_login(&lines("login: ")));
        assert!(!asks_for_login(&lines("[ 1.0] x: a failed login: no\n")));
        assert!(!is_in_emergency(&lines(up)));
        assert!(is_in_emergency(&lines(
            "You are in emergency mode. After logging in,"
        )));
    }

    #[test]
    fn a_console_that_never_ends_is_bounded() {
        let mut console = Console::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..40 {
            console.take(&piece);
        }
        console.take(b"\nthe end\n");
        assert!(console.text.len() <= LIMIT);
        assert_eq!(console.lines().last().map(String::as_str), Some("the end"));
    }

    #[test]
    fn the_cause_is_still_there_when_much_has_followed() {
        let mut console = Console::default();
        console.take(b"[    0.0] Linux version 6.1\n[    1.0] VFS: Cannot open root device\n");
        let noise = ("noise ".repeat(100) + "\n").repeat(20);
        let panic = "x".repeat(2000) + "Kernel panic - not syncing: x\n";
        for number in 0..1200 {
            console.take(noise.as_bytes());
            if number == 300 {
                console.take(panic.as_bytes());
            }
        }
        let lines = console.lines();
        assert_eq!(stage(&lines), Stage::Kernel);
        assert!(has_ended(&lines));
        let causes = causes(&lines);
        assert_eq!(causes.len(), 2, "{causes:?}");
        assert!(causes[0].ends_with("VFS: Cannot open root device"));
        assert!(causes.iter().all(|cause| cause.len() < 2 * LINE_LIMIT));
    }
}
