"""Identity-based policies, as IAM evaluates those that imgasm prints (IAM user guide, "Policy
evaluation logic"): what no statement allows is refused."""

from fnmatch import fnmatchcase

import state
from moto.ec2.models import ec2_backends

#: What S3's requests need, where that is not their own name; the bucket's own have its ARN.
S3_ACTIONS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "HeadObject": "s3:GetObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "ListParts": "s3:ListMultipartUploadParts",
}

#: The one resource of the requests whose conditions are about its tags.
RESOURCES = {
    "DeleteSnapshot": "SnapshotId",
    "DeregisterImage": "ImageId",
    "CancelImportTask": "ImportTaskId",
}


def needs(service, operation, region, parameters):
    """The actions and resources that a request needs."""
    if service == "s3":
        path = parameters["path"].strip("/")
        action = S3_ACTIONS.get(operation, f"s3:{operation}")
        if operation == "DeleteObject" and "versionId" in parameters:
            action = "s3:DeleteObjectVersion"
        yield action, f"arn:aws:s3:::{path}"
    elif service == "ebs":
        snapshot = parameters.get("SnapshotId", "new")
        yield f"ebs:{operation}", f"arn:aws:ec2:{region}::snapshot/{snapshot}"
    elif service == "ssm":
        name = parameters["Name"].lstrip("/")
        account = "" if name.startswith("aws/") else state.ACCOUNT
        yield f"ssm:{operation}", f"arn:aws:ssm:{region}:{account}:parameter/{name}"
    elif service == "iam":
        role = parameters.get("RoleName")
        arn = f"arn:aws:iam::{state.ACCOUNT}:role/{role}" if role else "*"
        yield f"iam:{operation}", parameters.get("PolicySourceArn", arn)
    elif service == "kms":
        key = parameters["KeyId"]
        arn = key if key.startswith("arn:") else f"arn:aws:kms:{region}:{state.ACCOUNT}:key/{key}"
        yield f"kms:{operation}", arn
    else:
        yield f"{service}:{operation}", "*"
        if parameters.get("TagSpecifications"):
            yield "ec2:CreateTags", "*"


def holds(condition, tags):
    for operator, keys in condition.items():
        for key, value in keys.items():
            if operator != "Null" or not key.startswith("aws:ResourceTag/"):
                raise ValueError(f"{operator} {key}: not known here")
            if (key.removeprefix("aws:ResourceTag/") not in tags) != (value == "true"):
                return False
    return True


def refused(policy, service, operation, region, parameters):
    """The action that a policy does not allow of a request; `None` if it allows all of it."""
    if service == "sts":
        return None
    resource = parameters.get(RESOURCES.get(operation), "")
    tags = ec2_backends[state.ACCOUNT][region].tags.get(resource, {})
    for action, arn in needs(service, operation, region, parameters):
        for statement in policy["Statement"]:
            if (
                any(fnmatchcase(action, one) for one in statement["Action"])
                and any(fnmatchcase(arn, one) for one in statement["Resource"])
                and holds(statement.get("Condition", {}), tags)
            ):
                break
        else:
            return f"{action} on {arn}"
    return None
