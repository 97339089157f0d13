//! The first-run script, run with its files in a folder and its commands replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use imgasm_testkit::{command, need};
use tempfile::TempDir;

const SCRIPT: &str = include_str!("../../overlays/firstrun/firstrun.sh");

/// Runs the script for a cluster `web` as on a machine with upstart; the agent says that it is a
/// member of `joined`. What the commands were called with is in `calls`.
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

#[test]
fn shellcheck_finds_nothing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays/firstrun/firstrun.sh");
    if need::tools(&["shellcheck"]) {
        command::run(Command::new("shellcheck").arg(&script));
    }
}
