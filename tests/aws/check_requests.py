"""Checks the requests of `imgasm import --dry-run` against the service models of botocore.

Reads the preview from stdin; says what is wrong with which request, and fails.
"""

import json
import re
import sys

import models

#: What stands for what is not known yet, and what it might be.
UNKNOWN = [
    (r"\{\{(old )?ami\}\}(@[a-z0-9-]+)?", "ami-0"),
    (r"\{\{region\}\}", "us-east-1"),
    (r"\{\{upload [^}]*\}\}", "upload"),
    (r"\{\{[^}]*\}\}(@[a-z0-9-]+)?", "snap-0"),
]

text = sys.stdin.read()
for unknown, known in UNKNOWN:
    text = re.sub(unknown, known, text)
requests = json.loads(text)["requests"]
found = []
#: What the bulk of the data is sent with: a preview has no data.
DATA = {"PutSnapshotBlock": {"BlockData": b""}, "UploadPart": {}}
for request in requests:
    parameters = request["parameters"] | DATA.get(request["operation"], {})
    found += models.problems(request["service"], request["operation"], parameters)
print("\n".join(found))
sys.exit(1 if found or not requests else 0)
