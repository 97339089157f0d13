//! The boot lint: a sound machine passes, and each fault is found.

use std::path::Path;
use std::sync::Arc;

use imgasm::base::assemble::{AssembleOptions, Assembly};
use imgasm::base::{Layout, tree};
use imgasm::filesystem::FilesystemKind;
use imgasm::filesystem::xfs::XfsOptions;
use imgasm::verify::boot::{BootMode, KnownFilesystem, Machine, filesystems, lint};
use imgasm::verify::{CheckResult, Verdict, consistency};
use imgasm_block::{BlockDevice, MemoryDevice};
use imgasm_disk::Disk;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_fs::{FileSystem, Timestamp};
use imgasm_testkit::guest_tree::{add, in_memory, path};
use imgasm_testkit::memory_fs::MemoryFs;

const SOUND: &[(&str, &str)] = &[
    ("/etc/inittab", ""),
    ("/bin/bash!", "\u{7f}ELF"),
    ("/boot/vmlinuz-4.14", "kernel"),
    ("/boot/initramfs-4.14.img", "disk"),
    (
        "/boot/grub/menu.lst",
        "title A\nroot (hd0,0)\nkernel /boot/vmlinuz-4.14 root=LABEL=/ ro\ninitrd /boot/initramfs-4.14.img\n",
    ),
    ("/boot/config-4.14", "CONFIG_BLK_DEV_NVME=y\n"),
    (
        "/lib/modules/4.14/modules.dep",
        "kernel/drivers/net/ethernet/amazon/ena/ena.ko.xz:\n",
    ),
    (
        "/etc/fstab",
        "# root\nLABEL=/ / ext4 defaults,noatime 1 1\nLABEL=docker\t/data\t\text4\tdefaults,noatime\t0\t0\nproc /proc proc defaults 0 0\n/dev/xvdf /media/x ext4 noauto\n",
    ),
    ("/data/", ""),
    (
        "/etc/cloud/cloud.cfg",
        "# c\nrepo_upgrade: none\nmounts:\n - [ ephemeral0, /media/ephemeral0 ]\n",
    ),
    (
        "/etc/cloud/cloud.cfg.d/t.cfg",
        "## template: jinja\n{% if x %}\n",
    ),
    ("/etc/init.d", "->rc.d/init.d"),
    (
        "/etc/rc.d/init.d/docker!",
        "#!/bin/bash -e\n# chkconfig: 2345 95 05\n",
    ),
    ("/etc/rc.d/rc3.d/S95docker", "->../init.d/docker"),
    ("/etc/rc.d/rc0.d/K05docker", "->../init.d/docker"),
];

/// The tree, if `!` at the end of a path makes the file executable.
fn tree(files: &[(&str, &str)]) -> MemoryFs {
    let plain: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.trim_end_matches('!'), *text))
        .collect();
    let mut fs = in_memory(&plain);
    for (name, _) in files.iter().filter(|(path, _)| path.ends_with('!')) {
        let attributes = Attributes {
            permissions: Some(0o755),
            ..Attributes::default()
        };
        let path = path(name.trim_end_matches('!'));
        Editor::new(&mut fs)
            .set_attributes(&path, LastLink::Keep, attributes)
            .unwrap();
    }
    fs
}

fn known() -> Vec<KnownFilesystem> {
    let ext4 = |label: &[u8]| KnownFilesystem {
        kind: "ext4".to_owned(),
        label: label.to_vec(),
        uuid: "aabb".to_owned(),
        ..KnownFilesystem::default()
    };
    vec![ext4(b"/"), ext4(b"docker")]
}

fn check(fs: &dyn FileSystem) -> Vec<CheckResult> {
    lint(&Machine {
        root: fs,
        disk: None,
        filesystems: known(),
        boot_mode: None,
        requires_token: true,
    })
}

/// What failed: the check and the message.
fn failures(results: &[CheckResult]) -> Vec<String> {
    let failed = results.iter().filter_map(|result| match &result.verdict {
        Verdict::Failed { message } => Some(format!("{}: {message}", result.check)),
        _ => None,
    });
    failed.collect()
}

/// The failures of the sound machine with these files changed or added.
fn with(files: &[(&str, &str)]) -> Vec<String> {
    let mut all = SOUND.to_vec();
    all.retain(|(path, _)| {
        let is_same = |other: &str| other.trim_end_matches('!') == path.trim_end_matches('!');
        !files.iter().any(|(other, _)| is_same(other))
    });
    all.extend(files.iter().filter(|(_, text)| *text != "-"));
    failures(&check(&tree(&all)))
}

#[test]
fn a_sound_machine_passes() {
    let results = check(&tree(SOUND));
    assert_eq!(failures(&results), [""; 0]);
    let passed = results
        .iter()
        .filter(|result| result.verdict == Verdict::Passed);
    assert_eq!(passed.count(), 7, "{results:#?}");
}

#[test]
fn fstab() {
    for (line, problem) in [
        ("LABEL=/", "line 1: fewer than three fields"),
        ("a b c d 0 0 7", "line 1: more than six fields"),
        (
            "LABEL=/ / ext4 defaults x 0",
            "line 1, /: the fields `dump` and `pass` are numbers",
        ),
        (
            "LABEL=nope /data ext4",
            "line 1, /data: no filesystem of the machine is LABEL=nope",
        ),
        (
            "UUID=1234 /data ext4",
            "line 1, /data: no filesystem of the machine is UUID=1234",
        ),
        (
            "LABEL=docker /data xfs",
            "line 1, /data: LABEL=docker holds ext4, not xfs",
        ),
        (
            "LABEL=docker /nope ext4",
            "line 1, /nope: the directory does not exist",
        ),
        (
            "/swapfile none swap sw 0 0",
            "line 1, none: /swapfile does not exist",
        ),
        (
            "/nope /data none bind 0 0",
            "line 1, /data: /nope does not exist",
        ),
        (
            "LABEL=docker data ext4",
            "line 1, data: \"data\" is not an absolute path inside the image",
        ),
    ] {
        assert_eq!(
            with(&[("/etc/fstab", line)]),
            [format!("fstab: {problem}")],
            "{line}"
        );
    }
    let twice = "LABEL=docker /data ext4\n/dev/xvdz /data ext4\n";
    let problem = "fstab: line 2, /data: an earlier line mounts there too";
    assert_eq!(with(&[("/etc/fstab", twice)]), [problem]);
    for sound in [
        "UUID=AABB /data ext4 # comment",
        "/dev/disk/by-label/docker /data auto defaults,nofail",
        "LABEL=nope /nope ext4 nofail",
        "LABEL=docker /data ext4 defaults 0",
        "tmpfs /dev/shm tmpfs",
        "nfs.example:/x /data nfs4",
    ] {
        assert_eq!(with(&[("/etc/fstab", sound)]), [""; 0], "{sound}");
    }
}

#[test]
fn boot_loader_kernel_and_drivers() {
    let menu = "kernel /boot/vmlinuz-9 root=LABEL=other\ninitrd /boot/initrd-9\n";
    assert_eq!(
        with(&[("/boot/grub/menu.lst", menu)]),
        [
            "boot loader configuration: /boot/grub/menu.lst: the kernel /boot/vmlinuz-9 does not exist",
            "boot loader configuration: /boot/grub/menu.lst: the initial RAM disk /boot/initrd-9 does not exist",
            "boot loader configuration: /boot/grub/menu.lst: no filesystem of the machine is LABEL=other",
        ]
    );
    assert_eq!(
        with(&[("/boot/grub/menu.lst", "timeout=0\n")]),
        ["boot loader configuration: the boot loader's configuration names no kernel"]
    );
    assert_eq!(
        with(&[("/boot/config-4.14", "CONFIG_BLK_DEV_NVME=m\n")]),
        ["drivers for EC2: the kernel 4.14 has no driver `nvme`, for EBS volumes"]
    );
    assert_eq!(
        with(&[
            ("/boot/vmlinuz-5.0", "k"),
            (
                "/boot/config-5.0",
                "CONFIG_BLK_DEV_NVME=y\nCONFIG_ENA_ETHERNET=y\n"
            )
        ]),
        ["kernel and modules: the kernel 5.0 has no modules in /lib/modules"]
    );
}

#[test]
fn services_of_sysv() {
    assert_eq!(
        with(&[("/etc/rc.d/rc5.d/S99gone", "->../init.d/gone")]),
        ["links of services: /etc/rc.d/rc5.d/S99gone leads to nothing"]
    );
    assert_eq!(
        with(&[("/etc/rc.d/init.d/docker!", "#!/bin/zsh\n")]),
        ["programs of services: /etc/rc.d/init.d/docker is run by /bin/zsh, which does not exist"]
    );
    assert_eq!(
        with(&[("/etc/rc.d/init.d/docker", "#!/bin/bash\n")]),
        ["programs of services: /etc/rc.d/init.d/docker is not executable"]
    );
}

#[test]
fn services_of_systemd() {
    let service = |text: &str| format!("[Unit]\n{text}\n[Install]\nWantedBy=multi-user.target\n");
    let unit = "/usr/lib/systemd/system/a.service";
    let systemd = |unit_text: &str| {
        let text = service(unit_text);
        let mut fs = tree(SOUND);
        add(
            &mut fs,
            &[
                ("/sbin/init", "->../usr/lib/systemd/systemd"),
                (unit, &text),
                (
                    "/etc/systemd/system/multi-user.target.wants/a.service",
                    "->/usr/lib/systemd/system/a.service",
                ),
                ("/etc/systemd/system/off.service", "->/dev/null"),
            ],
        );
        failures(&check(&fs))
    };
    for sound in [
        "[Service]\nExecStart=/bin/bash -c x",
        "[Service]\nExecStart=@bash bash\nExecStartPre=-/nope",
        "[Service]\nExecStart=/opt/%i",
        "ConditionFileIsExecutable=/nope\n[Service]\nExecStart=/nope",
    ] {
        assert_eq!(systemd(sound), [""; 0], "{sound}");
    }
    assert_eq!(
        systemd("[Service]\nExecStart=+/nope x"),
        ["programs of services: a.service: /nope does not exist"]
    );
    let mut fs = tree(SOUND);
    add(
        &mut fs,
        &[
            ("/sbin/init", "->../usr/lib/systemd/systemd"),
            (
                "/etc/systemd/system/x.target.wants/gone.service",
                "->/usr/lib/systemd/system/gone.service",
            ),
        ],
    );
    assert_eq!(
        failures(&check(&fs)),
        [
            "links of services: /etc/systemd/system/x.target.wants/gone.service: there is no such unit"
        ]
    );
}

/// The warnings: the check and the message.
fn warnings(fs: &dyn FileSystem) -> Vec<String> {
    let results = check(fs);
    let warned = results.iter().filter_map(|result| match &result.verdict {
        Verdict::Warned { message } => Some(format!("{}: {message}", result.check)),
        _ => None,
    });
    warned.collect()
}

/// The warnings about the sound machine, with systemd and these files changed or added.
fn warned_with(files: &[(&str, &str)]) -> Vec<String> {
    let mut fs = tree(SOUND);
    add(
        &mut fs,
        &[
            ("/sbin/init", "->../usr/lib/systemd/systemd"),
            (
                "/etc/fstab",
                "LABEL=/ / ext4 defaults 1 1\nLABEL=docker /data ext4 nofail\n",
            ),
        ],
    );
    add(&mut fs, files);
    warnings(&fs)
}

#[test]
fn what_boots_badly_is_warned_of() {
    assert_eq!(warned_with(&[]), [""; 0]);
    let fstab = "LABEL=/ / ext4 defaults\n/dev/xvdcy /data ext4 defaults\n\
                 /dev/xvdcz /media/x ext4 noauto\ntmpfs /tmp tmpfs\n";
    assert_eq!(
        warned_with(&[("/etc/fstab", fstab)]),
        [
            "mounts of data volumes: line 2, /data: if volumes are NVMe devices, /dev/xvdcy has \
             another name; a label or a UUID works everywhere",
            "mounts of data volumes: line 2, /data: without the option nofail, a machine that lacks \
             the volume ends in emergency mode",
        ]
    );
    let unit = "[Unit]\nAfter=docker.service\nAfter=cloud-final.service\n\
                [Service]\nExecStart=/bin/bash\nEnvironmentFile=-/etc/sysconfig/ecs\n\
                [Install]\nWantedBy=multi-user.target\n";
    let ecs = ("/usr/lib/systemd/system/ecs.service", unit);
    let waits = "services and scripts of the first boot: /home/u/run.sh starts ecs, which waits for \
                 cloud-final.service: from user data that never comes";
    let script = "#!/bin/bash\nsystemctl start --no-block ecs\n";
    assert_eq!(warned_with(&[ecs, ("/home/u/run.sh", script)]), [waits]);
    // A unit in /etc replaces it, and a script may take care of it.
    let freed = unit.replace("After=cloud-final.service\n", "");
    let own = ("/etc/systemd/system/ecs.service", freed.as_str());
    assert_eq!(
        warned_with(&[ecs, own, ("/home/u/run.sh", script)]),
        [""; 0]
    );
    let knows = "#!/bin/bash\n# ecs waits for cloud-final\nsystemctl start ecs\n";
    assert_eq!(warned_with(&[ecs, ("/home/u/run.sh", knows)]), [""; 0]);

    // A script that a unit runs waits in vain only where cloud-init's end waits for that unit.
    let first_boot = ("/usr/libexec/firstboot/run", script);
    let end = |after: &str| format!("[Unit]\nAfter=network-online.target {after}\n");
    let (late, early) = (end("multi-user.target"), end(""));
    let end = "/usr/lib/systemd/system/cloud-final.service";
    assert_eq!(
        warned_with(&[ecs, first_boot, (end, &late)]),
        [
            "services and scripts of the first boot: /usr/libexec/firstboot/run starts ecs, which \
             waits for cloud-final.service: that waits for multi-user.target, and so for the script"
        ]
    );
    assert_eq!(warned_with(&[ecs, first_boot, (end, &early)]), [""; 0]);

    let enabled = (
        "/etc/systemd/system/multi-user.target.wants/ecs.service",
        "->/usr/lib/systemd/system/ecs.service",
    );
    let variables = ("/etc/sysconfig/ecs", "A=b\nexport C=d\nE=\"${E} f\"\n");
    assert_eq!(
        warned_with(&[ecs, enabled, variables]),
        [
            "variables of services: ecs.service: /etc/sysconfig/ecs, line 2: systemd does not \
             accept `export`, so the line has no effect",
            "variables of services: ecs.service: /etc/sysconfig/ecs, line 3: systemd does not put \
             variables in here: the value keeps its `${…}`",
        ]
    );
    let source = "/usr/lib/python3.9/site-packages/cloudinit/sources/DataSourceEc2.py";
    assert_eq!(
        warned_with(&[(source, "metadata_urls = ['http://169.254.169.254']\n")]).len(),
        1
    );
    assert_eq!(
        warned_with(&[(source, "api_token_route = 'latest/api/token'\n")]),
        [""; 0]
    );
    let enforcing = (
        "/etc/selinux/config",
        "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    );
    let unlabelled = warned_with(&[enforcing]);
    assert_eq!(unlabelled.len(), 1, "{unlabelled:?}");
    assert!(unlabelled[0].contains("/etc, "), "{unlabelled:?}");
    assert_eq!(warned_with(&[enforcing, ("/.autorelabel", "")]), [""; 0]);
}

#[test]
fn cloud_init() {
    let failed = with(&[("/etc/cloud/cloud.cfg", "a: [1, 2\nb: 3\n")]);
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].starts_with("cloud-init configuration: /etc/cloud/cloud.cfg: "),
        "{failed:?}"
    );
}

/// The example's root filesystem as a disk.
fn example() -> Disk {
    let rootfs = Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs");
    let layout = Layout::amazon(FilesystemKind::Ext4, XfsOptions::default());
    let assembly =
        Assembly::new(tree::read(&rootfs, None, &Arc::default()).unwrap(), &layout).unwrap();
    let size = assembly.required_size();
    let device: Arc<dyn BlockDevice> =
        Arc::new(MemoryDevice::new(vec![0; usize::try_from(size).unwrap()]));
    let options = AssembleOptions {
        now: Timestamp::default(),
        seed: [7; 16],
    };
    assembly.write(&device, &options).unwrap();
    Disk::open(device).unwrap()
}

#[test]
fn the_example_can_start() {
    let disk = example();
    let root = disk.open_filesystem(disk.root(None).unwrap()).unwrap();
    let known = filesystems(&disk).unwrap();
    assert!(
        known.iter().any(|fs| fs.label == b"/" && fs.kind == "ext4"),
        "{known:?}"
    );
    for boot_mode in [
        None,
        Some(BootMode::LegacyBios),
        Some(BootMode::UefiPreferred),
    ] {
        let results = lint(&Machine {
            root: root.as_ref(),
            disk: Some(&disk),
            filesystems: known.clone(),
            boot_mode,
            requires_token: false,
        });
        assert_eq!(failures(&results), [""; 0], "{results:#?}");
    }
    let checked = consistency::check("root filesystem", root.as_ref());
    assert_eq!(failures(&checked), [""; 0]);
    let json = serde_json::to_string(&checked[0]).unwrap();
    assert_eq!(
        json,
        r#"{"check":"root filesystem is consistent","status":"passed"}"#
    );
}
