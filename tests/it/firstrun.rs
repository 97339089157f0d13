//! The first-run script, run with its files in a folder and its commands replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use imgasm_testkit::{command, need};
use tempfile::TempDir;

const SCRIPT: &str = include_str!("../../overlays/firstrun/firstrun.sh");
const SYSTEMD_SCRIPT: &str = include_str!("../../overlays/firstrun/firstrun-systemd.sh");

/// Runs the script for a cluster `web` as on a machine with upstart; the agent says that it is a
/// member of `joined`. The commands' arguments are in `calls`.
fn run(folder: &Path, joined: &str, environment: &[(&str, &str)]) -> Output {
    let root = folder.display().to_string();
    for directory in ["bin", "etc/sysconfig"] {
        fs::create_dir_all(folder.join(directory)).unwrap();
    }
    fs::write(folder.join("etc/sysconfig/docker"), "OPTIONS=\"\"\n").unwrap();
    for (name, body) in [
        ("service", format!("echo service \"$@\" >> {root}/calls")),
        (
            "chkconfig",
            format!("echo chkconfig \"$@\" >> {root}/calls"),
        ),
        ("start", format!("echo start \"$@\" >> {root}/calls")),
        ("sleep", String::new()),
        ("curl", format!("echo '{{\"Cluster\":\"{joined}\"}}'")),
        ("jq", "sed 's/.*:\"//; s/\".*//'".to_owned()),
    ] {
        let path = folder.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = SCRIPT
        .replace(" /etc/", &format!(" {root}/etc/"))
        .replace("/run/systemd/system", &format!("{root}/run/systemd/system"));
    Command::new("bash")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", format!("{root}/bin:/usr/bin:/bin"))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

const ENVIRONMENT: [(&str, &str); 5] = [
    ("ECS_CLUSTER", "web"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
    ("STACK_NAME", "stack"),
    ("AUTOSCALING_GROUP", "group"),
    ("JOIN_TIMEOUT", "0"),
];

fn file(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap_or_default()
}

#[test]
fn without_a_proxy() {
    let folder = TempDir::new().unwrap();
    let output = run(folder.path(), "web", &ENVIRONMENT);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, "\nThe ECS agent has joined the cluster web.\n");
    assert_eq!(file(&folder, "etc/ecs/ecs.config"), "ECS_CLUSTER=web\n");
    assert_eq!(file(&folder, "etc/sysconfig/docker"), "OPTIONS=\"\"\n");
    assert!(!folder.path().join("etc/awslogs/proxy.conf").exists());
    assert_eq!(
        file(&folder, "calls"),
        "service awslogs start\nchkconfig docker on\nservice docker start\nstart ecs\n"
    );
    assert_eq!(
        file(&folder, "etc/awslogs/awscli.conf"),
        "[plugins]\ncwlogs = cwlogs\n[default]\nregion = us-east-1\n"
    );
    let logs = file(&folder, "etc/awslogs/awslogs.conf");
    insta::assert_snapshot!(logs, @r#"
    [general]
    state_file = /var/lib/awslogs/agent-state

    [/var/log/dmesg]
    file = /var/log/dmesg
    log_group_name = stack/ec2/group/var/log/dmesg
    log_stream_name = {instance_id}

    [/var/log/messages]
    file = /var/log/messages
    log_group_name = stack/ec2/group/var/log/messages
    log_stream_name = {instance_id}
    datetime_format = %b %d %H:%M:%S

    [/var/log/docker]
    file = /var/log/docker
    log_group_name = stack/ec2/group/var/log/docker
    log_stream_name = {instance_id}
    datetime_format = %Y-%m-%dT%H:%M:%S.%f

    [/var/log/ecs/ecs-init.log]
    file = /var/log/ecs/ecs-init.log*
    log_group_name = stack/ec2/group/var/log/ecs/ecs-init
    log_stream_name = {instance_id}
    datetime_format = %Y-%m-%dT%H:%M:%SZ
    time_zone = UTC

    [/var/log/ecs/ecs-agent.log]
    file = /var/log/ecs/ecs-agent.log*
    log_group_name = stack/ec2/group/var/log/ecs/ecs-agent
    log_stream_name = {instance_id}
    datetime_format = %Y-%m-%dT%H:%M:%SZ
    time_zone = UTC

    [/var/log/ecs/audit.log]
    file = /var/log/ecs/audit.log*
    log_group_name = stack/ec2/group/var/log/ecs/audit.log
    log_stream_name = {instance_id}
    datetime_format = %Y-%m-%dT%H:%M:%SZ
    time_zone = UTC
    "#);
}

#[test]
fn with_a_proxy() {
    let folder = TempDir::new().unwrap();
    let environment = [&ENVIRONMENT[..], &[("PROXY_URL", "http://proxy:3128")]].concat();
    let output = run(folder.path(), "web", &environment);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        file(&folder, "etc/ecs/ecs.config"),
        "ECS_CLUSTER=web\nHTTPS_PROXY=http://proxy:3128\n\
         NO_PROXY=169.254.169.254,169.254.170.2,/var/run/docker.sock\n"
    );
    assert_eq!(
        file(&folder, "etc/sysconfig/docker"),
        "OPTIONS=\"\"\nexport HTTPS_PROXY=http://proxy:3128\n"
    );
    assert_eq!(
        file(&folder, "etc/awslogs/proxy.conf"),
        "HTTP_PROXY=http://proxy:3128\nHTTPS_PROXY=http://proxy:3128\nNO_PROXY=169.254.169.254\n"
    );
}

#[test]
fn failures_are_told() {
    let folder = TempDir::new().unwrap();
    let output = run(folder.path(), "other", &ENVIRONMENT);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("has not joined the cluster web within 0 seconds"),
        "{told}"
    );
    let output = run(folder.path(), "web", &ENVIRONMENT[1..]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains("ECS_CLUSTER"),
        "{told}"
    );
}

/// Runs the script for systemd, on a machine that has the units `units`; systemd's own command only
/// records its arguments.
fn run_systemd(folder: &Path, units: &str, environment: &[(&str, &str)]) -> Output {
    let root = folder.display().to_string();
    for directory in ["bin", "etc/systemd/system", "etc/logrotate.d", "opt", "usr"] {
        fs::create_dir_all(folder.join(directory)).unwrap();
    }
    let unit = "[Unit]\nAfter=docker.service\nAfter=cloud-final.service\n[Service]\nExecStart=/x\n";
    fs::write(folder.join("usr/ecs.service"), unit).unwrap();
    let systemctl = format!(
        "echo \"$@\" >> {root}/calls\ncase \"$1 $2\" in\n\
         'cat '*) case ' {units} ' in *\" $2 \"*) ;; *) exit 1 ;; esac ;;\n\
         'show --property=FragmentPath') [ \"$3\" != ecs.service ] || \
         echo FragmentPath={root}/usr/ecs.service ;;\nesac"
    );
    let curl = "case \"$*\" in\n*api/token*) echo token ;;\n\
                *'token: token'*placement/region*) echo eu-west-1 ;;\n\
                *) echo '{\"Cluster\": \"web\", \"Version\": \"1\"}' ;;\nesac";
    for (name, body) in [
        ("systemctl", systemctl.as_str()),
        ("curl", curl),
        ("sleep", ""),
    ] {
        let path = folder.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = SYSTEMD_SCRIPT
        .replace(" /etc/", &format!(" {root}/etc/"))
        .replace("=/etc/systemd", &format!("={root}/etc/systemd"))
        .replace("=/opt/aws", &format!("={root}/opt/aws"));
    Command::new("bash")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", format!("{root}/bin:/usr/bin:/bin"))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

const SYSTEMD_ENVIRONMENT: [(&str, &str); 5] = [
    ("ECS_CLUSTER", "web"),
    ("STACK_NAME", "stack"),
    ("AUTOSCALING_GROUP", "group"),
    ("JOIN_TIMEOUT", "0"),
    ("PROXY_URL", "http://u:p%40@proxy:3128"),
];

#[test]
fn with_systemd_and_the_agent_of_cloudwatch() {
    let folder = TempDir::new().unwrap();
    let units = "amazon-cloudwatch-agent.service";
    let output = run_systemd(folder.path(), units, &SYSTEMD_ENVIRONMENT);
    assert!(output.status.success(), "{output:?}");
    // The agent no longer waits for cloud-init.
    assert_eq!(
        file(&folder, "etc/systemd/system/ecs.service"),
        "[Unit]\nAfter=docker.service\n[Service]\nExecStart=/x\n"
    );
    let configuration = "opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json";
    let configuration: serde_json::Value =
        serde_json::from_str(&file(&folder, configuration)).unwrap();
    assert_eq!(configuration["agent"]["region"], "eu-west-1");
    let logs = &configuration["logs"]["logs_collected"]["files"]["collect_list"];
    assert_eq!(logs.as_array().unwrap().len(), 6);
    assert_eq!(logs[1]["timestamp_format"], "%b %d %H:%M:%S");
    assert_eq!(logs[3]["file_path"], "/var/log/ecs/ecs-init.log*");
    assert_eq!(logs[3]["timezone"], "UTC");
    assert_eq!(
        logs[3]["log_group_name"],
        "stack/ec2/group/var/log/ecs/ecs-init"
    );
    // Each gets the proxy in its own way; percent signs are doubled in units.
    for unit in ["docker", "containerd", "ecs"] {
        let name = format!("etc/systemd/system/{unit}.service.d/http-proxy.conf");
        let text = file(&folder, &name);
        assert!(
            text.contains("Environment=\"HTTPS_PROXY=http://u:p%%40@proxy:3128\"\n"),
            "{name}: {text}"
        );
    }
    assert!(file(&folder, "etc/ecs/ecs.config").contains("HTTPS_PROXY=http://u:p%40@proxy:3128\n"));
    let common = file(
        &folder,
        "opt/aws/amazon-cloudwatch-agent/etc/common-config.toml",
    );
    assert!(
        common.contains("https_proxy = \"http://u:p%40@proxy:3128\"\n"),
        "{common}"
    );
    let calls = file(&folder, "calls");
    let started: Vec<_> = calls
        .lines()
        .filter(|line| line.starts_with("start "))
        .collect();
    assert_eq!(
        started,
        [
            "start amazon-cloudwatch-agent.service",
            "start journal-files.service",
            "start docker.service",
            "start --no-block ecs.service",
        ]
    );
}

#[test]
fn with_systemd_and_awslogs() {
    let folder = TempDir::new().unwrap();
    let mut environment = SYSTEMD_ENVIRONMENT.to_vec();
    environment.retain(|(name, _)| *name != "PROXY_URL");
    environment.push(("AWS_DEFAULT_REGION", "us-east-2"));
    let units = "awslogsd.service rsyslog.service";
    let output = run_systemd(folder.path(), units, &environment);
    assert!(output.status.success(), "{output:?}");
    let logs = file(&folder, "etc/awslogs/awslogs.conf");
    assert!(
        logs.contains(
            "\n[/var/log/ecs/audit.log]\nfile = /var/log/ecs/audit.log*\n\
             log_group_name = stack/ec2/group/var/log/ecs/audit.log\n\
             log_stream_name = {instance_id}\ndatetime_format = %Y-%m-%dT%H:%M:%SZ\n\
             time_zone = UTC\n"
        ),
        "{logs}"
    );
    assert!(file(&folder, "etc/awslogs/awscli.conf").contains("region = us-east-2\n"));
    assert!(
        !folder
            .path()
            .join("etc/systemd/system/docker.service.d")
            .exists()
    );
    assert!(
        !folder
            .path()
            .join("etc/systemd/system/journal-files.service")
            .exists()
    );
    // A cluster other than the agent's is a failure when the time is over.
    environment[0].1 = "other";
    let output = run_systemd(folder.path(), units, &environment);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("has not joined the cluster other within 0 seconds"),
        "{told}"
    );
}

#[test]
fn shellcheck_finds_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    if need::tools(&["shellcheck"]) {
        for script in [
            "overlays/firstrun/firstrun.sh",
            "overlays/firstrun/firstrun-systemd.sh",
        ] {
            command::run(Command::new("shellcheck").arg(folder.join(script)));
        }
    }
}
