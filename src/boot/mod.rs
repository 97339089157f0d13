//! Starting an image in a machine of QEMU that is like an EC2 instance, and watching what happens.
//!
//! The disks are deltas; nothing that the machine writes is kept.
//!
//! - [`setup`]: from a [`Subject`] in three steps to a [`Report`].
//! - [`connections`]: the connections of QEMU, taken for threads that are shut off.
//! - [`metadata`]: the instance metadata service.
//! - [`nbd`]: serves the machine's disks.
//! - [`probe`]: looks at the machine from within.
//! - [`qemu`]: the machine that is started, with its [`tpm`]; [`running`]: the machine while it runs.
//! - [`console`]: reads its console; [`keyboard`]: who stays there types.
//! - [`verdict`]: draws the conclusions; [`health`]: from what is checked of every machine.
//! - [`junit`]: a report for continuous integration.

mod connections;
mod console;
mod health;
pub mod junit;
mod keyboard;
pub mod metadata;
mod nbd;
mod probe;
mod qemu;
pub mod running;
pub mod setup;
mod tpm;
mod verdict;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::verify::live::Live;
use imgasm_aws::wish::BootMode;
use imgasm_block::BlockDevice;
use imgasm_guest::Arch;

pub use console::Stage;
pub use setup::{Look, Setup};
pub use verdict::Report;

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
    /// The public key of its key pair.
    pub ssh_key: Option<String>,
    /// Whether its metadata service wants a session token.
    pub requires_token: bool,
    /// Whether it has a TPM 2.0.
    pub has_tpm: bool,
    /// Seconds since 1970, for files that are added and for the metadata service.
    pub now: i64,
}
