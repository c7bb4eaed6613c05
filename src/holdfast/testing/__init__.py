"""Tools for proving your own workflows.

``crash_everywhere`` kills a worker at every moment of a run; ``replay`` holds recorded runs against the code of now;
``lint`` looks through workflow bodies for what may differ in their next execution.
"""

from holdfast.core.history import History, decode_history, encode_history, history_of, redact
from holdfast.core.lint import Finding
from holdfast.runtime.lint import lint_workflows as lint
from holdfast.runtime.replay import Parting, ReplayReport
from holdfast.testing.replay import HistoriesParted, read_histories, replay
from holdfast.testing.sim.crash import CrashFound, CrashPoint, CrashReport, RunOutcome, crash_everywhere
from holdfast.testing.sim.loop import Deadlock, SimulationError
from holdfast.testing.sim.network import Fault

__all__ = [
    "CrashFound",
    "CrashPoint",
    "CrashReport",
    "Deadlock",
    "Fault",
    "Finding",
    "HistoriesParted",
    "History",
    "Parting",
    "ReplayReport",
    "RunOutcome",
    "SimulationError",
    "crash_everywhere",
    "decode_history",
    "encode_history",
    "history_of",
    "lint",
    "read_histories",
    "redact",
    "replay",
]
