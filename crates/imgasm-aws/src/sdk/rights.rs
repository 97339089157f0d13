//! Whether the import service's role and the keys can be used, as far as the caller may see that:
//! found before a byte is sent, and not an hour later by the import service.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::connect::Aws;
use super::plain::{self, Answer};
use crate::plan::{Plan, S3};
use crate::policy::partition;
use crate::report::Report;
use crate::trust::{Trust, trust};
use crate::{Error, Result};

/// The first alias of the account.
pub(super) async fn alias(aws: &Aws) -> Option<String> {
    let answer = plain::iam(aws, &[("Action", "ListAccountAliases")]).await?;
    let alias = answer.element("member")?;
    Some(alias.to_owned())
}

/// Looks whether the import service can take a role, and may do with it what it has to.
pub(super) async fn check_role(aws: &Aws, plan: &Plan, s3: &S3, report: &dyn Report) -> Result<()> {
    let role = s3.role.as_str();
    let asked = plain::iam(aws, &[("Action", "GetRole"), ("RoleName", role)]).await;
    let Some(answer) = asked else { return Ok(()) };
    let wrong = |message: String| Error::Role {
        role: role.to_owned(),
        problem: message,
    };
    if !answer.is_success() {
        // Whoever may not look has to believe that it is right.
        return match answer.element("Code") {
            Some("NoSuchEntity") => Err(wrong("it does not exist".to_owned())),
            _ => Ok(()),
        };
    }
    match document(&answer).as_ref().map(trust) {
        Some(Trust::OtherId(id)) => {
            return Err(wrong(format!(
                "it trusts vmie.amazonaws.com with the external id {id:?}, not \"vmimport\""
            )));
        }
        Some(Trust::Others) => {
            return Err(wrong("it does not trust vmie.amazonaws.com".to_owned()));
        }
        Some(Trust::Service) | None => {}
    }
    let Some(arn) = answer.element("Arn") else {
        return Ok(());
    };
    let mut lacking = Vec::new();
    for (actions, resource) in needs_of_role(plan, s3, partition(Some(&aws.region))) {
        for (action, decision) in simulate(aws, arn, actions, &resource).await {
            let what = format!("{action} on {resource}");
            if decision == "explicitDeny" {
                return Err(wrong(format!("a policy denies it {what}")));
            }
            if decision == "implicitDeny" {
                lacking.push(what);
            }
        }
    }
    if !lacking.is_empty() {
        report.warning(&format!(
            "the policies of the role {role} do not allow it {}: unless a policy of the bucket does, the import \
             will fail; `import --dry-run` prints the policy that it needs",
            lacking.join(", ")
        ));
    }
    Ok(())
}

/// What the role has to be allowed: of [`role_policy`](crate::policy::role_policy), what can be asked
/// about, which are actions and resources without patterns.
fn needs_of_role(plan: &Plan, s3: &S3, partition: &str) -> Vec<(&'static [&'static str], String)> {
    let bucket = format!("arn:{partition}:s3:::{}", s3.bucket);
    let disks = plan.disks.iter();
    let objects = disks.map(|disk| format!("{bucket}/{}", plan.key(disk, s3.format)));
    let mut needs: Vec<(&'static [&'static str], String)> = objects
        .map(|object| (&["s3:GetObject"][..], object))
        .collect();
    needs.push((&["s3:GetBucketLocation", "s3:ListBucket"], bucket));
    needs.push((
        &["ec2:CopySnapshot", "ec2:ModifySnapshotAttribute"],
        "*".to_owned(),
    ));
    needs
}

/// Asks IAM whether the policies of a role allow actions on a resource: each action with the decision.
/// Nothing if the caller may not ask.
async fn simulate(
    aws: &Aws,
    role: &str,
    actions: &[&str],
    resource: &str,
) -> Vec<(String, String)> {
    let names: Vec<String> = (1..=actions.len())
        .map(|number| format!("ActionNames.member.{number}"))
        .collect();
    let mut form = vec![
        ("Action", "SimulatePrincipalPolicy"),
        ("PolicySourceArn", role),
        ("ResourceArns.member.1", resource),
    ];
    form.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(actions.iter().copied()),
    );
    let answer = plain::iam(aws, &form).await.filter(Answer::is_success);
    let Some(answer) = answer else {
        return Vec::new();
    };
    let of_actions = answer.elements("EvalActionName");
    let results = of_actions.zip(answer.elements("EvalDecision"));
    results
        .map(|(action, decision)| (action.to_owned(), decision.to_owned()))
        .collect()
}

/// The trust policy of a role, which IAM gives as an encoded text.
fn document(answer: &Answer) -> Option<Value> {
    let encoded = answer.element("AssumeRolePolicyDocument")?;
    let text = percent_decode_str(encoded).decode_utf8().ok()?;
    serde_json::from_str(&text).ok()
}

/// Looks whether a key can be used in the region of `aws`.
pub(super) async fn check_key(aws: &Aws, key: &str) -> Result<()> {
    let body = json!({ "KeyId": key }).to_string();
    let Some(answer) = plain::kms(aws, "DescribeKey", body).await else {
        return Ok(());
    };
    let Ok(found) = serde_json::from_str::<Value>(&answer.text) else {
        return Ok(());
    };
    let region = &aws.region;
    let failed = |code: &str, message: String| Error::Service {
        doing: format!("use the key {key} in {region}"),
        code: Some(code.to_owned()),
        message,
    };
    if !answer.is_success() {
        let kind = found["__type"].as_str().unwrap_or_default();
        return match kind.rsplit('#').next() {
            Some("NotFoundException") => {
                Err(failed("KMSNotFound", "there is no such key".to_owned()))
            }
            _ => Ok(()),
        };
    }
    match found["KeyMetadata"]["KeyState"].as_str() {
        Some("Enabled") | None => Ok(()),
        Some(state) => Err(failed(
            "KMSInvalidStateException",
            format!("its state is {state}, an invalid state for it"),
        )),
    }
}
