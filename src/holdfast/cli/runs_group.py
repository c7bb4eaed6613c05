"""``holdfast runs`` as a whole: its commands stand in several modules."""

from __future__ import annotations

from holdfast.cli import control, events, lineage, moving, runs

commands = runs.commands
control.register(commands)
lineage.register(commands)
events.register(commands)
moving.register(commands)
