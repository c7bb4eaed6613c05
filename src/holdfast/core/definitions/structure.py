"""The shape of a graph: order, cycles, what is reachable, what comes before what. Linear in nodes and edges.

Nodes are numbered in the order of their keys, so that no answer depends on the order of a document. Edges from or to
unknown nodes are left out, and so is a key's second node: both are problems that ``validate`` reports.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct


class Shape(Struct, frozen=True):
    """Who follows whom; nodes are positions in ``keys``."""

    keys: list[str]
    sources: list[list[int]]
    """Of each node: those it follows, in order."""
    targets: list[list[int]]
    """Of each node: those that follow it, in order."""

    def number(self) -> dict[str, int]:
        """The position of each key."""
        return {key: index for index, key in enumerate(self.keys)}


def shape_of(keys: Iterable[str], edges: Iterable[tuple[str, str]]) -> Shape:
    """The shape of a graph with these nodes and (source, target) edges."""
    known = sorted(set(keys))
    number = {key: index for index, key in enumerate(known)}
    pairs = sorted({(number[a], number[b]) for a, b in edges if a in number and b in number})
    sources: list[list[int]] = [[] for _ in known]
    targets: list[list[int]] = [[] for _ in known]
    for source, target in pairs:
        sources[target].append(source)
        targets[source].append(target)
    return Shape(known, sources, targets)


def in_order(shape: Shape) -> list[int]:
    """Nodes so that each comes after all it follows; those in a cycle, and what follows them, are left out."""
    waiting = [len(sources) for sources in shape.sources]
    ready = deque(node for node, count in enumerate(waiting) if count == 0)
    order: list[int] = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for target in shape.targets[node]:
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return order


def cycles(shape: Shape) -> list[list[int]]:
    """One shortest cycle of each knot of cycles, as the nodes on it; the first one is the knot's first by key."""
    return sorted(_cycle_in(shape, knot) for knot in knots(shape))


def knots(shape: Shape) -> list[set[int]]:
    """The sets of nodes that lie on common cycles: the strongly connected components that have an edge inside."""
    ordered = set(in_order(shape))
    rest = [node for node in range(len(shape.keys)) if node not in ordered]
    return [
        component
        for component in _components(shape, rest)
        if len(component) > 1 or any(node in shape.targets[node] for node in component)
    ]


def _components(shape: Shape, nodes: Sequence[int]) -> Iterator[set[int]]:
    """Kosaraju's two passes, without recursion: finishing order, then backwards along the edges."""
    allowed = set(nodes)
    finished: list[int] = []
    seen: set[int] = set()
    for start in nodes:
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(shape.targets[start]))]
        while stack:
            node, targets = stack[-1]
            following = next((target for target in targets if target in allowed and target not in seen), None)
            if following is None:
                finished.append(node)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(shape.targets[following])))
    assigned: set[int] = set()
    for start in reversed(finished):
        if start not in assigned:
            component = _spread([start], shape.sources, within=allowed - assigned)
            assigned |= component
            allowed -= component
            yield component


def _cycle_in(shape: Shape, knot: set[int]) -> list[int]:
    """A shortest cycle through the knot's first node."""
    start = min(knot)
    came_from: dict[int, int] = {}
    line = deque([start])
    while line:
        node = line.popleft()
        for target in shape.targets[node]:
            if target == start:
                path = [node]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if target in knot and target not in came_from:
                came_from[target] = node
                line.append(target)
    raise AssertionError("a knot has a cycle through each of its nodes")


def _spread(starts: Iterable[int], along: list[list[int]], *, within: set[int]) -> set[int]:
    reached = set(starts)
    stack = list(reached)
    while stack:
        for neighbour in along[stack.pop()]:
            if neighbour in within and neighbour not in reached:
                reached.add(neighbour)
                stack.append(neighbour)
    return reached


def unreachable(shape: Shape, *, closed: Iterable[tuple[str, str]]) -> list[int]:
    """Nodes that cannot begin: no way leads to them from a node without sources, along edges that can be taken.

    ``closed`` are the (source, target) edges that cannot be. Nodes that lie on a cycle are left out.
    """
    number = shape.number()
    blocked = {(number[a], number[b]) for a, b in closed if a in number and b in number}
    open_targets = [
        [target for target in targets if (node, target) not in blocked] if blocked else targets
        for node, targets in enumerate(shape.targets)
    ]
    everything = set(range(len(shape.keys)))
    roots = [node for node, sources in enumerate(shape.sources) if not sources]
    on_cycle = set[int]().union(*knots(shape))
    return sorted(everything - _spread(roots, open_targets, within=everything) - on_cycle)


def not_before(shape: Shape, questions: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of (node, other) pairs those where ``other`` is not among the nodes that ``node`` follows, directly or not.

    A node that lies on a cycle, or follows one, is not judged.
    """
    asked: dict[int, set[int]] = {}
    for node, other in questions:
        asked.setdefault(node, set()).add(other)
    for node, others in asked.items():
        others.difference_update(shape.sources[node])
    wanted = sorted(set[int]().union(*asked.values()))
    if not wanted:
        return []
    bit = {other: 1 << place for place, other in enumerate(wanted)}
    # One integer per node is the set of what it follows; it is dropped once all its targets have read it.
    before: dict[int, int] = {}
    readers = [len(targets) for targets in shape.targets]
    missing: list[tuple[int, int]] = []
    for node in in_order(shape):
        found = 0
        for source in shape.sources[node]:
            found |= before[source] | bit.get(source, 0)
            readers[source] -= 1
            if readers[source] == 0:
                del before[source]
        before[node] = found
        missing += [(node, other) for other in asked.get(node, ()) if not found & bit[other]]
    return sorted(missing)


def layers(shape: Shape) -> list[int]:
    """The layer of each node: one below the lowest it follows. Edges that close a cycle do not count."""
    order = in_order(shape)
    placed = set(order)
    order += [node for node in range(len(shape.keys)) if node not in placed]
    place = {node: index for index, node in enumerate(order)}
    layer = [0] * len(order)
    for node in order:
        above = [layer[source] for source in shape.sources[node] if place[source] < place[node]]
        layer[node] = max(above, default=-1) + 1
    return layer


def path_text(shape: Shape, cycle: Sequence[int]) -> str:
    """A cycle for people: ``'a' -> 'b' -> 'a'``."""
    closed = [*cycle, cycle[0]]
    shown = closed if len(closed) <= _SHOWN_MAX else [*closed[: _SHOWN_MAX - 2], -1, *closed[-1:]]
    return " -> ".join("..." if node < 0 else repr(shape.keys[node]) for node in shown)


_SHOWN_MAX = 12
"""A longer cycle is shown shortened."""
