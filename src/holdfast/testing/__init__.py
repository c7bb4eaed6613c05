"""Tools for proving your own workflows: ``crash_everywhere`` kills a worker at every moment of a run."""

from holdfast.testing.sim.crash import CrashFound, CrashPoint, CrashReport, RunOutcome, crash_everywhere
from holdfast.testing.sim.loop import Deadlock, SimulationError
from holdfast.testing.sim.network import Fault

__all__ = [
    "CrashFound",
    "CrashPoint",
    "CrashReport",
    "Deadlock",
    "Fault",
    "RunOutcome",
    "SimulationError",
    "crash_everywhere",
]
