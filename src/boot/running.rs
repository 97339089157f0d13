//! The machine while it runs: its process, what it writes, and when enough has been seen.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::console::{self, Console};
use super::qemu::Sockets;
use super::verdict::Judge;
use super::{Error, Options, keyboard};
use crate::private;
use crate::verify::live::Seen;

/// What there is of a machine now, for [`end`].
static RUNNING: Mutex<Running> = Mutex::new(Running {
    processes: Vec::new(),
    folder: None,
});

struct Running {
    /// The processes that were started for it.
    processes: Vec<u32>,
    /// The folder of its sockets.
    folder: Option<PathBuf>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    keyboard::give_back();
    let mut running = running();
    for id in running.processes.drain(..) {
        let id = i32::try_from(id).ok();
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    }
    if let Some(folder) = running.folder.take() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// The folder of a machine's sockets, which is removed with this value or by [`end`].
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn make() -> io::Result<Self> {
        let mut running = running();
        let folder = private::folder("imgasm-boot-").tempdir()?;
        running.folder = Some(folder.path().to_owned());
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        running().folder = None;
    }
}

/// A process of a machine, which is killed with this value or by [`end`].
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        // Nobody ends the machine between its start and its record.
        let mut running = running();
        let child = command.spawn()?;
        running.processes.push(child.id());
        Ok(Self(child))
    }

    /// How it has ended, if it has.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut running = running();
        // Both fail only for a process that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
        running.processes.retain(|id| *id != self.0.id());
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

/// A started machine, which ends with this value.
pub(super) struct Machine {
    process: Process,
    /// What it is called, and the file of what it says.
    program: String,
    errors: PathBuf,
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
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&errors)?);
        let process = Process::start(command);
        let mut process = process.map_err(|source| Error::Start {
            program: program.clone(),
            source,
        })?;
        let connected = accept(&console, &mut process).and_then(|console| {
            let probe = accept(&probe, &mut process)?;
            Ok((console, probe))
        });
        let (console, probe) = match connected {
            Ok(streams) => streams,
            Err(source) => {
                drop(process);
                return Err(Error::gave_up(&program, &errors, source));
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
            process,
            program,
            errors,
            events,
            keyboard,
            console: Console::default(),
            last: None,
            started: Instant::now(),
        })
    }

    /// Watches until a round of the probe is enough for the judge, the console shows that nothing more comes,
    /// the machine ends, or the time is over. `firmware` gives what the firmware has written.
    pub(super) fn watch(
        &mut self,
        options: &Options,
        firmware: impl Fn() -> Vec<String>,
        judge: &Judge<'_>,
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
                    let enough = judge.is_enough(&seen, &self.console.lines());
                    self.last = Some(seen);
                    if enough {
                        break Ending::Seen;
                    }
                }
                None => {
                    if let Some(status) = self.process.try_wait()? {
                        self.drain();
                        if !status.success() {
                            let source = ended_with(status);
                            return Err(Error::gave_up(&self.program, &self.errors, source));
                        }
                        break Ending::PoweredOff;
                    }
                    let mut lines = self.console.lines();
                    lines.extend(firmware());
                    if let Some(ending) = judge.ending(&lines) {
                        let since = *still_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > LAST_WORDS {
                            break ending;
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

    /// Waits until the machine ends.
    pub(super) fn stay(&mut self) -> io::Result<()> {
        while self.process.try_wait()?.is_none() {
            self.pass_time();
        }
        Ok(())
    }

    /// Connects the keyboard to the console, until the machine ends or is to end.
    pub(super) fn hand_over(&mut self) -> io::Result<()> {
        let keyboard = self.keyboard.try_clone()?;
        let _raw = keyboard::Raw::take();
        let (sender, ends) = mpsc::channel();
        thread::spawn(move || {
            if keyboard::pass_on(io::stdin().lock(), keyboard) {
                let _ = sender.send(());
            }
        });
        while self.process.try_wait()?.is_none() && ends.try_recv().is_err() {
            self.pass_time();
        }
        Ok(())
    }

    /// Drops what the machine writes: the console is shown where it is read.
    fn pass_time(&self) {
        if let Err(RecvTimeoutError::Disconnected) = self.events.recv_timeout(TICK) {
            thread::sleep(TICK);
        }
    }
}

/// Why a process is not there that should be.
pub(super) fn ended_with(status: ExitStatus) -> io::Error {
    io::Error::other(format!("it ended with {status}"))
}

/// Waits until QEMU connects or ends.
fn accept(listener: &UnixListener, process: &mut Process) -> io::Result<UnixStream> {
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
        if let Some(status) = process.try_wait()? {
            return Err(ended_with(status));
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
