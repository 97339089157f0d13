# Prints which packages dnf sees, or `no` where modules of the system cannot be had. A line for each of
# the tab-separated lines: the system's root, then repositories, after `!` those with module_hotfixes.
import sys

import dnf

import system

problems = []
told = dnf.module.module_base.format_modular_solver_errors
dnf.module.module_base.format_modular_solver_errors = lambda errors: problems.append(1) or told(errors)
for line in sys.stdin:
    root, *repositories = line.rstrip("\n").split("\t")
    base = system.base(root)
    for number, place in enumerate(repositories):
        repo = system.add(base, f"r{number}", place.lstrip("!"))
        repo.module_hotfixes = place.startswith("!")
    problems.clear()
    base.fill_sack(load_system_repo=False)
    seen = base.sack.query().available()
    names = {f"{p.name}-{p.evr.removeprefix('0:')}.{p.arch}" for p in seen}
    print("problem" if problems else "ok", *sorted(names), flush=True)
    base.close()
