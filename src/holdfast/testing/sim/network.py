"""The way between a process and the database, and what goes wrong on it.

A call of a store method travels, is executed at one instant, and its answer travels back. Each method of the store port
is one transaction, so there are few things that can go wrong, and ``Fault`` lists them all. What travels when its
process is killed or paused may still arrive.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, cast

from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.commit import RunCommit
from holdfast.model.ids import RunId
from holdfast.store.port import Hint, Store
from holdfast.testing.sim.history import History
from holdfast.testing.sim.loop import Process, SimLoop
from holdfast.testing.sim.threads import Baton

WRITES = frozenset(
    {
        "start_runs",
        "register_worker",
        "heartbeat",
        "retire_worker",
        "claim_runs",
        "release_unknown",
        "commit",
        "commit_with",
        "wake_due",
        "requeue_lost",
        "prune",
        "send_signal",
        "sweep_signals",
        "transact",
        "command",
        "start_copy",
    }
)
"""The methods that change something: a lost answer leaves it unknown whether they did."""


HALF = 0.5
"""Of what a dead process sent half arrives; of what is late half comes at the worst moment."""

_LOOKS = frozenset({"read_progress", "read_detail", "release_unknown"})
"""How a worker finds out what became of a call whose answer was lost."""


class Fault(enum.Enum):
    """What happens to one call."""

    NONE = "none"
    LOST = "lost"
    """The connection breaks before COMMIT was sent: nothing is done, and the caller knows."""
    ANSWER_LOST = "answer_lost"
    """It is done, and the connection breaks before the answer."""
    UNKNOWN = "unknown"
    """It is not done, but the connection breaks after COMMIT was sent: the caller cannot know."""
    LATE = "late"
    """The connection breaks after COMMIT was sent, and the database does it a little later all the same."""
    CRASH_BEFORE = "crash_before"
    """The process is killed before the call leaves it."""
    CRASH_AFTER = "crash_after"
    """The process is killed when the call is done, before the answer."""


@dataclass(frozen=True, slots=True)
class Fate:
    """A call's fault, and how long it travels there and back, in seconds of the simulation."""

    fault: Fault = Fault.NONE
    there_s: float = 0.0005
    back_s: float = 0.0005


@dataclass(frozen=True, slots=True, eq=False)
class StoreCall:
    """One call of a store method by a process. ``number`` counts the calls of the whole simulation."""

    number: int
    process: Process
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method in WRITES and not self.kwargs.get("read_only", False)


class Weather(Protocol):
    """Decides the fate of every call and hint."""

    def fate_of(self, call: StoreCall) -> Fate:
        """What becomes of a call."""
        ...

    def hint_delay_s(self) -> float | None:
        """How long a hint travels; None if it is lost."""
        ...


class Calm:
    """No faults: every call takes a millisecond, and every hint arrives."""

    def fate_of(self, call: StoreCall) -> Fate:  # noqa: ARG002 - as Weather has it
        """No fault."""
        return Fate()

    def hint_delay_s(self) -> float | None:
        """Half a millisecond."""
        return 0.0005


@dataclass
class Storm:
    """Random faults, until ``calm`` is set. The probabilities are per call."""

    random: Random
    lost: float = 0.02
    answer_lost: float = 0.02
    unknown: float = 0.01
    late: float = 0.01
    slow: float = 0.01
    hint_lost: float = 0.1
    calm: bool = False
    muted: set[str] = field(default_factory=set[str])
    """The processes whose heartbeats are all lost."""

    def fate_of(self, call: StoreCall) -> Fate:
        """Mostly fast and well."""
        there_s, back_s = self._travel_s(), self._travel_s()
        if self.calm:
            return Fate(Fault.NONE, there_s, back_s)
        if call.method == "heartbeat" and call.process.name in self.muted:
            return Fate(Fault.LOST, there_s, back_s)
        draw = self.random.random()
        for fault, share in (
            (Fault.LOST, self.lost),
            (Fault.ANSWER_LOST, self.answer_lost),
            (Fault.UNKNOWN, self.unknown if call.writes else 0.0),
            (Fault.LATE, self.late if call.writes else 0.0),
        ):
            if draw < share:
                return Fate(fault, there_s, back_s)
            draw -= share
        return Fate(Fault.NONE, there_s, back_s)

    def hint_delay_s(self) -> float | None:
        """Often soon, sometimes never."""
        if self.random.random() < self.hint_lost:
            return None
        return 0.001 + 0.05 * self.random.random() ** 4

    def _travel_s(self) -> float:
        travel_s = 0.0003 + 0.004 * self.random.random() ** 3
        if not self.calm and self.random.random() < self.slow:
            travel_s += 6.0 * self.random.random() ** 3
        return travel_s


class Network:
    """The database server, and everybody's connections to it."""

    def __init__(self, loop: SimLoop, store: Store, history: History, weather: Weather, *, random: Random) -> None:
        self.loop = loop
        self.store = store
        self.history = history
        self.weather = weather
        self.down = False
        """Whether the database answers nobody."""
        self.outages = 0
        self.calls = 0
        self.random = random
        self._listeners: dict[int, tuple[Process, Callable[[Hint], None]]] = {}
        self._numbers = 0
        self._late: list[StoreCall] = []
        self._unsubscribe = store.hints.subscribe(self._publish)

    def connect(self, process: Process) -> Store:
        """The store as this process sees it."""
        return cast("Store", Connection(self, process))

    def set_down(self, down: bool) -> None:  # noqa: FBT001 - a state, not an option
        """Stop or start the database; a stop breaks what is on its way."""
        self.down = down
        self.outages += down

    def close(self) -> None:
        """Hear no more of the store."""
        self._unsubscribe()

    # Calls that travel

    def send(self, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Answer) -> None:
        """Have a call executed; ``answer`` is called in the caller's process, if it lives to hear it."""
        call = self._new_call(request, args, kwargs)
        fate = self.weather.fate_of(call)
        if fate.fault is Fault.CRASH_BEFORE:
            self.history.note("crash before a call")
            call.process.kill()
            return
        outages = self.outages
        self.loop.system.call_later(fate.there_s, self._arrive, call, fate, outages, answer)

    def _arrive(self, call: StoreCall, fate: Fate, outages: int, answer: Answer) -> None:
        process = call.process
        if not process.alive and self.random.random() < HALF:
            return
        fault = fate.fault
        if self.down or self.outages != outages:
            fault = Fault.LOST if self.down or not call.writes else Fault.UNKNOWN
        value, error = self._execute(call, fault)
        if fault is Fault.CRASH_AFTER:
            self.history.note("crash after a call")
            process.kill()
            return
        if process.alive and not process.paused:
            self.loop.system.call_later(fate.back_s, process.post, answer, value, error)
        else:
            process.post(answer, value, error)

    # Calls that block: heartbeats and transactions

    def execute_at_once(self, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Execute a call in the middle of what its process does."""
        call = self._new_call(request, args, kwargs)
        fault = self.weather.fate_of(call).fault
        if fault is Fault.CRASH_BEFORE:
            self._crash_thread(call, "crash before a call")
        if self.down:
            fault = Fault.LOST
        value, error = self._execute(call, fault)
        if fault is Fault.CRASH_AFTER:
            self._crash_thread(call, "crash after a call")
        if error is not None:
            raise error
        return value

    def _crash_thread(self, call: StoreCall, what: str) -> None:
        self.history.note(what)
        call.process.kill()
        baton = Baton.current()
        if baton is not None:
            baton.freeze()

    # What becomes of them

    def _new_call(self, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StoreCall:
        self.calls += 1
        return StoreCall(self.calls, request.process, request.method, args, kwargs)

    def _execute(self, call: StoreCall, fault: Fault) -> tuple[Any, BaseException | None]:
        if fault is not Fault.NONE:
            self.history.faults[fault.value] += 1
        lost = StoreUnavailable(url=self.store.url, why="the connection was lost")
        unknown = CommitUnknown(why="the connection was lost")
        is_transaction = call.method == "commit_with"
        if fault is Fault.LATE and is_transaction:
            # Its handler has run, in the transaction that is still open: late or at once makes no difference to it.
            fault = Fault.ANSWER_LOST
        if fault in (Fault.LOST, Fault.UNKNOWN, Fault.LATE):
            if is_transaction:
                self._roll_back(call)
            if fault is Fault.LATE:
                self._late.append(call)
                self.loop.system.call_later(0.3 * self.random.random(), self._perform_late, call)
            return None, lost if fault is Fault.LOST else unknown
        value, error = self._perform(call)
        if call.method in _LOOKS:
            self._perform_some_late(call.process)
        if fault is Fault.ANSWER_LOST:
            self.history.answer_lost(call.method, value)
            return None, unknown if call.writes else lost
        return value, error

    def _perform_some_late(self, process: Process) -> None:
        """The worst moment for what is late: right after its sender has looked whether it was done."""
        for late in [one for one in self._late if one.process is process]:
            if self.random.random() < HALF:
                self._perform_late(late)

    def _perform_late(self, call: StoreCall) -> None:
        if call in self._late:
            self._late.remove(call)
            self._perform(call)

    def _roll_back(self, call: StoreCall) -> None:
        """A transactional step whose COMMIT did not arrive: the handler has run, and nothing of it is left."""

        def handle(connection: Any) -> RunCommit:
            call.args[0](connection)
            raise _NeverCommittedError

        with suppress(_NeverCommittedError):
            self.store.commit_with(handle, **call.kwargs)

    def _perform(self, call: StoreCall) -> tuple[Any, BaseException | None]:
        value: Any = None
        error: BaseException | None = None
        args = call.args
        made: list[RunCommit] = []
        if call.method == "commit_with":
            args = (_remembering(args[0], made),)
        try:
            value = getattr(self.store, call.method)(*args, **call.kwargs)
        except Exception as raised:  # noqa: BLE001 - the answer to the caller
            error = raised
        told = (made,) if call.method == "commit_with" else call.args
        self.history.record(call.process, call.method, told, call.kwargs, answer=value, error=error)
        return value, error

    # Hints

    def listen(self, process: Process, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Pass hints on to a listener of a process."""
        self._numbers += 1
        number = self._numbers
        self._listeners[number] = (process, listener)

        def unsubscribe() -> None:
            self._listeners.pop(number, None)

        return unsubscribe

    def _publish(self, hint: Hint) -> None:
        for number, (process, listener) in list(self._listeners.items()):
            if not process.alive:
                del self._listeners[number]
                continue
            delay_s = self.weather.hint_delay_s()
            if delay_s is not None and not self.down:
                process.call_later(delay_s, listener, hint)


class _NeverCommittedError(Exception):
    """Rolls a transaction back."""


def _remembering(handler: Callable[[Any], RunCommit], made: list[RunCommit]) -> Callable[[Any], RunCommit]:
    """The handler of a transactional step; what it wants committed is written down."""

    def handle(connection: Any) -> RunCommit:
        commit = handler(connection)
        made[:] = [commit]
        return commit

    return handle


Answer = Callable[[Any, "BaseException | None"], None]
"""Hears the value or the error of a call."""


class Request:
    """A store method, as a process's connection offers it: called, it blocks; ``SimHost.call`` has it travel."""

    __slots__ = ("method", "network", "process")

    def __init__(self, network: Network, process: Process, method: str) -> None:
        self.network = network
        self.process = process
        self.method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Execute it at once."""
        return self.network.execute_at_once(self, args, kwargs)


class Connection:
    """``Store`` for one process: every method is a ``Request``."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process
        self.url = network.store.url

    @property
    def hints(self) -> ProcessHints:
        """The hints that reach this process."""
        return ProcessHints(self._network, self._process)

    def close(self) -> None:
        """The database stays: it is not this process's."""

    def __getattr__(self, name: str) -> Any:
        """The store's methods. Raises AttributeError for what it does not have."""
        getattr(self._network.store, name)
        return Request(self._network, self._process, name)


class ProcessHints:
    """``Hints`` for one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    def publish(self, hint: Hint) -> None:
        """Tell everyone, through the store."""
        self._network.store.hints.publish(hint)

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Call ``listener`` at each hint that reaches this process until the returned function is called."""
        return self._network.listen(self._process, listener)

    def watch(self, run_id: RunId | None) -> Callable[[], None]:
        """Want hints of what this run does, or any run if None, until the function is called."""
        return self._network.store.hints.watch(run_id)
