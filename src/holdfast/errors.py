"""Everything that may go wrong, as a tree ordered by who must act.

    HoldfastError
    ├── UsageError            fix the program: it asks for something that cannot be
    │   ├── WorkflowNotRegistered   no App in this process knows the name
    │   ├── StepNotRegistered
    │   ├── DuplicateName
    │   ├── DuplicateStepKey
    │   ├── NotInWorkflow
    │   ├── CannotContinue      hf.continue_as_new() was called where a run cannot end
    │   ├── NotADependency      a node asks for the result of one that it does not follow
    │   ├── UnknownBranch       a route's selector answered none of its branches
    │   ├── PayloadError        a value that cannot be stored or read back
    │   │   ├── EncodeError
    │   │   ├── DecodeError
    │   │   ├── PayloadTooLarge
    │   │   └── FormMismatch    what a person entered does not fit the form of the approval
    │   ├── NonDeterminismError the workflow's code no longer agrees with its journal
    │   └── HistoryUnreadable   a line of a file is no history that can be replayed
    ├── NotFound              no such thing, or it belongs to another tenant
    │   ├── RunNotFound
    │   ├── DefinitionNotFound
    │   ├── ReleaseNotFound
    │   ├── NodeNotFound
    │   ├── ApprovalNotFound
    │   ├── BulkJobNotFound
    │   ├── ScheduleNotFound
    │   ├── NodeResultMissing   the node failed or was skipped
    │   ├── StepNotFound        the graph has no step of that name
    │   ├── NoResult            the step has stored none
    │   └── ValueNotFound
    ├── Conflict              the state of the thing forbids it
    │   ├── RunFinished
    │   ├── VersionConflict     a version is immutable: this number or content is taken
    │   ├── ReleaseMoved        somebody else moved the release meanwhile
    │   ├── QuotaExceeded       the tenant may have no more
    │   ├── MoveRefused         what the run has recorded disagrees with the version
    │   ├── ScheduleExists      it was to be new, and its name is taken
    │   ├── BulkTooLarge        more runs than the job was to have at most
    │   ├── CommandRefused      it is not where this command could move it
    │   │   └── RunHeld         a worker holds it, and the command is for runs that nobody holds
    │   ├── AlreadyStored       the outcome of a step is written once
    │   ├── ApprovalClosed      somebody answered before, or nobody waits for an answer any more
    │   └── NotAnApprover       this person may not answer it
    ├── RunError              the run ended otherwise than with a result
    │   ├── RunFailed
    │   ├── RunCancelled
    │   └── RunStuck
    ├── StepError             a step failed for good, and its own exception type is not registered
    ├── StepTimeout           a step ran longer than its timeout
    ├── LoopNotDone           a loop was not done after its greatest number of iterations
    ├── SignalTimeout         a wait for a signal elapsed
    ├── ApprovalTimeout       nobody answered an approval in time
    ├── UpdateTimeout         a run has not answered an update in time; it may still
    ├── UpdateRefused         the workflow refused an update
    ├── DeadlineExceeded      the run's own deadline passed
    ├── CompensationError     a compensation failed for good
    ├── ResultTimeout         the caller stopped waiting; the run goes on
    ├── LeaseLost             another worker holds the run: drop the work
    └── StoreError            the database
        ├── StoreUnavailable    it did not answer: nothing was done, repeat
        ├── CommitUnknown       it may or may not have committed: look before repeating
        ├── StoreBusy           another program holds the SQLite file
        ├── SchemaTooOld        run ``holdfast migrate``
        ├── SchemaTooNew        upgrade holdfast
        ├── StoreMisconfigured  the URL or the database cannot be used; says why
        └── StoreCorrupt        a stored row cannot be read

Every class carries a stable ``code`` (what programs match on, in HTTP and ``--json`` too), says with
``retriable`` whether repeating the same call may help, and keeps its facts as attributes.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HoldfastError(Exception):
    """The root of every error that holdfast raises on purpose."""

    code: ClassVar[str] = "holdfast_error"
    retriable: ClassVar[bool] = False
    template: ClassVar[str] = "{message}"

    def __init__(self, message: str = "", **facts: Any) -> None:
        self.facts = {"message": message, **facts} if message else facts
        super().__init__(self.template.format_map(_Facts(self.facts)))

    def __getattr__(self, name: str) -> Any:
        """A fact that the error was raised with, such as ``error.run_id``."""
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.facts))


def _rebuild(cls: type[HoldfastError], facts: dict[str, Any]) -> HoldfastError:
    return cls(**facts)


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"<{key}>"


class UsageError(HoldfastError):
    """The program asks for something that cannot be; the message says what to change."""

    code = "usage_error"


class WorkflowNotRegistered(UsageError):
    """No workflow of that name is registered in this App."""

    code = "workflow_not_registered"
    template = "no workflow named {workflow!r} is registered; known workflows: {known}"


class StepNotRegistered(UsageError):
    """A step that a run needs is not registered in this App."""

    code = "step_not_registered"
    template = "run {run_id} needs step {step!r}, which this App does not register; known steps: {known}"


class DuplicateName(UsageError):
    """Two workflows, or two steps, of one App have the same name."""

    code = "duplicate_name"
    template = "a {kind} named {name!r} is registered already; give one of them name=..."


class DuplicateStepKey(UsageError):
    """Two operations of one run ask for the same explicit key."""

    code = "duplicate_step_key"
    template = "run {run_id} used the key {key!r} twice; a key must be unique within its run"


class NotInWorkflow(UsageError):
    """A durable operation was called where no run is being executed."""

    code = "not_in_workflow"
    template = "{operation} works only {where}"

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message, **{"where": "inside a workflow that a worker executes", **facts})


class CannotContinue(UsageError):
    """``hf.continue_as_new()`` was called where a run cannot end: beside other branches, or in a graph."""

    code = "cannot_continue"
    template = "run {run_id} cannot continue as a new run here: {why}"


class NotADependency(UsageError):
    """A node asks for the result of one that it does not follow."""

    code = "not_a_dependency"
    template = "node {node!r} may not read the result of {asked!r}: {why}"


class UnknownBranch(UsageError):
    """A route's selector answered something that is none of its branches, and the route has no default."""

    code = "unknown_branch"
    template = "the selector of {node!r} answered {answer}, which is none of its branches: {known}"


class PayloadError(UsageError):
    """A value cannot be stored, or a stored one cannot be read back as its type."""

    code = "payload_error"


class EncodeError(PayloadError):
    """A value has no faithful JSON form; ``where`` names the argument or result."""

    code = "encode_error"
    template = "{where} cannot be stored: {why}"


class DecodeError(PayloadError):
    """A stored value does not fit the type that the code declares now."""

    code = "decode_error"
    template = "{where} does not fit {type}: {why}"


class PayloadTooLarge(PayloadError):
    """A value's JSON form is larger than the configured limit."""

    code = "payload_too_large"
    template = "{where} is {size} bytes; the limit is {limit} (store the bulk elsewhere and pass a reference)"


class FormMismatch(PayloadError):
    """What was entered does not fit the form that the approval asks for."""

    code = "form_mismatch"
    template = "the answer to approval {key!r} of run {run_id} does not fit its form: {why}"


class NonDeterminismError(UsageError):
    """The workflow asked for something else than its journal holds; the run is stopped, nothing is lost.

    ``source`` is the line of the workflow that asked, as ``file:line``, where it is known.
    """

    code = "non_determinism"
    template = (
        "run {run_id} diverged from its journal at {key!r}{place}: "
        "recorded {recorded}, but the code asked for {asked}. "
        "Between steps a workflow may depend only on its input and on recorded results: "
        "use hf.now(), hf.uuid4() and hf.random(), give the step an explicit key=, or guard a change with hf.patched()"
    )

    def __init__(self, message: str = "", **facts: Any) -> None:
        source = facts.setdefault("source", None)
        super().__init__(message, **{"place": f" ({source})" if source else "", **facts})


class HistoryUnreadable(UsageError):
    """A line of a file is no history that this release can replay."""

    code = "history_unreadable"
    template = "{where} is no history that can be replayed: {why}"


class NotFound(HoldfastError):
    """There is no such thing in this tenant."""

    code = "not_found"


class RunNotFound(NotFound):
    """There is no run with that id in this tenant."""

    code = "run_not_found"
    template = "no run {run_id}"


class DefinitionNotFound(NotFound):
    """There is no such version of the workflow's definition in this tenant."""

    code = "definition_not_found"
    template = (
        "workflow {workflow!r} has no stored definition {version}; `holdfast definitions list` shows what there is"
    )


class ReleaseNotFound(NotFound):
    """The workflow has no release of that name, or the release has no such entry in its history."""

    code = "release_not_found"
    template = "workflow {workflow!r} has no release {name!r}{entry}; promote a version to it first"

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message, **{"entry": "", **facts})


class NodeNotFound(NotFound):
    """A definition has no node with that key."""

    code = "node_not_found"
    template = "the definition of workflow {workflow!r} has no node {key!r}"


class StepNotFound(NotFound):
    """The run's graph has no step of that name."""

    code = "step_not_found"
    template = "the graph of run {run_id} has no step {step!r}"


class NoResult(NotFound):
    """The step has stored no result: it has not completed yet, or it never will."""

    code = "no_result"
    template = "step {step!r} of run {run_id} has stored no result (it is {state})"


class NodeResultMissing(NotFound):
    """A node has no result, because it failed or was skipped."""

    code = "node_result_missing"
    template = "node {node!r} has no result: it {why}"


class Conflict(HoldfastError):
    """The state of the thing forbids what was asked."""

    code = "conflict"


class RunFinished(Conflict):
    """The run has ended; it takes no more signals or commands. ``continued_as_id`` is its successor, if it has one."""

    code = "run_finished"
    template = "run {run_id} is {status} already{place}"

    def __init__(self, message: str = "", **facts: Any) -> None:
        successor = facts.setdefault("continued_as_id", None)
        super().__init__(message, **{"place": f": it continued as run {successor}" if successor else "", **facts})


class QuotaExceeded(Conflict):
    """The tenant may not start this run now; nothing was started. Later, or with a larger quota, it may."""

    code = "quota_exceeded"
    retriable = True
    template = "tenant {tenant!r} may not start this: its quota {quota} is {limit}, and it would be {found}"


class VersionConflict(Conflict):
    """A version is immutable: the number holds other content, or the content is stored under another number."""

    code = "definition_version_conflict"
    template = "version {version} of workflow {workflow!r} cannot be stored: {why}"


class ReleaseMoved(Conflict):
    """The release is not where the caller saw it: somebody else moved it."""

    code = "release_moved"
    template = (
        "release {name!r} of workflow {workflow!r} was moved meanwhile: entry {found} is its last one, "
        "not {expected}; look at its history and try again"
    )


class CommandRefused(Conflict):
    """The run is not where this command could move it; ``allowed`` lists those that could."""

    code = "command_refused"
    template = "run {run_id} cannot obey {command!r}: {why}; while it is {status} it obeys: {allowed}"


class RunHeld(CommandRefused):
    """A worker holds the run, and this command is for runs that nobody holds."""

    code = "run_held"
    template = "run {run_id} cannot obey {command!r}: {why}; while it is {status} it obeys: {allowed}"


class MoveRefused(Conflict):
    """The run cannot go on with that version: what it has recorded disagrees with it. ``problems`` says where."""

    code = "move_refused"
    template = "run {run_id} cannot be moved to version {version}:\n{listing}"


class BulkJobNotFound(NotFound):
    """There is no such bulk job, or it is another tenant's."""

    code = "bulk_job_not_found"
    template = "there is no bulk job {job_id}"


class ScheduleNotFound(NotFound):
    """There is no such schedule, or it is another tenant's."""

    code = "schedule_not_found"
    template = "there is no schedule {schedule!r}"


class ScheduleExists(Conflict):
    """A schedule that was to be new has the name of another one; nothing was changed."""

    code = "schedule_exists"
    template = (
        "there is a schedule {schedule!r} already: give the new one another name, or put it to change the old one"
    )


class BulkTooLarge(Conflict):
    """The filter names more runs than the caller is willing to touch; nothing was started."""

    code = "bulk_too_large"
    template = "{found} runs match {query!r}, more than the {most} allowed: narrow the filter, or allow more"


class ApprovalNotFound(NotFound):
    """The run has asked for no approval under that key."""

    code = "approval_not_found"
    template = "run {run_id} has asked for no approval {key!r}"


class ValueNotFound(NotFound):
    """The run has published no value under that name (yet)."""

    code = "value_not_found"
    template = "run {run_id} has published no value {name!r}"


class ApprovalClosed(Conflict):
    """The approval takes no answer any more: it was answered, or its wait elapsed or was cancelled."""

    code = "approval_closed"
    template = "approval {key!r} of run {run_id} is closed already: {outcome}"


class AlreadyStored(Conflict):
    """The journal holds another outcome of the step: it is written once."""

    code = "already_stored"
    template = "step {step!r} of run {run_id} has a recorded outcome already: {why}"


class NotAnApprover(Conflict):
    """The approval is open, but somebody else has to answer it."""

    code = "not_an_approver"
    template = "approval {key!r} of run {run_id} cannot be answered by {by!r}: it is for {approvers}"


class RunError(HoldfastError):
    """The run ended otherwise than with a result."""

    code = "run_error"


class RunFailed(RunError):
    """The run failed; ``failure`` is the stored error, ``reason`` the terminal reason."""

    code = "run_failed"
    template = "run {run_id} failed ({reason}): {error}"


class RunCancelled(RunError):
    """The run was cancelled."""

    code = "run_cancelled"
    template = "run {run_id} was cancelled"


class RunStuck(RunError):
    """The run was set aside after it took its worker down too often."""

    code = "run_stuck"
    template = "run {run_id} is set aside as stuck ({reason})"


class StepError(HoldfastError):
    """A step failed for good with an exception type that is not registered.

    ``type`` is the original type's name. Register it with ``@app.error`` to catch it as itself.
    """

    code = "step_error"
    template = "{type}: {message}"


class StepTimeout(HoldfastError):
    """An attempt of a step ran longer than its timeout; retried like any other failure."""

    code = "step_timeout"
    retriable = True
    template = "step {step!r} ran longer than its timeout of {timeout_s} s"


class LoopNotDone(HoldfastError):
    """A loop was not done after the greatest number of iterations that it may take."""

    code = "loop_not_done"
    template = "the loop {node!r} is not done after {iterations} iterations"


class SignalTimeout(HoldfastError):
    """No signal of that name came within the timeout."""

    code = "signal_timeout"
    template = "no signal {signal!r} within {timeout_s} s"


class ApprovalTimeout(HoldfastError):
    """Nobody answered an approval within its timeout."""

    code = "approval_timeout"
    template = "nobody answered approval {key!r} within {timeout_s} s"


class UpdateTimeout(HoldfastError):
    """The run has not answered an update in time. It may still: ask again with the same key."""

    code = "update_timeout"
    retriable = True
    template = "run {run_id} has not answered update {name!r} within {timeout_s} s"


class UpdateRefused(HoldfastError):
    """The workflow refused an update; ``why`` are its words."""

    code = "update_refused"
    template = "run {run_id} refused update {name!r}: {why}"


class DeadlineExceeded(HoldfastError):
    """The run's deadline passed before it ended."""

    code = "deadline_exceeded"
    template = "run {run_id} passed its deadline"


class CompensationError(HoldfastError):
    """A run failed, and so did at least one compensation; ``failures`` lists them by step key."""

    code = "compensation_failed"
    template = "{count} compensation(s) failed: {failures}"


class ResultTimeout(HoldfastError):
    """The caller's own timeout passed; the run goes on."""

    code = "result_timeout"
    retriable = True
    template = "run {run_id} had not ended after {timeout_s} s (it is {status}); it goes on, ask again"


class LeaseLost(HoldfastError):
    """Another worker holds the run now, so this one's writes were refused."""

    code = "lease_lost"
    template = "the lease on run {run_id} (epoch {epoch}) is lost"


class StoreError(HoldfastError):
    """The database refused or did not answer."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database did not answer and nothing was done: the same call may be repeated."""

    code = "store_unavailable"
    retriable = True
    template = "the database at {url} does not answer: {why}"


class CommitUnknown(StoreError):
    """The connection was lost while committing: it may or may not have been done."""

    code = "commit_unknown"
    template = "the connection was lost during a commit, which may or may not have been done: {why}"


class StoreBusy(StoreError):
    """Another program held the SQLite file for too long."""

    code = "store_busy"
    retriable = True
    template = "another program held {url} for more than {waited_s} s"


class SchemaTooOld(StoreError):
    """The database's tables are older than this version of holdfast."""

    code = "schema_too_old"
    template = "the tables in {url} are at revision {found}, this version needs {needed}: run `holdfast migrate`"


class SchemaTooNew(StoreError):
    """The database's tables are newer than this version of holdfast."""

    code = "schema_too_new"
    template = "the tables in {url} are at revision {found}, which this version does not know: upgrade holdfast"


class StoreMisconfigured(StoreError):
    """The database cannot be used as it is; the message says what to change."""

    code = "store_misconfigured"
    template = "{url} cannot be used: {why}"


PASSING = (StoreUnavailable, CommitUnknown, StoreBusy)
"""What a loop may wait out. Any other StoreError needs a person, so that it must stop the worker, loudly."""


class StoreCorrupt(StoreError):
    """A stored row cannot be read; the others can."""

    code = "store_corrupt"
    template = "{what} cannot be read: {why}"
