//! How an AMI boots: what the recipe says, or the base, or the image itself; and whether they agree.

use crate::built::{Boot, Built};
use crate::wish::{Ami, Architecture, BootMode, ImdsSupport};
use crate::{Error, Result};

/// The boot mode that an AMI is registered with; EC2's default if nothing says another.
pub(super) fn boot_mode(built: &Built, ami: &Ami) -> Result<Option<String>> {
    let of_base = built.origin.as_ref().and_then(|it| it.boot_mode.clone());
    let (mode, whose) = match ami.boot_mode {
        Some(mode) => (Some(mode.name().to_owned()), "the recipe"),
        None => (of_base, "the AMI that the base came from"),
    };
    let Some(boot) = &built.boot else {
        return Ok(mode);
    };
    if let Some(lack) = lack(boot, ami) {
        return Err(Error::Boot(lack));
    }
    match mode {
        Some(mode) => match contradiction(boot, &mode) {
            Some(why) => Err(Error::Boot(format!(
                "`boot_mode` is `{mode}`, as {whose} says, and {why}"
            ))),
            None => Ok(Some(mode)),
        },
        // Without a mode, EC2 starts x86 by the BIOS, and arm64 by UEFI.
        None if built.architecture == Architecture::X86_64 && boot.by_uefi && !boot.by_bios => {
            Ok(Some(BootMode::Uefi.name().to_owned()))
        }
        None => Ok(None),
    }
}

/// What the image lacks of what the recipe says that it has.
fn lack(boot: &Boot, ami: &Ami) -> Option<String> {
    if let (true, Some(kernel)) = (ami.ena_support, boot.without_ena.first()) {
        return Some(format!(
            "`ena_support` is on, and the kernel {kernel} has no driver `ena`: instances with that \
             adapter would have no network"
        ));
    }
    if let (true, Some(kernel)) = (ami.ena_support, boot.without_nvme.first()) {
        return Some(format!(
            "`ena_support` is on, and the kernel {kernel} has no driver `nvme`: instances with that \
             adapter have their disks by NVMe, and would find none"
        ));
    }
    if let (Some(_), Some(kernel)) = (ami.tpm_support, boot.without_tpm.first()) {
        return Some(format!(
            "`tpm_support` is on, and the kernel {kernel} has no driver `tpm_crb`"
        ));
    }
    if let (ImdsSupport::V2, Some(path)) = (ami.imds_support, boot.without_token.first()) {
        return Some(format!(
            "`imds_support` is `v2.0`, and {path} asks for no session token: instances would get \
             neither user data nor keys; with `imds_support = \"none\"` the account or the launch \
             decides"
        ));
    }
    None
}

/// Why an image does not start by a mode. Where no loader is seen at all, nothing is said.
fn contradiction(boot: &Boot, mode: &str) -> Option<&'static str> {
    match (mode, boot.by_bios, boot.by_uefi) {
        ("uefi" | "uefi-preferred", true, false) => {
            Some("the image has boot code for the BIOS, and no loader for UEFI")
        }
        ("legacy-bios", false, true) => {
            Some("the image has a loader for UEFI, and no boot code for the BIOS")
        }
        ("uefi-preferred", false, true) => Some(
            "the image has no boot code for the BIOS, which instance types without UEFI start it \
             by: it is `uefi`",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_an_image_cannot_start_by() {
        for (mode, by_bios, by_uefi, fits) in [
            ("uefi", true, true, true),
            ("uefi", false, true, true),
            ("uefi", true, false, false),
            ("legacy-bios", true, false, true),
            ("legacy-bios", false, true, false),
            ("uefi-preferred", true, true, true),
            ("uefi-preferred", false, true, false),
            ("uefi-preferred", true, false, false),
            ("uefi", false, false, true),
        ] {
            let boot = Boot {
                by_bios,
                by_uefi,
                ..Boot::default()
            };
            let found = contradiction(&boot, mode).is_none();
            assert_eq!(found, fits, "{mode} {boot:?}");
        }
    }
}
