"""Whether another version decides what a run has decided already as its own version did.

A walk computes its decisions anew from what is recorded: which edges are taken, whether a loop goes on, what a map goes
over. So what led to the recorded nodes has to be the same in both versions: every node that is recorded, and every one
that had to be decided before it (*gone past*), keeps its kind, the edges into it, its ``when`` and what it decides by.
What nobody has come to yet may differ in anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from holdfast.core.expressions.renaming import rename_nodes
from holdfast.model.definition import (
    ALWAYS,
    EDGE_WORDS,
    ON_FAILURE,
    ON_TIMEOUT,
    Computed,
    Definition,
    Edge,
    LoopNode,
    MapNode,
    Node,
    Options,
    ParallelNode,
    SignalNode,
    SleepNode,
    SubgraphNode,
)

Difference = tuple[str, str]
"""A node's path in the run's own version, and what the new one decides otherwise."""


class Record(Struct, frozen=True, kw_only=True):
    """What the comparison has to know of a run."""

    begun: Collection[str]
    """The paths of nodes with a record, and of the subgraphs these are in."""
    failed: Collection[str] = ()
    """The paths of nodes with a failure of their own or of a branch, item or iteration."""
    iterations: Mapping[str, int] = {}
    """How many iterations of a loop have begun, by its path."""


class _Level(Struct, frozen=True, kw_only=True):
    """A graph or subgraph."""

    nodes: dict[str, Node]
    into: dict[str, list[Edge]]
    out: dict[str, list[Edge]]
    options: Options


def find_differences(
    old: Definition, new: Definition, record: Record, mapped: Callable[[str], str]
) -> Iterator[Difference]:
    """What the new version decides otherwise; ``mapped`` gives a path in the old one its place in the new one."""
    before = _level(old.nodes, old.edges, old.options)
    after = _level(new.nodes, new.edges, new.options)
    yield from _Comparison(record, mapped).levels(before, after, "", whole=False)


def kind_of(node: Node) -> str:
    """The kind's word in documents."""
    return str(node.__struct_config__.tag)


def _level(nodes: Iterable[Node], edges: Iterable[Edge], options: Options) -> _Level:
    into: dict[str, list[Edge]] = {}
    out: dict[str, list[Edge]] = {}
    for edge in edges:
        into.setdefault(edge.target, []).append(edge)
        out.setdefault(edge.source, []).append(edge)
    return _Level(nodes={node.key: node for node in nodes}, into=into, out=out, options=options)


class _Comparison:
    """See the module's docstring."""

    def __init__(self, record: Record, mapped: Callable[[str], str]) -> None:
        self._record = record
        self._mapped = mapped

    def levels(self, before: _Level, after: _Level, path: str, *, whole: bool) -> Iterator[Difference]:
        """Compare a level; ``whole``: the run has gone past all of it."""
        begun = {key for key in before.nodes if path + key in self._record.begun}
        past = set(before.nodes) if whole else _ancestors(before, begun)
        renamed = {key: name for key in before.nodes if (name := self._mapped(path + key).rpartition("/")[2]) != key}
        if whole and len(after.nodes) > len(before.nodes):
            yield path.removesuffix("/"), "the run has gone past it, and the new version has more nodes in it"
        for key in sorted(begun | past):
            node, new = before.nodes[key], after.nodes.get(renamed.get(key, key))
            if new is None:
                if key not in begun:
                    yield path + key, "the run has gone past it, and the new version has no such node: map it"
                continue
            if kind_of(node) != kind_of(new):
                yield path + key, f"it is a {kind_of(node)}, and in the new version a {kind_of(new)}"
                continue
            for why in self._surroundings(before, after, node, new, renamed):
                yield path + key, why
            if path + key in self._record.failed and _settles(before, node) > _settles(after, new):
                yield path + key, "it failed, and in the new version nothing takes care of that"
            yield from self._inside(node, new, path + key, renamed, past=key in past)

    def _surroundings(
        self, before: _Level, after: _Level, node: Node, new: Node, renamed: Mapping[str, str]
    ) -> Iterator[str]:
        was = {
            (renamed.get(edge.source, edge.source), _same_condition(edge.condition, renamed))
            for edge in before.into.get(node.key, ())
        }
        will = {(edge.source, _same_condition(edge.condition, {})) for edge in after.into.get(new.key, ())}
        if was != will:
            yield f"it came after {_words(was)}, and comes after {_words(will)} in the new version"
        if _same(node.when, renamed) != _same(new.when, {}):
            yield "its `when` differs"
        if was and _forgives(node, before.options) != _forgives(new, after.options):
            yield "it ignores other failures of what it comes after"

    def _inside(
        self, node: Node, new: Node, path: str, renamed: Mapping[str, str], *, past: bool
    ) -> Iterator[Difference]:
        """Compare what two nodes of the same kind decide by, and what is in them."""
        begun = path in self._record.begun
        match node, new:
            case ParallelNode(), ParallelNode():
                if past and set(node.branches) != set(new.branches):
                    yield path, "the run has gone past it, and the new version has other branches there"
            case LoopNode(), LoopNode():
                for why in self._loop(node, new, path, renamed, past=past):
                    yield path, why
            case MapNode(), MapNode():
                if _same(node.over, renamed) != _same(new.over, {}):
                    yield path, "it goes over another list"
                if past and node.tolerate != new.tolerate:
                    yield path, "the run has gone past it, and the new version tolerates other failures there"
            case SubgraphNode(), SubgraphNode():
                if begun and _mapping(node.input, renamed) != _mapping(new.input, {}):
                    yield path, "its nodes are given another input"
                inner = [_level(one.nodes, one.edges, Options()) for one in (node, new)]
                yield from self.levels(inner[0], inner[1], f"{path}/", whole=past)
            case _:
                other = _other_wait(node, new, renamed)
                if begun and other is not None:
                    yield path, other

    def _loop(
        self, node: LoopNode, new: LoopNode, path: str, renamed: Mapping[str, str], *, past: bool
    ) -> Iterator[str]:
        count = self._record.iterations.get(path, 0)
        for name in ("until", "condition"):
            if (count or past) and _computed(getattr(node, name), renamed) != _computed(getattr(new, name), {}):
                yield f"its `{name}` differs"
        if new.max_iterations < count:
            yield f"{count} iterations are recorded, and the new version allows {new.max_iterations}"
        elif (
            past and node.max_iterations != new.max_iterations and count >= min(node.max_iterations, new.max_iterations)
        ):
            yield f"the run has gone past it after {count} iterations, and the new version allows other numbers"


def _other_wait(node: Node, new: Node, renamed: Mapping[str, str]) -> str | None:
    if isinstance(node, SleepNode) and isinstance(new, SleepNode):
        asked = _asks(new.duration_ms)
        if asked is not None and asked != _asks(node.duration_ms):
            return "its sleep has begun, and the new version asks a handler how long"
    if (
        isinstance(node, SignalNode)
        and isinstance(new, SignalNode)
        and _computed(node.signal, renamed) != _computed(new.signal, {})
    ):
        return "it waits for another signal"
    return None


def _ancestors(level: _Level, keys: Collection[str]) -> set[str]:
    found: set[str] = set()
    ahead = list(keys)
    while ahead:
        for edge in level.into.get(ahead.pop(), ()):
            if edge.source not in found:
                found.add(edge.source)
                ahead.append(edge.source)
    return found


def _forgives(node: Node, options: Options) -> tuple[bool, bool]:
    return (
        options.ignore_failed if node.ignore_failed is None else node.ignore_failed,
        options.ignore_cancelled if node.ignore_cancelled is None else node.ignore_cancelled,
    )


def _settles(level: _Level, node: Node) -> bool:
    """Whether the run goes on when the node has failed, whatever of."""
    leaving = level.out.get(node.key, ())
    if {edge.condition for edge in leaving} & {ALWAYS, ON_FAILURE, ON_TIMEOUT}:
        return True
    return bool(leaving) and all(any(_forgives(level.nodes[edge.target], level.options)) for edge in leaving)


# Whether two texts say the same. Those of the old version read nodes by their old keys.


def _same(source: str | None, renamed: Mapping[str, str]) -> str | None:
    return None if source is None else rename_nodes(source, renamed)


def _same_condition(condition: str, renamed: Mapping[str, str]) -> str:
    return condition if condition in EDGE_WORDS else rename_nodes(condition, renamed)


def _computed(value: object, renamed: Mapping[str, str]) -> object:
    if not isinstance(value, Computed):
        return value
    return Computed(expression=_same(value.expression, renamed), handler=value.handler)


def _mapping(given: Mapping[str, str], renamed: Mapping[str, str]) -> dict[str, str]:
    return {name: rename_nodes(source, renamed) for name, source in given.items()}


def _asks(value: object) -> str | None:
    return value.handler if isinstance(value, Computed) else None


_NOTHING: Final = "nothing"


def _words(edges: Collection[tuple[str, str]]) -> str:
    return ", ".join(f"{source!r} ({condition})" for source, condition in sorted(edges)) or _NOTHING
