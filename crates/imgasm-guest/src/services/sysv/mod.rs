//! Services that a `SysV` init starts: links in the runlevel directories to scripts in `init.d`.
//!
//! - [`header`]: what a script says about itself.
//! - [`links`]: which links a service needs.
//!
//! Two layouts are known: that of Red Hat and Amazon Linux 1, with the directories below
//! `/etc/rc.d`, managed by chkconfig(8), and that of Debian, with them in `/etc`, managed by
//! update-rc.d(8).

pub mod header;
pub mod links;

use header::{ChkconfigLine, Header, Priority, Runlevels};
use links::{Action, LinkChange, LinkName, ServiceLinks, Wish};

use super::{Error, Result};
use crate::files::{entry, list, read_optional};
use crate::known_path;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Editor, LastLink};

/// Where runlevel directories and scripts lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `/etc/rc.d/rc3.d`, `/etc/rc.d/init.d`.
    RedHat,
    /// `/etc/rc3.d`, `/etc/init.d`.
    Debian,
}

impl Layout {
    fn of(fs: &dyn FileSystem) -> Result<Self> {
        let red_hat = entry(fs, &known_path("/etc/rc.d/rc3.d"), LastLink::Follow)?;
        Ok(match red_hat {
            Some(_) => Self::RedHat,
            None => Self::Debian,
        })
    }

    fn base(self) -> ImagePath {
        known_path(match self {
            Self::RedHat => "/etc/rc.d",
            Self::Debian => "/etc",
        })
    }

    fn scripts(self) -> ImagePath {
        self.base().child(b"init.d")
    }

    fn runlevel(self, level: u8) -> ImagePath {
        self.base().child(format!("rc{level}.d").as_bytes())
    }

    fn links(self, fs: &dyn FileSystem, level: u8) -> Result<Vec<LinkName>> {
        let names = list(fs, &self.runlevel(level))?;
        Ok(names
            .iter()
            .filter_map(|(name, _)| LinkName::parse(name))
            .collect())
    }
}

/// Whether there is an init script of this name.
pub fn has_script(fs: &dyn FileSystem, service: &str) -> Result<bool> {
    Ok(entry(fs, &script_path(fs, service)?, LastLink::Follow)?.is_some())
}

/// All links in the runlevel directories, with their paths.
pub fn all_links(fs: &dyn FileSystem) -> Result<Vec<(ImagePath, LinkName)>> {
    let layout = Layout::of(fs)?;
    let mut all = Vec::new();
    for level in Runlevels::all() {
        for link in layout.links(fs, level)? {
            let path = layout.runlevel(level).child(link.file_name().as_bytes());
            all.push((path, link));
        }
    }
    Ok(all)
}

/// Where the init script of a service is, or would be.
pub fn script_path(fs: &dyn FileSystem, service: &str) -> Result<ImagePath> {
    Ok(Layout::of(fs)?.scripts().child(service.as_bytes()))
}

/// Gives a service the links that `wish` asks for, in the way of the layout's own tool.
pub fn set(editor: &mut Editor<'_>, service: &str, wish: Wish) -> Result<()> {
    let fs = editor.fs();
    let layout = Layout::of(fs)?;
    let path = layout.scripts().child(service.as_bytes());
    let script = read_optional(fs, &path)?.ok_or_else(|| Error::Unknown {
        service: service.to_owned(),
    })?;
    let header = Header::parse(&script);
    let mut present = ServiceLinks::default();
    for (level, list) in Runlevels::all().zip(&mut present) {
        *list = layout.links(fs, level)?;
        list.retain(|link| link.service == service);
    }
    let changes = match layout {
        Layout::RedHat => {
            let defaults = header.defaults().ok_or(Error::NoHeader { script: path })?;
            let defaults = order_after_requirements(fs, service, &header, defaults)?;
            links::plan_chkconfig(service, &defaults, wish, &present)
        }
        Layout::Debian => {
            let lsb = header.lsb.ok_or(Error::NoHeader { script: path })?;
            let start = lsb.default_start.unwrap_or_default();
            let stop = lsb.default_stop.unwrap_or_default();
            let enabled = !matches!(wish, Wish::Off(_));
            links::plan_update_rc(service, start, stop, enabled, &present)
        }
    };
    for change in changes {
        match change {
            LinkChange::Remove { level, link } => {
                let name = link.file_name();
                editor.remove_tree(&layout.runlevel(level).child(name.as_bytes()))?;
            }
            LinkChange::Make { level, link } => {
                let directory = layout.runlevel(level);
                editor.mkdir_all(&directory, imgasm_fs::tree::Attributes::default())?;
                let target = format!("../init.d/{service}");
                editor.symlink(
                    &directory.child(link.file_name().as_bytes()),
                    target.as_bytes(),
                )?;
            }
        }
    }
    Ok(())
}

/// The runlevels in which a service is started; `None` if no runlevel knows it.
pub fn started_in(fs: &dyn FileSystem, service: &str) -> Result<Option<Vec<u8>>> {
    let layout = Layout::of(fs)?;
    let mut known = false;
    let mut started = Vec::new();
    for level in Runlevels::all() {
        let links = layout.links(fs, level)?;
        let mut actions = links
            .iter()
            .filter(|link| link.service == service)
            .map(|l| l.action);
        if let Some(first) = actions.next() {
            known = true;
            if first == Action::Start || actions.any(|action| action == Action::Start) {
                started.push(level);
            }
        }
    }
    Ok(known.then_some(started))
}

/// Moves a service's priorities so that it starts after what its LSB block requires and stops
/// before it, as described in chkconfig(8), "RUNLEVEL FILES".
fn order_after_requirements(
    fs: &dyn FileSystem,
    service: &str,
    header: &Header,
    mut line: ChkconfigLine,
) -> Result<ChkconfigLine> {
    let Some(lsb) = &header.lsb else {
        return Ok(line);
    };
    if lsb.required_start.is_empty() && lsb.required_stop.is_empty() {
        return Ok(line);
    }
    let layout = Layout::RedHat;
    let mut links = Vec::new();
    for level in Runlevels::all() {
        links.extend(layout.links(fs, level)?);
    }
    for (name, _) in list(fs, &layout.scripts())? {
        let Ok(other) = std::str::from_utf8(&name) else {
            continue;
        };
        if other == service {
            continue;
        }
        let script = layout.scripts().child(&name);
        let Some((_, imgasm_fs::FileType::Regular)) = entry(fs, &script, LastLink::Follow)? else {
            continue;
        };
        let other_header = Header::parse(&read_optional(fs, &script)?.unwrap_or_default());
        let Some(defaults) = other_header.defaults() else {
            continue;
        };
        let priority = |action: Action, otherwise: Priority| {
            let of_links = links
                .iter()
                .filter(|link| link.service == other && link.action == action)
                .map(|link| link.priority);
            of_links.max().unwrap_or(otherwise)
        };
        let required = |facilities: &[String]| {
            facilities
                .iter()
                .any(|facility| other_header.provides(other, facility))
        };
        if required(&lsb.required_start) {
            line.start = line
                .start
                .max(priority(Action::Start, defaults.start).after());
        }
        if required(&lsb.required_stop) {
            line.stop = line
                .stop
                .min(priority(Action::Stop, defaults.stop).before());
        }
    }
    Ok(line)
}
