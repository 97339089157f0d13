//! The kernel, its modules, and the drivers without which an EC2 instance finds no disk or network.

use super::super::{Error, Findings};
use super::reader::Reader;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::glob::Pattern;
use imgasm_fs::tree::{self, glob};
use imgasm_guest::known_path;

/// A driver: its module, and the kernel's option for it.
pub(super) type Driver = (&'static str, &'static str);

/// That of EBS volumes, on the Nitro system.
pub(super) const NVME: Driver = ("nvme", "CONFIG_BLK_DEV_NVME");
/// That of the network, on the Nitro system.
pub(super) const ENA: Driver = ("ena", "CONFIG_ENA_ETHERNET");
/// That of the TPM, on the Nitro system (EC2 user guide, "Requirements for using `NitroTPM`").
pub(super) const TPM: Driver = ("tpm_crb", "CONFIG_TCG_CRB");

/// Drivers that instances of the Nitro system need, and what for.
const NEEDED: [(Driver, &str); 2] = [(NVME, "EBS volumes"), (ENA, "the network")];

/// Where modules lie.
const MODULES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];

pub(super) fn check_kernels(reader: &Reader<'_>) -> Result<Findings, Error> {
    let versions = versions(reader.fs)?;
    let mut findings = Findings::default();
    if versions.is_empty() {
        findings.problem("there is no kernel (/boot/vmlinuz-*)");
    }
    for version in versions {
        if modules(reader.fs, &version)?.is_none() && !is_monolithic(reader, &version)? {
            findings.problem(format!(
                "the kernel {version} has no modules in /lib/modules"
            ));
        }
    }
    Ok(findings)
}

pub(super) fn check_drivers(reader: &Reader<'_>) -> Result<Findings, Error> {
    let versions = versions(reader.fs)?;
    if versions.is_empty() {
        return Ok(Findings::skipped("there is no kernel"));
    }
    let mut findings = Findings::default();
    for version in versions {
        for (driver, purpose) in NEEDED {
            if !has_driver(reader, &version, driver)? {
                let (driver, _) = driver;
                findings.problem(format!(
                    "the kernel {version} has no driver `{driver}`, for {purpose}"
                ));
            }
        }
    }
    Ok(findings)
}

/// The kernels that do not have a driver.
pub(super) fn without(reader: &Reader<'_>, driver: Driver) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    for version in versions(reader.fs)? {
        if !has_driver(reader, &version, driver)? {
            all.push(version);
        }
    }
    Ok(all)
}

/// The versions of the kernels in `/boot`, except rescue kernels.
fn versions(fs: &dyn FileSystem) -> Result<Vec<String>, Error> {
    let kernels = glob(fs, &Pattern::parse("/boot/vmlinuz-*")?)?;
    let names = kernels.iter().map(ImagePath::to_string);
    Ok(names
        .filter_map(|path| path.strip_prefix("/boot/vmlinuz-").map(str::to_owned))
        .filter(|version| !version.contains("rescue"))
        .collect())
}

/// The folder of a kernel's modules.
fn modules(fs: &dyn FileSystem, version: &str) -> Result<Option<ImagePath>, Error> {
    for folder in MODULES {
        let path = known_path(folder).child(version.as_bytes());
        if tree::exists(fs, &path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn option_is(reader: &Reader<'_>, version: &str, option: &str, value: &str) -> Result<bool, Error> {
    let path = known_path("/boot").child(format!("config-{version}").as_bytes());
    let config = reader.read(&path)?;
    let wanted = format!("{option}={value}");
    Ok(String::from_utf8_lossy(&config)
        .lines()
        .any(|line| line == wanted))
}

fn is_monolithic(reader: &Reader<'_>, version: &str) -> Result<bool, Error> {
    let path = known_path("/boot").child(format!("config-{version}").as_bytes());
    let config = reader.read(&path)?;
    let text = String::from_utf8_lossy(&config);
    Ok(text
        .lines()
        .any(|line| line == "# CONFIG_MODULES is not set"))
}

/// Whether the kernel has a driver: built in, or as a module that its index lists.
fn has_driver(reader: &Reader<'_>, version: &str, (driver, option): Driver) -> Result<bool, Error> {
    if option_is(reader, version, option, "y")? {
        return Ok(true);
    }
    let Some(folder) = modules(reader.fs, version)? else {
        return Ok(false);
    };
    for index in ["modules.dep", "modules.builtin"] {
        let text = reader.read(&folder.child(index.as_bytes()))?;
        let text = String::from_utf8_lossy(&text);
        let lists = text.lines().any(|line| {
            let module = line.split(':').next().unwrap_or_default();
            let name = module.rsplit('/').next().unwrap_or_default();
            name.split_once(".ko")
                .is_some_and(|(name, _)| name == driver)
        });
        if lists {
            return Ok(true);
        }
    }
    Ok(false)
}
