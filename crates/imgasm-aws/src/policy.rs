//! The IAM policies that a run needs.
//!
//! That of an import follows from the list of its requests. What is only there to be taken away again
//! may be taken away if it has imgasm's tag ([`crate::tags::NAME`]), and nothing else may.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::plan::steps::Situation;
use crate::plan::{KEY_PREFIX, Plan, Via};
use crate::proof::Proof;
use crate::{Result, tags};

/// A policy document (IAM user guide, "Grammar of the IAM JSON policy language").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    /// The version of the language.
    pub version: &'static str,
    /// What is allowed.
    pub statement: Vec<Statement>,
}

/// What is allowed on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// A name.
    pub sid: &'static str,
    /// `Allow`.
    pub effect: &'static str,
    /// The actions.
    pub action: Vec<&'static str>,
    /// The resources.
    pub resource: Vec<String>,
    /// What must be so, by operator and key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<&'static str, BTreeMap<String, &'static str>>,
}

impl Statement {
    fn allow<'a>(
        sid: &'static str,
        action: impl IntoIterator<Item = &'a &'static str>,
        resource: impl IntoIterator<Item = String>,
    ) -> Self {
        let action: BTreeSet<&'static str> = action.into_iter().copied().collect();
        Self {
            sid,
            effect: "Allow",
            action: action.into_iter().collect(),
            resource: resource.into_iter().collect(),
            condition: BTreeMap::new(),
        }
    }

    fn on_everything<'a>(
        sid: &'static str,
        action: impl IntoIterator<Item = &'a &'static str>,
    ) -> Self {
        Self::allow(sid, action, ["*".to_owned()])
    }

    fn when(mut self, operator: &'static str, key: String, value: &'static str) -> Self {
        self.condition.insert(operator, [(key, value)].into());
        self
    }

    /// Only for what has one of imgasm's tags.
    fn when_tagged(self, tag: &str) -> Self {
        self.when("Null", format!("aws:ResourceTag/{tag}"), "false")
    }
}

/// What the objects of a bucket are read and removed with.
const OBJECTS: [&str; 6] = [
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:ListMultipartUploadParts",
];

/// What a snapshot is read with.
const READ_BLOCKS: [&str; 2] = ["ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks"];

/// What shows who names an AMI that makes room. An import without it warns of nobody.
const WHO_NAMES_IT: [&str; 3] = [
    "ec2:DescribeLaunchTemplateVersions",
    "ssm:DescribeParameters",
    "ssm:GetParameters",
];

/// What takes away what a run has made.
const REMOVE: [&str; 2] = ["ec2:DeleteSnapshot", "ec2:DeregisterImage"];

/// What whoever encrypts with a key must be allowed, but for grants (EBS user guide, "Permissions to
/// use EBS encryption").
const USE_KEY: [&str; 5] = [
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
];

/// The partition that the ARNs of a region's resources are of (AWS General Reference, "Amazon
/// Resource Names").
pub fn partition(region: Option<&str>) -> &'static str {
    match region.unwrap_or_default() {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("us-iso-") => "aws-iso",
        region if region.starts_with("us-isob-") => "aws-iso-b",
        region if region.starts_with("eu-isoe-") => "aws-iso-e",
        region if region.starts_with("us-isof-") => "aws-iso-f",
        region if region.starts_with("eusc-") => "aws-eusc",
        _ => "aws",
    }
}

/// The action that a request of the list needs. Those of S3 have other names than their requests.
fn action(service: &str, operation: &str) -> Option<&'static str> {
    let all = [
        ("ebs", "CompleteSnapshot", "ebs:CompleteSnapshot"),
        ("ebs", "PutSnapshotBlock", "ebs:PutSnapshotBlock"),
        ("ebs", "StartSnapshot", "ebs:StartSnapshot"),
        ("ec2", "CopyImage", "ec2:CopyImage"),
        ("ec2", "CreateTags", "ec2:CreateTags"),
        (
            "ec2",
            "DisableImageDeprecation",
            "ec2:DisableImageDeprecation",
        ),
        (
            "ec2",
            "EnableFastSnapshotRestores",
            "ec2:EnableFastSnapshotRestores",
        ),
        (
            "ec2",
            "EnableImageDeprecation",
            "ec2:EnableImageDeprecation",
        ),
        (
            "ec2",
            "EnableImageDeregistrationProtection",
            "ec2:EnableImageDeregistrationProtection",
        ),
        ("ec2", "ImportSnapshot", "ec2:ImportSnapshot"),
        ("ec2", "ModifyImageAttribute", "ec2:ModifyImageAttribute"),
        (
            "ec2",
            "ModifySnapshotAttribute",
            "ec2:ModifySnapshotAttribute",
        ),
        ("ec2", "RegisterImage", "ec2:RegisterImage"),
        ("s3", "CompleteMultipartUpload", "s3:PutObject"),
        ("s3", "CreateMultipartUpload", "s3:PutObject"),
        ("s3", "UploadPart", "s3:PutObject"),
        ("ssm", "PutParameter", "ssm:PutParameter"),
    ];
    let mut all = all.into_iter();
    let found = all.find(|it| (it.0, it.1) == (service, operation));
    found.map(|(_, _, action)| action)
}

/// What the caller of a plan must be allowed. The import service's role needs a policy of its own;
/// see [`role_policy`] and [`trust_policy`].
pub fn policy(plan: &Plan, situation: &Situation<'_>, proof: Proof) -> Result<Policy> {
    let partition = partition(situation.region);
    let steps = plan.steps(situation)?;
    let sent: BTreeSet<&'static str> = steps
        .iter()
        .filter_map(|step| action(step.request.service, step.request.operation))
        .collect();
    let of = |service: &str| -> Vec<&'static str> {
        let is_of = |action: &str| action.split_once(':').is_some_and(|(it, _)| it == service);
        sent.iter()
            .copied()
            .filter(|action| is_of(action))
            .collect()
    };
    let mut images = of("ec2");
    images.extend([
        "ec2:DescribeImageAttribute",
        "ec2:DescribeImages",
        "ec2:DescribeSnapshots",
        "ec2:GetEbsEncryptionByDefault",
        // By these an import is marked as imgasm's own.
        "ec2:CreateTags",
    ]);
    if !plan.volume_permissions().is_empty() {
        images.push("ec2:DescribeSnapshotAttribute");
    }
    if situation.replaces {
        // What comes back has its permissions again.
        images.extend(["ec2:EnableImageDeprecation", "ec2:ModifyImageAttribute"]);
    }
    if matches!(plan.via, Via::S3(_)) {
        images.push("ec2:DescribeImportSnapshotTasks");
    }
    let mut statement = vec![Statement::on_everything("Images", &images)];
    let mut remove = REMOVE.to_vec();
    if matches!(plan.via, Via::S3(_)) {
        remove.push("ec2:CancelImportTask");
    }
    statement.push(Statement::on_everything("Remove", &remove).when_tagged(tags::NAME));
    if situation.replaces {
        // Whoever has made it.
        let goes = if plan.ami.force_delete_snapshot {
            &REMOVE[..]
        } else {
            &REMOVE[1..]
        };
        statement.push(Statement::on_everything("Replace", goes));
        statement.push(Statement::on_everything("WhoNamesIt", &WHO_NAMES_IT));
    }
    let mut blocks = of("ebs");
    if proof != Proof::Off {
        blocks.extend(READ_BLOCKS);
    }
    if !blocks.is_empty() {
        statement.push(Statement::allow("Blocks", &blocks, [snapshots(partition)]));
    }
    if let Via::S3(s3) = &plan.via {
        let mut objects = OBJECTS.to_vec();
        objects.push("s3:PutObject");
        statement.extend(in_bucket(&s3.bucket, partition, &objects));
        let role = format!("arn:{partition}:iam::*:role/{}", s3.role);
        let look = ["iam:GetRole", "iam:SimulatePrincipalPolicy"];
        statement.push(Statement::allow("Role", &look, [role]));
    }
    statement.push(Statement::on_everything(
        "Account",
        &["iam:ListAccountAliases"],
    ));
    if let Some(name) = &plan.ami.ssm_parameter {
        let name = name.as_str().trim_start_matches('/');
        let parameter = format!("arn:{partition}:ssm:*:*:parameter/{name}");
        statement.push(Statement::allow("Parameter", &of("ssm"), [parameter]));
    }
    statement.extend(keys(plan.keys(), &USE_KEY));
    Ok(document(statement))
}

/// What the caller of a clean-up must be allowed: in these buckets, and old AMIs too if `old` is so.
pub fn gc_policy(partition: &str, buckets: &[String], old: bool) -> Policy {
    let mut statement = vec![
        Statement::on_everything(
            "Look",
            &[
                "ec2:DescribeImages",
                "ec2:DescribeImportSnapshotTasks",
                "ec2:DescribeSnapshots",
            ],
        ),
        Statement::on_everything("Remove", &["ec2:CancelImportTask", "ec2:DeleteSnapshot"])
            .when_tagged(tags::NAME),
        Statement::on_everything("Mark", &["ec2:CreateTags"]),
        Statement::on_everything("RemoveCopies", &REMOVE).when_tagged(tags::PULLED),
    ];
    if old {
        let old = Statement::on_everything("RemoveOld", &REMOVE[1..]);
        statement.push(old.when_tagged(tags::NAME));
    }
    for bucket in buckets {
        statement.extend(in_bucket(bucket, partition, &OBJECTS));
    }
    document(statement)
}

/// What the caller of a pull must be allowed.
pub fn pull_policy(partition: &str) -> Policy {
    document(vec![
        Statement::on_everything(
            "Look",
            &[
                "ec2:CopyImage",
                "ec2:CreateTags",
                "ec2:DescribeImages",
                "ec2:DescribeSnapshots",
            ],
        ),
        Statement::on_everything("RemoveCopies", &REMOVE).when_tagged(tags::PULLED),
        Statement::allow("Blocks", &READ_BLOCKS, [snapshots(partition)]),
        Statement::allow(
            "Parameter",
            &["ssm:GetParameter"],
            [
                format!("arn:{partition}:ssm:*:*:parameter/*"),
                format!("arn:{partition}:ssm:*::parameter/aws/service/*"),
            ],
        ),
    ])
}

fn document(statement: Vec<Statement>) -> Policy {
    Policy {
        version: "2012-10-17",
        statement,
    }
}

fn snapshots(partition: &str) -> String {
    format!("arn:{partition}:ec2:*::snapshot/*")
}

fn in_bucket(bucket: &str, partition: &str, objects: &[&'static str]) -> [Statement; 2] {
    let bucket = format!("arn:{partition}:s3:::{bucket}");
    let inside = format!("{bucket}/{KEY_PREFIX}*");
    [
        Statement::allow(
            "Bucket",
            &["s3:ListBucket", "s3:ListBucketMultipartUploads"],
            [bucket],
        ),
        Statement::allow("Objects", objects, [inside]),
    ]
}

/// The use of keys; nothing where there are none.
fn keys(all: BTreeSet<String>, actions: &[&'static str]) -> Vec<Statement> {
    if all.is_empty() {
        return Vec::new();
    }
    // A key may be named by its id or alias, which no policy takes for a resource.
    let by_arn = |key: String| {
        if key.starts_with("arn:") && key.contains(":key/") {
            key
        } else {
            "*".to_owned()
        }
    };
    let all: BTreeSet<String> = all.into_iter().map(by_arn).collect();
    vec![
        Statement::allow("Keys", actions, all.clone()),
        Statement::allow("Grants", &["kms:CreateGrant"], all).when(
            "Bool",
            "kms:GrantIsForAWSResource".to_owned(),
            "true",
        ),
    ]
}

/// What the role of the import service must be allowed (VM Import/Export user guide, "Required
/// service role").
pub fn role_policy(plan: &Plan, bucket: &str, partition: &str) -> Policy {
    let bucket = format!("arn:{partition}:s3:::{bucket}");
    let mut statement = vec![
        Statement::allow(
            "Disk",
            &["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"],
            [bucket.clone(), format!("{bucket}/*")],
        ),
        Statement::on_everything(
            "Snapshots",
            &[
                "ec2:CopySnapshot",
                "ec2:Describe*",
                "ec2:ModifySnapshotAttribute",
                "ec2:RegisterImage",
            ],
        ),
    ];
    let disks = plan.disks.iter().filter_map(|disk| disk.kms_key_id.clone());
    let all: BTreeSet<String> = disks.chain(plan.ami.s3_kms_key_id.clone()).collect();
    let actions = [
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey*",
        "kms:ReEncrypt*",
    ];
    statement.extend(keys(all, &actions));
    document(statement)
}

/// Who may take the role: the import service (the same place of the guide).
pub fn trust_policy() -> serde_json::Value {
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "vmie.amazonaws.com" },
            "Action": "sts:AssumeRole",
            "Condition": { "StringEquals": { "sts:Externalid": "vmimport" } },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions() {
        for (region, expected) in [
            (None, "aws"),
            (Some("eu-central-1"), "aws"),
            (Some("cn-north-1"), "aws-cn"),
            (Some("us-gov-west-1"), "aws-us-gov"),
        ] {
            assert_eq!(partition(region), expected, "{region:?}");
        }
    }
}
