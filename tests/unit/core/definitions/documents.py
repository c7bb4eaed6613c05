"""Random definitions: ones that can be run, and ones that are wrong in every way the types allow.

They are functions of a seed: strategies built from fifty fields each take a second for a few examples.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from holdfast.model.definition import (
    ALWAYS,
    EDGE_WORDS,
    ON_FAILURE,
    ON_SUCCESS,
    ApproveNode,
    Branch,
    ChildNode,
    Computed,
    Definition,
    Edge,
    GraftNode,
    LoopNode,
    MapNode,
    Node,
    Options,
    ParallelNode,
    RetryPolicy,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)

T = TypeVar("T")

SEEDS = st.integers(0, 2**48)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)

LETTERS = "abcxyzéß漢字😀 ._-:!?=<>&'\"\\#%@`*|>{}[],0159noyf"
WORDS = [
    "no",
    "on",
    "null",
    "true",
    "~",
    "1",
    "1e5",
    "0x1f",
    "010",
    "1:30",
    "<<",
    "=",
    "- a",
    "a: b",
    " x ",
    "2026-01-01",
]
EXPRESSIONS = ["input.rows", "input.a[0] + 1", "size(input.items)", "run.id", '{"a": input.b}', "null"]
BOOLEANS = ["input.ok", "true", "input.n > 3 && !input.dry", "has(input.no)"]
CONDITIONS = [ON_SUCCESS, ALWAYS, ON_FAILURE, "result.ok", "size(result) > 2"]


class Maker:
    """Makes definitions that can be run."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def maybe(self, make: Callable[[], T]) -> T | None:
        return make() if self.random.random() < 0.4 else None

    def name(self) -> str:
        if self.random.random() < 0.3:
            return self.random.choice(WORDS)
        return "".join(self.random.choices(LETTERS, k=self.random.randint(1, 12)))

    def key(self) -> str:
        return "".join(char for char in self.name() if char not in "/#~[]") or "key"

    def ms(self) -> int:
        return self.random.choice([1, 2, 999, 1000, 60_000, self.random.randint(1, 10**12)])

    def mapping(self) -> dict[str, str]:
        return {self.random.choice("abcdef"): self.random.choice(EXPRESSIONS) for _ in range(self.random.randint(0, 2))}

    def json(self, depth: int = 2) -> Any:
        match self.random.randint(0, 8 if depth else 6):
            case 7:
                return [self.json(depth - 1) for _ in range(self.random.randint(0, 3))]
            case 8:
                return {self.name(): self.json(depth - 1) for _ in range(self.random.randint(0, 3))}
            case number:
                whole = self.random.randint(-(2**63), 2**64 - 1)
                scalars = [None, True, False, whole, self.random.uniform(-1e9, 1e9), 1e22, self.name()]
                return scalars[number]

    def retry(self) -> RetryPolicy:
        return RetryPolicy(
            max_attempts=self.random.choice([1, 3, 99]),
            initial_ms=self.random.choice([0, 1000, 5000]),
            factor=self.random.choice([1.0, 2.0, 2, self.random.uniform(1, 9)]),
            max_delay_ms=self.random.choice([60_000, 10**7]),
            jitter=self.random.choice([0.2, 0, self.random.random()]),
            non_retryable=tuple(self.name() for _ in range(self.random.randint(0, 2))),
        )

    def call(self) -> dict[str, Any]:
        return {
            "handler": self.name(),
            "input": self.mapping(),
            "retry": self.maybe(self.retry),
            "timeout_ms": self.maybe(self.ms),
            "queue": self.maybe(self.name),
        }

    def undone(self) -> dict[str, Any]:
        return {**self.call(), "compensate": self.maybe(self.name)}

    def computed(self) -> Computed:
        return Computed(handler=self.name()) if self.random.random() < 0.5 else Computed(expression="input.x")

    def branches(self) -> dict[str, Branch]:
        return {self.key(): Branch(**self.undone()) for _ in range(self.random.randint(1, 3))}

    def flag(self) -> bool:
        return self.random.random() < 0.5

    def node(self, key: str, depth: int) -> Node:
        base: dict[str, Any] = {
            "key": key,
            "when": self.maybe(lambda: self.random.choice(BOOLEANS)),
            "ignore_failed": self.maybe(self.flag),
            "ignore_cancelled": self.maybe(self.flag),
        }
        kinds: list[Callable[[], Node]] = [
            lambda: StepNode(**base, **self.undone()),
            lambda: ParallelNode(**base, branches=self.branches()),
            lambda: self.route(base),
            lambda: LoopNode(**base, **self.undone(), until=self.computed(), feedback=self.flag()),
            lambda: LoopNode(
                **base, **self.undone(), condition=self.computed(), max_iterations=self.random.randint(1, 2000)
            ),
            lambda: MapNode(
                **base,
                **self.undone(),
                over="input.items",
                concurrency=self.random.randint(1, 200),
                tolerate=self.maybe(lambda: self.random.choice([0, 1, 1.0, 0.5, 7])),
            ),
            lambda: SleepNode(**base, duration_ms=self.ms() if self.flag() else self.computed()),
            lambda: SignalNode(
                **base, signal=self.name() if self.flag() else self.computed(), timeout_ms=self.maybe(self.ms)
            ),
            lambda: self.child(base),
            lambda: self.approve(base),
            lambda: GraftNode(**base, **self.call()),
            lambda: self.subgraph(base, depth - 1),
        ]
        return self.random.choice(kinds if depth else kinds[:-1])()

    def route(self, base: dict[str, Any]) -> RouteNode:
        branches = self.branches()
        default = self.random.choice([None, *sorted(branches)])
        return RouteNode(**base, branches=branches, selector=self.computed(), input=self.mapping(), default=default)

    def child(self, base: dict[str, Any]) -> ChildNode:
        return ChildNode(
            **base,
            workflow=self.name(),
            input=self.mapping(),
            queue=self.maybe(self.name),
            priority=self.maybe(lambda: self.random.randint(-1000, 1000)),
            timeout_ms=self.maybe(self.ms),
        )

    def approve(self, base: dict[str, Any]) -> ApproveNode:
        escalated = self.flag()
        return ApproveNode(
            **base,
            form=self.maybe(lambda: {self.name(): self.json() for _ in range(3)}),
            by=tuple(self.name() for _ in range(self.random.randint(0, 2))),
            escalate_after_ms=self.ms() if escalated else None,
            escalate_to=(self.name(),) if escalated else (),
        )

    def subgraph(self, base: dict[str, Any], depth: int) -> SubgraphNode:
        nodes, edges = self.graph(depth)
        return SubgraphNode(**base, nodes=nodes, edges=edges, input=self.mapping())

    def graph(self, depth: int) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
        """Nodes and edges without cycles: edges lead from earlier to later keys only."""
        keys = list(dict.fromkeys(self.key() for _ in range(self.random.randint(1, 6))))
        pairs = [(a, b) for place, a in enumerate(keys) for b in keys[place + 1 :]]
        chosen = self.random.sample(pairs, self.random.randint(0, len(pairs)))
        nodes = tuple(self.node(key, depth) for key in keys)
        edges = tuple(
            Edge(
                source=source,
                target=target,
                condition=self.random.choice(CONDITIONS),
                label=self.maybe(self.name) or "",
            )
            for source, target in chosen
        )
        return nodes, edges

    def definition(self) -> Definition:
        nodes, edges = self.graph(2)
        options = Options(
            queue=self.maybe(self.name),
            timeout_ms=self.maybe(self.ms),
            ignore_failed=self.flag(),
            ignore_cancelled=self.flag(),
        )
        return Definition(workflow=self.name(), nodes=nodes, edges=edges, options=options)


NASTY_TEXT = [
    "",
    "a",
    "b",
    "c",
    "a/b",
    "1 +",
    "results.a",
    "results.b.x",
    "input",
    "\0",
    "\ud800",
    "x" * 300,
    "results[1]",
]
NASTY_NUMBERS = [0, -1, 1, 2**63, 10**30, -(10**30)]
NASTY_FLOATS = [0.0, -1.0, 0.5, float("nan"), float("inf"), 1e308]


class NastyMaker(Maker):
    """Makes definitions of the right types, and of nothing else that is right."""

    def name(self) -> str:
        return self.random.choice([*NASTY_TEXT, super().name()])

    key = name

    def ms(self) -> int:
        return self.random.choice(NASTY_NUMBERS)

    def mapping(self) -> dict[str, str]:
        return {self.name(): self.name() for _ in range(self.random.randint(0, 2))}

    def json(self, depth: int = 2) -> Any:
        return self.random.choice([b"", {1: 2}, object(), *NASTY_FLOATS, *NASTY_NUMBERS, *NASTY_TEXT, depth])

    def retry(self) -> RetryPolicy:
        return RetryPolicy(
            max_attempts=self.ms(),
            initial_ms=self.ms(),
            factor=self.random.choice(NASTY_FLOATS),
            max_delay_ms=self.ms(),
            jitter=self.random.choice(NASTY_FLOATS),
            non_retryable=(self.name(),),
        )

    def computed(self) -> Computed:
        return Computed(handler=self.maybe(self.name), expression=self.maybe(self.name))

    def branches(self) -> dict[str, Branch]:
        return {self.key(): Branch(**self.undone()) for _ in range(self.random.randint(0, 2))}

    def graph(self, depth: int) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
        nodes = tuple(self.node(self.key(), depth) for _ in range(self.random.randint(0, 5)))
        keys = [*(node.key for node in nodes), "nowhere"]
        edges = tuple(
            Edge(
                source=self.random.choice(keys),
                target=self.random.choice(keys),
                condition=self.random.choice([*sorted(EDGE_WORDS), *NASTY_TEXT]),
                label=self.name(),
            )
            for _ in range(self.random.randint(0, 8))
        )
        return nodes, edges


def definition_of(seed: int) -> Definition:
    """A definition that can be run."""
    return Maker(seed).definition()


def nasty_definition_of(seed: int) -> Definition:
    """A definition that is probably wrong in many ways."""
    return NastyMaker(seed).definition()


def changed(definition: Definition, seed: int) -> Definition:
    """The same definition, or one that differs in one place."""
    random = Random(seed)
    nodes, edges = list(definition.nodes), list(definition.edges)
    place = random.randrange(len(nodes))
    match random.randint(0, 4):
        case 0:
            nodes[place] = Maker(seed).node(nodes[place].key, 1)
        case 1:
            nodes.pop(place)
        case 2 if edges:
            edges.pop()
        case 3 if edges:
            edges[0] = Edge(source=edges[0].source, target=edges[0].target, condition=random.choice(CONDITIONS))
        case _:
            random.shuffle(nodes)
            random.shuffle(edges)
    return Definition(workflow=definition.workflow, nodes=tuple(nodes), edges=tuple(edges), options=definition.options)
