"""Checks the requests of `imgasm import --dry-run` against the service models of botocore.

Reads the preview from stdin; says what is wrong with which request, and fails.
"""

import json
import sys

import models

requests = json.load(sys.stdin)["requests"]
found = []
for request in requests:
    found += models.problems(request["service"], request["operation"], request["parameters"])
print("\n".join(found))
sys.exit(1 if found or not requests else 0)
