"""What the handler of a graph's node may ask about the node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from typing import Any

from holdfast.errors import NotInWorkflow
from holdfast.model.ids import RunId
from holdfast.workflow.context import current_step


class NodeInfo(ABC):
    """What ``hf.current_node()`` answers inside the handler of a graph's node."""

    __slots__ = ()

    @property
    @abstractmethod
    def key(self) -> str:
        """The node's key, below the keys of the subgraphs it is in: ``outer/inner``."""

    @property
    @abstractmethod
    def input(self) -> Any:
        """What the run was started with; in a subgraph, what that was given. Plain JSON; do not change it."""

    @property
    def run_id(self) -> RunId:
        """The run."""
        return current_step().run_id

    @property
    def attempt(self) -> int:
        """1 for the handler's first try."""
        return current_step().attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt, and for nothing else: hand it to the outside service."""
        return current_step().idempotency_key

    @abstractmethod
    def result(self, key: str) -> Any:
        """The result of a node that this one comes after, directly or not. Plain JSON; do not change it.

        Raises:
            NotADependency: this node does not come after it.
            NodeResultMissing: it has no result: it failed, or was skipped.
        """

    @abstractmethod
    def error(self, key: str) -> Exception | None:
        """Why a node that this one comes after failed; None if it did not. Raises NotADependency."""


NODE: ContextVar[NodeInfo | None] = ContextVar("holdfast_node", default=None)
"""The node whose handler the code running now is part of."""


def current_node() -> NodeInfo:
    """The node whose handler this code is part of: its input, and the results of the nodes that it comes after.

    A step in a line of its own is another run, which sees only the arguments it was given.

    Raises:
        NotInWorkflow: it is not part of the handler of a graph's node.
    """
    node = NODE.get()
    if node is None:
        raise NotInWorkflow(operation="hf.current_node()", where="in the handler of a graph's node")
    return node
