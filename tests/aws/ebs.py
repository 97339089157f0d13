"""EBS direct, as its API reference has it: what moto takes on trust is checked here."""

import base64
import hashlib
import json
import re

import state
from moto.ebs.responses import EBSResponse
from moto.ec2.models import ec2_backends

STARTED = {}


class Refused(Exception):
    def __init__(self, code, message, status=400):
        super().__init__(message)
        self.code, self.status = code, status


def snapshots(region):
    return ec2_backends[state.ACCOUNT][region].snapshots


def new_snapshot(region, gib, description, tags, encrypted=False, owner=state.ACCOUNT):
    """A snapshot in moto, without the volume that moto makes it of."""
    backend = ec2_backends[state.ACCOUNT][region]
    volume = backend.create_volume(size=gib, zone_name=f"{region}a")
    snapshot = backend.create_snapshot(volume.id, description, owner_id=owner)
    backend.delete_volume(volume.id)
    snapshot.add_tags(tags)
    snapshot.encrypted = encrypted
    snapshot.key = None
    snapshot.permissions = []
    snapshot.zones = []
    snapshot.polls = state.SETTINGS["polls"]
    snapshot.unknown = state.SETTINGS["unknown"]
    state.BLOCKS[region, snapshot.id] = {}
    return snapshot


def is_unknown(snapshot):
    """Whether a snapshot is too new for EC2 to know of it everywhere."""
    snapshot.unknown -= 1
    return snapshot.unknown >= 0


def own(response, snapshot_id):
    found = snapshots(response.region).get(snapshot_id)
    if found is None or is_unknown(found):
        raise Refused("ResourceNotFoundException", f"The snapshot {snapshot_id} does not exist", 404)
    if found.owner_id != state.ACCOUNT:
        raise Refused("AccessDeniedException", "The snapshot is another account's", 403)
    return found


def handler(method):
    def handle(self):
        try:
            with state.LOCK:
                return method(self)
        except Refused as refused:
            body = json.dumps({"Message": str(refused), "Reason": "INVALID_PARAMETER_VALUE"})
            return refused.status, {"x-amzn-ErrorType": refused.code, "status": refused.status}, body

    return handle


def start_snapshot(self):
    params = json.loads(self.body)
    token = (self.region, params["ClientToken"])
    if token in STARTED:
        before, answer = STARTED[token]
        if before != params:
            raise Refused("ConflictException", "The token belongs to another request", 409)
        return answer
    encrypted = params.get("Encrypted", False) or state.SETTINGS["encryption_by_default"]
    parent = params.get("ParentSnapshotId")
    key = params.get("KmsKeyArn")
    if key and not params.get("Encrypted"):
        raise Refused("ValidationException", "KmsKeyArn needs Encrypted")
    if key and not re.fullmatch(r"arn:aws[a-z-]*:kms:.*:[0-9]{12}:key/.*", key):
        raise Refused("ValidationException", f"{key} is no ARN of a key")
    if parent:
        if "Encrypted" in params or "KmsKeyArn" in params:
            raise Refused("ValidationException", "Encrypted and ParentSnapshotId exclude each other")
        found = own(self, parent)
        if state.SETTINGS["encryption_by_default"] and not found.encrypted:
            raise Refused("ValidationException", "The parent is not encrypted, and the account encrypts")
        if found.volume_size > params["VolumeSize"]:
            raise Refused("ValidationException", "The parent is larger")
        encrypted = found.encrypted
    tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", [])}
    snapshot = new_snapshot(
        self.region, params["VolumeSize"], params.get("Description", ""), tags, encrypted
    )
    snapshot.key = key
    snapshot.status = "pending"
    snapshot.completing = False
    snapshot.put = set()
    if parent:
        state.BLOCKS[self.region, snapshot.id] = dict(state.BLOCKS[self.region, parent])
    answer = json.dumps(
        {
            "SnapshotId": snapshot.id,
            "OwnerId": state.ACCOUNT,
            "Status": "pending",
            "VolumeSize": params["VolumeSize"],
            "BlockSize": state.BLOCK,
        }
    )
    STARTED[token] = params, answer
    return 201, {"status": 201}, answer


def put_snapshot_block(self):
    parts = self.parsed_url.path.split("/")
    snapshot, index = own(self, parts[-3]), int(parts[-1])
    headers = {key.lower(): value for key, value in self.headers.items()}
    data = self.body
    if snapshot.status != "pending" or snapshot.completing:
        raise Refused("ValidationException", f"The snapshot is {snapshot.status}")
    if len(data) != state.BLOCK or int(headers["x-amz-data-length"]) != state.BLOCK:
        raise Refused("ValidationException", f"{len(data)} bytes are no block")
    if not 0 <= index < (snapshot.volume_size << 30) // state.BLOCK:
        raise Refused("ValidationException", f"block {index} lies past the end")
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    if headers["x-amz-checksum"] != checksum or headers["x-amz-checksum-algorithm"] != "SHA256":
        raise Refused("ValidationException", "The checksum does not fit the data")
    state.store(self.region, snapshot.id, index, data)
    snapshot.put.add(index)
    return 201, {"status": 201, "x-amz-Checksum": checksum, "x-amz-Checksum-Algorithm": "SHA256"}, "{}"


def complete_snapshot(self):
    snapshot = own(self, self.parsed_url.path.split("/")[-1])
    headers = {key.lower(): value for key, value in self.headers.items()}
    if int(headers["x-amz-changedblockscount"]) != len(snapshot.put):
        raise Refused("ValidationException", f"{len(snapshot.put)} blocks were put")
    blocks = state.BLOCKS[self.region, snapshot.id]
    digests = b"".join(blocks[index] for index in sorted(snapshot.put))
    checksum = base64.b64encode(hashlib.sha256(digests).digest()).decode()
    if headers["x-amz-checksum"] != checksum:
        raise Refused("ValidationException", "The checksum does not fit the blocks")
    if snapshot.encrypted:
        for index in range((snapshot.volume_size << 30) // state.BLOCK):
            if index not in blocks:
                state.store(self.region, snapshot.id, index, b"\xaa" * state.BLOCK)
    snapshot.completing = True
    return 202, {"status": 202}, json.dumps({"Status": "pending"})


def token_of(snapshot, index):
    return base64.b64encode(hashlib.sha256(f"{snapshot} {index}".encode()).digest()).decode()


def list_snapshot_blocks(self):
    snapshot = own(self, self.path.split("/")[-2])
    query = self._get_params()
    first = int(query.get("pageToken") or 0)
    # Fewer than asked for, so that one page is never all.
    limit = min(int(query.get("maxResults") or 100), 20)
    indices = sorted(index for index in state.BLOCKS[self.region, snapshot.id] if index >= first)
    answer = {
        "Blocks": [
            {"BlockIndex": index, "BlockToken": token_of(snapshot.id, index)}
            for index in indices[:limit]
        ],
        "VolumeSize": snapshot.volume_size,
        "BlockSize": state.BLOCK,
    }
    if len(indices) > limit:
        answer["NextToken"] = str(indices[limit])
    return json.dumps(answer)


def get_snapshot_block(self):
    parts = self.path.split("/")
    snapshot, index = own(self, parts[-3]), int(parts[-1])
    if self._get_params().get("blockToken") != token_of(snapshot.id, index):
        raise Refused("ValidationException", "The token is not that of the block")
    data = state.CONTENT[state.BLOCKS[self.region, snapshot.id][index]]
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = {
        "x-amz-Checksum": checksum,
        "x-amz-Checksum-Algorithm": "SHA256",
        "x-amz-Data-Length": str(len(data)),
    }
    return 200, headers, data


def install():
    for method in (
        start_snapshot,
        put_snapshot_block,
        complete_snapshot,
        list_snapshot_blocks,
        get_snapshot_block,
    ):
        setattr(EBSResponse, method.__name__, handler(method))
