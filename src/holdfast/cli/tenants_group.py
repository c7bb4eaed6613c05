"""``holdfast tenants`` and ``holdfast queues`` as a whole: their commands stand in several modules."""

from __future__ import annotations

from holdfast.cli import pauses, queues, tenants, wall

commands = tenants.commands
commands.add_typer(wall.commands)
pauses.register(commands)
queue_commands = pauses.queues
queues.register(queue_commands)
