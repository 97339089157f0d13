//! Whether the machine can start, and whether what it starts is there.
//!
//! - [`firmware`]: whether the disk has what the boot mode needs.
//! - [`loader`]: the boot loader's configuration, and what it names.
//! - [`kernel`]: the kernel, its modules, and the drivers that EC2 needs.
//! - [`mounts`]: the lines of `/etc/fstab`.
//! - [`services`]: links of services, and the programs that enabled ones run.
//! - [`cloud_init`]: cloud-init's configuration, and its metadata service.
//! - [`environment`]: files of variables for services.
//! - [`first_run`]: units for which scripts of the first boot would wait in vain.
//! - [`labels`]: SELinux's labels.
//!
//! - `reader`: what they all read configuration with.

mod cloud_init;
mod environment;
mod firmware;
mod first_run;
mod kernel;
mod labels;
mod loader;
mod mounts;
mod reader;
mod services;

use std::fmt;

use reader::Reader;

use super::{CheckResult, Error, Findings, Verdict, results};
use crate::filesystem::swap;
use imgasm_aws::Boot;
pub use imgasm_aws::wish::BootMode;
use imgasm_disk::{Disk, Place};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;

/// A filesystem that the machine will have, by all the names under which it can be mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownFilesystem {
    /// Its kind, as `blkid` names it.
    pub kind: String,
    /// Its label.
    pub label: Vec<u8>,
    /// Its UUID.
    pub uuid: String,
    /// The GUID of its partition.
    pub partition_uuid: Option<String>,
    /// The name of its partition.
    pub partition_name: Option<String>,
    /// Where it lies on the disk of the image; `None` if it lies elsewhere.
    pub place: Option<Place>,
}

impl fmt::Display for KnownFilesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = String::from_utf8_lossy(&self.label);
        write!(f, "{} {label:?} with UUID {}", self.kind, self.uuid)
    }
}

/// The machine that is checked.
pub struct Machine<'a> {
    /// The root filesystem.
    pub root: &'a dyn FileSystem,
    /// The disk that holds it, if it is more than the filesystem.
    pub disk: Option<&'a Disk>,
    /// All filesystems that the machine will have, including those of data volumes.
    pub filesystems: Vec<KnownFilesystem>,
    /// How it is to be started; if that is not known, either mode will do.
    pub boot_mode: Option<BootMode>,
    /// Whether its metadata service wants a session token.
    pub requires_token: bool,
}

/// Does all the checks.
pub fn lint(machine: &Machine<'_>) -> Vec<CheckResult> {
    let (reader, kernels) = (Reader::new(machine.root), Reader::new(machine.root));
    let mut all = Vec::new();
    all.extend(results(
        "firmware finds a boot loader",
        firmware::check(machine),
    ));
    all.extend(results(
        "boot loader configuration",
        loader::check(machine, &reader),
    ));
    all.extend(results(
        "kernel and modules",
        kernel::check_kernels(&kernels),
    ));
    all.extend(results("drivers for EC2", kernel::check_drivers(&kernels)));
    all.extend(results("fstab", mounts::check(machine)));
    all.extend(results("links of services", services::check_links(&reader)));
    all.extend(results(
        "programs of services",
        services::check_programs(&reader),
    ));
    all.extend(results(
        "cloud-init configuration",
        cloud_init::check(&reader),
    ));
    all.extend(warnings(
        "cloud-init and the metadata service",
        cloud_init::check_token(machine, &reader),
    ));
    if is_systemd(machine.root) {
        all.extend(warnings(
            "variables of services",
            environment::check(&reader),
        ));
        all.extend(warnings(
            "services and scripts of the first boot",
            first_run::check(&reader),
        ));
        all.extend(warnings(
            "mounts of data volumes",
            mounts::check_volumes(machine),
        ));
    }
    all.extend(warnings("labels of SELinux", labels::check(machine.root)));
    all
}

/// The results of a check that can only warn: without a warning it says nothing.
fn warnings(check: &str, findings: Result<Findings, Error>) -> Vec<CheckResult> {
    let mut results = results(check, findings);
    results.retain(|result| {
        matches!(
            result.verdict,
            Verdict::Warned { .. } | Verdict::Failed { .. }
        )
    });
    results
}

/// Whether systemd starts the machine; what cannot be read is reported by another check.
fn is_systemd(root: &dyn FileSystem) -> bool {
    services::is_systemd(root).unwrap_or(false)
}

/// How a disk with this root can start, for whoever registers it; `None` if that cannot be seen.
#[must_use]
pub fn facts(disk: &Disk, root: &dyn FileSystem) -> Option<Boot> {
    // What cannot be looked at contradicts nothing; the checks say what is wrong with it.
    let (by_bios, by_uefi) = firmware::ways(disk).ok()??;
    let without = |driver| kernel::without(&Reader::new(root), driver).ok();
    Some(Boot {
        by_bios,
        by_uefi,
        without_ena: without(kernel::ENA)?,
        without_nvme: without(kernel::NVME)?,
        without_tpm: without(kernel::TPM)?,
        without_token: cloud_init::without_token(&Reader::new(root)).ok()?,
    })
}

/// The filesystems on a disk. Those that cannot be opened are left out: their names are unknown.
pub fn filesystems(disk: &Disk) -> imgasm_disk::Result<Vec<KnownFilesystem>> {
    let partitions = disk
        .table()?
        .map(|table| table.partitions)
        .unwrap_or_default();
    let mut known = Vec::new();
    for place in disk.places() {
        let Some(kind) = disk.probe(place)? else {
            continue;
        };
        let (label, uuid) = if kind == "swap" {
            let (label, uuid) = swap::identity(disk.slice(place)?.as_ref())?;
            (label, uuid.to_string())
        } else {
            let info = disk.open_filesystem(place).ok();
            let info = info.and_then(|fs| fs.info().ok());
            info.map(|info| (info.label, info.uuid)).unwrap_or_default()
        };
        let partition = partitions
            .iter()
            .find(|partition| place == Place::Partition(partition.number));
        known.push(KnownFilesystem {
            kind: kind.to_owned(),
            label,
            uuid,
            partition_uuid: partition.and_then(|p| p.guid).map(|guid| guid.to_string()),
            partition_name: partition.map(|p| p.name.clone()),
            place: Some(place),
        });
    }
    Ok(known)
}

/// What `/etc/fstab` of a root mounts below it of these filesystems of a disk: where, and which.
///
/// # Errors
/// If the root cannot be read.
pub fn mounted(
    root: &dyn FileSystem,
    filesystems: Vec<KnownFilesystem>,
) -> tree::Result<Vec<(ImagePath, Place)>> {
    mounts::of_disk(&Machine {
        root,
        disk: None,
        filesystems,
        boot_mode: None,
        requires_token: false,
    })
}

/// The filesystem that the name of a device in `fstab` or `root=` stands for.
enum Device<'a> {
    /// This one.
    Known(&'a KnownFilesystem),
    /// None of them, although it is a label, UUID or the like that one of them would have.
    Missing,
    /// A device by a name that means nothing before the machine runs.
    Untold,
}

impl Machine<'_> {
    fn device(&self, name: &str) -> Device<'_> {
        let (tag, value) = match name.strip_prefix("/dev/disk/by-") {
            Some(by) => match by.split_once('/') {
                Some(parts) => parts,
                None => return Device::Untold,
            },
            None => match name.split_once('=') {
                Some(parts) => parts,
                None => return Device::Untold,
            },
        };
        let value = value.trim_matches('"');
        let same = |own: &str| !own.is_empty() && own.eq_ignore_ascii_case(value);
        let is_meant = |fs: &&KnownFilesystem| match tag {
            "LABEL" | "label" => fs.label == value.as_bytes(),
            "UUID" | "uuid" => same(&fs.uuid),
            "PARTUUID" | "partuuid" => fs.partition_uuid.as_deref().is_some_and(same),
            "PARTLABEL" | "partlabel" => fs.partition_name.as_deref() == Some(value),
            _ => false,
        };
        match self.filesystems.iter().find(is_meant) {
            Some(fs) => Device::Known(fs),
            None if tag.to_ascii_lowercase().ends_with("uuid")
                || tag.to_ascii_lowercase().ends_with("label") =>
            {
                Device::Missing
            }
            None => Device::Untold,
        }
    }
}
