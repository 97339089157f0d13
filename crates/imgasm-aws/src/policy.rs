//! The IAM policies that a run needs.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::plan::{Plan, Via};

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
}

fn allow(sid: &'static str, action: Vec<&'static str>, resource: Vec<String>) -> Statement {
    Statement {
        sid,
        effect: "Allow",
        action,
        resource,
    }
}

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

/// What the caller of a plan must be allowed. The import service's role needs a policy of its own;
/// see [`role_policy`] and [`trust_policy`].
pub fn policy(plan: &Plan, partition: &str) -> Policy {
    let everything = || vec!["*".to_owned()];
    let mut ec2 = vec![
        "ec2:CreateTags",
        "ec2:DeleteSnapshot",
        "ec2:DeregisterImage",
        "ec2:DescribeImageAttribute",
        "ec2:DescribeImages",
        "ec2:DescribeSnapshots",
        "ec2:RegisterImage",
    ];
    let mut statement = Vec::new();
    match &plan.via {
        Via::S3(s3) => {
            ec2.extend([
                "ec2:CancelImportTask",
                "ec2:DescribeImportSnapshotTasks",
                "ec2:ImportSnapshot",
            ]);
            let bucket = format!("arn:{partition}:s3:::{}", s3.bucket);
            statement.push(allow(
                "Bucket",
                vec!["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                vec![bucket.clone()],
            ));
            statement.push(allow(
                "Objects",
                vec![
                    "s3:AbortMultipartUpload",
                    "s3:DeleteObject",
                    "s3:DeleteObjectVersion",
                    "s3:GetObject",
                    "s3:ListMultipartUploadParts",
                    "s3:PutObject",
                ],
                vec![format!("{bucket}/{}*", crate::plan::KEY_PREFIX)],
            ));
        }
        Via::Ebs => {
            ec2.push("ec2:GetEbsEncryptionByDefault");
            statement.push(allow(
                "Blocks",
                vec![
                    "ebs:CompleteSnapshot",
                    "ebs:PutSnapshotBlock",
                    "ebs:StartSnapshot",
                ],
                vec![format!("arn:{partition}:ec2:*::snapshot/*")],
            ));
        }
    }
    let ami = &plan.ami;
    let others = [
        (!ami.ami_regions.is_empty(), "ec2:CopyImage"),
        (plan.permits_others(), "ec2:ModifyImageAttribute"),
        (ami.deprecate_at.is_some(), "ec2:EnableImageDeprecation"),
        (
            ami.deregistration_protection.enabled,
            "ec2:EnableImageDeregistrationProtection",
        ),
    ];
    ec2.extend(
        others
            .iter()
            .filter(|(is_needed, _)| *is_needed)
            .map(|(_, action)| *action),
    );
    ec2.sort_unstable();
    ec2.dedup();
    statement.insert(0, allow("Images", ec2, everything()));
    if let Some(name) = &plan.ami.ssm_parameter {
        let name = name.as_str().trim_start_matches('/');
        statement.push(allow(
            "Parameter",
            vec!["ssm:PutParameter"],
            vec![format!("arn:{partition}:ssm:*:*:parameter/{name}")],
        ));
    }
    let keys = plan.keys();
    if !keys.is_empty() {
        statement.push(allow(
            "Keys",
            vec![
                "kms:CreateGrant",
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ],
            by_arn(keys),
        ));
    }
    Policy {
        version: "2012-10-17",
        statement,
    }
}

/// Keys as resources. A key may be named by its id or alias, which no policy takes for a resource.
fn by_arn(keys: BTreeSet<String>) -> Vec<String> {
    let keys = keys.into_iter().map(|key| {
        if key.starts_with("arn:") {
            key
        } else {
            "*".to_owned()
        }
    });
    keys.collect::<BTreeSet<String>>().into_iter().collect()
}

/// What the role of the import service must be allowed (VM Import/Export user guide, "Required
/// service role").
pub fn role_policy(plan: &Plan, bucket: &str, partition: &str) -> Policy {
    let bucket = format!("arn:{partition}:s3:::{bucket}");
    let mut statement = vec![
        allow(
            "Disk",
            vec!["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"],
            vec![bucket.clone(), format!("{bucket}/*")],
        ),
        allow(
            "Snapshots",
            vec![
                "ec2:CopySnapshot",
                "ec2:Describe*",
                "ec2:ModifySnapshotAttribute",
                "ec2:RegisterImage",
            ],
            vec!["*".to_owned()],
        ),
    ];
    let keys = plan.disks.iter().filter_map(|disk| disk.kms_key_id.clone());
    let keys: BTreeSet<String> = keys.collect();
    if !keys.is_empty() {
        statement.push(allow(
            "Keys",
            vec![
                "kms:CreateGrant",
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:Encrypt",
                "kms:GenerateDataKey*",
                "kms:ReEncrypt*",
            ],
            by_arn(keys),
        ));
    }
    Policy {
        version: "2012-10-17",
        statement,
    }
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
