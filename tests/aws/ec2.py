"""EC2's images and imports of snapshots, as its API reference has them: moto has neither."""

import os
import re
import subprocess
import tempfile
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import ebs
import models
import state
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response
from moto.s3.models import s3_backends
from moto.utilities.utils import get_partition

#: region to id to image, as DescribeImages has it.
IMAGES = {}
#: region to id to task.
TASKS = {}
TOKENS = {}
SERIAL = iter(range(1, 1 << 30))

#: What owners are called besides their numbers.
OWNERS = {"self": state.ACCOUNT, "amazon": state.AMAZON}

FORMATS = {"vmdk": "vmdk", "vhd": "vpc", "raw": "raw"}


def error(code, message):
    return EC2ClientError(code, message)


def backend(region):
    return ec2_backends[state.ACCOUNT][region]


def tags(region, resource):
    found = backend(region).tags.get(resource, {})
    return [{"Key": key, "Value": value} for key, value in sorted(found.items())]


def tag(region, resource, params, resource_type):
    for specification in params.get("TagSpecifications", []):
        kind = specification.get("ResourceType")
        if kind == resource_type and specification.get("Tags"):
            pairs = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
            check_tags(pairs)
            backend(region).create_tags([resource], pairs)


def check_tags(pairs):
    if len(pairs) > 50:
        raise error("TagLimitExceeded", "More than 50 tags")
    for key, value in pairs.items():
        if key.lower().startswith("aws:"):
            raise error("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise error("InvalidParameterValue", f"Tag {key} exceeds the maximum length")


def check_description(params):
    if len(params.get("Description", "")) > 255:
        raise error("InvalidParameterValue", "The description exceeds 255 characters")


def pages(params, found):
    """A page of what was found, and where the next begins."""
    first = int(params.get("NextToken") or 0)
    last = first + state.SETTINGS["page"]
    answer = {"NextToken": str(last)} if last < len(found) else {}
    return found[first:last], answer


def create_tags(region, params):
    pairs = {tag["Key"]: tag["Value"] for tag in params["Tags"]}
    check_tags(pairs)
    for resource in params["Resources"]:
        if resource.startswith("ami-"):
            find(region, resource)
            continue
        snapshot = backend(region).snapshots.get(resource)
        if snapshot is None or ebs.is_unknown(snapshot):
            raise error("InvalidSnapshot.NotFound", f"The snapshot '{resource}' does not exist.")
    backend(region).create_tags(params["Resources"], pairs)
    return {}


def matches(filters, region, resource, fields):
    for wanted in filters:
        name, values = wanted["Name"], wanted["Values"]
        found = backend(region).tags.get(resource, {})
        if name.startswith("tag:"):
            have = [found.get(name[4:])]
        elif name == "tag-key":
            have = list(found)
        elif name in fields:
            have = [fields[name]]
        else:
            raise error("InvalidParameterValue", f"The filter '{name}' is invalid")
        # Only these two stand for others.
        patterns = [value.replace("[", "[[]") for value in values]
        if not any(fnmatchcase(one, it) for one in have if one is not None for it in patterns):
            return False
    return True


# Imports of snapshots.


def import_snapshot(region, params):
    check_description(params)
    role = params.get("RoleName", "vmimport")
    if role not in state.SETTINGS["roles"]:
        raise error(
            "InvalidParameter",
            f"The service role {role} provided does not exist or does not have sufficient "
            "permissions",
        )
    container = params["DiskContainer"]
    if container["Format"].lower() not in FORMATS:
        raise error("InvalidParameter", "The value of format is not supported")
    bucket = container["UserBucket"]["S3Bucket"]
    found = s3_backends[state.ACCOUNT][get_partition(region)].buckets.get(bucket)
    if found is None:
        raise error("InvalidParameter", f"The given S3 bucket {bucket} does not exist")
    if found.region_name != region:
        raise error("InvalidParameter", "The given S3 object is not local to the region.")
    if "KmsKeyId" in params and not params.get("Encrypted"):
        raise error("InvalidParameterDependency", "KmsKeyId needs Encrypted")
    token = (region, "import", params.get("ClientToken"))
    if token in TOKENS and params.get("ClientToken"):
        return describe_task(region, TOKENS[token])
    task_id = f"import-snap-{next(SERIAL):017x}"
    TOKENS[token] = task_id
    TASKS.setdefault(region, {})[task_id] = {
        "params": params,
        "status": "active",
        "polls": state.SETTINGS["polls"],
        "message": "pending",
        "snapshot": None,
        "unknown": state.SETTINGS["unknown"],
    }
    tag(region, task_id, params, "import-snapshot-task")
    return describe_task(region, task_id)


def is_unknown(thing):
    """Whether a thing is too new for EC2 to know of it everywhere."""
    thing["unknown"] = thing.get("unknown", 0) - 1
    return thing["unknown"] >= 0


def describe_task(region, task_id):
    task = TASKS[region][task_id]
    container = task["params"]["DiskContainer"]
    detail = {
        "Status": task["status"],
        "StatusMessage": task["message"],
        "Format": container["Format"],
        "UserBucket": container["UserBucket"],
    }
    if task["status"] == "active":
        detail["Progress"] = "35"
    if "Encrypted" in task["params"]:
        detail["Encrypted"] = task["params"]["Encrypted"]
    if "KmsKeyId" in task["params"]:
        detail["KmsKeyId"] = task["params"]["KmsKeyId"]
    if task["snapshot"]:
        detail["SnapshotId"] = task["snapshot"]
    return {
        "ImportTaskId": task_id,
        "SnapshotTaskDetail": detail,
        "Tags": tags(region, task_id),
    }


def advance(region, task):
    """A task that was asked for often enough comes to its end."""
    if task["status"] == "deleting":
        task["status"] = "deleted"
    if task["status"] != "active":
        return
    if task["polls"] > 0:
        task["polls"] -= 1
        task["message"] = "downloading/converting"
        return
    problem = state.SETTINGS["task_message"] or convert(region, task)
    if problem:
        task.update(status="deleting", message=problem)
    else:
        task.update(status="completed", message="")


def convert(region, task):
    """Reads the object as the import service does; gives what it complains about."""
    container = task["params"]["DiskContainer"]
    place = container["UserBucket"]
    store = s3_backends[state.ACCOUNT][get_partition(region)]
    key = store.get_object(place["S3Bucket"], place["S3Key"])
    if key is None:
        return "ClientError: Unable to find the object, or s3:GetObject is not allowed"
    form = FORMATS[container["Format"].lower()]
    with tempfile.TemporaryDirectory() as folder:
        disk, raw = os.path.join(folder, "disk"), os.path.join(folder, "raw")
        with open(disk, "wb") as file:
            file.write(key.value)
        run = subprocess.run(
            ["qemu-img", "convert", "-f", form, "-O", "raw", disk, raw],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode or os.path.getsize(raw) % 512:
            return f"ClientError: Disk validation failed [{run.stderr.strip()}]"
        gib = -(-os.path.getsize(raw) // (1 << 30))
        encrypted = task["params"].get("Encrypted", False) or state.SETTINGS["encryption_by_default"]
        snapshot = ebs.new_snapshot(region, gib, task["params"].get("Description", ""), {}, encrypted)
        snapshot.key = task["params"].get("KmsKeyId")
        state.store_disk(region, snapshot.id, raw)
        for index in state.SETTINGS["rewrites"]:
            state.store(region, snapshot.id, index, b"\x55" * state.BLOCK)
    task["snapshot"] = snapshot.id
    return None


def describe_import_snapshot_tasks(region, params):
    tasks = TASKS.get(region, {})
    wanted = params.get("ImportTaskIds") or list(tasks)
    if any(it["Name"] != "task-state" for it in params.get("Filters", [])):
        raise error("InvalidParameterValue", "The one filter that is documented is task-state")
    result = []
    for task_id in wanted:
        if task_id not in tasks or params.get("ImportTaskIds") and is_unknown(tasks[task_id]):
            raise error("InvalidConversionTaskId.Malformed", f"There is no task {task_id}")
        if params.get("ImportTaskIds"):
            advance(region, tasks[task_id])
        fields = {"task-state": tasks[task_id]["status"]}
        if matches(params.get("Filters", []), region, task_id, fields):
            result.append(describe_task(region, task_id))
    shown, answer = pages(params, result)
    return {"ImportSnapshotTasks": shown} | answer


def cancel_import_task(region, params):
    task = TASKS.get(region, {}).get(params["ImportTaskId"])
    if task is None:
        raise error("InvalidConversionTaskId.Malformed", "There is no such task")
    before = task["status"]
    task.update(status="deleting", message="Cancelled by the user")
    return {"ImportTaskId": params["ImportTaskId"], "PreviousState": before, "State": "deleting"}


# Snapshots.


def describe_snapshots(region, params):
    known = backend(region).snapshots
    wanted = params.get("SnapshotIds")
    for snapshot_id in wanted or []:
        if snapshot_id not in known:
            raise error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    owners = params.get("OwnerIds", [])
    result = []
    for snapshot in known.values():
        if wanted and snapshot.id not in wanted:
            continue
        if "self" in owners and snapshot.owner_id != state.ACCOUNT:
            continue
        if getattr(snapshot, "completing", False):
            snapshot.polls -= 1
            if snapshot.polls < 0:
                snapshot.status, snapshot.completing = "completed", False
        fields = {"snapshot-id": snapshot.id, "status": snapshot.status}
        if matches(params.get("Filters", []), region, snapshot.id, fields):
            result.append(
                {
                    "SnapshotId": snapshot.id,
                    "State": snapshot.status,
                    "OwnerId": snapshot.owner_id,
                    "VolumeSize": snapshot.volume_size,
                    "Encrypted": snapshot.encrypted,
                    "KmsKeyId": snapshot.key,
                    "Description": snapshot.description,
                    "StartTime": snapshot.start_time,
                    "Tags": tags(region, snapshot.id),
                }
            )
            if snapshot.key is None:
                del result[-1]["KmsKeyId"]
    shown, answer = pages(params, result)
    return {"Snapshots": shown} | answer


def delete_snapshot(region, params):
    snapshot_id = params["SnapshotId"]
    if snapshot_id not in backend(region).snapshots:
        raise error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    for image in IMAGES.get(region, {}).values():
        if snapshot_id in used(image):
            message = f"The snapshot {snapshot_id} is currently in use by {image['ImageId']}"
            raise error("InvalidSnapshot.InUse", message)
    del backend(region).snapshots[snapshot_id]
    backend(region).tags.pop(snapshot_id, None)
    state.BLOCKS.pop((region, snapshot_id), None)
    return {}


def used(image):
    mappings = image["BlockDeviceMappings"]
    return {mapping["Ebs"]["SnapshotId"] for mapping in mappings if "SnapshotId" in mapping.get("Ebs", {})}


def get_ebs_encryption_by_default(_region, _params):
    return {"EbsEncryptionByDefault": state.SETTINGS["encryption_by_default"]}


# Images.


def check_name(region, name):
    if not re.fullmatch(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}", name):
        raise error("InvalidAMIName.Malformed", f"AMI name {name} is invalid")
    for image in IMAGES.get(region, {}).values():
        if image["Name"] == name and image["OwnerId"] == state.ACCOUNT:
            message = f"AMI name {name} is already in use by AMI {image['ImageId']}"
            raise error("InvalidAMIName.Duplicate", message)


def check_mapping(region, mapping):
    """A mapping as RegisterImage takes it, with what EC2 fills in; none where it takes one away."""
    if "NoDevice" in mapping:
        return None
    if "VirtualName" in mapping:
        return mapping
    volume = dict(mapping.get("Ebs") or {})
    if "KmsKeyId" in volume:
        raise error("InvalidParameter", "KmsKeyId is not supported by RegisterImage")
    snapshot_id = volume.get("SnapshotId")
    if snapshot_id:
        snapshot = backend(region).snapshots.get(snapshot_id)
        if snapshot is None or ebs.is_unknown(snapshot):
            raise error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
        if snapshot.status != "completed":
            raise error("InvalidParameterValue", f"{snapshot_id} is not completed")
        if "Encrypted" in volume:
            raise error("InvalidParameter", "Encrypted and SnapshotId exclude each other")
        volume["Encrypted"] = snapshot.encrypted
        if volume.setdefault("VolumeSize", snapshot.volume_size) < snapshot.volume_size:
            message = f"Volume of size {volume['VolumeSize']}GB is smaller than snapshot"
            raise error("InvalidBlockDeviceMapping", message)
    elif "VolumeSize" not in volume:
        raise error("MissingParameter", "An empty volume needs VolumeSize")
    kind = volume.setdefault("VolumeType", "standard")
    check_volume(kind, volume)
    if "Iops" in volume and kind not in ("gp3", "io1", "io2"):
        raise error("InvalidParameterCombination", f"The parameter iops is not supported for {kind}")
    if kind in ("io1", "io2") and "Iops" not in volume:
        raise error("MissingParameter", "The parameter iops must be specified for this volume type")
    if "Throughput" in volume and kind != "gp3":
        raise error("InvalidParameterCombination", "The parameter throughput is for gp3")
    if kind == "gp2":
        volume["Iops"] = max(100, 3 * volume["VolumeSize"])
    volume.setdefault("DeleteOnTermination", True)
    volume.setdefault("Encrypted", False)
    return {"DeviceName": mapping["DeviceName"], "Ebs": volume}


#: Sizes, operations and operations per GiB of the kinds of volumes (`EbsBlockDevice`).
VOLUMES = {
    "gp2": (1, 16384, None, None),
    "gp3": (1, 65536, (3000, 80000), 500),
    "io1": (4, 16384, (100, 64000), 50),
    "io2": (4, 65536, (100, 256000), 1000),
    "st1": (125, 16384, None, None),
    "sc1": (125, 16384, None, None),
    "standard": (1, 1024, None, None),
}


def check_volume(kind, volume):
    least, most, iops, ratio = VOLUMES[kind]
    if not least <= volume["VolumeSize"] <= most:
        raise error("InvalidParameterValue", f"Volume of {volume['VolumeSize']}GiB is invalid for {kind}")
    if "Iops" in volume and iops:
        if not iops[0] <= volume["Iops"] <= iops[1]:
            raise error("InvalidParameterValue", f"Volume iops of {volume['Iops']} is invalid")
        if volume["Iops"] > max(volume["VolumeSize"] * ratio, 3000 if kind == "gp3" else 0):
            raise error("InvalidParameterValue", "Iops to volume size ratio is too high")


def register_image(region, params):
    check_description(params)
    check_name(region, params["Name"])
    mappings = params["BlockDeviceMappings"]
    names = [mapping["DeviceName"] for mapping in mappings]
    if len(set(names)) != len(names):
        raise error("InvalidBlockDeviceMapping", "A device occurs twice")
    mappings = [check_mapping(region, mapping) for mapping in mappings]
    mappings = [mapping for mapping in mappings if mapping]
    roots = [mapping for mapping in mappings if mapping["DeviceName"] == params["RootDeviceName"]]
    if not roots or "SnapshotId" not in roots[0].get("Ebs", {}):
        raise error("InvalidBlockDeviceMapping", "The root device has no snapshot")
    if roots[0]["Ebs"]["VolumeType"] in ("st1", "sc1"):
        raise error("InvalidBlockDeviceMapping", "The root cannot be of that kind")
    if params.get("TpmSupport") and "uefi" not in params.get("BootMode", ""):
        raise error("InvalidParameterCombination", "TPM needs UEFI")
    if params.get("Architecture") == "arm64" and params.get("BootMode") == "legacy-bios":
        raise error("InvalidParameterCombination", "arm64 boots by UEFI")
    if params.get("VirtualizationType") != "hvm":
        raise error("InvalidParameter", "paravirtual is gone")
    for specification in params.get("TagSpecifications", []):
        if specification["ResourceType"] not in ("image", "snapshot"):
            raise error("InvalidParameterValue", f"{specification['ResourceType']} cannot be tagged")
    image_id = f"ami-{next(SERIAL):017x}"
    keys = (
        "Name Description Architecture BootMode TpmSupport ImdsSupport EnaSupport SriovNetSupport "
        "RootDeviceName VirtualizationType"
    ).split()
    image = {key: params[key] for key in keys if key in params and key not in state.SETTINGS["forgets"]}
    image.update(
        ImageId=image_id,
        OwnerId=state.ACCOUNT,
        Public=False,
        State="pending",
        RootDeviceType="ebs",
        BlockDeviceMappings=mappings,
        CreationDate=datetime.now(UTC),
        polls=state.SETTINGS["polls"],
        unknown=state.SETTINGS["unknown"],
        permissions=[],
    )
    IMAGES.setdefault(region, {})[image_id] = image
    tag(region, image_id, params, "image")
    return {"ImageId": image_id}


def find(region, image_id):
    found = IMAGES.get(region, {}).get(image_id)
    if found is None or is_unknown(found):
        raise error("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return found


def describe_images(region, params):
    wanted = params.get("ImageIds")
    images = [find(region, image_id) for image_id in wanted] if wanted else []
    images = images or list(IMAGES.get(region, {}).values())
    owners = params.get("Owners", [])
    result = []
    for image in images:
        if owners and image["OwnerId"] not in [OWNERS.get(owner, owner) for owner in owners]:
            continue
        if image["State"] == "disabled" and not params.get("IncludeDisabled") and not wanted:
            continue
        if wanted and image["State"] == "pending":
            image["polls"] -= 1
            if image["polls"] < 0:
                image["State"] = "available"
        fields = {
            "name": image["Name"],
            "state": image["State"],
            "image-id": image["ImageId"],
            "architecture": image["Architecture"],
        }
        if matches(params.get("Filters", []), region, image["ImageId"], fields):
            shown = {key: value for key, value in image.items() if key[0].isupper()}
            result.append(shown | {"Tags": tags(region, image["ImageId"])})
    shown, answer = pages(params, result)
    return {"Images": shown} | answer


def copy_image(region, params):
    token = (region, "copy", params.get("ClientToken"))
    if params.get("ClientToken") and token in TOKENS:
        return {"ImageId": TOKENS[token]}
    check_description(params)
    source_region = params["SourceRegion"]
    source = find(source_region, params["SourceImageId"])
    if source["State"] != "available":
        raise error("InvalidAMIID.Unavailable", "The image is not available")
    if source["OwnerId"] != state.ACCOUNT and not source["Public"]:
        raise error("InvalidRequest", "You do not have permission to access the storage of this ami")
    check_name(region, params["Name"])
    if "KmsKeyId" in params and not params.get("Encrypted"):
        raise error("InvalidParameterDependency", "KmsKeyId needs Encrypted")
    minutes = params.get("SnapshotCopyCompletionDurationMinutes", 15)
    if not 15 <= minutes <= 2880 or minutes % 15:
        raise error("InvalidParameterValue", f"{minutes} minutes are no duration of a copy")
    image_id = f"ami-{next(SERIAL):017x}"
    mappings = []
    for mapping in source["BlockDeviceMappings"]:
        volume = dict(mapping.get("Ebs", {}))
        if "SnapshotId" in volume:
            before = volume["SnapshotId"]
            volume["Encrypted"] = volume["Encrypted"] or params.get("Encrypted", False)
            snapshot = ebs.new_snapshot(
                region,
                backend(source_region).snapshots[before].volume_size,
                f"Copied for DestinationAmi {image_id} from SourceAmi {source['ImageId']}",
                {},
                volume["Encrypted"],
            )
            snapshot.key = params.get("KmsKeyId")
            tag(region, snapshot.id, params, "snapshot")
            state.BLOCKS[region, snapshot.id] = dict(state.BLOCKS[source_region, before])
            volume["SnapshotId"] = snapshot.id
        mappings.append(dict(mapping, Ebs=volume) if volume else mapping)
    image = dict(
        source,
        ImageId=image_id,
        Name=params["Name"],
        Description=params.get("Description", source.get("Description", "")),
        OwnerId=state.ACCOUNT,
        Public=False,
        State="pending",
        BlockDeviceMappings=mappings,
        CreationDate=datetime.now(UTC),
        polls=state.SETTINGS["polls"],
        permissions=[],
    )
    image.pop("DeregistrationProtection", None)
    image.pop("DeprecationTime", None)
    IMAGES.setdefault(region, {})[image_id] = image
    TOKENS[token] = image_id
    tag(region, image_id, params, "image")
    return {"ImageId": image_id}


def deregister_image(region, params):
    image = find(region, params["ImageId"])
    if image["OwnerId"] != state.ACCOUNT:
        raise error("AuthFailure", "Not authorized for the image")
    if image.get("DeregistrationProtection", "disabled") != "disabled":
        raise error("OperationNotPermitted", "The image is protected")
    del IMAGES[region][params["ImageId"]]
    backend(region).tags.pop(params["ImageId"], None)
    return {"Return": True}


def modify_image_attribute(region, params):
    image = find(region, params["ImageId"])
    if image["State"] != "available":
        raise error("InvalidAMIID.Unavailable", "The image is not available")
    if len(params) != 2:
        raise error("InvalidParameterCombination", "One attribute at a time")
    if "Description" in params:
        check_description({"Description": params["Description"]["Value"]})
        image["Description"] = params["Description"]["Value"]
        return {}
    changes = params["LaunchPermission"]
    for permission in changes.get("Add", []) + changes.get("Remove", []):
        if len(permission) != 1:
            raise error("InvalidParameterCombination", "One of them at a time")
        if not re.fullmatch(r"\d{12}", permission.get("UserId", "0" * 12)):
            raise error("InvalidAMIAttributeItemValue", f"Invalid user id {permission}")
    if any("Group" in it for it in changes.get("Add", [])) and is_encrypted(image):
        raise error("InvalidParameter", "An AMI with encrypted snapshots cannot be public")
    kept = [it for it in image["permissions"] if it not in changes.get("Remove", [])]
    image["permissions"] = kept + [it for it in changes.get("Add", []) if it not in kept]
    return {}


def is_encrypted(image):
    return any(mapping.get("Ebs", {}).get("Encrypted") for mapping in image["BlockDeviceMappings"])


def own_snapshot(region, snapshot_id):
    snapshot = backend(region).snapshots.get(snapshot_id)
    if snapshot is None or ebs.is_unknown(snapshot):
        raise error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    return snapshot


def modify_snapshot_attribute(region, params):
    snapshot = own_snapshot(region, params["SnapshotId"])
    for permission in params["CreateVolumePermission"].get("Add", []):
        if "Group" in permission and snapshot.encrypted:
            raise error("InvalidParameter", "Encrypted snapshots cannot be public")
        if permission not in snapshot.permissions:
            snapshot.permissions.append(permission)
    return {}


def describe_snapshot_attribute(region, params):
    snapshot = own_snapshot(region, params["SnapshotId"])
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": snapshot.permissions}


def enable_fast_snapshot_restores(region, params):
    for zone in params["AvailabilityZones"]:
        if not zone.startswith(region):
            raise error("InvalidParameterValue", f"{zone} is not of {region}")
    done = []
    for snapshot_id in params["SourceSnapshotIds"]:
        own_snapshot(region, snapshot_id).zones = params["AvailabilityZones"]
        done += [{"SnapshotId": snapshot_id, "AvailabilityZone": zone, "State": "enabling"}
                 for zone in params["AvailabilityZones"]]
    return {"Successful": done, "Unsuccessful": []}


def disable_image_deprecation(region, params):
    find(region, params["ImageId"]).pop("DeprecationTime", None)
    return {"Return": True}


def describe_image_attribute(region, params):
    image = find(region, params["ImageId"])
    return {"ImageId": image["ImageId"], "LaunchPermissions": image["permissions"]}


def enable_image_deprecation(region, params):
    image = find(region, params["ImageId"])
    now = datetime.now(UTC)
    if not now < params["DeprecateAt"] < now.replace(year=now.year + 10):
        raise error("InvalidParameterValue", "DeprecateAt is not within the next ten years")
    image["DeprecationTime"] = params["DeprecateAt"].strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {"Return": True}


def describe_launch_template_versions(region, params):
    """Those of all templates: the default versions, and the latest."""
    wanted = [one["Values"] for one in params.get("Filters", []) if one["Name"] == "image-id"]
    if "LaunchTemplateId" in params or set(params.get("Versions", [])) != {"$Default", "$Latest"}:
        raise error("InvalidParameterCombination", "Only all templates are known here")
    found = []
    for template in state.SETTINGS["templates"]:
        versions = {template["default"], len(template["images"])}
        found += [
            {
                "LaunchTemplateId": f"lt-{template['name']}",
                "LaunchTemplateName": template["name"],
                "VersionNumber": number,
                "LaunchTemplateData": {"ImageId": template["images"][number - 1]},
            }
            for number in sorted(versions)
            if all(template["images"][number - 1] in values for values in wanted)
        ]
    shown, answer = pages(params, found)
    return {"LaunchTemplateVersions": shown} | answer


def enable_image_deregistration_protection(region, params):
    cooldown = "-with-cooldown" if params.get("WithCooldown") else ""
    find(region, params["ImageId"])["DeregistrationProtection"] = f"enabled{cooldown}"
    return {"Return": "true"}


def reset(bucket):
    """Takes everything away that the account has."""
    for region in set(IMAGES) | set(TASKS):
        for image_id in [it for it, image in IMAGES.get(region, {}).items() if image["OwnerId"] == state.ACCOUNT]:
            del IMAGES[region][image_id]
        TASKS.pop(region, None)
        for snapshot_id, snapshot in list(backend(region).snapshots.items()):
            if snapshot.owner_id == state.ACCOUNT:
                del backend(region).snapshots[snapshot_id]
                state.BLOCKS.pop((region, snapshot_id), None)
    found = s3_backends[state.ACCOUNT]["aws"].buckets[bucket]
    found.keys.clear()
    found.multiparts.clear()


def public_image(region, image_id, name, disk, mappings, extra):
    """An AMI of Amazon's, which anybody may launch and nobody else may read."""
    gib = -(-os.path.getsize(disk) // (1 << 30))
    snapshot = ebs.new_snapshot(region, gib, "public", {}, owner=state.AMAZON)
    state.store_disk(region, snapshot.id, disk)
    root = {"SnapshotId": snapshot.id, "VolumeSize": gib, "VolumeType": "gp2"}
    root |= {"DeleteOnTermination": True, "Encrypted": False}
    image = {
        "ImageId": image_id,
        "Name": name,
        "OwnerId": state.AMAZON,
        "Public": True,
        "State": "available",
        "Architecture": "x86_64",
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "VirtualizationType": "hvm",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": root}, *mappings],
        "CreationDate": datetime(2018, 5, 1, tzinfo=UTC),
        "permissions": [],
    }
    IMAGES.setdefault(region, {})[image_id] = image | extra
    return snapshot.id


def strangers(region, bucket):
    """A snapshot and an object that others have made; gives the snapshot's id."""
    snapshot = ebs.new_snapshot(region, 1, "of others", {"Name": "of others"})
    s3_backends[state.ACCOUNT][get_partition(region)].put_object(bucket, "others/disk.vmdk", b"disk")
    return snapshot.id


def everything(region, bucket):
    """All that the account has to pay for, but for the bucket itself."""
    found = s3_backends[state.ACCOUNT][get_partition(region)].buckets[bucket]
    tasks = TASKS.get(region, {})
    images = IMAGES.get(region, {}).values()
    return {
        "images": [image["ImageId"] for image in images if image["OwnerId"] == state.ACCOUNT],
        "snapshots": [it.id for it in backend(region).snapshots.values() if it.owner_id == state.ACCOUNT],
        "tasks": [task_id for task_id, task in tasks.items() if task["status"] == "active"],
        "objects": list(found.keys),
        "uploads": list(found.multiparts),
    }


def handler(function):
    def handle(self):
        form = {key: values[0] for key, values in self.querystring.items()}
        with state.LOCK:
            return ActionResult(function(self.region, models.ec2(form)))

    return handle


def install():
    for function in (
        create_tags,
        import_snapshot,
        describe_import_snapshot_tasks,
        cancel_import_task,
        describe_snapshots,
        delete_snapshot,
        get_ebs_encryption_by_default,
        register_image,
        describe_images,
        copy_image,
        deregister_image,
        modify_image_attribute,
        describe_image_attribute,
        modify_snapshot_attribute,
        describe_snapshot_attribute,
        describe_launch_template_versions,
        enable_fast_snapshot_restores,
        disable_image_deprecation,
        enable_image_deprecation,
        enable_image_deregistration_protection,
    ):
        setattr(EC2Response, function.__name__, handler(function))
