//! Whether the import service's role and the keys can be used, as far as the caller may see that:
//! found before a byte is sent, and not an hour later by the import service.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::connect::Aws;
use super::plain::{self, Answer};
use crate::trust::{Trust, trust};
use crate::{Error, Result};

/// The first alias of the account.
pub(super) async fn alias(aws: &Aws) -> Option<String> {
    let answer = plain::iam(aws, &[("Action", "ListAccountAliases")]).await?;
    let alias = answer.element("member")?;
    Some(alias.to_owned())
}

/// Looks whether the import service can take a role.
pub(super) async fn check_role(aws: &Aws, role: &str) -> Result<()> {
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
    let Some(document) = document(&answer) else {
        return Ok(());
    };
    match trust(&document) {
        Trust::Service => Ok(()),
        Trust::OtherId(id) => Err(wrong(format!(
            "it trusts vmie.amazonaws.com with the external id {id:?}, not \"vmimport\""
        ))),
        Trust::Others => Err(wrong("it does not trust vmie.amazonaws.com".to_owned())),
    }
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
