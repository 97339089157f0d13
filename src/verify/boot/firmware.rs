//! Whether the disk has what the firmware looks for.

use super::super::{Error, Findings};
use super::{BootMode, Machine};
use imgasm_disk::partition::{BIOS_BOOT, EFI_SYSTEM, PartitionKind};
use imgasm_disk::{Disk, PartitionTable, Place, TableKind};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::walk;

/// The type byte of an EFI system partition in an MBR.
const MBR_EFI_SYSTEM: u8 = 0xef;

/// The depth of the loader in the EFI partition: `/EFI/BOOT/BOOTX64.EFI`.
const LOADER_DEPTH: usize = 3;

pub(super) fn check(machine: &Machine<'_>) -> Result<Findings, Error> {
    let Some(disk) = machine.disk else {
        return Ok(Findings::skipped("only the root filesystem was given"));
    };
    let Some(table) = disk.table()? else {
        return Ok(Findings::skipped("the disk has no partition table"));
    };
    let efi = efi_partition(&table);
    let has_bios_room = match table.kind {
        TableKind::Gpt { .. } => has_kind(&table, PartitionKind::Gpt(BIOS_BOOT)),
        TableKind::Mbr { .. } => true,
    };
    let mut findings = Findings::default();
    let wants = |mode| machine.boot_mode == Some(mode);
    if machine.boot_mode.is_none() && efi.is_none() && !has_bios_room {
        findings.problem("the disk has neither an EFI system partition nor a BIOS boot partition");
    }
    if (wants(BootMode::Uefi) || wants(BootMode::UefiPreferred)) && efi.is_none() {
        findings.problem("the boot mode is UEFI, and the disk has no EFI system partition");
    }
    if (wants(BootMode::LegacyBios) || wants(BootMode::UefiPreferred)) && !has_bios_room {
        findings.problem("the boot mode is BIOS, and the disk has no BIOS boot partition");
    }
    let has_efi_loader = match efi {
        Some(number) => holds_loader(disk, number)?,
        None => false,
    };
    let has_boot_code = has_bios_room && table.boot_code_sha256.is_some();
    let is_installed = match machine.boot_mode {
        Some(BootMode::LegacyBios) => has_boot_code,
        Some(BootMode::Uefi) => has_efi_loader,
        Some(BootMode::UefiPreferred) => has_efi_loader && has_boot_code,
        None => has_efi_loader || has_boot_code,
    };
    if findings.problems.is_empty() && !is_installed {
        findings.warning("the partitions are there, but no boot loader is installed in them");
    }
    Ok(findings)
}

/// Whether boot code for the BIOS and a loader for UEFI are installed; `None` if the disk has no
/// partition table that would say so.
pub(super) fn ways(disk: &Disk) -> Result<Option<(bool, bool)>, Error> {
    let Some(table) = disk.table()? else {
        return Ok(None);
    };
    let has_room = match table.kind {
        TableKind::Gpt { .. } => has_kind(&table, PartitionKind::Gpt(BIOS_BOOT)),
        TableKind::Mbr { .. } => true,
    };
    let by_bios = has_room && table.boot_code_sha256.is_some();
    let by_uefi = match efi_partition(&table) {
        Some(number) => holds_loader(disk, number)?,
        None => false,
    };
    Ok(Some((by_bios, by_uefi)))
}

fn has_kind(table: &PartitionTable, kind: PartitionKind) -> bool {
    table
        .partitions
        .iter()
        .any(|partition| partition.kind == kind)
}

fn efi_partition(table: &PartitionTable) -> Option<u32> {
    let is_efi = |kind| match kind {
        PartitionKind::Gpt(guid) => guid == EFI_SYSTEM,
        PartitionKind::Mbr(kind) => kind == MBR_EFI_SYSTEM,
    };
    let found = table
        .partitions
        .iter()
        .find(|partition| is_efi(partition.kind));
    found.map(|partition| partition.number)
}

/// Whether a program lies where the firmware looks by default (UEFI specification, "Removable Media
/// Boot Behavior").
fn holds_loader(disk: &Disk, number: u32) -> Result<bool, Error> {
    let fs = disk.open_filesystem(Place::Partition(number))?;
    for entry in walk(fs.as_ref(), &ImagePath::root())?.max_depth(LOADER_DEPTH) {
        let path = entry?.path.to_string().to_ascii_lowercase();
        if path == "/efi/boot/bootx64.efi" || path == "/efi/boot/bootaa64.efi" {
            return Ok(true);
        }
    }
    Ok(false)
}
