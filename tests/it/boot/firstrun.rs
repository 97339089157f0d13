//! The first-run script as user data of a machine like an ECS container instance: Debian's real
//! cloud-init, and stubs of Docker, the ECS agent and CloudWatch's agent in units that are ordered
//! like the published ones.

use std::path::Path;

use imgasm_testkit::image::Kind;
use serde_json::Value;

use super::{amiss, base, boot, write};

/// The order is that of `ecs.service` of amazon-ecs-init and of `docker.service`.
const INSTANCE: &str = r#"
description = "A machine like an ECS container instance"

[[step]]
user = { name = "ec2-user", uid = 1000, home = "/home/ec2-user", shell = "/bin/bash" }

[[step]]
write = { path = "/usr/lib/systemd/system/docker.service", content = """
[Unit]
After=network-online.target containerd.service
Wants=network-online.target containerd.service

[Service]
EnvironmentFile=-/etc/sysconfig/docker
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
""" }

[[step]]
write = { path = "/usr/lib/systemd/system/containerd.service", content = """
[Service]
ExecStart=/bin/sleep infinity
""" }

[[step]]
write = { path = "/usr/lib/systemd/system/ecs.service", content = """
[Unit]
Description=Amazon Elastic Container Service - container agent
Wants=docker.service
After=docker.service
After=cloud-final.service

[Service]
Type=simple
Restart=on-failure
RestartSec=10s
EnvironmentFile=-/etc/ecs/ecs.config
ExecStartPre=/bin/systemctl is-active docker.service
ExecStart=/usr/libexec/agent

[Install]
WantedBy=multi-user.target
""" }

[[step]]
write = { path = "/usr/lib/systemd/system/LOG_AGENT.service", content = """
[Service]
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
""" }

# Answers after some seconds, as the agent does, and says which cluster it is in.
[[step]]
write = { path = "/usr/libexec/agent", mode = "0755", content = """
#!/usr/bin/python3
import http.server, json, os, time
time.sleep(8)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        cluster = os.environ.get("AGENT_CLUSTER", os.environ["ECS_CLUSTER"])
        body = json.dumps({"Cluster": cluster, "Version": "1"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("", 51678), Answer).serve_forever()
""" }
"#;

/// User data as it is written today.
const USER_DATA: &str = "#!/bin/bash
export ECS_CLUSTER=web STACK_NAME=stack AUTOSCALING_GROUP=group AWS_DEFAULT_REGION=<region>
export PROXY_URL=<proxy> JOIN_TIMEOUT=<timeout>
/home/ec2-user/firstrun.sh
";

fn prepare(dir: &Path, log_agent: &str, overlays: &str, live: &str) {
    base::make(Kind::Ext, &dir.join("base.raw"));
    let stock = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays");
    for name in ["docker-disabled", "firstrun"] {
        imgasm_testkit::command::run(
            std::process::Command::new("cp")
                .arg("-a")
                .arg(stock.join(name))
                .arg(dir),
        );
    }
    write(
        dir,
        "instance/overlay.toml",
        &INSTANCE.replace("LOG_AGENT", log_agent),
    );
    let recipe = format!(
        "name = \"instance\"\nbase = {{ file = \"base.raw\" }}\n\
         overlays = [\"instance\", {overlays}]\n\n{live}"
    );
    write(dir, "imgasm.toml", &recipe);
}

fn user_data(dir: &Path, region: &str, proxy: &str, timeout: &str) {
    let text = USER_DATA
        .replace("<region>", region)
        .replace("<proxy>", proxy)
        .replace("<timeout>", timeout);
    write(dir, "user-data", &text);
}

fn check(report: &Value, name: &str) -> Value {
    let results = report["results"].as_array().expect("results");
    let found = results.iter().find(|result| result["check"] == name);
    found.unwrap_or_else(|| panic!("no {name}")).clone()
}

const JOINED: &str = r#"
[[expect.live]]
service = "docker"

[[expect.live]]
service = "ecs"

[[expect.live]]
service = "amazon-cloudwatch-agent"

[[expect.live]]
port = 51678
http = { path = "/v1/metadata", matches = '"Cluster": "web"' }

[[expect.live]]
command = "grep -c 'has joined the cluster web' /var/log/cloud-init-output.log"
stdout = "1"

[[expect.live]]
command = "systemctl show --property=Environment docker containerd | sort -u"
matches = 'HTTPS_PROXY=http://proxy:3128'

[[expect.live]]
command = "systemctl show --property=Environment --value containerd"
matches = 'HTTPS_PROXY=http://proxy:3128'

[[expect.live]]
command = "cat /etc/ecs/ecs.config"
stdout = "ECS_CLUSTER=web\nHTTPS_PROXY=http://proxy:3128\nNO_PROXY=169.254.169.254,169.254.170.2,/var/run/docker.sock"

[[expect.live]]
command = "grep https_proxy /opt/aws/amazon-cloudwatch-agent/etc/common-config.toml"
matches = 'https_proxy = "http://proxy:3128"'

# The region is the instance's own, by a session token.
[[expect.live]]
command = "jq -r '.agent.region, (.logs.logs_collected.files.collect_list | length)' /opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json"
stdout = "eu-west-1\n6"

[[expect.live]]
command = "test -s /var/log/messages && systemctl is-enabled ecs docker"
stdout = "enabled\nenabled"
"#;

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn the_agent_joins() {
    let folder = tempfile::tempdir().expect("a folder for the images");
    let dir = folder.path();
    let overlays = "\"docker-disabled\", \"firstrun\"";
    prepare(dir, "amazon-cloudwatch-agent", overlays, JOINED);
    user_data(dir, "", "http://proxy:3128", "300");
    let (report, status) = boot(dir, &["--user-data", "user-data", "--region", "eu-west-1"]);
    assert_eq!(amiss(&report), [""; 0]);
    assert_eq!(status, Some(0));
}

/// Without `docker-disabled`'s help the script frees the agent's unit itself; in another cluster it
/// gives up when its time is over, and cloud-init ends.
#[test]
#[ignore = "it takes minutes: make test-boot"]
fn another_cluster_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder for the images");
    let dir = folder.path();
    let live = "[[expect.live]]\nservice = \"ecs\"\n\n[[expect.live]]\n\
                command = \"tail -n 60 /var/log/cloud-init-output.log\"\n\
                matches = 'has not joined the cluster web within 60 seconds'\n";
    prepare(dir, "awslogsd", "\"firstrun\"", live);
    write(
        dir,
        "instance/files/etc/systemd/system/ecs.service.d/cluster.conf",
        "[Service]\nEnvironment=AGENT_CLUSTER=other\n",
    );
    user_data(dir, "us-east-1", "", "60");
    let (report, status) = boot(dir, &["--user-data", "user-data"]);
    assert_eq!(status, Some(1));
    assert_eq!(check(&report, "service ecs is active")["status"], "passed");
    let told = check(
        &report,
        "command \"tail -n 60 /var/log/cloud-init-output.log\"",
    );
    assert_eq!(told["status"], "passed", "{told}");
    // cloud-init says so, and the unit that ran the script.
    assert_eq!(check(&report, "cloud-init is done")["status"], "failed");
}

/// Shows that the tests above can fail: the script that was written for Amazon Linux 1 and 2, on an
/// image whose agent waits for cloud-init to end, waits until its own bound for an agent that cannot
/// start.
#[test]
#[ignore = "it takes minutes: make test-boot"]
fn the_script_for_older_images_waits_in_vain() {
    let folder = tempfile::tempdir().expect("a folder for the images");
    let dir = folder.path();
    let live = "[[expect.live]]\n\
                command = \"tail -n 60 /var/log/cloud-init-output.log\"\n\
                matches = 'has not joined the cluster web within 90 seconds'\n";
    prepare(dir, "awslogsd", "\"firstrun\"", live);
    let old = std::fs::read_to_string(dir.join("firstrun/firstrun.sh")).expect("it is there");
    write(dir, "firstrun/firstrun-systemd.sh", &old);
    user_data(dir, "us-east-1", "", "90");
    let (report, status) = boot(dir, &["--user-data", "user-data"]);
    assert_eq!(status, Some(1));
    let told = check(
        &report,
        "command \"tail -n 60 /var/log/cloud-init-output.log\"",
    );
    assert_eq!(told["status"], "passed", "{told}");
    assert_eq!(check(&report, "cloud-init is done")["status"], "failed");
}
