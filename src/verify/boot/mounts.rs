//! `/etc/fstab`: whether each line is well formed, what it mounts is there, and where it mounts it.

use std::collections::BTreeSet;

use super::super::{Error, Findings};
use super::{Device, Machine};
use imgasm_disk::Place;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink};
use imgasm_guest::files::{entry, read_known};
use imgasm_guest::fstab;

/// Filesystems without a device, which the kernel provides.
const WITHOUT_DEVICE: [&str; 17] = [
    "proc",
    "sysfs",
    "tmpfs",
    "devpts",
    "devtmpfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "hugetlbfs",
    "mqueue",
    "efivarfs",
    "selinuxfs",
    "ramfs",
    "configfs",
    "bpf",
];

/// A line that is to mount something: what, or why that is unknown.
struct Line {
    number: usize,
    mount: Result<Mount, String>,
}

struct Mount {
    device: String,
    point: String,
    kind: String,
    options: Vec<String>,
    numbers: Vec<String>,
}

pub(super) fn check(machine: &Machine<'_>) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let mut points = BTreeSet::new();
    let Some(lines) = lines(machine)? else {
        return Ok(Findings::skipped("there is no /etc/fstab"));
    };
    for Line { number, mount } in lines {
        let mount = match mount {
            Ok(mount) => mount,
            Err(problem) => {
                findings.problem(format!("line {number}: {problem}"));
                continue;
            }
        };
        for problem in problems(machine, &mount, &mut points)? {
            findings.problem(format!("line {number}, {}: {problem}", mount.point));
        }
    }
    Ok(findings)
}

/// The lines that mount something; `None` if there is no such file.
fn lines(machine: &Machine<'_>) -> tree::Result<Option<Vec<Line>>> {
    let Some(content) = read_known(machine.root, "/etc/fstab")? else {
        return Ok(None);
    };
    let lines = fstab::lines(&content).into_iter();
    let lines = lines.map(|line| Line {
        number: line.number,
        mount: parse(&line.fields),
    });
    Ok(Some(lines.collect()))
}

/// Mount points that the machine cannot do without.
const NEEDED: [&str; 7] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/home"];

/// Lines for data volumes that make the start fail needlessly: systemd waits for a missing device,
/// and then starts nothing else.
pub(super) fn check_volumes(machine: &Machine<'_>) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    for Line { number, mount } in lines(machine)?.unwrap_or_default() {
        let Ok(mount) = mount else { continue };
        let is_device = mount.device.starts_with("/dev/") || mount.device.contains('=');
        let has_option = |name: &str| mount.options.iter().any(|option| option == name);
        if !is_device || WITHOUT_DEVICE.contains(&&*mount.kind) || has_option("noauto") {
            continue;
        }
        let place = format!("line {number}, {}", mount.point);
        let renamed = ["/dev/xvd", "/dev/sd", "/dev/hd"];
        if renamed.iter().any(|start| mount.device.starts_with(start)) {
            findings.warning(format!(
                "{place}: if volumes are NVMe devices, {} has another name; a label or a \
                 UUID works everywhere",
                mount.device
            ));
        }
        let is_data = mount.kind != "swap" && !NEEDED.contains(&&*mount.point);
        if is_data && !has_option("nofail") {
            findings.warning(format!(
                "{place}: without the option nofail, a machine that lacks the volume ends in \
                 emergency mode"
            ));
        }
    }
    Ok(findings)
}

/// The lines that mount a filesystem of the disk below the root.
pub(super) fn of_disk(machine: &Machine<'_>) -> tree::Result<Vec<(ImagePath, Place)>> {
    let mut found = Vec::new();
    for line in lines(machine)?.unwrap_or_default() {
        let Ok(mount) = line.mount else { continue };
        if let Device::Known(filesystem) = machine.device(&mount.device)
            && let Some(place) = filesystem.place
            && let Ok(point) = ImagePath::parse(&mount.point)
            && !point.is_root()
        {
            found.push((point, place));
        }
    }
    Ok(found)
}

fn parse(fields: &[String]) -> Result<Mount, String> {
    let [device, point, kind, rest @ ..] = fields else {
        return Err("fewer than three fields".to_owned());
    };
    if rest.len() > 3 {
        return Err("more than six fields".to_owned());
    }
    let (options, numbers) = rest.split_at(rest.len().min(1));
    Ok(Mount {
        device: device.clone(),
        point: point.clone(),
        kind: kind.clone(),
        options: options
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::to_owned)
            .collect(),
        numbers: numbers.to_vec(),
    })
}

fn problems(
    machine: &Machine<'_>,
    mount: &Mount,
    points: &mut BTreeSet<String>,
) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    if mount
        .numbers
        .iter()
        .any(|number| number.parse::<u8>().is_err())
    {
        problems.push("the fields `dump` and `pass` are numbers".to_owned());
    }
    let is_swap = mount.kind == "swap";
    let has_device = !WITHOUT_DEVICE.contains(&&*mount.kind);
    let may_fail = mount
        .options
        .iter()
        .any(|option| option == "nofail" || option == "noauto");
    if !is_swap && mount.point != "none" {
        match ImagePath::parse(&mount.point) {
            Err(error) => problems.push(error.to_string()),
            Ok(point) => {
                if !points.insert(point.to_string()) {
                    problems.push("an earlier line mounts there too".to_owned());
                }
                let found = entry(machine.root, &point, LastLink::Follow)?;
                let is_directory = found.is_some_and(|(_, kind)| kind == FileType::Directory);
                if !is_directory && has_device && !may_fail {
                    problems.push("the directory does not exist".to_owned());
                }
            }
        }
    }
    if !has_device || may_fail {
        return Ok(problems);
    }
    match machine.device(&mount.device) {
        Device::Missing => {
            problems.push(format!("no filesystem of the machine is {}", mount.device));
        }
        Device::Known(fs) if mount.kind != "auto" && !is_same_kind(&fs.kind, &mount.kind) => {
            problems.push(format!(
                "{} holds {}, not {}",
                mount.device, fs.kind, mount.kind
            ));
        }
        Device::Known(_) => {}
        Device::Untold => {
            let is_bind = mount
                .options
                .iter()
                .any(|option| option == "bind" || option == "rbind");
            let is_file = is_bind || (is_swap && !mount.device.starts_with("/dev/"));
            if is_file
                && let Ok(path) = ImagePath::parse(&mount.device)
                && !tree::exists(machine.root, &path)?
            {
                problems.push(format!("{path} does not exist"));
            }
        }
    }
    Ok(problems)
}

/// ext4's driver also mounts ext2 and ext3.
fn is_same_kind(found: &str, wanted: &str) -> bool {
    let is_ext = |kind: &str| ["ext2", "ext3", "ext4"].contains(&kind);
    found == wanted || (is_ext(found) && wanted == "ext4")
}

/// Whether `/boot` is a filesystem of its own, so that what lies there is not in the root.
pub(super) fn has_separate_boot(machine: &Machine<'_>) -> Result<bool, Error> {
    let lines = lines(machine)?.unwrap_or_default();
    let is_boot = |mount: &Mount| mount.point == "/boot";
    Ok(lines
        .iter()
        .any(|line| line.mount.as_ref().is_ok_and(is_boot)))
}
