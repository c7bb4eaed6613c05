"""An alert goes to one person after the other, until one of them has read it.

A level is: notify, then wait for the signal that it was read, or for its time to be over. Whichever comes
first decides, for good: a wait has one outcome, and a timer that comes after the signal does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import holdfast as hf

app = hf.App("escalation")


@dataclass
class Level:
    """Whom to notify, how, and how long to wait before going on to the next."""

    person: str
    channel: str
    wait_s: float


@dataclass
class Alert:
    """What happened, and who is to hear of it."""

    id: str
    text: str
    levels: list[Level] = field(default_factory=list[Level])


@dataclass(frozen=True)
class Notification:
    """One message that went out."""

    alert: str
    person: str
    channel: str


outbox: list[Notification] = []
"""Where this example's messages go. A real one calls a mail or telephone service."""


@app.step
async def notify(alert: str, person: str, channel: str) -> None:
    """Send a message."""
    outbox.append(Notification(alert, person, channel))


@app.workflow
async def escalate(alert: Alert) -> str:
    """Notify level by level until the alert was read or called off."""
    for level in alert.levels:
        await hf.publish("level", level.person)
        await notify(alert.id, level.person, level.channel)
        try:
            read = await hf.wait_for_signal(
                "alert.read", dict[str, str], where="payload.alert == input.id", timeout=level.wait_s
            )
        except hf.errors.SignalTimeout:
            continue
        return f"read by {read['by']}"
    return "nobody read it"
