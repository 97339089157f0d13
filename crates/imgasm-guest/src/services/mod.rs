//! What starts when the guest boots.
//!
//! - [`sysv`]: init scripts, by links in the runlevel directories.
//! - [`upstart`]: jobs that start on events.
//! - [`systemd`]: units with dependencies.
//!
//! [`set`] and [`state`] find out which of the three knows a service. A systemd unit takes
//! precedence over an init script of the same name, and that over an upstart job, as in the guest
//! itself.

pub mod systemd;
pub mod sysv;
pub mod upstart;

use std::fmt;

use systemd::name::UnitName;
use systemd::several::{self, Outcome};
use systemd::units::Scope;
use sysv::header::Runlevels;
use sysv::links::Wish as LinkWish;

use crate::Init;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor};

/// Why a service could not be turned on or off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guest has no such service.
    #[error("there is no service {service} in the image")]
    Unknown {
        /// Its name.
        service: String,
    },
    /// The name is not one that a service can have.
    #[error("{name:?} is not the name of a service")]
    InvalidName {
        /// What was given.
        name: String,
    },
    /// What was asked for has no meaning for this kind of service.
    #[error("{service} is {kind}, which cannot be {wish}")]
    Unsupported {
        /// Its name.
        service: String,
        /// What it is.
        kind: &'static str,
        /// What was asked for.
        wish: &'static str,
    },
    /// The script does not say when it is to start.
    #[error("{script} has neither a `# chkconfig:` line nor an LSB block")]
    NoHeader {
        /// The script.
        script: ImagePath,
    },
    /// The job has no `start on`.
    #[error("the upstart job {job} has no `start on` and so never starts by itself")]
    NeverStarted {
        /// The job.
        job: String,
    },
    /// The unit has no `[Install]` section that asks for a link.
    #[error("{unit} cannot be enabled: its [Install] section asks for no link")]
    NothingToEnable {
        /// The unit.
        unit: String,
    },
    /// The unit is masked.
    #[error("{unit} is masked")]
    Masked {
        /// The unit.
        unit: String,
    },
    /// The name is an alias that enabling another unit has made.
    #[error("{alias} is an alias of {unit}: enable that")]
    Alias {
        /// The name given.
        alias: String,
        /// The unit it leads to.
        unit: String,
    },
    /// Aliases form a cycle.
    #[error("the aliases of {unit} lead nowhere")]
    AliasLoop {
        /// The unit.
        unit: String,
    },
    /// An `[Install]` section has a specifier that only the running machine can expand.
    #[error("{unit}: the specifier {specifier} in [Install] has no value in an image")]
    Specifier {
        /// The unit.
        unit: String,
        /// The specifier.
        specifier: String,
    },
    /// An `[Install]` section has an invalid name.
    #[error("{unit}: [Install] names `{value}`, which is not valid there")]
    InvalidInstall {
        /// The unit.
        unit: String,
        /// What it names.
        value: String,
    },
    /// Something else is in the place of a link.
    #[error("{path} exists already and leads elsewhere")]
    InTheWay {
        /// Where.
        path: ImagePath,
    },
    /// The image could not be read or written.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// What operations on services return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wanted from a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It starts at boot.
    Enabled,
    /// It does not start at boot.
    Disabled,
    /// It cannot be started at all.
    Masked,
    /// It is no longer masked.
    Unmasked,
    /// What the distribution's preset says.
    Preset,
}

impl Wish {
    const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Masked => "masked",
            Self::Unmasked => "unmasked",
            Self::Preset => "preset",
        }
    }
}

/// The state of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It starts at boot.
    Enabled,
    /// It does not start at boot, but can be made to.
    Disabled,
    /// It cannot be started at all.
    Masked,
    /// It starts only if something else asks for it.
    Static,
    /// It cannot be enabled itself, but names units that can.
    Indirect,
    /// The name is an alias of an enabled unit.
    Alias,
    /// Its file lies elsewhere and is linked into the search path, but it does not start at boot.
    Linked,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Masked => "masked",
            Self::Static => "static",
            Self::Indirect => "indirect",
            Self::Alias => "alias",
            Self::Linked => "linked",
        })
    }
}

/// The init system that knows a service.
enum Manager {
    Systemd(UnitName),
    Sysv,
    Upstart,
}

impl Manager {
    fn of(fs: &dyn FileSystem, service: &str) -> Result<Self> {
        if service.is_empty() || service.starts_with('.') || service.contains(['/', '\0']) {
            return Err(Error::InvalidName {
                name: service.to_owned(),
            });
        }
        // A system with another init may contain units all the same.
        if uses_systemd(fs)?
            && let Some(name) = UnitName::from_user(service)
            && systemd::has_unit(fs, Scope::System, &name)?
        {
            return Ok(Self::Systemd(name));
        }
        if sysv::has_script(fs, service)? {
            return Ok(Self::Sysv);
        }
        if upstart::has_job(fs, service)? {
            return Ok(Self::Upstart);
        }
        Err(Error::Unknown {
            service: service.to_owned(),
        })
    }
}

/// Does what is wanted for a service.
pub fn set(editor: &mut Editor<'_>, service: &str, wish: Wish) -> Result<()> {
    let manager = match (Manager::of(editor.fs(), service), wish) {
        // A unit may be masked before it is installed.
        (Err(Error::Unknown { .. }), Wish::Masked | Wish::Unmasked)
            if uses_systemd(editor.fs())? =>
        {
            let name = UnitName::from_user(service).ok_or_else(|| Error::InvalidName {
                name: service.to_owned(),
            })?;
            Manager::Systemd(name)
        }
        (manager, _) => manager?,
    };
    let unsupported = |kind| Error::Unsupported {
        service: service.to_owned(),
        kind,
        wish: wish.name(),
    };
    match manager {
        Manager::Systemd(name) => match wish {
            Wish::Enabled => systemd::enable(editor, Scope::System, &name),
            Wish::Disabled => systemd::disable(editor, Scope::System, &name),
            Wish::Masked => systemd::mask(editor, Scope::System, &name),
            Wish::Unmasked => systemd::unmask(editor, Scope::System, &name),
            Wish::Preset => several::preset(editor, Scope::System, &name),
        },
        Manager::Sysv => match wish {
            Wish::Enabled => sysv::set(editor, service, LinkWish::On(Runlevels::SERVING)),
            Wish::Disabled => sysv::set(editor, service, LinkWish::Off(Runlevels::SERVING)),
            Wish::Preset => sysv::set(editor, service, LinkWish::Add),
            Wish::Masked | Wish::Unmasked => Err(unsupported("an init script")),
        },
        Manager::Upstart => match wish {
            Wish::Enabled => upstart::set(editor, service, true),
            Wish::Disabled => upstart::set(editor, service, false),
            Wish::Masked | Wish::Unmasked | Wish::Preset => Err(unsupported("an upstart job")),
        },
    }
}

/// Does what is wanted for a unit of all users' managers (`systemctl --global`).
///
/// # Errors
/// [`Error::Unknown`] if there is no such unit.
pub fn set_for_users(editor: &mut Editor<'_>, unit: &str, wish: Wish) -> Result<()> {
    let name = UnitName::from_user(unit).ok_or_else(|| Error::InvalidName {
        name: unit.to_owned(),
    })?;
    let scope = Scope::Users;
    match wish {
        Wish::Enabled => systemd::enable(editor, scope, &name),
        Wish::Disabled => systemd::disable(editor, scope, &name),
        Wish::Masked => systemd::mask(editor, scope, &name),
        Wish::Unmasked => systemd::unmask(editor, scope, &name),
        Wish::Preset => several::preset(editor, scope, &name),
    }
}

/// Does what is wanted for several services, or units of all users' managers, as `systemctl` does it.
///
/// # Errors
/// If the image cannot be read or written; [`Error::InvalidName`], and nothing is done.
pub fn set_several(
    editor: &mut Editor<'_>,
    services: &[&str],
    wish: Wish,
    scope: Scope,
) -> Result<Outcome> {
    let (mut units, mut others) = (Vec::new(), Vec::new());
    for service in services {
        if scope == Scope::System {
            match Manager::of(editor.fs(), service) {
                Ok(Manager::Sysv | Manager::Upstart) => {
                    others.push(*service);
                    continue;
                }
                Ok(Manager::Systemd(_)) | Err(Error::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let name = UnitName::from_user(service);
        units.push(name.ok_or_else(|| Error::InvalidName {
            name: (*service).to_owned(),
        })?);
    }
    let mut outcome = several::set(editor, scope, &units, wish)?;
    for service in others {
        match set(editor, service, wish) {
            Ok(()) => {}
            Err(error @ Error::Tree(_)) => return Err(error),
            Err(error) => {
                outcome.is_failure = true;
                outcome.notes.push(error);
            }
        }
    }
    Ok(outcome)
}

/// The state of a service.
pub fn state(fs: &dyn FileSystem, service: &str) -> Result<State> {
    let enabled = match Manager::of(fs, service)? {
        Manager::Systemd(name) => return systemd::state(fs, Scope::System, &name),
        Manager::Sysv => sysv::started_in(fs, service)?.is_some_and(|levels| {
            levels
                .iter()
                .any(|level| Runlevels::SERVING.contains(*level))
        }),
        Manager::Upstart => upstart::is_enabled(fs, service)?,
    };
    Ok(if enabled {
        State::Enabled
    } else {
        State::Disabled
    })
}

fn uses_systemd(fs: &dyn FileSystem) -> Result<bool> {
    Ok(!Init::detect(fs)?.is_some_and(Init::runs_sysv_scripts))
}
