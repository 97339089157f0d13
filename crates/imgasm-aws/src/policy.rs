//! The IAM policy that a run needs.

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

/// What the caller of a plan must be allowed. The import service's role needs `s3:GetObject` and
/// `s3:GetBucketLocation` on the bucket besides; see [`role_policy`].
pub fn policy(plan: &Plan) -> Policy {
    let everything = || vec!["*".to_owned()];
    let mut ec2 = vec![
        "ec2:CreateTags",
        "ec2:DeleteSnapshot",
        "ec2:DeregisterImage",
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
            let bucket = format!("arn:aws:s3:::{}", s3.bucket);
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
                vec!["arn:aws:ec2:*::snapshot/*".to_owned()],
            ));
        }
    }
    for request in plan.after("ami-0") {
        ec2.extend(match request.operation {
            "CopyImage" => Some("ec2:CopyImage"),
            "ModifyImageAttribute" => Some("ec2:ModifyImageAttribute"),
            "EnableImageDeprecation" => Some("ec2:EnableImageDeprecation"),
            "EnableImageDeregistrationProtection" => {
                Some("ec2:EnableImageDeregistrationProtection")
            }
            _ => None,
        });
    }
    ec2.sort_unstable();
    ec2.dedup();
    statement.insert(0, allow("Images", ec2, everything()));
    if let Some(name) = &plan.ami.ssm_parameter {
        let name = name.as_str().trim_start_matches('/');
        statement.push(allow(
            "Parameter",
            vec!["ssm:PutParameter"],
            vec![format!("arn:aws:ssm:*:*:parameter/{name}")],
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
            // A key may be named by its id or alias, which no policy takes for a resource.
            keys.into_iter()
                .map(|key| {
                    if key.starts_with("arn:") {
                        key
                    } else {
                        "*".to_owned()
                    }
                })
                .collect(),
        ));
    }
    Policy {
        version: "2012-10-17",
        statement,
    }
}

/// What the role of the import service must be allowed (VM Import/Export user guide, "Required
/// service role").
pub fn role_policy(bucket: &str) -> Policy {
    let bucket = format!("arn:aws:s3:::{bucket}");
    Policy {
        version: "2012-10-17",
        statement: vec![
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
        ],
    }
}
