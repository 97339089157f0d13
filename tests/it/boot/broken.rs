//! Machines that do not start as they should: `boot` names the cause of each in a line, and some of
//! them `verify` finds already.

use std::path::Path;

use imgasm_testkit::image::Kind;
use serde_json::Value;

use super::{base, boot, write};

/// A fault: the step that makes it, what `boot` says, and what `verify` says, if anything.
struct Fault {
    name: &'static str,
    step: &'static str,
    cause: &'static str,
    lint: Option<&'static str>,
}

const FAULTS: [Fault; 16] = [
    Fault {
        name: "no kernel",
        step: r#"remove = { path = "/boot/vmlinuz-*" }"#,
        cause: "the boot loader does not find a file",
        lint: Some("there is no kernel"),
    },
    Fault {
        name: "no initial RAM disk",
        step: r#"remove = { path = "/boot/initrd.img-*" }"#,
        cause: "the boot loader does not find a file",
        lint: Some("the initial RAM disk"),
    },
    Fault {
        name: "the root by a UUID that no filesystem has",
        step: r#"edit = { path = "/boot/grub/grub.cfg", pattern = 'root=UUID=\S+', replacement = "root=UUID=00000000-0000-4000-8000-00000000dead" }"#,
        cause: "the initial RAM disk does not find the root",
        lint: Some("no filesystem of the machine is UUID=00000000"),
    },
    Fault {
        name: "no configuration of the boot loader",
        step: r#"remove = { path = "/boot/grub/grub.cfg" }"#,
        cause: "as without a configuration",
        lint: Some("there is no configuration of a boot loader"),
    },
    Fault {
        name: "a kernel that is none",
        step: r#"edit = { path = "/boot/grub/grub.cfg", pattern = 'linux /vmlinuz\S+|linux /boot/vmlinuz\S+', replacement = "linux /etc/hostname" }"#,
        cause: "the boot loader has no kernel",
        lint: None,
    },
    Fault {
        name: "no init",
        step: r#"remove = { path = "/{usr/sbin,sbin}/init" }"#,
        cause: "the root has no init",
        lint: None,
    },
    Fault {
        name: "a mount whose device is missing",
        step: r#"append_line = { path = "/etc/fstab", line = "LABEL=nope /mnt ext4 x-systemd.device-timeout=10s 0 0" }"#,
        cause: "a device does not appear",
        lint: Some("no filesystem of the machine is LABEL=nope"),
    },
    Fault {
        name: "a mount of the wrong kind",
        step: r#"append_line = { path = "/etc/fstab", line = "/etc/hostname /mnt ext4 loop 0 0" }"#,
        cause: "a unit is not started, because what it needs failed",
        lint: None,
    },
    Fault {
        name: "a unit whose program is missing",
        step: r#"write = { path = "/etc/systemd/system/gone.service", content = """
[Service]
ExecStart=/usr/bin/gone
""" }
[[step]]
symlink = { path = "/etc/systemd/system/multi-user.target.wants/gone.service", target = "../gone.service" }"#,
        cause: "gone.service has failed",
        lint: Some("/usr/bin/gone does not exist"),
    },
    Fault {
        name: "units that wait for each other",
        step: r#"write = { path = "/etc/systemd/system/circle.service", content = """
[Unit]
After=multi-user.target
Before=getty.target
[Service]
ExecStart=/bin/true
""" }
[[step]]
symlink = { path = "/etc/systemd/system/multi-user.target.wants/circle.service", target = "../circle.service" }"#,
        cause: "wait for each other in a cycle",
        lint: None,
    },
    Fault {
        name: "a unit that is not done",
        step: r#"write = { path = "/etc/systemd/system/slow.service", content = """
[Service]
Type=oneshot
ExecStart=/bin/sleep infinity
""" }
[[step]]
symlink = { path = "/etc/systemd/system/multi-user.target.wants/slow.service", target = "../slow.service" }"#,
        cause: "with jobs for",
        lint: None,
    },
    Fault {
        name: "a unit that is masked and expected",
        step: r#"service = { name = "serial-getty@ttyS0", masked = true }"#,
        cause: "it is inactive",
        lint: None,
    },
    Fault {
        name: "a broken configuration of cloud-init",
        step: r#"write = { path = "/etc/cloud/cloud.cfg.d/99_broken.cfg", content = "a: [1, 2\nb: 3\n" }"#,
        cause: "cloud-init",
        lint: Some("99_broken.cfg"),
    },
    Fault {
        name: "user data that fails",
        step: r#"write = { path = "/etc/cloud/cloud.cfg.d/99_run.cfg", content = "runcmd: [[/bin/false]]\n" }"#,
        cause: "cloud-init",
        lint: None,
    },
    Fault {
        name: "a root that is read only for good",
        step: r#"edit = { path = "/etc/fstab", pattern = '/ ext4 defaults', replacement = "/ ext4 ro" }"#,
        cause: "has failed",
        lint: None,
    },
    Fault {
        name: "no room",
        step: r#"firstboot = { name = "fill", content = """
#!/bin/sh
cat /dev/zero > /full || true
""" }"#,
        cause: "KiB are free",
        lint: None,
    },
];

fn is_said(report: &Value, words: &str) -> bool {
    let failed = report["results"].as_array().into_iter().flatten();
    let mut messages = failed
        .filter(|result| matches!(result["status"].as_str(), Some("failed" | "warned")))
        .map(|result| format!("{}: {}", result["check"], result["message"]))
        .chain(
            report["causes"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Value::to_string),
        );
    messages.any(|message| message.contains(words))
}

/// `IMGASM_FAULT` names one of them.
#[test]
#[ignore = "it takes many minutes: IMGASM_FAULT names one"]
fn each_cause_is_named() {
    let wanted = std::env::var("IMGASM_FAULT").ok();
    let folder = tempfile::tempdir().expect("a folder for the images");
    base::make(Kind::Ext, &folder.path().join("base.raw"));
    let mut wrong = Vec::new();
    for fault in &FAULTS {
        if wanted.as_ref().is_some_and(|wanted| wanted != fault.name) {
            continue;
        }
        if let Err(problem) = check(folder.path(), fault) {
            wrong.push(format!("{}: {problem}", fault.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(dir: &Path, fault: &Fault) -> Result<(), String> {
    // What is not about cloud-init does without it: it takes most of the time.
    let is_quick = !fault.cause.contains("cloud-init");
    let quick = "[[step]]\nwrite = { path = \"/etc/cloud/cloud-init.disabled\", content = \"\" }\n";
    let overlay = format!(
        "{}[[step]]\n{}\n",
        if is_quick { quick } else { "" },
        fault.step
    );
    write(dir, "overlay/overlay.toml", &overlay);
    write(
        dir,
        "imgasm.toml",
        "name = \"broken\"\nbase = { file = \"base.raw\" }\noverlays = [\"overlay\"]\n\n\
         [[expect.live]]\nservice = \"serial-getty@ttyS0\"\nwithin = 5\n",
    );
    let (report, status) = boot(dir, &["--timeout", "300"]);
    if status != Some(1) {
        return Err(format!("the status is {status:?}"));
    }
    if !is_said(&report, fault.cause) {
        return Err(format!("not {:?}, but {report:#}", fault.cause));
    }
    let lint = report["lint"].as_array().into_iter().flatten();
    let mut found = lint.filter(|result| {
        let message = result["message"].as_str().unwrap_or_default();
        result["status"] != "skipped" && fault.lint.is_some_and(|words| message.contains(words))
    });
    match (fault.lint, found.next()) {
        (Some(words), None) => Err(format!("verify does not say {words:?}: {}", report["lint"])),
        _ => Ok(()),
    }
}
