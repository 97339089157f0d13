# What the scripts for dnf have in common.
import os

import dnf


def base(root):
    """dnf for a system that is configured nowhere else."""
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
    return base


def add(base, name, place):
    """A repository of a folder, whose packages nobody has signed."""
    repo = base.repos.add_new_repo(name, base.conf, baseurl=["file://" + place])
    repo.gpgcheck = False
    repo.repo_gpgcheck = False
    return repo
