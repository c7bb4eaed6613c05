"""Going on as a new run, so that no journal grows without end."""

from __future__ import annotations

from typing import Any, NoReturn

from holdfast.model.ids import Json
from holdfast.workflow.context import require_branch


class ContinueAsNew(BaseException):
    """Unwinds the body of a run that continues as a new one; a BaseException, so that ``except Exception`` lets it by.

    ``args`` and ``kwargs`` are those of the call. Outside a run it is what a test of a workflow looks for.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], stored: Json | None = None) -> None:
        super().__init__(*args)
        self.kwargs = kwargs
        self.stored = stored
        """The arguments as they are stored; None outside a run."""


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run and start its successor: the same workflow with these arguments, and an empty journal.

    For loops without an end: a run replays its whole journal, so one that never ends should begin anew now and then.
    The end of this run (completed, reason ``continued``) and the start of its successor are one transaction, so nothing
    is lost between them and nothing happens twice. The successor keeps the tenant, queue, priority, key, attributes,
    deadline and parent, and takes the signals that this run has not consumed. Who waits for this run, or sends it a
    signal or a command later, waits for, and reaches, the last run of the chain.

    It raises, in async and plain workflows alike; ``finally`` blocks are executed before the run ends, and may call
    steps. Compensations of this run are dropped, as at the end of any run that completes. Outside a run it raises
    ``hf.ContinueAsNew``, for tests.

    Raises:
        CannotContinue: in a branch of ``hf.gather`` or ``hf.map``, or in a graph.
        NotInWorkflow: in the handler of a step.
        UsageError: the workflow does not take these arguments.
        EncodeError, PayloadTooLarge: they cannot be stored.
    """
    branch = require_branch("hf.continue_as_new()")
    raise ContinueAsNew(args, kwargs, None if branch is None else branch.continue_as_new(args, kwargs))
