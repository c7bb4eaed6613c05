"""The keys under which a graph's walk is journaled, and back from such a key to what the definition says of it.

``account`` is a node's; ``provision/mail`` a branch's, or a node's in the subgraph ``provision``; ``warm_up#2`` a
loop's second iteration; ``fetch[0]`` a map's first item; ``plan~selector`` a part's; ``send~done`` is the row that a
step in a line of its own leaves if it can be compensated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from holdfast.core.graphs.plan import Plan
from holdfast.model.definition import GraftNode, ParallelNode, RouteNode, SubgraphNode

DONE: Final = "~done"

_NUMBERED: Final = re.compile(r"(?:#\d+|\[\d+\])\Z")

FindGraft = Callable[[str], Plan | None]
"""What a graft was filled in with, by its journal key."""


def iteration_key(key: str, number: int) -> str:
    """Of a loop's iteration, 1 for the first."""
    return f"{key}#{number}"


def item_key(key: str, index: int) -> str:
    """Of a map's item, 0 for the first."""
    return f"{key}[{index}]"


def branch_key(key: str, branch: str) -> str:
    """Of a branch of a parallel or route node, or of a node in a subgraph or graft."""
    return f"{key}/{branch}"


def part_key(key: str, part: str) -> str:
    """Of a handler that answers one of the values that a node needs."""
    return f"{key}~{part}"


def find_compensation(plan: Plan, journal_key: str, grafted: FindGraft) -> str | None:
    """The step that undoes what is journaled under a key, if the definition names one."""
    level: Plan | None = plan
    path = _NUMBERED.sub("", journal_key.removesuffix(DONE)).split("/")
    for depth, part in enumerate(path):
        if level is None or part not in level.number:
            return None
        node = level[part].node
        rest = path[depth + 1 :]
        if not rest:
            return node.compensate
        match node:
            case SubgraphNode():
                level = level.subplans[part]
            case GraftNode():
                level = grafted("/".join(path[: depth + 1]))
            case ParallelNode(branches=branches) | RouteNode(branches=branches):
                branch = branches.get(rest[0])
                return None if branch is None else branch.compensate
            case _:
                return None
    return None
