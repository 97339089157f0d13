//! Starting an image in a machine of QEMU that is like an EC2 instance, and watching what happens.
//!
//! The disks are deltas; nothing that the machine writes is kept.
//!
//! - [`boot()`]: starts a [`Subject`] and gives a [`Report`].
//! - [`metadata`]: the instance metadata service.
//! - [`nbd`]: serves the machine's disks.
//! - [`probe`]: looks at the machine from within.
//! - [`qemu`]: the machine that is started, with its [`tpm`]; [`running`]: the machine while it runs.
//! - [`console`]: reads its console; [`keyboard`]: who stays there types.
//! - [`verdict`]: draws the conclusions.
//! - [`junit`]: a report for continuous integration.

mod console;
pub mod junit;
mod keyboard;
pub mod metadata;
mod nbd;
mod probe;
mod qemu;
pub mod running;
mod tpm;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::session::{self, Finish, Session};
use crate::verify::CheckResult;
use crate::verify::live::{Clock, Live};
use imgasm_aws::wish::BootMode;
use imgasm_block::{BlockDevice, Delta};
use imgasm_disk::Disk;
use imgasm_fs::Timestamp;
use imgasm_fs::text::chain;
use imgasm_guest::Arch;

pub use console::Stage;
use metadata::Instance;
use metadata::server::Server;
use qemu::Sockets;
use running::Machine;
pub use verdict::Report;

/// How much of the time is kept for a probe to say what it sees, if the machine is not up: a quarter,
/// within these bounds.
const SHORTEST_RESERVE: Duration = Duration::from_secs(30);
const LONGEST_RESERVE: Duration = Duration::from_mins(2);

/// Why a machine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program that runs the machine is missing.
    #[error("there is no {program} on this host")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// Debian's package of it.
        package: &'static str,
    },
    /// The firmware is missing.
    #[error("there is no UEFI firmware for the machine on this host")]
    NoFirmware {
        /// Debian's package of it.
        package: &'static str,
    },
    /// The host's processor cannot be used.
    #[error("the host's KVM cannot run this machine")]
    NoKvm,
    /// There is no machine for this processor.
    #[error("the image is for {}, but machines are for x86_64 or arm64 only", .0.name())]
    Architecture(Arch),
    /// There are more volumes than slots on the bus.
    #[error("the machine has room for {most} volumes beside its root")]
    TooManyVolumes {
        /// The most that fit.
        most: usize,
    },
    /// QEMU could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// What the host said.
        source: io::Error,
    },
    /// A program that the machine consists of ended by itself.
    #[error("{program} gave up: {said}")]
    GaveUp {
        /// The program.
        program: String,
        /// What it said.
        said: String,
        /// How it ended.
        source: io::Error,
    },
    /// The image's disk could not be understood.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The root filesystem could not be looked at.
    #[error(transparent)]
    Tree(#[from] imgasm_fs::tree::Error),
    /// The host failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// The end of a program that has written what it had to say into the file `errors`.
    fn gave_up(program: &str, errors: &Path, source: io::Error) -> Self {
        let said = std::fs::read_to_string(errors).unwrap_or_default();
        Self::GaveUp {
            program: program.to_owned(),
            said: said.trim().to_owned(),
            source,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoProgram { package, .. } | Self::NoFirmware { package } => {
                Some(format!("Debian's package {package} contains it"))
            }
            Self::NoKvm => {
                Some("--accel tcg emulates the processor, which takes longer".to_owned())
            }
            _ => None,
        }
    }
}

/// What runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accelerator {
    Kvm,
    Tcg,
}

/// The user's choice of what runs the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Acceleration {
    /// The host's own processor if that works, else emulation.
    #[default]
    Auto,
    /// The host's own processor.
    Kvm,
    /// Emulation.
    Tcg,
}

/// How a machine is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// What runs it.
    pub acceleration: Acceleration,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// Its processors.
    pub cpus: u32,
    /// How long it may take in all.
    pub timeout: Duration,
    /// A port of this host that leads to the machine's SSH.
    pub ssh_port: Option<u16>,
    /// Whether a probe is put into it.
    pub has_probe: bool,
    /// Whether its console is shown.
    pub is_watched: bool,
    /// Whether its console is handed over when everything was seen.
    pub stays: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            acceleration: Acceleration::Auto,
            memory_mib: 2048,
            cpus: 2,
            timeout: Duration::from_mins(10),
            ssh_port: None,
            has_probe: true,
            is_watched: false,
            stays: false,
        }
    }
}

/// A volume of the machine.
pub struct Volume {
    /// The device of its mapping.
    pub device_name: String,
    /// What it holds.
    pub content: Arc<dyn BlockDevice>,
}

/// What is started.
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// The disk with the root.
    pub disk: Arc<dyn BlockDevice>,
    /// The number of the root partition; `None` looks for the root.
    pub partition: Option<u32>,
    /// The device of the root's mapping.
    pub root_device: String,
    /// The further disks.
    pub volumes: Vec<Volume>,
    /// How the AMI boots, if that is known.
    pub boot_mode: Option<BootMode>,
    /// The expectations of the running machine.
    pub live: Vec<Live>,
    /// The region in which it believes itself to be.
    pub region: String,
    /// Its user data.
    pub user_data: Option<Vec<u8>>,
    /// Whether its metadata service wants a session token.
    pub requires_token: bool,
    /// Whether it has a TPM 2.0.
    pub has_tpm: bool,
    /// Seconds since 1970, for files that are added and for the metadata service.
    pub now: i64,
}

/// Starts a machine, watches it, and ends it. `lint` gives what can be said about the image without
/// starting it, and is called if something is wrong.
pub fn boot(
    subject: &Subject,
    options: &Options,
    lint: impl FnOnce() -> Vec<CheckResult>,
) -> Result<Report, Error> {
    let disk = Disk::open(subject.disk.clone())?;
    let arch = architecture(&disk, subject.partition)?;
    let (program, package) = qemu::program(arch)?;
    let accelerator = accelerator(program, package, arch, options)?;
    let has_bios_code = match disk.table()? {
        Some(table) => table.boot_code_sha256.is_some(),
        None => true,
    };
    let is_uefi = qemu::is_uefi(arch, subject.boot_mode, has_bios_code);
    let firmware = qemu::firmware(arch, is_uefi)?;
    let clock = match accelerator {
        Accelerator::Kvm => Clock::Native,
        Accelerator::Tcg => Clock::Emulated,
    };
    let (root, probe) = with_probe(subject, options, clock);
    let folder = running::Folder::make()?;
    let sockets = Sockets {
        folder: folder.path().to_owned(),
        disks: subject.volumes.len() + 1,
    };
    nbd::serve(&sockets.disk(0), root)?;
    for (number, volume) in subject.volumes.iter().enumerate() {
        let delta = Arc::new(Delta::new(volume.content.clone()));
        nbd::serve(&sockets.disk(number + 1), delta)?;
    }
    let _tpm = subject.has_tpm.then(|| tpm::start(&sockets)).transpose()?;
    let instance = instance(subject, arch);
    let service = Server::start(&sockets.metadata(), &instance)?;
    let command = qemu::command(&instance, &sockets, firmware.as_ref(), accelerator, options)?;
    tracing::debug!(?command);
    let mut machine = Machine::start(command, &sockets, options.is_watched)?;
    let judge = verdict::Judge::new(subject, clock, probe.as_ref().err().cloned());
    let watched = machine.watch(
        options,
        || firmware_log(&sockets),
        |seen, console| judge.is_enough(seen, console),
    )?;
    let mut report = judge.report(&watched, service.requests());
    report.name.clone_from(&subject.name);
    report.firmware = if is_uefi { "uefi" } else { "bios" };
    if report.failed > 0 {
        report.lint = lint();
    }
    if options.stays {
        machine.hand_over()?;
    }
    Ok(report)
}

/// The processor that the image is for; if no program in it says so, the most common one in EC2.
fn architecture(disk: &Disk, partition: Option<u32>) -> Result<Arch, Error> {
    // The machine itself will show that the root cannot be found or read.
    let root = disk
        .root(partition)
        .and_then(|place| disk.open_filesystem(place));
    match root {
        Ok(root) => Ok(Arch::detect(root.as_ref())?.unwrap_or(Arch::X86_64)),
        Err(_) => Ok(Arch::X86_64),
    }
}

fn accelerator(
    program: &'static str,
    package: &'static str,
    arch: Arch,
    options: &Options,
) -> Result<Accelerator, Error> {
    match std::process::Command::new(program)
        .arg("--version")
        .output()
    {
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

/// The root disk for the machine to write to, and why it has no probe, if it has none.
fn with_probe(
    subject: &Subject,
    options: &Options,
    clock: Clock,
) -> (Arc<dyn BlockDevice>, Result<(), verdict::NoProbe>) {
    let plain = || -> Arc<dyn BlockDevice> { Arc::new(Delta::new(subject.disk.clone())) };
    if !options.has_probe {
        return (plain(), Err(verdict::NoProbe::NotAsked));
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
    match put_in() {
        Ok(delta) => (delta, Ok(())),
        Err(error) => (plain(), Err(verdict::NoProbe::Failed(chain(&error)))),
    }
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
        requires_token: subject.requires_token,
        has_tpm: subject.has_tpm,
        now: subject.now,
    }
}

/// What the firmware has written to its own port.
fn firmware_log(sockets: &Sockets) -> Vec<String> {
    let log: PathBuf = sockets.firmware_log();
    let mut console = console::Console::default();
    console.take(&std::fs::read(log).unwrap_or_default());
    console.lines()
}
