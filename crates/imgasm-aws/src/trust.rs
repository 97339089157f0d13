//! Whom the trust policy of a role trusts.

use serde_json::Value;

/// The service that imports disks.
const SERVICE: &str = "vmie.";

/// What the import service calls itself by (VM Import/Export user guide, "Required service role").
const EXTERNAL_ID: &str = "vmimport";

/// Whether a role can be taken by the import service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It can.
    Service,
    /// Only with another external id than it has.
    OtherId(String),
    /// It cannot.
    Others,
}

/// Reads a trust policy (IAM user guide, "Grammar of the IAM JSON policy language"). What in it is not
/// understood counts for the role: AWS itself decides in the end.
pub fn trust(document: &Value) -> Trust {
    let mut found = Trust::Others;
    for statement in all(&document["Statement"]) {
        if statement["Effect"] != "Allow" || !names(&statement["Action"], is_action) {
            continue;
        }
        let principal = &statement["Principal"];
        let is_service = |name: &str| name == "*" || name.starts_with(SERVICE);
        if !names(principal, |name| name == "*") && !names(&principal["Service"], is_service) {
            continue;
        }
        match external_id(&statement["Condition"]) {
            Some(other) => found = Trust::OtherId(other),
            None => return Trust::Service,
        }
    }
    found
}

fn is_action(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('*') || name == "sts:assumerole"
}

/// The external id that a condition asks for, if it is not the import service's.
fn external_id(condition: &Value) -> Option<String> {
    let wanted = condition["StringEquals"].as_object()?;
    let (_, ids) = wanted
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("sts:ExternalId"))?;
    if names(ids, |id| id == EXTERNAL_ID) {
        return None;
    }
    let first = all(ids).first().and_then(|id| id.as_str());
    Some(first.unwrap_or_default().to_owned())
}

/// A value, or those of a list.
fn all(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn names(value: &Value, is_it: impl Fn(&str) -> bool) -> bool {
    let mut texts = all(value).into_iter().filter_map(Value::as_str);
    texts.any(is_it)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whom_a_role_trusts() {
        let ours = crate::policy::trust_policy();
        let of = |statement: Value| json!({"Version": "2012-10-17", "Statement": statement});
        let service = |service: Value, condition: Value| {
            of(json!({"Effect": "Allow", "Principal": {"Service": service},
                      "Action": ["sts:AssumeRole"], "Condition": condition}))
        };
        for (document, expected) in [
            (ours, Trust::Service),
            (
                service(
                    json!(["ec2.amazonaws.com", "vmie.amazonaws.com"]),
                    Value::Null,
                ),
                Trust::Service,
            ),
            (
                service(
                    json!("vmie.amazonaws.com"),
                    json!({"StringEquals": {"sts:ExternalId": ["other"]}}),
                ),
                Trust::OtherId("other".to_owned()),
            ),
            (
                service(json!("ec2.amazonaws.com"), Value::Null),
                Trust::Others,
            ),
            (
                of(json!([{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}])),
                Trust::Others,
            ),
            (
                of(json!([{"Effect": "Allow", "Principal": "*", "Action": "sts:*"}])),
                Trust::Service,
            ),
            (json!({}), Trust::Others),
        ] {
            assert_eq!(trust(&document), expected, "{document}");
        }
    }
}
