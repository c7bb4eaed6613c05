"""A run and what belongs to it, as the stores return them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from holdfast.model.breaker import BreakerRow
from holdfast.model.catalog import code_name
from holdfast.model.ids import DEFAULT_QUEUE, DEFAULT_TENANT, Json, RunId, Tenant, UnixMs, WorkerId
from holdfast.model.pause import Pause
from holdfast.model.search import AttributeRange, AttributeValue, RunOrder, WaitingOn
from holdfast.model.status import EntryKind, EntryStatus, ParentPolicy, RunStatus, WaitKind, WaitOutcome


class NewRun(Struct, frozen=True, kw_only=True):
    """A run to be started."""

    id: RunId
    tenant: Tenant = DEFAULT_TENANT
    workflow: str
    version: int | None = None
    """The version of the workflow's definition that the run follows to its end; None for a function workflow."""
    definition_hash: str | None = None
    """That version's content hash."""
    input: Json
    queue: str = DEFAULT_QUEUE
    key: str | None = None
    """The caller's idempotency key, unique per tenant and workflow; the id is derived from it."""
    priority: int = 0
    """Higher is claimed first; -1000 to 1000."""
    delay_ms: int = 0
    """Not claimable before this many milliseconds after the start."""
    timeout_ms: int | None = None
    """The run's deadline, in milliseconds after the start."""
    attributes: dict[str, AttributeValue] = {}
    root_id: RunId | None = None
    """The first run of this lineage; itself when None."""
    parent_id: RunId | None = None
    parent_key: str | None = None
    parent_policy: ParentPolicy = ParentPolicy.CANCEL
    """What becomes of it when its parent is cancelled."""


class Started(Struct, frozen=True):
    """The answer to a start: the run, and whether this call made it."""

    run_id: RunId
    created: bool


class Run(Struct, frozen=True, kw_only=True):
    """One execution of a workflow, as recorded."""

    id: RunId
    tenant: Tenant
    workflow: str
    queue: str
    status: RunStatus
    status_reason: str
    terminal_reason: str | None
    input: Json
    result: Json | None
    error: Json | None
    """A stored error (see ``core.failure``)."""
    key: str | None
    priority: int
    version: int | None
    definition_hash: str | None
    root_id: RunId
    retry_of_id: RunId | None
    attempt: int
    """1 for the first run of a lineage; unique per root (R-53)."""
    forked_from_id: RunId | None = None
    """The run whose records it began with, if it is a fork."""
    chain_id: RunId | None = None
    """The first run of the chain that it is a link of; None for one that was never continued, and continues none."""
    link: int | None = None
    """Its place in the chain: 1 for the first."""
    continued_from_id: RunId | None = None
    """The run that continued as this one."""
    continued_as_id: RunId | None = None
    """The run as which it continued: whatever is asked of the chain is asked of its last link."""
    parent_id: RunId | None
    parent_key: str | None
    parent_policy: ParentPolicy = ParentPolicy.CANCEL
    attributes: dict[str, AttributeValue]
    worker: WorkerId | None
    """Who holds the lease, if anyone."""
    epoch: int
    """Raised whenever the lease changes hands: the fencing token."""
    crashes: int
    """Workers lost in a row without any progress of this run."""
    cancel_requested: bool
    cancel_compensates: bool = False
    """Whether it is to undo what it did before it is cancelled."""
    pause_requested: bool = False
    """It is held, and is paused as soon as its worker lets go of it."""
    created_ms: UnixMs
    updated_ms: UnixMs
    ready_ms: UnixMs | None
    """Since when it can be claimed; its place in the line."""
    wake_ms: UnixMs | None
    """When a timer, retry, delayed start or the deadline makes it claimable."""
    kept_wake_ms: UnixMs | None = None
    """When a delayed run that was paused was to start."""
    aside_until_ms: UnixMs | None = None
    """Until then whoever holds it is to give it back, and it is kept out of the line for who wants to move it."""
    deadline_ms: UnixMs | None
    started_ms: UnixMs | None
    """First claim."""
    finalized_ms: UnixMs | None

    @property
    def stands_aside(self) -> bool:
        """Whether it was given back to be moved: it has begun, and is kept out of the line for a while."""
        return self.status is RunStatus.QUEUED and self.ready_ms is None and self.started_ms is not None

    @property
    def code(self) -> str:
        """What a worker must know to execute it."""
        return code_name(self.workflow, self.definition_hash)


class Entry(Struct, frozen=True, kw_only=True):
    """One journal row: the recorded outcome of one operation of a run, written once."""

    key: str
    seq: int
    """Order of completion within the run, shared with its waits."""
    kind: EntryKind
    name: str
    """The step's registered name; for a child its run id; for a value its function."""
    status: EntryStatus
    result: Json | None = None
    error: Json | None = None
    fingerprint: str = ""
    """A hash of the arguments, or empty: how replay notices that the code passes something else now."""
    input: Json | None = None
    """The arguments, kept only for a step that has a compensation."""
    attempts: int = 1
    epoch: int
    started_ms: UnixMs
    completed_ms: UnixMs
    settled_by: str | None = None
    """Who gave it this outcome by hand; None if the step did."""


class Wait(Struct, frozen=True, kw_only=True):
    """What a run waits for; closed with exactly one outcome."""

    key: str
    seq: int
    kind: WaitKind
    signal: str | None = None
    """The name of the signal, or of the breaker."""
    child_id: RunId | None = None
    due_ms: UnixMs | None = None
    opened_ms: UnixMs
    outcome: WaitOutcome | None = None
    closed_ms: UnixMs | None = None
    result: Json | None = None
    """The signal's payload, or the child's result."""
    error: Json | None = None
    """The child's error."""
    child_status: RunStatus | None = None
    """How the child ended."""
    request: Json | None = None
    """What it asks for: a stored ``Question`` of an approval, a ``SignalFilter`` of a signal."""
    note: str | None = None
    """Why a signal of its name did not match: the last error of its filter."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One failed attempt of a step that is to be tried again. The last attempt's outcome is the Entry."""

    key: str
    attempt: int
    """1 for the first."""
    error: Json
    started_ms: UnixMs
    ended_ms: UnixMs


class VersionMove(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run goes on with another version of its graph."""

    from_version: int
    to_version: int
    renamed: dict[str, str] = {}
    """Recorded nodes that have another key from now on, old path to new (``outer/inner``)."""


class Transition(Struct, frozen=True, kw_only=True):
    """One row of the append-only log of a run's moves: structural facts and the words of who asked, never payloads."""

    seq: int
    from_status: RunStatus | None
    to_status: RunStatus
    reason: str
    key: str | None = None
    worker: WorkerId | None = None
    epoch: int = 0
    at_ms: UnixMs
    actor: str | None = None
    """Who commanded it; None if nobody did."""
    note: str | None = None
    """Why, in the actor's own words."""
    command_id: RunId | None = None
    """The command's own id: the same one is obeyed once."""
    moved: VersionMove | None = None
    """Between which versions the run was moved; None for every other transition."""


class ClaimedRun(Struct, frozen=True, kw_only=True):
    """A run together with all that is needed to go on with it."""

    id: RunId
    tenant: Tenant
    workflow: str
    version: int | None = None
    definition_hash: str | None = None
    queue: str
    status: RunStatus
    input: Json
    error: Json | None
    """Why the run is compensating, if it is."""
    key: str | None
    root_id: RunId
    attempt: int
    epoch: int
    crashes: int
    cancel_requested: bool
    created_ms: UnixMs
    deadline_ms: UnixMs | None
    priority: int = 0
    cancel_compensates: bool = False
    pause_requested: bool = False
    parent_id: RunId | None = None
    counted: bool = False
    """Its tenant or its queue has a limit of runs that workers hold: when it leaves, another one may be claimed."""
    journal: list[Entry] = []
    waits: list[Wait] = []
    attempts: list[Attempt] = []


class Claim(Struct, frozen=True):
    """The answer to a claim: the database's time, and the runs."""

    now_ms: UnixMs
    runs: list[ClaimedRun]
    more: bool = False
    """It has passed over so many barred runs that it has not come to an end of them: ask again at once."""
    barred: bool = False
    """Runs are barred by pauses, quotas or limits: when a run leaves the worker, ask again."""


class Agenda(Struct, frozen=True):
    """What there is to do, and when: one cheap read that an idle worker repeats."""

    now_ms: UnixMs
    claimable: bool
    """Some run of these queues and codes can be claimed."""
    next_wake_ms: UnixMs | None
    """When the next parked or delayed run is due; in the past if one is due already."""
    workers_lost: bool
    """Some worker's lease has run out while it still holds runs."""
    unasked: list[str] = []
    """Codes with claimable runs in these queues that nobody asked for, sorted."""
    signals_due: bool = False
    """``sweep_signals`` has something to do: signals under way, or expired ones."""
    bulk_due: bool = False
    """A batch of a bulk job is due."""
    next_tick_ms: UnixMs | None = None
    """When to look next at a schedule; in the past if one is due already."""
    next_breaker_ms: UnixMs | None = None
    """When to look next at a circuit breaker; in the past if one is due already."""


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """A worker as it announces itself."""

    id: WorkerId
    queues: list[str]
    codes: list[str]
    """What it can execute: function workflows by name, versions of graphs by ``model.catalog.code_name``."""
    lacks: dict[str, list[str]] = {}
    """Codes that runs wait for and it cannot execute, with what it would have to know."""
    host: str = ""
    pid: int = 0
    version: str = ""


class WorkerRow(Struct, frozen=True, kw_only=True):
    """A worker as recorded."""

    id: WorkerId
    queues: list[str]
    codes: list[str]
    lacks: dict[str, list[str]]
    host: str
    pid: int
    version: str
    started_ms: UnixMs
    heartbeat_ms: UnixMs
    lease_until_ms: UnixMs


class Signal(Struct, frozen=True, kw_only=True):
    """A named message to one run, or to every run of the tenant that waits for it."""

    id: RunId
    """The sender's id for this message: sending the same one again does nothing."""
    tenant: Tenant
    name: str
    payload: Json
    run_id: RunId | None = None
    keep_ms: int | None = None
    """How long it is kept for waits to come. None: to one run until it is consumed, to all not at all."""


class Outputs(Struct, frozen=True):
    """What a run recorded for others to read, and its status just before that was read."""

    status: RunStatus
    entries: list[Entry]
    """By ``seq``, the offset."""


class Sweep(Struct, frozen=True):
    """What one round of delivering and deleting signals did."""

    woken: int
    """Runs whose wait was closed."""
    more: bool
    """Whether there may be more to do at once."""


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an approval asks, stored with its wait."""

    title: str | None = None
    by: list[str] = []
    """Who may answer: names of people or of groups; anyone if empty."""
    form: dict[str, Any] | None = None
    """The JSON Schema of the data that an answer brings."""
    escalate_after_ms: int | None = None
    """So long after it was asked, ``escalate_to`` may answer as well."""
    escalate_to: list[str] = []


class Answer(Struct, frozen=True, kw_only=True):
    """A person's answer to an approval."""

    id: RunId
    """The sender's id for this answer: the same one again changes nothing and is no conflict."""
    tenant: Tenant
    run_id: RunId
    key: str
    """The key of the approval's wait."""
    names: list[str]
    """Who answers: the person's name, then the groups that the person belongs to."""
    verdict: Json
    """A stored ``Verdict``."""


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an answer says, stored as the result of the wait."""

    approved: bool
    by: str
    data: Raw = Raw(b"null")
    comment: str | None = None


class Approval(Struct, frozen=True, kw_only=True):
    """An open approval, as the inbox lists it."""

    run_id: RunId
    key: str
    workflow: str
    opened_ms: UnixMs
    due_ms: UnixMs | None
    question: Question
    escalated: bool
    """Whether those whom it escalates to may answer by now."""


class ApprovalPage(Struct, frozen=True):
    """One page of open approvals, oldest first, and where the next begins (None at the end)."""

    approvals: list[Approval]
    next: str | None


class Holder(Struct, frozen=True, kw_only=True):
    """A run that a worker holds while another one stands in the line."""

    run_id: RunId
    workflow: str
    worker: WorkerId
    since_ms: UnixMs


class Standing(Struct, frozen=True, kw_only=True):
    """What keeps a run of the line, or one that will come there, from being claimed."""

    pauses: list[Pause] = []
    """Of its queue, workflow and tenant, in the order of these words' letters."""
    breakers: list[BreakerRow] = []
    """Those that the run waits for, by name."""
    barred_ahead: int = 0
    """Of a run that a pause, quota or limit bars, as the last claim found it: those barred by the same before it in its
    queue, counted up to 1,000."""
    running_max: int | None = None
    """How many runs of its tenant workers may hold; of a run in the line."""
    running: int = 0
    """How many they hold, if there is a limit."""
    queue_running_max: int | None = None
    """How many runs of its tenant's queue workers may hold; of a run in the line."""
    queue_running: int = 0
    """How many of these they hold, if there is a limit."""
    holders: list[Holder] = []
    """Of a run in the line: up to 10 runs of its tenant that are held, longest first: those of its queue if that has
    reached its limit, else all of them if the tenant has reached its own, else those that the workers which serve its
    line hold. Of very many held runs only the 200 that were created first are looked at, unless that limit is
    reached."""


class RunDetail(Struct, frozen=True, kw_only=True):
    """A run with everything that explains it."""

    now_ms: UnixMs
    run: Run
    journal: list[Entry]
    waits: list[Wait]
    attempts: list[Attempt]
    transitions: list[Transition]
    workers: list[WorkerRow]
    """Those that serve its queue and know its code, or say what they lack of it; and the one that holds the lease."""
    ahead: int
    """Claimable runs before this one in its queue that nothing bars, counted up to 1,000."""
    standing: Standing = Standing()


class RunFilter(Struct, frozen=True, kw_only=True):
    """Which runs to list; every given field must match. Ranges of time take in their beginning, not their end."""

    statuses: frozenset[RunStatus] = frozenset()
    workflow: str | None = None
    version: int | None = None
    queue: str | None = None
    key: str | None = None
    parent_id: RunId | None = None
    root_id: RunId | None = None
    forked_from_id: RunId | None = None
    created_from_ms: UnixMs | None = None
    created_before_ms: UnixMs | None = None
    updated_from_ms: UnixMs | None = None
    updated_before_ms: UnixMs | None = None
    finalized_from_ms: UnixMs | None = None
    finalized_before_ms: UnixMs | None = None
    attributes: dict[str, AttributeValue] = {}
    ranges: tuple[AttributeRange, ...] = ()
    waiting_on: WaitingOn | None = None
    error_type: str | None = None
    """The class of the error that it ended with, as it is stored: ``ValueError``, ``orders.Refused``."""
    fingerprint: str | None = None
    """The fingerprint of the error that it ended with."""
    text: str | None = None
    """Is part of its key, its workflow's name or its error's message; the case of ASCII letters does not matter."""
    order: RunOrder = RunOrder.NEWEST


class BrokenRun(Struct, frozen=True):
    """A run whose row cannot be read: a hand in the database, or a newer version of holdfast, wrote it."""

    id: RunId
    why: str


class RunPage(Struct, frozen=True):
    """One page of runs, in order, and where the next begins (None at the end)."""

    runs: list[Run]
    next: str | None
    broken: list[BrokenRun] = []
    """Runs of this page that cannot be read; they stand in the order of the page too."""
