//! The machine that QEMU emulates: as close to an EC2 instance of the Nitro system as possible.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::metadata::{self, Instance};
use super::setup::Accelerator;
use super::{Error, Options, probe};
use imgasm_aws::wish::BootMode;
use imgasm_guest::Arch;

/// The folders in which distributions have firmware, as pairs of code and variables; and the package
/// of Debian that brings it.
const X86_FIRMWARE: [(&str, &str); 5] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/qemu/edk2-x86_64-code.fd",
        "/usr/share/qemu/edk2-i386-vars.fd",
    ),
];
const ARM_FIRMWARE: [(&str, &str); 3] = [
    (
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ),
    (
        "/usr/share/qemu/edk2-aarch64-code.fd",
        "/usr/share/qemu/edk2-arm-vars.fd",
    ),
];

/// An identity like that of an instance: firmware and cloud-init recognise EC2 by its beginning.
const SYSTEM_UUID: &str = "ec200000-b007-4000-8000-00000000b007";

/// The slots of the machine's bus in which EC2 instances have these devices.
const ROOT_SLOT: u8 = 4;
const NETWORK_SLOT: u8 = 5;
/// Volumes come after these; a bus has 32 slots, some of which hold the machine's own devices.
const VOLUME_SLOTS: std::ops::Range<u8> = 6..30;

/// Where the machine's sockets are.
pub(super) struct Sockets {
    /// The folder of all of them, and of the firmware's variables.
    pub(super) folder: PathBuf,
    /// The number of disks.
    pub(super) disks: usize,
}

impl Sockets {
    pub(super) fn disk(&self, number: usize) -> PathBuf {
        self.folder.join(format!("disk{number}"))
    }

    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console")
    }

    pub(super) fn probe(&self) -> PathBuf {
        self.folder.join("probe")
    }

    pub(super) fn metadata(&self) -> PathBuf {
        self.folder.join("metadata")
    }

    pub(super) fn tpm(&self) -> PathBuf {
        self.folder.join("tpm")
    }

    pub(super) fn firmware_log(&self) -> PathBuf {
        self.folder.join("firmware")
    }
}

/// The program that runs the machine, and Debian's package of it.
pub(super) fn program(arch: Arch) -> Result<(&'static str, &'static str), Error> {
    match arch {
        Arch::X86_64 => Ok(("qemu-system-x86_64", "qemu-system-x86")),
        Arch::Arm64 => Ok(("qemu-system-aarch64", "qemu-system-arm")),
        other => Err(Error::Architecture(other)),
    }
}

/// Whether the machine can run on the host's own processor. QEMU creates a halted machine to find out:
/// it is not enough that the device can be opened, or that it can make a machine without a processor.
pub(super) fn can_accelerate(program: &str, arch: Arch) -> bool {
    let Ok(mut child) = Command::new(program)
        .args(["-accel", "kvm", "-cpu", "host", "-S", "-m", "64"])
        .args(["-machine", board(arch), "-display", "none"])
        .args(["-nodefaults", "-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    if let Some(mut stdin) = child.stdin.take() {
        let quit = b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}\n";
        // If the process is gone, its status shows that.
        let _ = io::Write::write_all(&mut stdin, quit);
    }
    child.wait().is_ok_and(|status| status.success())
}

/// The firmware for a boot mode; `None` for the BIOS, which is a part of QEMU.
pub(super) fn firmware(arch: Arch, is_uefi: bool) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    let (known, package): (&[_], _) = match arch {
        Arch::Arm64 => (&ARM_FIRMWARE, "qemu-efi-aarch64"),
        _ if is_uefi => (&X86_FIRMWARE, "ovmf"),
        _ => return Ok(None),
    };
    let found = known
        .iter()
        .find(|(code, vars)| Path::new(code).exists() && Path::new(vars).exists());
    match found {
        Some((code, vars)) => Ok(Some((code.into(), vars.into()))),
        None => Err(Error::NoFirmware { package }),
    }
}

/// Whether the machine boots through UEFI: always on Arm, else if the AMI says so, or if the AMI
/// says nothing and the disk has no code for a BIOS.
pub(super) fn is_uefi(arch: Arch, mode: Option<BootMode>, has_bios_code: bool) -> bool {
    match (arch, mode) {
        (Arch::Arm64, _) | (_, Some(BootMode::Uefi | BootMode::UefiPreferred)) => true,
        (_, Some(BootMode::LegacyBios)) => false,
        (_, None) => !has_bios_code,
    }
}

/// The command that starts the machine.
pub(super) fn command(
    instance: &Instance,
    sockets: &Sockets,
    firmware: Option<&(PathBuf, PathBuf)>,
    accelerator: Accelerator,
    options: &Options,
) -> Result<Command, Error> {
    let (program, _) = program(instance.arch)?;
    let is_arm = instance.arch == Arch::Arm64;
    let mut command = Command::new(program);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args([
        "-display",
        "none",
        "-monitor",
        "none",
        "-name",
        "imgasm-boot",
    ]);
    command.args(["-machine", board(instance.arch)]);
    command.args(match (accelerator, is_arm) {
        (Accelerator::Kvm, _) => ["-accel", "kvm", "-cpu", "host"],
        (Accelerator::Tcg, false) => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        // The usual way to sign pointers takes most of the time, and nobody attacks this kernel.
        (Accelerator::Tcg, true) => ["-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"],
    });
    command.arg("-smp").arg(options.cpus.to_string());
    command.arg("-m").arg(options.memory_mib.to_string());
    for table in identity(instance) {
        command.arg("-smbios").arg(table);
    }
    if let Some((code, vars)) = firmware {
        let copy = sockets.folder.join("variables");
        fs::copy(vars, &copy)?;
        let drive = "if=pflash,format=raw,file=";
        command.arg("-drive");
        command.arg(format!("readonly=on,{drive}{}", escaped(code)));
        command
            .arg("-drive")
            .arg(format!("{drive}{}", escaped(&copy)));
        if is_arm {
            // The firmware writes to the board's own port.
            command.arg("-serial");
            command.arg(format!("file:{}", escaped(&sockets.firmware_log())));
        }
    } else {
        // SeaBIOS reports what it finds on a port of its own.
        command.arg("-debugcon");
        command.arg(format!("file:{}", escaped(&sockets.firmware_log())));
        command.args(["-global", "isa-debugcon.iobase=0x402"]);
    }
    if !is_arm {
        command.args(["-device", "VGA,addr=0x3"]);
    }
    serial_ports(&mut command, sockets, is_arm);
    if instance.has_tpm {
        tpm(&mut command, sockets, is_arm);
    }
    network(&mut command, sockets, options)?;
    disks(&mut command, sockets)?;
    Ok(command)
}

/// The kind of board.
fn board(arch: Arch) -> &'static str {
    match arch {
        // The usual interrupt controller has room for eight processors only.
        Arch::Arm64 => "virt,gic-version=max",
        _ => "pc",
    }
}

/// The content of the DMI tables of EC2 instances.
fn identity(instance: &Instance) -> [String; 4] {
    let (kind, id) = (instance.kind(), Instance::ID);
    [
        "type=0,vendor=Amazon EC2,version=1.0,date=10/16/2017,release=1.0".to_owned(),
        format!(
            "type=1,manufacturer=Amazon EC2,product={kind},serial={SYSTEM_UUID},uuid={SYSTEM_UUID}"
        ),
        format!("type=2,manufacturer=Amazon EC2,asset={id}"),
        "type=3,manufacturer=Amazon EC2,asset=Amazon EC2".to_owned(),
    ]
}

/// The console is the first port, the probe's is the second one.
fn serial_ports(command: &mut Command, sockets: &Sockets, is_arm: bool) {
    for (name, path) in [("console", sockets.console()), ("probe", sockets.probe())] {
        command.arg("-chardev");
        command.arg(format!("socket,id={name},path={}", escaped(&path)));
        if is_arm {
            // As on instances; the board's own port would have another name.
            command.arg("-device");
            command.arg(format!("pci-serial,chardev={name}"));
        } else {
            command.arg("-serial").arg(format!("chardev:{name}"));
        }
    }
}

/// A TPM behind the interface that the Nitro system's has; for boards of Arm, QEMU has another only.
fn tpm(command: &mut Command, sockets: &Sockets, is_arm: bool) {
    let socket = escaped(&sockets.tpm());
    command.arg("-chardev");
    command.arg(format!("socket,id=tpm,path={socket}"));
    command.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device"]);
    command.arg(if is_arm {
        "tpm-tis-device,tpmdev=tpm0"
    } else {
        "tpm-crb,tpmdev=tpm0"
    });
}

/// A network that holds nothing but the metadata service: a tested machine must not reach real
/// services, least of all the metadata service of a host that is an instance itself.
///
/// It is wide enough to contain the service's address: QEMU only answers for addresses in the
/// machine's own network.
fn network(command: &mut Command, sockets: &Sockets, options: &Options) -> Result<(), Error> {
    let own = std::env::current_exe()?;
    let relay = format!(
        "{} boot-relay {}",
        probe::quoted(&own.display().to_string()),
        probe::quoted(&sockets.metadata().display().to_string())
    );
    let mut network = format!(
        "user,id=net,restrict=on,net=160.0.0.0/4,host=172.31.16.1,dns=172.31.0.2,dhcpstart={},\
         guestfwd=tcp:{}:80-cmd:{}",
        Instance::ADDRESS,
        metadata::ADDRESS,
        relay.replace(',', ",,")
    );
    if let Some(port) = options.ssh_port {
        network = format!("{network},hostfwd=tcp:127.0.0.1:{port}-:22");
    }
    command.arg("-netdev").arg(network);
    command.arg("-device").arg(format!(
        "virtio-net-pci,netdev=net,mac={},addr={NETWORK_SLOT:#x},romfile=",
        Instance::MAC
    ));
    Ok(())
}

/// NVMe disks with serial numbers like those of EBS volumes, the root first.
fn disks(command: &mut Command, sockets: &Sockets) -> Result<(), Error> {
    let slots = std::iter::once(ROOT_SLOT).chain(VOLUME_SLOTS);
    let mut slots = slots.take(sockets.disks);
    for number in 0..sockets.disks {
        let slot = slots.next().ok_or(Error::TooManyVolumes {
            most: VOLUME_SLOTS.len(),
        })?;
        command.arg("-drive").arg(format!(
            "file.driver=nbd,file.server.type=unix,file.server.path={},format=raw,if=none,\
             id=disk{number},discard=unmap,cache=writeback",
            escaped(&sockets.disk(number))
        ));
        let first = if number == 0 { ",bootindex=0" } else { "" };
        command.arg("-device").arg(format!(
            "nvme,serial=vol0000000000000b0{number:02},drive=disk{number},addr={slot:#x}{first}"
        ));
    }
    Ok(())
}

/// A path within an option of QEMU.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(arch: Arch) -> Instance {
        Instance {
            name: "web".to_owned(),
            region: "us-east-1".to_owned(),
            arch,
            devices: Vec::new(),
            user_data: None,
            ssh_key: None,
            requires_token: true,
            has_tpm: true,
            now: 0,
        }
    }

    fn words(arch: Arch, disks: usize, options: &Options) -> Result<Vec<String>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let vars = folder.path().join("vars");
        fs::write(&vars, "").unwrap();
        let sockets = Sockets {
            folder: folder.path().to_owned(),
            disks,
        };
        let firmware = (arch == Arch::Arm64).then(|| ("code".into(), vars));
        let command = command(
            &instance(arch),
            &sockets,
            firmware.as_ref(),
            Accelerator::Tcg,
            options,
        )?;
        let words = command.get_args();
        Ok(words
            .map(|word| word.to_string_lossy().into_owned())
            .collect())
    }

    #[test]
    fn the_machine_is_like_an_instance() {
        let options = Options {
            ssh_port: Some(2222),
            ..Options::default()
        };
        for (arch, machine, port, tpm) in [
            (Arch::X86_64, "pc", "chardev:probe", "tpm-crb"),
            (
                Arch::Arm64,
                "virt,gic-version=max",
                "pci-serial,chardev=probe",
                "tpm-tis-device",
            ),
        ] {
            let words = words(arch, 3, &options).unwrap();
            let has = |wanted: &str| words.iter().any(|word| word.contains(wanted));
            assert!(words.contains(&machine.to_owned()), "{words:?}");
            for wanted in [
                port,
                tpm,
                "emulator,id=tpm0,chardev=tpm",
                "guestfwd=tcp:169.254.169.254:80-cmd:",
                "restrict=on",
                "hostfwd=tcp:127.0.0.1:2222-:22",
                "asset=i-",
                "nvme,serial=vol0000000000000b000,drive=disk0,addr=0x4,bootindex=0",
                "nvme,serial=vol0000000000000b002,drive=disk2,addr=0x7",
            ] {
                assert!(has(wanted), "{wanted}: {words:?}");
            }
            assert_eq!(has("if=pflash"), arch == Arch::Arm64);
        }
        assert!(matches!(
            words(Arch::X86_64, 26, &options),
            Err(Error::TooManyVolumes { most: 24 })
        ));
        assert!(words(Arch::Riscv64, 1, &options).is_err());
    }

    #[test]
    fn either_way_to_boot() {
        assert!(is_uefi(Arch::Arm64, None, true));
        assert!(is_uefi(Arch::X86_64, Some(BootMode::UefiPreferred), true));
        assert!(!is_uefi(Arch::X86_64, Some(BootMode::LegacyBios), false));
        assert!(!is_uefi(Arch::X86_64, None, true));
        assert!(is_uefi(Arch::X86_64, None, false));
    }
}
