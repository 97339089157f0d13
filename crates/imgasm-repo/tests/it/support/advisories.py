# Prints which advisories tell of what becomes newer, as dnf has them: `NAME.ARCH=ID`, or `broken` where a
# repository cannot be read. A line for each of the tab-separated lines: the system's root, the versions
# that packages come to (`NAME.ARCH=EVR`), then the repositories.
import sys

import dnf
import hawkey

import system


def found(base, ends):
    # Of several versions that are installed the newest counts.
    newest = base.sack.query().installed().filterm(latest_per_arch=1)
    for package in newest.get_advisory_pkgs(hawkey.GT):
        name = f"{package.name}.{package.arch}"
        if name in ends and base.sack.evr_cmp(package.evr, ends[name]) <= 0:
            yield f"{name}={package.get_advisory(base.sack).id}"


for line in sys.stdin:
    root, ends, *repositories = line.rstrip("\n").split("\t")
    ends = dict(end.split("=") for end in ends.split())
    base = system.base(root)
    for number, place in enumerate(repositories):
        system.add(base, f"r{number}", place)
    try:
        base.fill_sack()
        print("ok", *sorted(set(found(base, ends))), flush=True)
    except (dnf.exceptions.Error, RuntimeError, hawkey.Exception):
        print("broken", flush=True)
    base.close()
