# Prints which packages dnf sees, or `no` where modules of the system cannot be had. A line for each of
# the tab-separated lines: the system's root, then repositories, after `!` those with module_hotfixes.
import os
import sys

import dnf

problems = []
told = dnf.module.module_base.format_modular_solver_errors
dnf.module.module_base.format_modular_solver_errors = lambda errors: problems.append(1) or told(errors)
for line in sys.stdin:
    root, *repositories = line.rstrip("\n").split("\t")
    base = dnf.Base()
    conf = base.conf
    conf.installroot = root
    conf.cachedir = os.path.join(root, "var/cache/dnf")
    conf.logdir = os.path.join(root, "var/log")
    os.makedirs(conf.logdir, exist_ok=True)
    conf.persistdir = os.path.join(root, "var/lib/dnf")
    conf.reposdir = []
    conf.pluginpath = []
    conf.varsdir = []
    conf.substitutions["arch"] = "x86_64"
    conf.substitutions["basearch"] = "x86_64"
    conf.substitutions["releasever"] = "1"
    for number, place in enumerate(repositories):
        repo = base.repos.add_new_repo(f"r{number}", conf, baseurl=["file://" + place.lstrip("!")])
        repo.gpgcheck = False
        repo.module_hotfixes = place.startswith("!")
    problems.clear()
    base.fill_sack(load_system_repo=False)
    seen = base.sack.query().available()
    names = {f"{p.name}-{p.evr.removeprefix('0:')}.{p.arch}" for p in seen}
    print("problem" if problems else "ok", *sorted(names), flush=True)
    base.close()
