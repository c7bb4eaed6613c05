"""What a person or a program may command of one run. Each is one legal move, or is refused."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from holdfast.model.definition import Definition
from holdfast.model.ids import Json, RunId
from holdfast.model.status import TRANSITIONS, RunEvent, RunStatus


class Cancel(Struct, frozen=True, tag="cancel"):
    """End the run as cancelled: at once if nobody holds it, else as soon as its worker notices."""

    compensate: bool = False
    """Undo its completed steps first; it then ends as cancelled with the reason ``compensated``."""


class Terminate(Struct, frozen=True, tag="terminate"):
    """End the run as cancelled now, whatever it does: nothing is undone, and its worker is fenced."""


class Pause(Struct, frozen=True, tag="pause"):
    """Hold the run: at once if nobody holds it, else as soon as the handlers that run have ended."""


class Resume(Struct, frozen=True, tag="resume"):
    """Let a paused run go on. What closed its waits meanwhile is found there."""


class ReleaseStuck(Struct, frozen=True, tag="release"):
    """Put a run that was set aside back into the line, its crashes forgotten."""


class CloseStuck(Struct, frozen=True, tag="close"):
    """End a run that was set aside as failed."""


class Settle(Struct, frozen=True, tag="settle", kw_only=True):
    """Give a step, or a wait, of a run that nobody holds its outcome by hand: a result or an error.

    A timer elapses, a signal wait takes the result as its payload, a child wait as its child's end; a wait between two
    attempts is over. For a step the outcome is journaled with the actor's name, and replayed by the next claim.
    """

    key: str
    result: Json | None = None
    error: Json | None = None
    name: str = ""
    """The step's name, where its key does not tell."""
    unseen: bool = False
    """The step has not failed yet: it has left no trace by which a mistyped key could be told."""


class Change(Struct, frozen=True, tag="set", kw_only=True):
    """Change the place in the line or the deadline of a run that nobody holds. What is None stays."""

    priority: int | None = None
    queue: str | None = None
    timeout_ms: int | None = None
    """A new deadline, this long from now."""
    drop_deadline: bool = False
    wake: bool = False
    """Make it claimable now: a delayed start begins, a parked run looks again."""


class MoveTo(Struct, frozen=True, tag="move", kw_only=True):
    """Let a run that nobody holds go on with another version of its graph, if that agrees with what is recorded.

    The documents come with the command, so that whether they agree is decided from the record as it is then.
    """

    from_hash: str
    """The content hash of ``before``: the version that the run follows."""
    before: Definition
    version: int
    """The number of the version that it is to follow."""
    definition_hash: str
    after: Definition
    mapping: dict[str, str] = {}
    """Nodes that have another key in the new version, old path to new (``outer/inner``)."""


class HandBack(Struct, frozen=True, tag="hand_back"):
    """Make the worker that holds the run give it back as soon as the handlers that run have ended.

    It then stands aside for who wants to move it: out of the line, until it is moved or the time is over. A part of a
    move, and no command of its own for people; for a run that nobody holds it does nothing.
    """

    within_ms: int
    """Counted from the order. Whatever becomes of who gave it, the run goes on after that. 0 takes the order back."""


Command = Cancel | Terminate | Pause | Resume | ReleaseStuck | CloseStuck | Settle | Change | MoveTo | HandBack


class Order(Struct, frozen=True, kw_only=True):
    """A command as it is given: by whom, why, and under which id."""

    id: RunId
    """The command's own id: sent again, it does nothing more."""
    command: Command
    actor: str = ""
    """Who commands it."""
    note: str = ""
    """Why, in the actor's words."""


_E = RunEvent

EVENTS: Final[dict[str, frozenset[RunEvent]]] = {
    "cancel": frozenset({_E.CANCEL, _E.ASK}),
    "terminate": frozenset({_E.TERMINATE}),
    "pause": frozenset({_E.PAUSE}),
    "resume": frozenset({_E.RESUME}),
    "release": frozenset({_E.RELEASE_STUCK, _E.RELEASE_UNDOING}),
    "close": frozenset({_E.CLOSE_STUCK}),
    "settle": frozenset({_E.SETTLE}),
    "set": frozenset({_E.CHANGE}),
    "move": frozenset({_E.MOVE}),
    "hand_back": frozenset({_E.ASK}),
}
"""Which moves of the transition table each command may make."""


def word_of(command: Command) -> str:
    """The command's word, as on the command line."""
    return str(command.__struct_config__.tag)


def allowed_from(status: RunStatus) -> list[str]:
    """The words of the commands that have a move from this status."""
    moves = TRANSITIONS[status].keys()
    return [word for word, events in EVENTS.items() if word != "hand_back" and not events.isdisjoint(moves)]


class RunCopy(Struct, frozen=True, kw_only=True):
    """A new run that begins with records of another: a retry of an ended one, or a fork of any."""

    id: RunId
    """The new run's; asked for again, it is started once."""
    source_id: RunId
    retry: bool
    """The next attempt of the source's lineage; else a run of its own root."""
    journal: list[str]
    """The keys of the source's outcomes that it begins with."""
    waits: list[str]
    """The keys of the source's closed waits that it begins with."""
    definition_hash: str | None = None
    """Of the version that the source followed when these keys were read: a run that is moved gives some up."""
    input: Json | None = None
    """Another input; the source's own if None."""
    replaced: dict[str, Json] = {}
    """Other results of some of these outcomes."""
    actor: str = ""
    note: str = ""

    @property
    def bytes_given(self) -> int:
        """The size of the largest payload that does not come from the source."""
        return max((len(one) for one in (self.input, *self.replaced.values()) if one is not None), default=0)
