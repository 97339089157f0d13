"""The whole way to an AMI and back, on an account: `smoke.py IMGASM BUCKET [--yes]`.

Builds a small image, imports it through the bucket and block by block, finds it again, pulls it,
replaces it, and takes everything away that it has made, whatever happens. What is there in the end is
asked for with boto3, which knows nothing of imgasm. Credentials and the region are those of the
environment, as AWS_PROFILE; `AWS_ENDPOINT_URL` makes it a test of a double.
"""

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import boto3

#: What marks all that one run makes: the name of its recipe, in the tag that everything has.
NAME = f"smoke-{uuid.uuid4().hex[:12]}"
TAG = {"Name": "tag:imgasm:name", "Values": [NAME]}
GIB = 1 << 30

RECIPE = """name = "{name}"
description = "a smoke test of imgasm"
base = {{ rootfs = "rootfs", size = "256MiB" }}

[ami]
ami_name = "{name}"
tags = {{ Purpose = "smoke test" }}
s3_bucket_name = "{bucket}"
"""

COST = """On {account} in {region} this makes, one after the other, three AMIs with snapshots of a disk of
256 MiB, of which a few are used, and one object of less than 1 MiB in s3://{bucket}; and some hundreds of
requests. It takes about ten minutes, costs less than 0.05 USD, and leaves nothing behind. All of it has the tag
imgasm:name = {name}."""


class Smoke:
    def __init__(self, imgasm, bucket, folder):
        self.imgasm, self.bucket, self.folder = imgasm, bucket, folder
        self.ec2, self.s3 = boto3.client("ec2"), boto3.client("s3")

    def run(self, *args):
        """Runs imgasm; gives what it prints on stdout."""
        print("+ imgasm", *args, file=sys.stderr)
        done = subprocess.run([self.imgasm, *args], cwd=self.folder, stdout=subprocess.PIPE, text=True,
                              check=True)
        return done.stdout.strip()

    def build(self, content):
        root = self.folder / "rootfs/etc"
        root.mkdir(parents=True, exist_ok=True)
        (root / "motd").write_text(content)
        recipe = RECIPE.format(name=NAME, bucket=self.bucket)
        (self.folder / "imgasm.toml").write_text(recipe)
        self.run("build")

    def images(self):
        pages = self.ec2.get_paginator("describe_images").paginate(Owners=["self"], Filters=[TAG])
        return [image for page in pages for image in page["Images"]]

    def snapshots(self):
        pages = self.ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=[TAG])
        return [snapshot for page in pages for snapshot in page["Snapshots"]]

    def objects(self):
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"imgasm/{NAME}/")
        return [item["Key"] for item in listed.get("Contents", [])]

    def is_right(self, ami):
        """The AMI is as the recipe says, and its disk is what was built."""
        (image,) = self.images()
        tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
        manifest = json.loads((self.folder / "out/manifest.json").read_text())
        (mapping,) = image["BlockDeviceMappings"]
        found = (image["ImageId"], image["State"], image["Name"], image.get("ImdsSupport"),
                 tags["Purpose"], tags["imgasm:image"], mapping["Ebs"]["VolumeSize"])
        expected = (ami, "available", NAME, "v2.0",
                    "smoke test", manifest["image"]["digest"], 1)
        assert found == expected, f"{found} is not {expected}"
        pulled = self.folder / "pulled.raw"
        self.run("pull", ami, "-o", str(pulled), "--force")
        assert pulled.stat().st_size == GIB, pulled.stat().st_size
        built = self.folder / f"out/{NAME}.raw"
        with open(pulled, "r+b") as disk:
            disk.truncate(built.stat().st_size)
        assert filecmp.cmp(pulled, built, shallow=False), "what was pulled is not what was built"
        assert self.objects() == [], self.objects()

    def flow(self):
        self.build("first\n")
        first = self.run("import", "--via", "s3")
        self.is_right(first)
        assert self.run("import", "--via", "s3") == first, "it was made again"
        assert self.run("import", "--via", "ebs") == first, "it was made again"
        second = self.run("import", "--via", "ebs", "--force", "--force-deregister")
        assert second != first
        self.is_right(second)
        self.build("second\n")
        third = self.run("import", "--via", "ebs", "--force-deregister")
        assert third not in (first, second)
        self.is_right(third)
        # The snapshots of those that were replaced, and not the one that is used.
        left = self.run("gc", "--older-than", "0")
        (image,) = self.images()
        used = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        mine = {snapshot["SnapshotId"] for snapshot in self.snapshots()}
        assert used in mine and len(mine) == 3, mine
        assert used not in left and all(other in left for other in mine - {used}), left

    def clean_up(self):
        """Takes all away that has the run's tag; gives what is left."""
        for image in self.images():
            self.ec2.deregister_image(ImageId=image["ImageId"])
        for snapshot in self.snapshots():
            self.ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
        for key in self.objects():
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        return [*self.images(), *self.snapshots(), *self.objects()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("imgasm")
    parser.add_argument("bucket")
    parser.add_argument("--yes", action="store_true", help="do not ask before anything is made")
    args = parser.parse_args()
    account = boto3.client("sts").get_caller_identity()["Account"]
    region = boto3.client("ec2").meta.region_name
    print(COST.format(account=account, region=region, bucket=args.bucket, name=NAME), file=sys.stderr)
    if not args.yes and (not sys.stdin.isatty() or input("Go on? [y/N] ").lower() != "y"):
        sys.exit("nothing was made; --yes does not ask")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("IMGASM_CACHE", f"{folder}/cache")
        smoke = Smoke(os.path.abspath(args.imgasm), args.bucket, Path(folder))
        try:
            smoke.flow()
        finally:
            left = smoke.clean_up()
            if left:
                print(f"left behind: {left}", file=sys.stderr)
    if left:
        sys.exit(1)
    print(f"all of it is as it should be on {account} in {region}, and nothing is left")


main()
