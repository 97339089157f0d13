//! The paths of the metadata service, below its version (EC2 User Guide, "Instance metadata
//! categories" and "Instance identity documents").

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::Instance;

const ACCOUNT: &str = "123456789012";
const ROLE: &str = "imgasm-boot";
const KEY_PAIR: &str = "imgasm-boot";
const HOUR: i64 = 3600;

/// Every path with its content. A path that others continue is a folder, and has a content of its own only if
/// that is not the list of their names.
pub(super) fn paths(instance: &Instance) -> BTreeMap<String, Vec<u8>> {
    let mut tree = BTreeMap::new();
    let mut put = |path: &str, value: &str| {
        tree.insert(path.to_owned(), value.as_bytes().to_vec());
    };
    let region = &instance.region;
    let host = format!("ip-172-31-16-10.{region}.compute.internal");
    for (path, value) in [
        ("ami-id", "ami-0000000000000b007"),
        ("ami-launch-index", "0"),
        ("ami-manifest-path", "(unknown)"),
        ("hostname", &host),
        ("instance-action", "none"),
        ("instance-id", Instance::ID),
        ("instance-life-cycle", "on-demand"),
        ("instance-type", instance.kind()),
        ("local-hostname", &host),
        ("local-ipv4", Instance::ADDRESS),
        ("mac", Instance::MAC),
        ("placement/availability-zone", &format!("{region}a")),
        ("placement/availability-zone-id", "use1-az1"),
        ("placement/region", region),
        ("profile", "default-hvm"),
        ("reservation-id", "r-0000000000000b007"),
        ("security-groups", "default"),
        ("services/domain", "amazonaws.com"),
        ("services/partition", "aws"),
        ("system", "nitro"),
        ("tags/instance/Name", &instance.name),
    ] {
        put(&format!("meta-data/{path}"), value);
    }
    let card = format!("meta-data/network/interfaces/macs/{}", Instance::MAC);
    for (path, value) in [
        ("device-number", "0"),
        ("interface-id", "eni-0000000000000b007"),
        ("local-hostname", &host),
        ("local-ipv4s", Instance::ADDRESS),
        ("mac", Instance::MAC),
        ("owner-id", ACCOUNT),
        ("security-group-ids", "sg-0000000000000b007"),
        ("security-groups", "default"),
        ("subnet-id", "subnet-0000000000000b007"),
        ("subnet-ipv4-cidr-block", "172.31.16.0/20"),
        ("vpc-id", "vpc-0000000000000b007"),
        ("vpc-ipv4-cidr-block", "172.31.0.0/16"),
        ("vpc-ipv4-cidr-blocks", "172.31.0.0/16"),
    ] {
        put(&format!("{card}/{path}"), value);
    }
    for (number, device) in instance.devices.iter().enumerate() {
        let names = match number {
            0 => vec!["ami".to_owned(), "root".to_owned()],
            _ => vec![format!("ebs{number}")],
        };
        for name in names {
            put(&format!("meta-data/block-device-mapping/{name}"), device);
        }
    }
    if let Some(key) = &instance.ssh_key {
        put("meta-data/public-keys", &format!("0={KEY_PAIR}"));
        put("meta-data/public-keys/0/openssh-key", key);
    }
    credentials(instance, &mut put);
    let document = json!({
        "accountId": ACCOUNT,
        "architecture": instance.arch.name(),
        "availabilityZone": format!("{region}a"),
        "billingProducts": null,
        "devpayProductCodes": null,
        "imageId": "ami-0000000000000b007",
        "instanceId": Instance::ID,
        "instanceType": instance.kind(),
        "kernelId": null,
        "marketplaceProductCodes": null,
        "pendingTime": time(instance.now),
        "privateIp": Instance::ADDRESS,
        "ramdiskId": null,
        "region": region,
        "version": "2017-09-30",
    });
    put(
        "dynamic/instance-identity/document",
        &format!("{document:#}"),
    );
    if let Some(data) = &instance.user_data {
        tree.insert("user-data".to_owned(), data.clone());
    }
    tree
}

/// Credentials of a role that look real, but that no service accepts.
fn credentials(instance: &Instance, put: &mut impl FnMut(&str, &str)) {
    let info = json!({
        "Code": "Success",
        "LastUpdated": time(instance.now),
        "InstanceProfileArn": format!("arn:aws:iam::{ACCOUNT}:instance-profile/{ROLE}"),
        "InstanceProfileId": "AIPAIMGASMBOOTNOTREAL",
    });
    put("meta-data/iam/info", &format!("{info:#}"));
    let credentials = json!({
        "Code": "Success",
        "LastUpdated": time(instance.now),
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAIMGASMBOOTNOTREAL",
        "SecretAccessKey": "imgasm-boot/these-credentials-are-not-real",
        "Token": "imgasm-boot/these-credentials-are-not-real",
        "Expiration": time(instance.now.saturating_add(6 * HOUR)),
    });
    put(
        &format!("meta-data/iam/security-credentials/{ROLE}"),
        &format!("{credentials:#}"),
    );
}

fn time(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
