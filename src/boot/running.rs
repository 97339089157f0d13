//! The machine while it runs: its process, what it writes, and when enough has been seen.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::console::{self, Console};
use super::qemu::Sockets;
use super::{Error, Options};
use crate::verify::live::Seen;

/// The process and the folder of the machine that runs now, for [`end`].
static RUNNING: Mutex<Option<(u32, PathBuf)>> = Mutex::new(None);

/// How long QEMU may take to start.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How long a machine that has stopped may still write about it.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The most bytes of one line of the probe.
const LINE_LIMIT: u64 = 1 << 20;

/// The interval between two looks at the state of things.
const TICK: Duration = Duration::from_millis(200);

/// Ends the running machine, if there is one, and removes its folder: for a process that has to
/// stop.
pub fn end() {
    let running = RUNNING
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some((id, folder)) = running {
        if let Some(id) = i32::try_from(id)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Something that came from the machine.
enum Event {
    Console(Vec<u8>),
    Round(Seen),
}

/// Why the watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Everything was seen.
    Seen,
    /// The machine stopped.
    StoodStill,
    /// The machine powered off or restarted.
    PoweredOff,
    /// The time ran out.
    TimedOut,
}

/// What was seen of a machine.
pub(super) struct Watched {
    pub(super) console: Vec<String>,
    pub(super) rounds: Option<Seen>,
    pub(super) ending: Ending,
    pub(super) elapsed: Duration,
}

/// A started machine.
pub(super) struct Machine {
    child: Child,
    events: Receiver<Event>,
    keyboard: UnixStream,
    console: Console,
    last: Option<Seen>,
    started: Instant,
}

impl Machine {
    /// Starts the machine.
    pub(super) fn start(
        mut command: Command,
        sockets: &Sockets,
        is_watched: bool,
    ) -> Result<Self, Error> {
        let console = UnixListener::bind(sockets.console())?;
        let probe = UnixListener::bind(sockets.probe())?;
        let program = command.get_program().to_string_lossy().into_owned();
        let errors = sockets.folder.join("errors");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&errors)?)
            .spawn();
        let mut child = child.map_err(|source| Error::Start {
            program: program.clone(),
            source,
        })?;
        let folder = sockets.folder.clone();
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some((child.id(), folder));
        let connected = accept(&console, &mut child).and_then(|console| {
            let probe = accept(&probe, &mut child)?;
            Ok((console, probe))
        });
        let (console, probe) = match connected {
            Ok(streams) => streams,
            Err(source) => {
                stop(&mut child);
                let said = std::fs::read_to_string(&errors).unwrap_or_default();
                return Err(Error::Refused {
                    program,
                    said: said.trim().to_owned(),
                    source,
                });
            }
        };
        let (sender, events) = mpsc::channel();
        let keyboard = console.try_clone()?;
        let to_console = sender.clone();
        thread::spawn(move || {
            console::copy(console, |bytes| {
                if is_watched {
                    console::show(bytes);
                }
                let _ = to_console.send(Event::Console(bytes.to_vec()));
            });
        });
        thread::spawn(move || take_rounds(probe, &sender));
        Ok(Self {
            child,
            events,
            keyboard,
            console: Console::default(),
            last: None,
            started: Instant::now(),
        })
    }

    /// Watches until a round of the probe `is_enough`, the machine ends or stops, or the time is over.
    /// `firmware` gives what the firmware has written.
    pub(super) fn watch(
        &mut self,
        options: &Options,
        firmware: impl Fn() -> Vec<String>,
        mut is_enough: impl FnMut(&Seen, &[String]) -> bool,
    ) -> Result<Watched, Error> {
        let mut still_since: Option<Instant> = None;
        let ending = loop {
            let event = match self.events.recv_timeout(TICK) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break Ending::PoweredOff,
            };
            match event {
                Some(Event::Console(bytes)) => self.console.take(&bytes),
                Some(Event::Round(seen)) => {
                    let enough = is_enough(&seen, &self.console.lines());
                    self.last = Some(seen);
                    if enough {
                        break Ending::Seen;
                    }
                }
                None => {
                    if self.child.try_wait()?.is_some() {
                        self.drain();
                        break Ending::PoweredOff;
                    }
                    let mut lines = self.console.lines();
                    lines.extend(firmware());
                    if console::has_ended(&lines) {
                        let since = *still_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > LAST_WORDS {
                            break Ending::StoodStill;
                        }
                    }
                }
            }
            if self.started.elapsed() > options.timeout {
                break Ending::TimedOut;
            }
        };
        let mut console = firmware();
        console.extend(self.console.lines());
        Ok(Watched {
            console,
            rounds: self.last.take(),
            ending,
            elapsed: self.started.elapsed(),
        })
    }

    fn drain(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Console(bytes) => self.console.take(&bytes),
                Event::Round(seen) => self.last = Some(seen),
            }
        }
    }

    /// Connects the keyboard to the console, until the machine or the input ends.
    pub(super) fn hand_over(&mut self) -> io::Result<()> {
        let mut keyboard = self.keyboard.try_clone()?;
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut keyboard);
        });
        self.child.wait()?;
        Ok(())
    }
}

/// The machine ends with this value.
impl Drop for Machine {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn stop(child: &mut Child) {
    // Both fail only for a process that is gone.
    let _ = child.kill();
    let _ = child.wait();
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Waits until QEMU connects or ends.
fn accept(listener: &UnixListener, child: &mut Child) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it ended with {status}")));
        }
        if start.elapsed() > START_PATIENCE {
            return Err(io::Error::other("it does not connect"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends on each round of the probe.
fn take_rounds(probe: UnixStream, sender: &Sender<Event>) {
    let mut reader = BufReader::new(probe);
    let (mut seen, mut line) = (Seen::default(), Vec::new());
    loop {
        line.clear();
        let mut limited = io::Read::take(&mut reader, LINE_LIMIT);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if seen.take(&line)
            && sender
                .send(Event::Round(std::mem::take(&mut seen)))
                .is_err()
        {
            return;
        }
    }
}
