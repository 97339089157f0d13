"""What the server knows beside moto: blocks of snapshots, and how it is told to behave."""

import hashlib
import os
import threading

ACCOUNT = "123456789012"
AMAZON = "591542846629"
BLOCK = 512 * 1024
LOCK = threading.RLock()

#: The content of blocks by their SHA-256.
CONTENT = {}
#: (region, snapshot id) to {block index: SHA-256}.
BLOCKS = {}

#: How the account and the services are set.
SETTINGS = {
    "encryption_by_default": False,
    "roles": ["vmimport"],
    #: Whom they trust, if it is not whom they should.
    "trust": None,
    #: What their policies say of actions, if it is not that they are allowed.
    "decisions": {},
    "aliases": [],
    #: Launch templates: their names, the AMI of each version, and which version is the default.
    "templates": [],
    #: The code without which no role is given.
    "code": None,
    #: States of keys that are not enabled.
    "keys": {},
    #: How often what was just made is not known yet.
    "unknown": 0,
    #: How many of a kind an answer lists.
    "page": 5,
    #: How often a task, an AMI or a snapshot is asked for before it is done.
    "polls": 2,
    #: The policy of whoever asks; without one all is allowed.
    "policy": None,
    #: What RegisterImage leaves out of what it is asked for.
    "forgets": [],
    #: Blocks that the import service changes in what it imports.
    "rewrites": [],
    #: What tasks come to instead: a status message.
    "task_message": None,
}


def store(region, snapshot, index, data):
    digest = hashlib.sha256(data).digest()
    CONTENT[digest] = data
    BLOCKS.setdefault((region, snapshot), {})[index] = digest
    return digest


def store_disk(region, snapshot, path):
    """The blocks of a raw disk that are not zeros."""
    BLOCKS[region, snapshot] = {}
    zeros = bytes(BLOCK)
    with open(path, "rb") as disk:
        for index in data_blocks(disk):
            disk.seek(index * BLOCK)
            data = disk.read(BLOCK).ljust(BLOCK, b"\0")
            if data != zeros:
                store(region, snapshot, index, data)


def data_blocks(disk):
    """The indices of the blocks that are not holes of a sparse file."""
    position = 0
    while True:
        try:
            index = os.lseek(disk.fileno(), position, os.SEEK_DATA) // BLOCK
        except OSError:
            return
        yield index
        position = (index + 1) * BLOCK


def write_disk(region, snapshot, gib, path):
    """A snapshot's volume as a raw file."""
    with open(path, "wb") as disk:
        disk.truncate(gib << 30)
        for index, digest in BLOCKS[region, snapshot].items():
            disk.seek(index * BLOCK)
            disk.write(CONTENT[digest])
