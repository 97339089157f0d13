//! From an image to a machine and what was seen of it, in three steps: [`Look`] and [`Setup::serve`] read
//! the bytes of the image, and so are for a thread that is shut off from the host; [`Setup::new`] and
//! [`Served::start`] start other programs.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::metadata::Instance;
use super::metadata::server::Server;
use super::qemu::{self, Sockets};
use super::running::{Folder, Machine, Process};
use super::verdict::{Judge, NoProbe, Report};
use super::{Acceleration, Error, Options, Subject, connections, console, nbd, probe, tpm};
use crate::session::{self, Finish, Session};
use crate::verify::CheckResult;
use crate::verify::live::Clock;
use imgasm_block::{BlockDevice, Delta};
use imgasm_disk::Disk;
use imgasm_fs::Timestamp;
use imgasm_fs::text::chain;
use imgasm_guest::{Arch, Init};

/// How much of the time is kept for a probe to say what it sees, if the machine is not up: a quarter,
/// within these bounds.
const SHORTEST_RESERVE: Duration = Duration::from_secs(30);
const LONGEST_RESERVE: Duration = Duration::from_mins(2);

/// What runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Tcg,
}

/// What decides about the kind of machine for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    arch: Arch,
    has_bios_code: bool,
    /// Whether systemd starts it; `None` if its root cannot be looked at.
    has_systemd: Option<bool>,
}

impl Look {
    /// Looks at an image.
    ///
    /// # Errors
    /// If the disk, or the programs in its root, cannot be read. A root that cannot be found or opened is
    /// none: the machine itself will show that.
    pub fn at(subject: &Subject) -> Result<Self, Error> {
        let disk = Disk::open(subject.disk.clone())?;
        let has_bios_code = match disk.table()? {
            Some(table) => table.boot_code_sha256.is_some(),
            None => true,
        };
        let root = disk
            .root(subject.partition)
            .and_then(|place| disk.open_filesystem(place));
        let (arch, has_systemd) = match root {
            Ok(root) => {
                let init = Init::detect(root.as_ref())?;
                (
                    Arch::detect(root.as_ref())?,
                    Some(init == Some(Init::Systemd)),
                )
            }
            Err(_) => (None, None),
        };
        Ok(Self {
            // If no program says so, the most common one in EC2.
            arch: arch.unwrap_or(Arch::X86_64),
            has_bios_code,
            has_systemd,
        })
    }
}

/// What the host has for a machine, and the machine's sockets.
pub struct Setup {
    look: Look,
    accelerator: Accelerator,
    is_uefi: bool,
    firmware: Option<(PathBuf, PathBuf)>,
    folder: Folder,
    sockets: Sockets,
    disks: Vec<Receiver<UnixStream>>,
    metadata: Receiver<UnixStream>,
}

impl Setup {
    /// Finds what runs the machine.
    ///
    /// # Errors
    /// If the host lacks something, or there is no such machine.
    pub fn new(look: Look, subject: &Subject, options: &Options) -> Result<Self, Error> {
        let accelerator = accelerator(look.arch, options)?;
        let is_uefi = qemu::is_uefi(look.arch, subject.boot_mode, look.has_bios_code);
        let firmware = qemu::firmware(look.arch, is_uefi)?;
        let folder = Folder::make()?;
        let sockets = Sockets {
            folder: folder.path().to_owned(),
            disks: subject.volumes.len() + 1,
        };
        let disks = (0..sockets.disks).map(|number| connections::take(&sockets.disk(number)));
        Ok(Self {
            look,
            accelerator,
            is_uefi,
            firmware,
            folder,
            disks: disks.collect::<io::Result<_>>()?,
            metadata: connections::take(&sockets.metadata())?,
            sockets,
        })
    }

    /// Adds the probe, and begins to serve the disks and the metadata. The threads for that are started here,
    /// and so are shut off as this one is.
    ///
    /// # Errors
    /// If the host has no room for the threads.
    pub fn serve<'a>(self, subject: &'a Subject, options: &Options) -> io::Result<Served<'a>> {
        let clock = match self.accelerator {
            Accelerator::Kvm => Clock::Native,
            Accelerator::Tcg => Clock::Emulated,
        };
        let (root, no_probe) = match with_probe(self.look, subject, options, clock) {
            Ok(root) => (root, None),
            Err(why) => (Arc::new(Delta::new(subject.disk.clone())), Some(why)),
        };
        let volumes = subject.volumes.iter();
        let volumes = volumes.map(|volume| Arc::new(Delta::new(volume.content.clone())));
        let contents = std::iter::once(root).chain(volumes);
        for (streams, content) in self.disks.into_iter().zip(contents) {
            nbd::serve(streams, content)?;
        }
        let instance = instance(subject, self.look.arch);
        Ok(Served {
            service: Server::start(self.metadata, &instance)?,
            judge: Judge::new(subject, clock, no_probe),
            instance,
            accelerator: self.accelerator,
            is_uefi: self.is_uefi,
            firmware: self.firmware,
            sockets: self.sockets,
            folder: self.folder,
        })
    }
}

/// A machine that can be started.
pub struct Served<'a> {
    service: Server,
    judge: Judge<'a>,
    instance: Instance,
    accelerator: Accelerator,
    is_uefi: bool,
    firmware: Option<(PathBuf, PathBuf)>,
    sockets: Sockets,
    folder: Folder,
}

impl Served<'_> {
    /// Starts the machine and watches it. `lint` gives what can be said about the image without starting it,
    /// and is called if something is wrong.
    ///
    /// # Errors
    /// If the machine cannot be started, or gives up by itself.
    pub fn start(
        self,
        options: &Options,
        lint: impl FnOnce() -> Vec<CheckResult>,
    ) -> Result<(Report, Started), Error> {
        let sockets = &self.sockets;
        let tpm = self
            .instance
            .has_tpm
            .then(|| tpm::start(sockets))
            .transpose()?;
        let firmware = self.firmware.as_ref();
        let command = qemu::command(&self.instance, sockets, firmware, self.accelerator, options)?;
        tracing::debug!(?command);
        let mut machine = Machine::start(command, sockets, options.is_watched)?;
        let watched = machine.watch(options, || firmware_log(sockets), &self.judge)?;
        let mut report = self.judge.report(&watched, self.service.requests());
        report.name.clone_from(&self.instance.name);
        report.firmware = if self.is_uefi { "uefi" } else { "bios" };
        if report.failed > 0 {
            report.lint = lint();
        }
        let started = Started {
            machine,
            _tpm: tpm,
            _folder: self.folder,
        };
        Ok((report, started))
    }
}

/// A machine that runs, until this is dropped.
pub struct Started {
    machine: Machine,
    _tpm: Option<Process>,
    _folder: Folder,
}

impl Started {
    /// Waits until the machine powers off.
    ///
    /// # Errors
    /// If its process cannot be asked.
    pub fn stay(&mut self) -> io::Result<()> {
        self.machine.stay()
    }

    /// Connects this process's input to the console, until the machine powers off or Ctrl-] is pressed.
    ///
    /// # Errors
    /// If the console or the machine's process cannot be reached.
    pub fn hand_over(&mut self) -> io::Result<()> {
        self.machine.hand_over()
    }
}

fn accelerator(arch: Arch, options: &Options) -> Result<Accelerator, Error> {
    let (program, package) = qemu::program(arch)?;
    match Command::new(program).arg("--version").output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoProgram { program, package });
        }
        Err(source) => {
            return Err(Error::Start {
                program: program.to_owned(),
                source,
            });
        }
        Ok(_) => {}
    }
    let is_native = match arch {
        Arch::X86_64 => cfg!(target_arch = "x86_64"),
        Arch::Arm64 => cfg!(target_arch = "aarch64"),
        _ => false,
    };
    match options.acceleration {
        Acceleration::Tcg => Ok(Accelerator::Tcg),
        _ if is_native && qemu::can_accelerate(program, arch) => Ok(Accelerator::Kvm),
        Acceleration::Kvm => Err(Error::NoKvm),
        Acceleration::Auto => Ok(Accelerator::Tcg),
    }
}

/// The root disk for the machine to write to, with the probe.
fn with_probe(
    look: Look,
    subject: &Subject,
    options: &Options,
    clock: Clock,
) -> Result<Arc<Delta>, NoProbe> {
    if !options.has_probe {
        return Err(NoProbe::NotAsked);
    }
    if look.has_systemd == Some(false) {
        return Err(NoProbe::NoSystemd);
    }
    let put_in = || -> Result<Arc<Delta>, session::Error> {
        let mut session = Session::open(
            subject.disk.clone(),
            subject.disk.len(),
            session::Options {
                partition: subject.partition,
                now: Timestamp {
                    seconds: subject.now,
                    nanoseconds: 0,
                },
                seed: *b"imgasm boot seed",
            },
        )?;
        // The probe reports what it sees while there is time left to record it.
        let reserve = (options.timeout / 4).clamp(SHORTEST_RESERVE, LONGEST_RESERVE);
        let patience = options.timeout.saturating_sub(reserve);
        session.edit(|applier| {
            applier.edit("boot", "probe", |editor, _| {
                probe::insert(editor, &subject.live, patience, clock)
            })
        })?;
        Ok(session.finish(Finish::default())?.delta)
    };
    put_in().map_err(|error| NoProbe::Failed(chain(&error)))
}

fn instance(subject: &Subject, arch: Arch) -> Instance {
    let volumes = subject.volumes.iter();
    let volumes = volumes.map(|volume| volume.device_name.clone());
    Instance {
        name: subject.name.clone(),
        region: subject.region.clone(),
        arch,
        devices: std::iter::once(subject.root_device.clone())
            .chain(volumes)
            .collect(),
        user_data: subject.user_data.clone(),
        ssh_key: subject.ssh_key.clone(),
        requires_token: subject.requires_token,
        has_tpm: subject.has_tpm,
        now: subject.now,
    }
}

/// What the firmware has written to its own port.
fn firmware_log(sockets: &Sockets) -> Vec<String> {
    let mut console = console::Console::default();
    console.take(&std::fs::read(sockets.firmware_log()).unwrap_or_default());
    console.lines()
}
