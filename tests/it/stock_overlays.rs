//! The stock overlays on trees shaped like their target systems.

use std::path::PathBuf;

use crate::support::overlay::{apply, image, load};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink, read_file, resolve};
use imgasm_guest::services::{self, State};
use imgasm_testkit::memory_fs::MemoryFs;

type Files = Vec<(&'static str, &'static str)>;

/// What all the systems have.
const COMMON: [(&str, &str); 18] = [
    ("/usr/share/zoneinfo/US/Eastern", "TZif2"),
    ("/usr/share/zoneinfo/Europe/Berlin", "TZif2"),
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nec2-user:x:1000:1000::/home/ec2-user:/bin/bash\n",
    ),
    ("/etc/group", "root:x:0:\nec2-user:x:1000:\n"),
    ("/etc/ssh/sshd_config", "Port 22\n"),
    ("/etc/ssh/ssh_host_rsa_key", "secret"),
    ("/etc/ssh/ssh_host_rsa_key.pub", "public"),
    ("/home/ec2-user/.ssh/authorized_keys", "ssh-rsa A\n"),
    ("/root/.bash_history", "ls\n"),
    ("/var/lib/cloud/instance", "->instances/i-1"),
    ("/var/lib/cloud/instances/i-1/user-data.txt", "x"),
    ("/var/log/messages", "noise\n"),
    ("/var/log/wtmp", "noise"),
    ("/var/log/docker", "noise"),
    ("/var/log/ecs/ecs-agent.log", "noise"),
    ("/var/cache/yum/x86_64/a", "cache"),
    ("/tmp/.X11-unix/x", "x"),
    (
        "/etc/ecs/ecs.config",
        "# agent\nECS_CLUSTER=old\nECS_LOGFILE=/log\n",
    ),
];

fn amazon_linux_1() -> Files {
    let mut files = COMMON.to_vec();
    files.extend([
        (
            "/etc/os-release",
            "ID=\"amzn\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"2018.03\"\n",
        ),
        ("/etc/inittab", "id:3:initdefault:\n"),
        ("/etc/init/rc.conf", "start on runlevel [0123456]\n"),
        (
            "/etc/init/ecs.conf",
            "start on started docker\nexec /usr/libexec/amazon-ecs-init\n",
        ),
        ("/etc/init.d", "->rc.d/init.d"),
        ("/etc/rc.d/init.d/ntpd", "#!/bin/sh\n# chkconfig: - 58 74\n"),
        (
            "/etc/rc.d/init.d/docker",
            "#!/bin/sh\n# chkconfig: 2345 95 05\n",
        ),
        (
            "/etc/rc.d/init.d/awslogs",
            "#!/bin/sh\n# chkconfig: 345 99 99\n",
        ),
        ("/etc/rc.d/rc3.d/S95docker", "->../init.d/docker"),
        ("/etc/sysconfig/clock", "ZONE=\"UTC\"\nUTC=true\n"),
        ("/etc/sysconfig/docker", "OPTIONS=\"\"\n"),
    ]);
    files
}

fn amazon_linux_2() -> Files {
    let mut files = COMMON.to_vec();
    files.extend([
        ("/etc/os-release", "ID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"\n"),
        ("/sbin/init", "->../lib/systemd/systemd"),
        ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("/usr/lib/systemd/system/chronyd.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"),
        ("/usr/lib/systemd/system/docker.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"),
        ("/usr/lib/systemd/system/docker.socket", "[Socket]\nListenStream=/x\n[Install]\nWantedBy=sockets.target\n"),
        ("/usr/lib/systemd/system/ecs.service", "[Unit]\nRequires=docker.service\nAfter=docker.service\nAfter=cloud-final.service\n\n[Service]\nExecStart=/x\n\n[Install]\nWantedBy=multi-user.target\n"),
        ("/usr/lib/systemd/system/awslogsd.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"),
        ("/etc/systemd/system/multi-user.target.wants/docker.service", "->/usr/lib/systemd/system/docker.service"),
        ("/etc/systemd/system/multi-user.target.wants/ecs.service", "->/usr/lib/systemd/system/ecs.service"),
        ("/etc/systemd/system/sockets.target.wants/docker.socket", "->/usr/lib/systemd/system/docker.socket"),
    ]);
    files
}

fn amazon_linux_2023() -> Files {
    let mut files = amazon_linux_2();
    files.retain(|(path, _)| *path != "/etc/os-release");
    files.extend([
        (
            "/etc/os-release",
            "ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n",
        ),
        ("/var/log/journal/0123/system.journal", "noise"),
    ]);
    files
}

fn debian_12() -> Files {
    let mut files = COMMON.to_vec();
    files.extend([
        ("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        ("/sbin/init", "->../lib/systemd/systemd"),
        ("/etc/machine-id", ""),
        ("/lib", "->usr/lib"),
        ("/usr/lib/systemd/system/systemd-timesyncd.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=sysinit.target\nAlias=dbus-org.freedesktop.timesync1.service\n"),
        ("/usr/lib/systemd/system/docker.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"),
        ("/etc/systemd/system/multi-user.target.wants/docker.service", "->/lib/systemd/system/docker.service"),
        ("/var/cache/apt/pkgcache.bin", "cache"),
    ]);
    files
}

fn stock(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("overlays")
        .join(name)
}

/// Applies a stock overlay, and a second time, which must change nothing.
fn apply_stock(fs: &mut MemoryFs, name: &str, variables: &[(&str, &str)]) {
    let overlay = load(&stock(name), variables).unwrap_or_else(|e| panic!("{name}: {e}"));
    apply(fs, &[&overlay]).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (before, writes) = (fs.dump(), fs.writes);
    let again = apply(fs, &[&overlay]).unwrap();
    assert!(!again.has_changed(), "{name}: {again:#?}");
    assert_eq!(fs.dump(), before, "{name}");
    assert_eq!(fs.writes, writes, "{name} wrote a second time");
}

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

fn text(fs: &MemoryFs, name: &str) -> String {
    String::from_utf8(read_file(fs, &path(name), 100_000).unwrap()).unwrap()
}

fn exists(fs: &MemoryFs, name: &str) -> bool {
    tree::exists(fs, &path(name)).unwrap()
}

fn link(fs: &MemoryFs, name: &str) -> String {
    let (node, _) = resolve(fs, &path(name), LastLink::Keep).unwrap();
    String::from_utf8(fs.read_link(node).unwrap()).unwrap()
}

fn state(fs: &MemoryFs, service: &str) -> State {
    services::state(fs, service).unwrap()
}

#[test]
fn timezone() {
    for (system, service) in [
        (amazon_linux_1(), "ntpd"),
        (amazon_linux_2(), "chronyd"),
        (amazon_linux_2023(), "chronyd"),
        (debian_12(), "systemd-timesyncd"),
    ] {
        let mut fs = image(&system);
        apply_stock(&mut fs, "timezone", &[]);
        assert_eq!(
            link(&fs, "/etc/localtime"),
            "/usr/share/zoneinfo/US/Eastern"
        );
        assert_eq!(state(&fs, service), State::Enabled);
        apply_stock(&mut fs, "timezone", &[("timezone", "Europe/Berlin")]);
        assert_eq!(
            link(&fs, "/etc/localtime"),
            "/usr/share/zoneinfo/Europe/Berlin"
        );
    }
    let mut fs = image(&amazon_linux_1());
    apply_stock(&mut fs, "timezone", &[]);
    assert_eq!(
        text(&fs, "/etc/sysconfig/clock"),
        "ZONE=\"US/Eastern\"\nUTC=true\n"
    );
    for (level, name) in [
        (0, "K74"),
        (1, "K74"),
        (2, "S58"),
        (3, "S58"),
        (4, "S58"),
        (5, "S58"),
        (6, "K74"),
    ] {
        assert_eq!(
            link(&fs, &format!("/etc/rc.d/rc{level}.d/{name}ntpd")),
            "../init.d/ntpd"
        );
    }
    let overlay = load(&stock("timezone"), &[("timezone", "Mars/Olympus")]).unwrap();
    let error = apply(&mut fs, &[&overlay]).unwrap_err();
    assert!(error.contains("no such time zone"), "{error}");
}

#[test]
fn docker_disabled() {
    let mut fs = image(&amazon_linux_1());
    apply_stock(&mut fs, "docker-disabled", &[]);
    for level in 0..7 {
        let entries = tree::walk(&fs, &path(&format!("/etc/rc.d/rc{level}.d"))).unwrap();
        let names: Vec<_> = entries
            .skip(1)
            .map(|entry| entry.unwrap().path.to_string())
            .collect();
        assert_eq!(names, [format!("/etc/rc.d/rc{level}.d/K05docker")]);
    }
    assert_eq!(state(&fs, "ecs"), State::Enabled, "the job follows Docker");
    assert!(!exists(&fs, "/var/log/docker") && !exists(&fs, "/var/log/ecs/ecs-agent.log"));
    assert!(exists(&fs, "/var/log/ecs"));

    for system in [amazon_linux_2(), amazon_linux_2023()] {
        let mut fs = image(&system);
        apply_stock(&mut fs, "docker-disabled", &[]);
        for service in ["docker", "docker.socket", "ecs"] {
            assert_eq!(state(&fs, service), State::Disabled, "{service}");
        }
        assert!(!fs.dump().contains(".wants/"), "{}", fs.dump());
        let unit = text(&fs, "/etc/systemd/system/ecs.service");
        assert!(unit.contains("After=docker.service\n\n[Service]"), "{unit}");
        assert!(!exists(&fs, "/etc/systemd/system/docker.service"));
    }
    // The order is removed wherever it is, and nothing else.
    let mut system = amazon_linux_2023();
    system.extend([
        (
            "/etc/systemd/system/ecs.service",
            "[Unit]\nAfter=cloud-final.service docker.service cloud-init.target\n",
        ),
        (
            "/usr/lib/systemd/system/docker.service",
            "[Unit]\nAfter=network.target cloud-final.service\n[Install]\nWantedBy=multi-user.target\n",
        ),
    ]);
    let mut fs = image(&system);
    apply_stock(&mut fs, "docker-disabled", &[]);
    let after = |name: &str| {
        let unit = text(&fs, &format!("/etc/systemd/system/{name}.service"));
        let line = unit.lines().find(|line| line.starts_with("After="));
        line.map(|line| line.trim_end().to_owned())
    };
    assert_eq!(after("ecs").as_deref(), Some("After=docker.service"));
    assert_eq!(after("docker").as_deref(), Some("After=network.target"));
    let mut fs = image(&debian_12());
    apply_stock(&mut fs, "docker-disabled", &[]);
    assert_eq!(state(&fs, "docker"), State::Disabled);
}

#[test]
fn cloudwatch_agent() {
    let mut system = amazon_linux_2023();
    system.push((
        "/etc/systemd/system/amazon-cloudwatch-agent.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ));
    let mut fs = image(&system);
    let variables = [("log_group", "stack/ec2/asg"), ("region", "eu-west-1")];
    apply_stock(&mut fs, "cloudwatch-agent", &variables);
    assert_eq!(state(&fs, "amazon-cloudwatch-agent"), State::Enabled);
    let configuration = text(
        &fs,
        "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json",
    );
    let configuration: serde_json::Value = serde_json::from_str(&configuration).unwrap();
    assert_eq!(configuration["agent"]["region"], "eu-west-1");
    let files = &configuration["logs"]["logs_collected"]["files"]["collect_list"];
    assert_eq!(files.as_array().unwrap().len(), 6);
    assert_eq!(
        files[5]["log_group_name"],
        "stack/ec2/asg/var/log/ecs/audit.log"
    );
    assert_eq!(files[5]["log_stream_name"], "{instance_id}");
}

#[test]
fn ecs_optimized() {
    let unit = "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n";
    let mut system = amazon_linux_2023();
    system.extend([
        ("/usr/lib/systemd/system/amazon-ssm-agent.service", unit),
        (
            "/etc/amazon/efs/efs-utils.conf",
            "[DEFAULT]\na = b\n\n[client-info]\nsource = x\n",
        ),
        (
            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
            "certificates",
        ),
    ]);
    let mut fs = image(&system);
    apply_stock(&mut fs, "ecs-optimized", &[]);
    for service in ["docker", "ecs", "amazon-ssm-agent"] {
        assert_eq!(state(&fs, service), State::Enabled, "{service}");
    }
    // What is there is kept, what is missing is made.
    assert!(text(&fs, "/etc/ecs/ecs.config").contains("ECS_CLUSTER=old"));
    assert_eq!(text(&fs, "/etc/ecs/ecs.config.json"), "");
    assert_eq!(link(&fs, "/etc/motd.d/30-banner"), "/dev/null");
    assert!(
        text(&fs, "/etc/cloud/cloud.cfg.d/90_ecs.cfg")
            .starts_with("#cloud-config\nrepo_upgrade: none\n")
    );
    assert!(text(&fs, "/etc/amazon/efs/efs-utils.conf").contains("source = ecs.ec2"));
    assert!(text(&fs, "/etc/group").contains("docker:x:"));
    assert!(text(&fs, "/etc/group").contains(":ec2-user\n"));
    let certificates = path("/var/lib/ecs/deps/execute-command/certs/tls-ca-bundle.pem");
    let (node, _) = resolve(&fs, &certificates, LastLink::Keep).unwrap();
    assert_eq!(fs.metadata(node).unwrap().permissions, 0o400);
}

/// The script is the one for the system's init.
#[test]
fn firstrun() {
    for (system, words) in [
        (amazon_linux_1(), "chkconfig docker on"),
        (amazon_linux_2(), "lift_order ecs.service"),
        (amazon_linux_2023(), "lift_order ecs.service"),
        (debian_12(), "lift_order ecs.service"),
    ] {
        let mut fs = image(&system);
        apply_stock(&mut fs, "firstrun", &[]);
        let script = text(&fs, "/home/ec2-user/firstrun.sh");
        assert!(script.contains(words), "{words}");
    }
}

#[test]
fn awslogs() {
    for (system, service) in [
        (amazon_linux_1(), "awslogs"),
        (amazon_linux_2(), "awslogsd"),
    ] {
        let mut fs = image(&system);
        apply_stock(
            &mut fs,
            "awslogs",
            &[("log_group", "stack/ec2/asg"), ("region", "eu-west-1")],
        );
        assert_eq!(state(&fs, service), State::Enabled);
        assert_eq!(
            text(&fs, "/etc/awslogs/awscli.conf"),
            "[plugins]\ncwlogs = cwlogs\n[default]\nregion = eu-west-1\n"
        );
        let conf = text(&fs, "/etc/awslogs/awslogs.conf");
        assert_eq!(conf.matches("log_stream_name = {instance_id}\n").count(), 6);
        let agent = "\n[/var/log/ecs/ecs-agent.log]\nfile = /var/log/ecs/ecs-agent.log*\n\
                     log_group_name = stack/ec2/asg/var/log/ecs/ecs-agent\n\
                     log_stream_name = {instance_id}\n\
                     datetime_format = %Y-%m-%dT%H:%M:%SZ\ntime_zone = UTC\n";
        assert!(conf.contains(agent), "{conf}");
    }
}

#[test]
fn ecs_agent() {
    let mut fs = image(&amazon_linux_2023());
    apply_stock(&mut fs, "ecs-agent", &[("cluster", "web")]);
    assert_eq!(
        text(&fs, "/etc/ecs/ecs.config"),
        "# agent\nECS_CLUSTER=web\nECS_LOGFILE=/log\nECS_LOGLEVEL=info\n\
         ECS_IMAGE_PULL_BEHAVIOR=default\nECS_ENABLE_TASK_IAM_ROLE=true\n"
    );
}

#[test]
fn http_proxy() {
    let proxy = [("proxy_url", "http://proxy:3128")];
    let mut fs = image(&amazon_linux_1());
    apply_stock(&mut fs, "http-proxy", &proxy);
    assert_eq!(
        text(&fs, "/etc/sysconfig/docker"),
        "OPTIONS=\"\"\nexport HTTPS_PROXY=http://proxy:3128\n"
    );
    assert!(text(&fs, "/etc/init/ecs.override").contains("env HTTPS_PROXY=http://proxy:3128\n"));
    let config = text(&fs, "/etc/ecs/ecs.config");
    assert!(
        config.ends_with(
            "\nHTTPS_PROXY=http://proxy:3128\nNO_PROXY=169.254.169.254,169.254.170.2,/var/run/docker.sock\n"
        ),
        "{config}"
    );
    assert!(!exists(&fs, "/etc/systemd") && !exists(&fs, "/etc/awslogs"));

    let mut fs = image(&amazon_linux_2023());
    apply_stock(&mut fs, "http-proxy", &proxy);
    let unit = text(&fs, "/etc/systemd/system/docker.service.d/http-proxy.conf");
    assert!(
        unit.contains("\nEnvironment=\"HTTPS_PROXY=http://proxy:3128\"\n"),
        "{unit}"
    );
    assert!(!exists(&fs, "/etc/sysconfig"));
    let error = load(&stock("http-proxy"), &[]).unwrap_err();
    assert!(error.contains("proxy_url"), "{error}");
}

#[test]
fn cleanup_and_seal() {
    for system in [
        amazon_linux_1(),
        amazon_linux_2(),
        amazon_linux_2023(),
        debian_12(),
    ] {
        let mut fs = image(&system);
        apply_stock(&mut fs, "cleanup", &[]);
        assert!(exists(&fs, "/tmp") && !exists(&fs, "/tmp/.X11-unix"));
        assert!(exists(&fs, "/var/cache/yum") && !exists(&fs, "/var/cache/yum/x86_64"));
        assert!(!exists(&fs, "/var/cache/apt/pkgcache.bin"));
        assert_eq!(text(&fs, "/var/log/messages"), "");
        assert!(exists(&fs, "/etc/ssh/ssh_host_rsa_key"), "that is for seal");

        apply_stock(&mut fs, "seal", &[]);
        for gone in [
            "/etc/ssh/ssh_host_rsa_key",
            "/etc/ssh/ssh_host_rsa_key.pub",
            "/home/ec2-user/.ssh/authorized_keys",
            "/root/.bash_history",
            "/var/lib/cloud/instances",
            "/var/log/journal/0123",
        ] {
            assert!(!exists(&fs, gone), "{gone}");
        }
        let kept = [
            "/etc/ssh/sshd_config",
            "/home/ec2-user/.ssh",
            "/var/lib/cloud",
            "/etc/passwd",
        ];
        assert!(kept.iter().all(|path| exists(&fs, path)));
        if exists(&fs, "/etc/machine-id") {
            assert_eq!(text(&fs, "/etc/machine-id"), "");
        }
    }
}
