"""IAM and KMS, as far as an import asks them: the account's alias, the role's trust and rights, a key's state."""

import json
from urllib.parse import quote

import state

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "vmie.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}},
        }
    ],
}


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


def get_role(parameters):
    name = parameters["RoleName"]
    if name not in state.SETTINGS["roles"]:
        raise Refused(404, "NoSuchEntity", f"The role with name {name} cannot be found.")
    trust = quote(json.dumps(state.SETTINGS["trust"] or TRUST))
    return (
        f"<Role><RoleName>{name}</RoleName><Arn>arn:aws:iam::{state.ACCOUNT}:role/{name}</Arn>"
        f"<AssumeRolePolicyDocument>{trust}</AssumeRolePolicyDocument></Role>"
    )


def members(parameters, name):
    """A list of the query protocol."""
    count = sum(key.startswith(f"{name}.member.") for key in parameters)
    return [parameters[f"{name}.member.{i + 1}"] for i in range(count)]


def simulate_principal_policy(parameters):
    """A result for each action, with those of each resource in it (IAM API reference,
    SimulatePrincipalPolicy and EvaluationResult)."""
    if not parameters["PolicySourceArn"].startswith("arn:"):
        raise Refused(400, "InvalidInput", "PolicySourceArn is not an ARN")
    if any("*" in action for action in members(parameters, "ActionNames")):
        raise Refused(400, "InvalidInput", "ActionNames must be whole")
    decisions = state.SETTINGS["decisions"]
    results = ""
    for action in members(parameters, "ActionNames"):
        decision = decisions.get(action, "allowed")
        resources = members(parameters, "ResourceArns")
        each = "".join(
            f"<member><EvalResourceName>{resource}</EvalResourceName>"
            f"<EvalResourceDecision>{decision}</EvalResourceDecision></member>"
            for resource in resources
        )
        results += (
            f"<member><ResourceSpecificResults>{each}</ResourceSpecificResults><MatchedStatements/>"
            f"<EvalActionName>{action}</EvalActionName><EvalResourceName>{resources[0]}</EvalResourceName>"
            f"<EvalDecision>{decision}</EvalDecision></member>"
        )
    return f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"


def list_account_aliases(_parameters):
    aliases = "".join(f"<member>{alias}</member>" for alias in state.SETTINGS["aliases"])
    return f"<AccountAliases>{aliases}</AccountAliases><IsTruncated>false</IsTruncated>"


def describe_key(parameters):
    key = parameters["KeyId"]
    found = state.SETTINGS["keys"].get(key, "Enabled")
    if found == "missing":
        raise Refused(400, "NotFoundException", f"Key '{key}' does not exist")
    return {"KeyMetadata": {"KeyId": key, "KeyState": found, "Enabled": found == "Enabled"}}


OPERATIONS = {
    "GetRole": get_role,
    "SimulatePrincipalPolicy": simulate_principal_policy,
    "ListAccountAliases": list_account_aliases,
    "DescribeKey": describe_key,
}


def answer(service, operation, parameters):
    """The status, headers and body of an answer."""
    result = OPERATIONS[operation](parameters)
    if service == "kms":
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(result)
    result = f"<{operation}Result>{result}</{operation}Result>"
    return 200, {"Content-Type": "text/xml"}, f"<{operation}Response>{result}</{operation}Response>"
