"""Whether a path lies on a file system that other machines write to as well."""

from __future__ import annotations

import os
from typing import Final

NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs", "fuse.glusterfs", "lustre"}


def read_mounts() -> str:
    """The system's table of mounts; empty where there is none to read."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as table:
            return table.read()
    except OSError:
        return ""


def network_file_system(path: str, mounts: str) -> str | None:
    """The kind of network file system that holds ``path``, by a table of mounts, or None."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = fields[1].replace("\\040", " ")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, fields[2]
    return kind if kind in NETWORK else None
