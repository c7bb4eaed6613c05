"""Whether a path lies on a file system that other machines write to as well."""

from __future__ import annotations

from pathlib import Path
from typing import Final

NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs", "fuse.glusterfs", "lustre"}


def read_mounts() -> str:
    """The system's table of mounts; empty where there is none to read."""
    try:
        return Path("/proc/self/mounts").read_text("utf-8", "replace")
    except OSError:
        return ""


def network_file_system(path: str, mounts: str) -> str | None:
    """The kind of network file system that holds ``path``, by a table of mounts, or None."""
    real = str(Path(path).resolve())
    best, kind = "", ""
    for line in mounts.splitlines():
        _, _, rest = line.partition(" ")
        place, _, rest = rest.partition(" ")
        place = place.replace("\\040", " ")
        inside = place != "" and (real == place or real.startswith(place.rstrip("/") + "/"))
        if inside and len(place) >= len(best):
            best, kind = place, rest.partition(" ")[0]
    return kind if kind in NETWORK else None
