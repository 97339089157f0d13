//! Scripts of packages that wait for the first boot of a real machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use imgasm_testkit::command::run;
use imgasm_testkit::image::Kind;

use super::{amiss, base, boot, imgasm, write};
use crate::support::example::assert_success;
use sha2::{Digest as _, Sha256};

/// `%post` of a package whose service needs what the script writes. No image holds `/proc`.
const GREETER: &str = "Provides: /bin/sh
%description
%post
echo \"greeter $1 $(cat /proc/sys/kernel/random/boot_id)\" >>/var/log/scripts
echo from the script >/etc/greeter.conf
systemctl enable greeter.service
%files
/usr/lib/systemd/system/greeter.service
";

const UNIT: &str = "[Unit]
Description=Shows what the script has written

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp /etc/greeter.conf /run/greeter

[Install]
WantedBy=multi-user.target
";

const SECOND: &str = "Requires: greeter
%description
%post
echo \"second $(cat /proc/sys/kernel/random/boot_id)\" >>/var/log/scripts
%files
";

/// It fails after it has done something.
const FAILING: &str = "Requires: second
%description
%post
echo \"failing $(cat /proc/sys/kernel/random/boot_id)\" >>/var/log/scripts
exit 3
%files
";

const RECIPE: &str = r#"
name = "deferred"
base = { file = "base.raw" }
overlays = ["overlay"]
"#;

const LIVE: &str = r#"
[[expect.live]]
service = "greeter"

[[expect.live]]
command = "cat /run/greeter; cut -d ' ' -f 1 /var/log/scripts"
stdout = "from the script\ngreeter\nsecond\nfailing"
"#;

/// Reports on the console, restarts the machine, and powers it off the second time.
const REPORT: &str = r#"
[[step]]
write = { path = "/etc/systemd/system/report.service", content = """
[Unit]
After=greeter.service
[Service]
Type=oneshot
StandardOutput=tty
ExecStart=/bin/sh -c 'sed "s/^/REPORT /" /var/log/scripts; echo "REPORT saw $$(cat /run/greeter)"; \
    systemctl --failed --plain --no-legend | sed "s/^/REPORT failed /"; echo "REPORT end"; \
    if [ -e /var/lib/again ]; then systemctl poweroff; else touch /var/lib/again; systemctl reboot; fi'
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
""" }

[[step]]
service = { name = "report", enabled = true }

# Nobody answers it.
[[step]]
write = { path = "/etc/cloud/cloud-init.disabled", content = "" }
"#;

/// Makes `NAME.rpm` in `dir`.
fn package(dir: &Path, name: &str, rest: &str) {
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1\nSummary: s\nLicense: l\nBuildArch: noarch\nAutoReqProv: no\n{rest}"
    );
    write(dir, &format!("{name}.spec"), &spec);
    let root = dir.join(format!("{name}.root"));
    fs::create_dir(&root).expect("it is new");
    if rest.contains("greeter.service\n") {
        write(&root, "usr/lib/systemd/system/greeter.service", UNIT);
    }
    let made = dir.join(format!("{name}.made"));
    run(Command::new("rpmbuild")
        .arg("-bb")
        .arg(format!("--define=_rpmdir {}", made.display()))
        .arg(format!("--define=_topdir {}", made.display()))
        .arg("--define=__spec_install_post %{nil}")
        .arg("--buildroot")
        .arg(&root)
        .arg(dir.join(format!("{name}.spec"))));
    let file = made.join(format!("noarch/{name}-1-1.noarch.rpm"));
    fs::rename(file, dir.join(format!("{name}.rpm"))).expect("it was made");
}

fn recipe(dir: &Path, more: &str) {
    let packages = ["greeter", "second", "failing"].map(|name| {
        let path = format!("{name}.rpm");
        let bytes = fs::read(dir.join(&path)).expect("it was made");
        let digest = hex::encode(Sha256::digest(bytes));
        format!(
            "\n[[package]]\npath = \"{path}\"\nsha256 = \"{digest}\"\nscriptlets = \"first-boot\"\n"
        )
    });
    let text = format!("{RECIPE}{}{more}", packages.concat());
    write(dir, "imgasm.toml", &text);
}

/// The lines of the reports of both boots.
fn reports(console: &str) -> Vec<Vec<String>> {
    let lines = console
        .lines()
        .filter_map(|line| line.trim().strip_prefix("REPORT "));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    let reports = lines.split(|line| line == "end");
    let reports = reports.filter(|report| !report.is_empty());
    reports.map(<[String]>::to_vec).collect()
}

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn scripts_run_once_before_the_services_that_they_enable() {
    let folder = tempfile::tempdir().expect("a folder for the images");
    let dir = folder.path();
    base::make(Kind::Ext, &dir.join("base.raw"));
    package(dir, "greeter", GREETER);
    package(dir, "second", SECOND);
    package(dir, "failing", FAILING);
    write(dir, "overlay/overlay.toml", "");

    // The script that fails is all that is amiss, and it is said which one it was.
    recipe(dir, LIVE);
    let (report, status) = boot(dir, &[]);
    let wrong = amiss(&report);
    assert!(
        wrong.len() == 1 && wrong[0].contains("firstboot-packages.service"),
        "{wrong:?}"
    );
    assert_eq!(status, Some(1));
    let journals = report["journals"].to_string();
    let said = "failing-1-1.noarch.post failed with the status 3";
    assert!(journals.contains(said), "{journals}");

    // A machine that keeps what it writes, twice.
    recipe(dir, "");
    write(dir, "overlay/overlay.toml", REPORT);
    assert_success(&imgasm(dir, &["build"]));
    let console = dir.join("console");
    let mut machine = Command::new("timeout");
    machine
        .arg(Duration::from_mins(25).as_secs().to_string())
        .args([
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
        ])
        .args(["-smp", "2", "-m", "2048", "-nodefaults", "-display", "none"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=none,id=root",
            dir.join("out/deferred.raw").display()
        ))
        .args(["-device", "nvme,serial=1,drive=root"]);
    run(&mut machine);
    let console = fs::read(console).expect("the machine wrote to it");
    let console = String::from_utf8_lossy(&console).into_owned();
    let reports = reports(&console);
    assert_eq!(reports.len(), 2, "{console}");
    let scripts = |report: &[String]| report[..3].to_vec();
    let first = scripts(&reports[0]);
    let names: Vec<_> = first.iter().map(|line| line.split(' ').next()).collect();
    assert_eq!(names, [Some("greeter"), Some("second"), Some("failing")]);
    assert!(first[0].starts_with("greeter 1 "), "{first:?}");
    let boots: Vec<_> = first.iter().map(|line| line.rsplit(' ').next()).collect();
    assert!(boots.iter().all(|boot| *boot == boots[0]), "{first:?}");
    assert_eq!(reports[0][3], "saw from the script");
    assert!(
        reports[0][4].starts_with("failed firstboot-packages.service"),
        "{reports:?}"
    );
    assert_eq!(scripts(&reports[1]), first, "nothing ran again");
    assert_eq!(reports[1][3], "saw from the script");
}
