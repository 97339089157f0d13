# Resolves wishes with dnf and prints what would come and go. Arguments: the system's root, the
# repository, whether weak dependencies are wanted. One wish a line: words of the form `install:jq`.
import sys

import dnf

import system

root, repository, weak = sys.argv[1:]
base = system.base(root)
conf = base.conf
conf.best = False
conf.clean_requirements_on_remove = False
conf.install_weak_deps = weak == "weak"
conf.protected_packages = ["protected"]
conf.ignorearch = False
system.add(base, "r", repository)
base.fill_sack(load_system_repo=True)
for line in sys.stdin:
    base.reset(goal=True)
    erases = False
    try:
        for word in line.split():
            what, spec = word.split(":", 1)
            if what == "install":
                if spec.startswith("@"):
                    base.read_comps(arch_filter=True)
                    base.env_group_install([spec[1:]], ("mandatory", "default", "conditional"))
                else:
                    base.install(spec.replace("~", " "))
            elif what == "upgrade":
                base.upgrade_all() if spec == "*" else base.upgrade(spec)
            else:
                base.remove(spec)
                erases = True
        base.resolve(erases)
        found = [f"+{p.name}-{p.evr.removeprefix('0:')}.{p.arch}" for p in base.transaction.install_set]
        found += [f"-{p.name}-{p.evr.removeprefix('0:')}.{p.arch}" for p in base.transaction.remove_set]
        print("ok", *sorted(found), flush=True)
    except dnf.exceptions.Error as error:
        print("no", str(error).replace("\n", " | "), flush=True)
