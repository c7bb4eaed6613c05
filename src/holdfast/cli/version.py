"""``holdfast version``."""

from __future__ import annotations

import sys
from importlib.metadata import version


def show_version() -> None:
    """Print the version."""
    sys.stdout.write(f"{version('holdfast')}\n")
