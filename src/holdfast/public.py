"""The names that ``import holdfast as hf`` offers."""

from holdfast import errors
from holdfast.app import App, connect, connect_sync, open_studio
from holdfast.client.client import Client, RunHandle, Start
from holdfast.client.dag import Dag, StepRow
from holdfast.client.outputs import Published, StreamItem
from holdfast.client.sync import SyncClient, SyncRunHandle
from holdfast.core.breakers import Breaker
from holdfast.core.definitions import GraphError
from holdfast.core.explain import Explanation
from holdfast.core.retry import NonRetryable, Retry, RetryAfter
from holdfast.core.schedules import SLOT
from holdfast.errors import HoldfastError
from holdfast.model.closing import Closing, Subscription
from holdfast.model.lineage import Lineage
from holdfast.model.run import Approval, ApprovalPage, Run
from holdfast.model.status import RunStatus, StepState
from holdfast.runtime.settings import WorkerSettings
from holdfast.workflow import blocking
from holdfast.workflow.approval import Decision, wait_for_approval
from holdfast.workflow.context import RunInfo, StepInfo, current, current_step
from holdfast.workflow.continuing import ContinueAsNew, continue_as_new
from holdfast.workflow.graph import Graph
from holdfast.workflow.graph_options import With
from holdfast.workflow.node import NodeInfo, current_node
from holdfast.workflow.operations import (
    Child,
    gather,
    map,  # noqa: A004 - called like what it does
    now,
    patched,
    random,
    run_child,
    set_attributes,
    sleep,
    sleep_until,
    start_child,
    uuid4,
)
from holdfast.workflow.schedule import Schedule
from holdfast.workflow.signals import Update, emit, publish, signal, updates, wait_for_signal

__all__ = [
    "SLOT",
    "App",
    "Approval",
    "ApprovalPage",
    "Breaker",
    "Child",
    "Client",
    "Closing",
    "ContinueAsNew",
    "Dag",
    "Decision",
    "Explanation",
    "Graph",
    "GraphError",
    "HoldfastError",
    "Lineage",
    "NodeInfo",
    "NonRetryable",
    "Published",
    "Retry",
    "RetryAfter",
    "Run",
    "RunHandle",
    "RunInfo",
    "RunStatus",
    "Schedule",
    "Start",
    "StepInfo",
    "StepRow",
    "StepState",
    "StreamItem",
    "Subscription",
    "SyncClient",
    "SyncRunHandle",
    "Update",
    "With",
    "WorkerSettings",
    "blocking",
    "connect",
    "connect_sync",
    "continue_as_new",
    "current",
    "current_node",
    "current_step",
    "emit",
    "errors",
    "gather",
    "map",
    "now",
    "open_studio",
    "patched",
    "publish",
    "random",
    "run_child",
    "set_attributes",
    "signal",
    "sleep",
    "sleep_until",
    "start_child",
    "updates",
    "uuid4",
    "wait_for_approval",
    "wait_for_signal",
]
