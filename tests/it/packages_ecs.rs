//! The packages of AWS's own recipe for ECS, on a base shaped like AL2023: a database in SQLite, `/lib`
//! merged into `/usr`, SELinux. The repositories are made for the purpose.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::packages_lock::House;
use crate::support::rpms::rpm;
use imgasm_block::Digest;
use imgasm_testkit::command::run;
use imgasm_testkit::need;

/// What the base has: the name, the version, the preamble, further lines of `%install`, the list of files.
const BASE: [(&str, &str, &str, &str, &str); 6] = [
    (
        "system-release",
        "2023",
        "Provides: /bin/sh\nProvides: system-release(releasever) = 2023\n",
        "",
        "",
    ),
    (
        "openssl-libs",
        "3.0",
        "",
        "mkdir -p %{buildroot}/usr/lib64; echo 3.0 > %{buildroot}/usr/lib64/libssl.so.3",
        "/usr/lib64/libssl.so.3",
    ),
    ("systemd", "252", "", "", ""),
    ("shadow-utils", "4.9", "", "", ""),
    (
        "gnupg2-minimal",
        "2.3",
        "Provides: gnupg2 = 2.3\nConflicts: gnupg2-full\n",
        "mkdir -p %{buildroot}/usr/bin; echo min > %{buildroot}/usr/bin/gpg",
        "/usr/bin/gpg",
    ),
    (
        "chrony",
        "4.3",
        "Requires: openssl-libs\n",
        "mkdir -p %{buildroot}/etc; echo pool > %{buildroot}/etc/chrony.conf",
        "%config(noreplace) /etc/chrony.conf",
    ),
];

/// A unit's file, the list entry for it, and the scripts that systemd's macros make for it.
fn unit(name: &str, after: &str) -> (String, String, String) {
    let file = format!(
        "mkdir -p %{{buildroot}}/lib/systemd/system; printf '[Unit]\\nAfter={after}\\n[Service]\\n\
         ExecStart=/usr/libexec/{name}\\n[Install]\\nWantedBy=multi-user.target\\n' \
         > %{{buildroot}}/lib/systemd/system/{name}.service"
    );
    let scripts = format!(
        "%post\nif [ $1 -eq 1 ] && [ -x \"/usr/lib/systemd/systemd-update-helper\" ]; then\n    \
         /usr/lib/systemd/systemd-update-helper install-system-units {name}.service || :\nfi\n\
         %preun\nif [ $1 -eq 0 ] && [ -x \"/usr/lib/systemd/systemd-update-helper\" ]; then\n    \
         /usr/lib/systemd/systemd-update-helper remove-system-units {name}.service || :\nfi\n"
    );
    (file, format!("/lib/systemd/system/{name}.service"), scripts)
}

impl House {
    fn package(
        &self,
        name: &str,
        version: &str,
        preamble: &str,
        install: &str,
        files: &str,
    ) -> String {
        let spec = format!("{preamble}%description\nx\n%install\n:\n{install}\n%files\n{files}\n");
        let path = self.lab.rpmbuild(name, version, &spec);
        path.to_str().unwrap().to_owned()
    }

    /// Puts one into the repository.
    fn offer(
        &self,
        name: &str,
        version: &str,
        preamble: &str,
        install: &str,
        files: &str,
    ) -> String {
        let path = self.package(name, version, preamble, install, files);
        let target = self
            .folder
            .join("repo")
            .join(Path::new(&path).file_name().unwrap());
        fs::copy(&path, &target).unwrap();
        target.to_str().unwrap().to_owned()
    }
}

/// Makes the base like AL2023.
fn shape(house: &House) {
    let paths = BASE.map(|(name, version, preamble, install, files)| {
        house.package(name, version, preamble, install, files)
    });
    house.lab.edit(|root| {
        fs::rename(root.join("sbin"), root.join("usr/sbin")).unwrap();
        for name in ["bin", "lib", "lib64"] {
            fs::create_dir_all(root.join("usr").join(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        let selinux = root.join("etc/selinux");
        fs::create_dir_all(selinux.join("targeted/contexts/files")).unwrap();
        fs::write(
            selinux.join("config"),
            "SELINUX=permissive\nSELINUXTYPE=targeted\n",
        )
        .unwrap();
        let contexts = "/.* system_u:object_r:default_t:s0\n/etc/.* system_u:object_r:etc_t:s0\n\
                        /usr/lib/systemd/system/.* system_u:object_r:systemd_unit_file_t:s0\n\
                        /usr/libexec/.* -- system_u:object_r:bin_t:s0\n";
        fs::write(
            selinux.join("targeted/contexts/files/file_contexts"),
            contexts,
        )
        .unwrap();
        for tool in [
            "usr/lib/systemd/systemd-update-helper",
            "usr/bin/systemctl",
            "usr/sbin/groupadd",
            "usr/sbin/useradd",
            "usr/bin/getent",
        ] {
            let path = root.join(tool);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "a stand-in").unwrap();
            run(Command::new("chmod").arg("755").arg(&path));
        }
        fs::write(
            root.join("usr/lib/systemd/system-preset/90-default.preset"),
            "enable ecs.service\nenable amazon-ssm-agent.service\ndisable *\n",
        )
        .unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(root.join("etc/passwd"))
            .and_then(|mut file| {
                use std::io::Write;
                file.write_all(b"ec2-user:x:1000:1000::/home/ec2-user:/bin/bash\n")
            })
            .unwrap();
        fs::write(
            root.join("etc/group"),
            "root:x:0:\ndaemon:x:2:\nec2-user:x:1000:\n",
        )
        .unwrap();
        let all: Vec<_> = paths.iter().map(String::as_str).collect();
        rpm(root, &[&["-i", "--nodeps"][..], &all].concat());
    });
}

/// Fills the repository, with newer versions than those that are wished for; gives the path and digest of
/// a package that is no part of it.
fn fill(house: &House) -> (String, Digest) {
    house.offer(
        "openssl-libs",
        "3.2",
        "",
        "mkdir -p %{buildroot}/usr/lib64; echo 3.2 > %{buildroot}/usr/lib64/libssl.so.3",
        "/usr/lib64/libssl.so.3",
    );
    house.offer(
        "gnupg2-full",
        "2.3",
        "Provides: gnupg2 = 2.3\nConflicts: gnupg2-minimal\n",
        "mkdir -p %{buildroot}/usr/bin; echo full > %{buildroot}/usr/bin/gpg",
        "/usr/bin/gpg",
    );
    let socket = "%pre\ngetent group docker >/dev/null || groupadd -r docker || :\n";
    for version in ["25.0.16", "26.1"] {
        let (file, listed, scripts) = unit("docker", "network-online.target");
        let preamble = "Requires: containerd >= 2.2, runc\nRequires(pre): shadow-utils\n";
        house.offer(
            "docker",
            version,
            preamble,
            &file,
            &format!("{listed}\n{socket}{scripts}"),
        );
    }
    for (name, versions) in [
        ("containerd", ["2.2.5", "2.3.0"]),
        ("runc", ["1.3.5", "1.4.0"]),
    ] {
        for version in versions {
            let install = format!(
                "mkdir -p %{{buildroot}}/usr/libexec; echo {version} > %{{buildroot}}/usr/libexec/{name}"
            );
            house.offer(name, version, "", &install, &format!("/usr/libexec/{name}"));
        }
    }
    let (file, listed, scripts) = unit("amazon-ssm-agent", "network-online.target");
    house.offer(
        "amazon-ssm-agent",
        "3.3.4624.0",
        "",
        &file,
        &format!("{listed}\n{scripts}"),
    );
    let user = "%pre\ngetent group cwagent >/dev/null || groupadd -r cwagent\ngetent passwd cwagent >/dev/null \
                || useradd -r -g cwagent -d /home/cwagent -s /sbin/nologin cwagent\n";
    let install = "mkdir -p %{buildroot}/opt/aws/amazon-cloudwatch-agent/etc; touch %{buildroot}/opt/aws/amazon-cloudwatch-agent/etc/x.conf";
    house.offer(
        "amazon-cloudwatch-agent",
        "1.3",
        "Requires(pre): shadow-utils\n",
        install,
        &format!("%attr(-,cwagent,cwagent) /opt/aws/amazon-cloudwatch-agent\n{user}"),
    );
    let install = "mkdir -p %{buildroot}/etc/amazon/efs; printf '[client-info]\\n' > %{buildroot}/etc/amazon/efs/efs-utils.conf";
    house.offer(
        "amazon-efs-utils",
        "2.0",
        "Requires: openssl-libs >= 3.2\n",
        install,
        "%config(noreplace) /etc/amazon/efs/efs-utils.conf",
    );
    let (file, listed, scripts) = unit("ecs-service-connect-agent", "docker.service");
    house.offer(
        "ecs-service-connect-agent",
        "1.34",
        "Requires: docker\n",
        &file,
        &format!("{listed}\n{scripts}"),
    );
    // A program of the package itself is run: that waits for the first boot.
    house.offer(
        "jq",
        "1.7",
        "",
        "mkdir -p %{buildroot}/usr/libexec; echo x > %{buildroot}/usr/libexec/jq-setup",
        "/usr/libexec/jq-setup\n%post\n/usr/libexec/jq-setup --once\n",
    );
    house.index();
    let (file, listed, scripts) = unit("ecs", "docker.service");
    let files = format!("{listed}\n/usr/libexec/amazon-ecs-init\n{scripts}");
    let file = format!(
        "{file}; mkdir -p %{{buildroot}}/usr/libexec; echo agent > %{{buildroot}}/usr/libexec/amazon-ecs-init"
    );
    let path = house.package(
        "ecs-init",
        "1.106.1",
        "Requires: docker >= 17.06\n",
        &file,
        &files,
    );
    let name = house.folder.join("ecs-init.rpm");
    fs::copy(path, &name).unwrap();
    let digest = Digest::of(&fs::read(&name).unwrap());
    ("ecs-init.rpm".to_owned(), digest)
}

#[test]
fn the_packages_of_the_ecs_image_come_by_name() {
    if !need::tools(&["getfattr"]) {
        return;
    }
    let Some(house) = House::new() else { return };
    shape(&house);
    let (path, digest) = fill(&house);
    let recipe = format!(
        "name = 'web'\nbase = {{ file = '{}' }}\noverlays = ['ecs']\n\
         [[repository]]\nid = 'amazonlinux'\nbaseurl = 'file:repo'\ngpgcheck = false\n\
         [packages]\nupgrade = ['*']\nscriptlets = 'first-boot'\nremove = ['chrony']\n\
         install = ['docker-25.0.16', 'containerd-2.2.5', 'runc-1.3.5', 'amazon-efs-utils', 'jq', \
         'amazon-ssm-agent', 'amazon-cloudwatch-agent', 'ecs-service-connect-agent']\n\
         swap = {{ gnupg2-minimal = 'gnupg2-full' }}\n\
         [[package]]\npath = '{path}'\nsha256 = '{digest}'\n",
        house.lab.image().display()
    );
    fs::write(house.folder.join("imgasm.toml"), recipe).unwrap();
    fs::create_dir(house.folder.join("ecs")).unwrap();
    fs::write(
        house.folder.join("ecs/overlay.toml"),
        "[[step]]\nuser = { name = 'ec2-user', groups = ['docker'] }\n\
         [[step]]\nservice = { name = 'ecs', enabled = true }\n",
    )
    .unwrap();

    let said = house.done(&["lock"]);
    for line in [
        "+ install docker-25.0.16-1.noarch",
        "+ install containerd-2.2.5-1.noarch",
        "+ install openssl-libs-3.2-1.noarch (replaces 3.0-1)",
        "+ install gnupg2-full-2.3-1.noarch",
        "+ remove gnupg2-minimal-2.3-1.noarch",
        "+ script docker-25.0.16-1.noarch %pre: carried out",
        "+ script amazon-ssm-agent-3.3.4624.0-1.noarch %post: carried out",
        "+ script jq-1.7-1.noarch %post: deferred",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let lock = house.lock();
    assert!(
        !lock.contains("skipped") && lock.matches("deferred").count() == 1,
        "{lock}"
    );
    house.done(&["fetch", "--vendor"]);
    let said = house.done(&["build"]);
    assert!(!said.contains("skipped"), "{said}");
    let first = fs::read(house.folder.join("out/web.raw")).unwrap();
    house.done(&["build"]);
    let again = fs::read(house.folder.join("out/web.raw")).unwrap();
    assert!(first == again, "a second build gives other bytes");
    // `rpm -Va` and `dnf check` are silent about it.
    house.look(|root| {
        let versions = rpm(root, &["-q", "docker", "containerd", "runc", "ecs-init"]);
        let wanted = "docker-25.0.16-1.noarch\ncontainerd-2.2.5-1.noarch\nrunc-1.3.5-1.noarch\n\
                      ecs-init-1.106.1-1.noarch\n";
        assert_eq!(versions, wanted);
        for name in ["ecs", "amazon-ssm-agent", "docker"] {
            let link = root.join(format!(
                "etc/systemd/system/multi-user.target.wants/{name}.service"
            ));
            assert_eq!(link.symlink_metadata().is_ok(), name != "docker", "{name}");
        }
        let groups = fs::read_to_string(root.join("etc/group")).unwrap();
        assert!(
            groups
                .lines()
                .any(|line| line.starts_with("docker:") && line.ends_with(":ec2-user")),
            "{groups}"
        );
        assert!(root.join("usr/libexec/firstboot/packages/queue").is_dir());
        assert!(!root.join("etc/chrony.conf").exists());
        let mut command = Command::new("getfattr");
        command.args([
            "-n",
            "security.selinux",
            "--only-values",
            "--absolute-names",
        ]);
        let label = run(command.arg(root.join("usr/lib/systemd/system/docker.service")));
        let wanted = "system_u:object_r:systemd_unit_file_t:s0";
        assert_eq!(label.trim_end_matches('\0'), wanted);
    });
}
