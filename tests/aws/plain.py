"""IAM and KMS, as far as an import asks them: the account's alias, the role's trust, a key's state."""

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
    return f"<Role><RoleName>{name}</RoleName>" f"<AssumeRolePolicyDocument>{trust}</AssumeRolePolicyDocument></Role>"


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
