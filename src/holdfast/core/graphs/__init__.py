"""Graphs that run: what begins when, and with which inputs. Decisions only; the runtime's walker carries them out."""

from holdfast.core.graphs.calls import Calls, Place, Signature, places_of, resolve_calls
from holdfast.core.graphs.conventions import Given, Parameter
from holdfast.core.graphs.interpreter import Cancelled, Completed, Failed, Interpreter, Outcome, TimedOut
from holdfast.core.graphs.journal_keys import find_compensation
from holdfast.core.graphs.plan import NodePlan, Plan

__all__ = [
    "Calls",
    "Cancelled",
    "Completed",
    "Failed",
    "Given",
    "Interpreter",
    "NodePlan",
    "Outcome",
    "Parameter",
    "Place",
    "Plan",
    "Signature",
    "TimedOut",
    "find_compensation",
    "places_of",
    "resolve_calls",
]
