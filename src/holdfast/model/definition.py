"""A graph as data: the document that is stored, versioned, drawn, edited, exported and interpreted.

A definition names its handlers; the functions themselves are in a Registry. Nodes are found by their **key**, which is
stable: journals, edges and expressions refer to it. The order of nodes and edges means nothing.

What a definition says happens:

- A node without edges into it begins with the run. Any other begins when every edge into it is decided and at least
  one of them is taken; if none is taken the node is skipped, and so are the edges that leave it.
- An edge is decided when its source has ended, and taken if its ``condition`` holds then. If the condition is an
  expression that has no value, the target fails.
- A node whose ``when`` is false is passed over: it counts as a success whose result is null.
- A node that fails for good fails the run, unless an edge for that case (``on_failure``, ``always``, ``on_timeout``)
  leaves it, or everything that follows it ignores the failure. ``ignore_failed`` and ``ignore_cancelled`` belong to the
  node that *follows*: for it, a source that failed or was cancelled counts as a success whose result is null.
- A run whose nodes are all decided, and none of which has failed it, is completed with the results of the nodes that
  nothing follows, as ``{key: result}``. A failure that ends the run stops the others at their next operation.

Expressions see ``input``; ``run`` (``id``, ``workflow``, ``tenant``, ``key``, ``attempt``); ``results.<key>`` and, for
a node that failed, ``errors.<key>`` (``type``, ``message``) of nodes that must have been decided before: the sources of
the edges into a node and everything those follow. A node that was skipped or failed has no result. Some places see
more, as said there. Times are integer milliseconds.

A field that holds its default is left out of documents, so a new field with a default changes no content hash.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

ALWAYS: Final = "always"
"""Taken however the source ended."""
ON_SUCCESS: Final = "on_success"
"""Taken if the source completed."""
ON_FAILURE: Final = "on_failure"
"""Taken if the source failed, whatever the reason: a timeout and a cancelled child as well."""
ON_TIMEOUT: Final = "on_timeout"
"""Taken if the signal that the source waited for did not come in time."""

EDGE_WORDS: Final = frozenset({ALWAYS, ON_SUCCESS, ON_FAILURE, ON_TIMEOUT})
"""The conditions that are no expressions."""

ITERATIONS_MAX_DEFAULT: Final = 1000
CONCURRENCY_DEFAULT: Final = 100


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What every part of a document has in common: strict reading, defaults left out."""


class Computed(Part, frozen=True, kw_only=True):
    """A value that is known when the run gets there. Exactly one of the two is given."""

    expression: str | None = None
    handler: str | None = None
    """A step that answers the value."""


class RetryPolicy(Part, frozen=True, kw_only=True):
    """When a failed step is tried again: ``core.retry.Retry`` as data."""

    max_attempts: int = 3
    initial_ms: int = 1000
    factor: float = 2.0
    max_delay_ms: int = 60_000
    jitter: float = 0.2
    non_retryable: tuple[str, ...] = ()
    """Exception types by their registered names (``core.failure.type_name``)."""


class CallPolicy(Struct, frozen=True, kw_only=True):
    """How a document has a step called, where it says so: see ``Branch``."""

    retry: RetryPolicy | None = None
    timeout_ms: int | None = None
    breaker: str | None = None


class Branch(Part, frozen=True, kw_only=True):
    """One way of a parallel or route node: a step of its own, with its own journal row and compensation."""

    handler: str
    input: dict[str, str] = {}
    """The handler's parameters by name, each an expression; without any it gets what handlers get by default."""
    retry: RetryPolicy | None = None
    """Instead of the step's own."""
    timeout_ms: int | None = None
    """For one attempt, instead of the step's own."""
    breaker: str | None = None
    """The circuit breaker of that name, which the program declares, instead of the step's own."""
    queue: str | None = None
    """The line in which the step stands as a run of its own."""
    compensate: str | None = None
    """The step that undoes it."""


class NodeBase(Part, frozen=True, kw_only=True, tag_field="kind"):
    """What every node has."""

    key: str
    when: str | None = None
    """An expression; if it is false the node is passed over."""
    ignore_failed: bool | None = None
    """Whether sources that failed count as done; None for what the graph says."""
    ignore_cancelled: bool | None = None
    """Whether sources that were cancelled count as done; None for what the graph says."""
    compensate: str | None = None
    """The step that undoes what this node did; only for kinds that call one handler."""


class CallNode(NodeBase, frozen=True, kw_only=True, tag_field="kind"):
    """What every node has that calls one handler."""

    handler: str
    input: dict[str, str] = {}
    """The handler's parameters by name, each an expression; without any it gets what handlers get by default."""
    retry: RetryPolicy | None = None
    """Instead of the step's own."""
    timeout_ms: int | None = None
    """For one attempt, instead of the step's own."""
    breaker: str | None = None
    """The circuit breaker of that name, which the program declares, instead of the step's own."""
    queue: str | None = None
    """The line in which the step stands as a run of its own."""


class StepNode(CallNode, frozen=True, kw_only=True, tag_field="kind", tag="step"):
    """Calls a handler. The result is the handler's."""


class ParallelNode(NodeBase, frozen=True, kw_only=True, tag_field="kind", tag="parallel"):
    """Calls all branches side by side. The result is ``{branch: result}``."""

    branches: dict[str, Branch]


class RouteNode(NodeBase, frozen=True, kw_only=True, tag_field="kind", tag="route"):
    """Calls the branch that the selector's answer names. The result is ``{"branch": name, "result": result}``."""

    selector: Computed
    branches: dict[str, Branch]
    input: dict[str, str] = {}
    """The parameters of a selector that is a handler."""
    default: str | None = None
    """The branch for any other answer; without it such an answer is a typed error."""


class LoopNode(CallNode, frozen=True, kw_only=True, tag_field="kind", tag="loop"):
    """Calls a handler again and again; each iteration is a step. The result is the list of results.

    Exactly one of ``until`` and ``condition`` is given. Both, and ``input``, also see ``iteration`` (1 for the first)
    and ``result`` (the iteration's; in ``condition`` and ``input`` the previous one's, null at first).
    """

    until: Computed | None = None
    """Looked at after each iteration; the loop ends when it is true."""
    condition: Computed | None = None
    """Looked at before each iteration; the loop ends when it is false."""
    max_iterations: int = ITERATIONS_MAX_DEFAULT
    """A loop that is not done after so many fails."""
    feedback: bool = True
    """Whether the handler gets the previous iteration's result, if ``input`` does not say what it gets."""


class MapNode(CallNode, frozen=True, kw_only=True, tag_field="kind", tag="map"):
    """Calls a handler for each item of a list. The result is the list of results in the items' order.

    ``input`` also sees ``item`` and ``index`` (0 for the first).
    """

    over: str
    """An expression that answers the list."""
    concurrency: int = CONCURRENCY_DEFAULT
    """How many items are under way at once."""
    tolerate: float | None = None
    """How many items may fail: a share if below 1, else a number; None for none. Their results are null."""


class SleepNode(NodeBase, frozen=True, kw_only=True, tag_field="kind", tag="sleep"):
    """Waits for a time. The result is null."""

    duration_ms: int | Computed
    """A computed one answers seconds."""


class SignalNode(NodeBase, frozen=True, kw_only=True, tag_field="kind", tag="signal"):
    """Waits for a signal. The result is its payload; without one in time the node fails with SignalTimeout."""

    signal: str | Computed
    timeout_ms: int | None = None


class ChildNode(NodeBase, frozen=True, kw_only=True, tag_field="kind", tag="child"):
    """Runs another workflow as a run of its own. The result is that run's; if it fails, so does the node."""

    workflow: str
    input: dict[str, str] = {}
    """The workflow's parameters by name, each an expression."""
    queue: str | None = None
    priority: int | None = None
    timeout_ms: int | None = None
    """The child's deadline, counted from its start."""


class ApproveNode(NodeBase, frozen=True, kw_only=True, tag_field="kind", tag="approve"):
    """Waits for a person's answer. The result is ``{"approved", "by", "data", "comment"}``.

    ``data`` is what was filled in. A rejection is an answer like another, and no failure.
    """

    form: dict[str, Any] | None = None
    """A JSON Schema of the answer; None for a plain yes or no."""
    by: tuple[str, ...] = ()
    """Who may answer; anybody who may see the run if empty."""
    escalate_after_ms: int | None = None
    escalate_to: tuple[str, ...] = ()
    """Who may answer as well, once ``escalate_after_ms`` have passed."""


class SubgraphNode(NodeBase, frozen=True, kw_only=True, tag_field="kind", tag="subgraph"):
    """Runs a graph inside this run. The result is ``{key: result}`` of its nodes.

    Its expressions see its own nodes only; ``input`` there is what ``input`` here says, or that of the graph around it.
    """

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    input: dict[str, str] = {}


class GraftNode(CallNode, frozen=True, kw_only=True, tag_field="kind", tag="graft"):
    """A place that is filled in when the run gets there: the handler answers the nodes and edges to run here.

    The result is ``{key: result}`` of those nodes.
    """


Node = (
    StepNode
    | ParallelNode
    | RouteNode
    | LoopNode
    | MapNode
    | SleepNode
    | SignalNode
    | ChildNode
    | ApproveNode
    | SubgraphNode
    | GraftNode
)


class Edge(Part, frozen=True, kw_only=True):
    """The target follows the source. There is at most one edge from one node to another."""

    source: str
    target: str
    condition: str = ON_SUCCESS
    """One of EDGE_WORDS, or an expression, which also sees ``result``: the source's. It is asked of sources that
    completed."""
    label: str = ""
    """Shown in drawings."""


class Grafted(Part, frozen=True, kw_only=True):
    """What the handler of a graft answers: a graph without a name, whose expressions see its own nodes only.

    ``input`` there is that of the graph in which the graft stands.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()


class Options(Part, frozen=True, kw_only=True):
    """How a graph's runs are started, and what its nodes do unless they say otherwise."""

    queue: str | None = None
    """The line its runs stand in; None for the default one."""
    timeout_ms: int | None = None
    """The deadline of a run, counted from its start; None for none."""
    ignore_failed: bool = False
    ignore_cancelled: bool = False


class Definition(Part, frozen=True, kw_only=True):
    """One graph."""

    workflow: str
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    options: Options = Options()
