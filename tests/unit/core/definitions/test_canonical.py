"""When two definitions are the same."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given

from holdfast.core.definitions import DefinitionError, canonical_bytes, content_hash, diff, from_json, to_json
from holdfast.core.definitions.canonical import flaw_of
from holdfast.model.definition import (
    ApproveNode,
    Branch,
    Computed,
    Definition,
    Edge,
    MapNode,
    Node,
    ParallelNode,
    RetryPolicy,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from tests.unit.core.definitions.documents import SEEDS, changed, definition_of

ETL = Definition(
    workflow="etl",
    nodes=(StepNode(key="load", handler="etl.load"), StepNode(key="extract", handler="etl.extract")),
    edges=(Edge(source="extract", target="load"),),
)


def shuffled(value: Any, order: random.Random, name: str = "") -> Any:
    """The same content: dicts in another order, and nodes and edges too."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, order, key)) for key, item in cast("Mapping[str, Any]", value).items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        parts = [shuffled(item, order) for item in cast("Sequence[Any]", value)]
        if name in {"nodes", "edges"}:
            order.shuffle(parts)
        return parts
    return value


@pytest.mark.requirement("C-57", "L-26")
def test_canonical_bytes_are_sorted_json_without_defaults() -> None:
    assert canonical_bytes(ETL) == (
        b'{"edges":[{"source":"extract","target":"load"}],"nodes":'
        b'[{"handler":"etl.extract","key":"extract","kind":"step"},{"handler":"etl.load","key":"load","kind":"step"}],'
        b'"workflow":"etl"}'
    )


@pytest.mark.requirement("C-57", "L-26")
def test_the_hash_is_that_of_the_canonical_bytes_and_does_not_change_with_releases() -> None:
    assert content_hash(ETL) == hashlib.sha256(canonical_bytes(ETL)).hexdigest()
    assert content_hash(ETL) == "28419a9067078370a202e8dbc516c0b6d2f58c3465e48ec8cfb73e65e89452db"


@pytest.mark.requirement("C-57")
def test_the_hash_is_the_same_in_another_process() -> None:
    program = (
        "import sys\n"
        "from holdfast.core.definitions import content_hash, from_json\n"
        "print(content_hash(from_json(sys.stdin.read())))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], input=to_json(ETL), capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == content_hash(ETL)


@pytest.mark.requirement("C-57", "L-56")
@given(SEEDS)
def test_the_order_of_keys_nodes_and_edges_changes_no_canonical_byte(seed: int) -> None:
    definition, order = definition_of(seed), random.Random(seed)
    plain = msgspec.json.decode(to_json(definition))

    again = msgspec.convert(shuffled(plain, order), Definition)

    assert canonical_bytes(again) == canonical_bytes(definition)


@pytest.mark.requirement("C-57", "C-02")
@given(SEEDS)
def test_the_hash_differs_if_and_only_if_the_content_does(seed: int) -> None:
    one = definition_of(seed)
    two = changed(one, seed)

    assert (content_hash(one) == content_hash(two)) == (not diff(one, two))


STEP = StepNode(key="a", handler="h", retry=RetryPolicy(jitter=0.5))


@pytest.mark.requirement("C-57")
@pytest.mark.parametrize(
    "changed",
    [
        StepNode(key="b", handler="h", retry=RetryPolicy(jitter=0.5)),
        StepNode(key="a", handler="g", retry=RetryPolicy(jitter=0.5)),
        StepNode(key="a", handler="h", retry=RetryPolicy()),
        StepNode(key="a", handler="h"),
        StepNode(key="a", handler="h", retry=RetryPolicy(jitter=0.5), when="input.x"),
        StepNode(key="a", handler="h", retry=RetryPolicy(jitter=0.5), ignore_failed=False),
        StepNode(key="a", handler="h", retry=RetryPolicy(jitter=0.5), input={"x": "input.x"}),
        SleepNode(key="a", duration_ms=1),
    ],
)
def test_every_change_of_a_node_changes_the_hash(changed: Node) -> None:
    before = Definition(workflow="w", nodes=(STEP,))
    after = Definition(workflow="w", nodes=(changed,))

    assert content_hash(after) != content_hash(before)
    assert diff(before, after)


@pytest.mark.requirement("C-57")
def test_a_default_that_is_written_down_is_the_same_content() -> None:
    text = """{"workflow": "w", "options": {"ignore_failed": false}, "nodes": [{
        "key": "a", "kind": "step", "handler": "h", "input": {}, "when": null,
        "retry": {"initial_ms": 1000, "factor": 2, "jitter": 0.2, "max_delay_ms": 60000}}]}"""

    written = from_json(text)

    short = StepNode(key="a", handler="h", retry=RetryPolicy())
    assert content_hash(written) == content_hash(Definition(workflow="w", nodes=(short,)))


def test_a_whole_number_in_a_field_of_fractions_is_a_fraction() -> None:
    whole = MapNode(key="a", handler="h", over="input", tolerate=1)
    fraction = MapNode(key="a", handler="h", over="input", tolerate=1.0)

    assert canonical_bytes(Definition(workflow="w", nodes=(whole,))) == canonical_bytes(
        Definition(workflow="w", nodes=(fraction,))
    )


def test_numbers_in_a_form_are_told_apart() -> None:
    hashes = {
        content_hash(Definition(workflow="w", nodes=(ApproveNode(key="a", form={"x": value}),)))
        for value in (1, 1.0, True, "1", None, [1], {"y": 1})
    }

    assert len(hashes) == 7


def test_the_order_inside_subgraphs_and_branches_means_nothing() -> None:
    inner = StepNode(key="x", handler="h"), StepNode(key="y", handler="h")
    ways = {"p": Branch(handler="h"), "q": Branch(handler="g")}

    one = SubgraphNode(key="s", nodes=inner), ParallelNode(key="f", branches=ways)
    two = (
        ParallelNode(key="f", branches=dict(reversed(ways.items()))),
        SubgraphNode(key="s", nodes=tuple(reversed(inner))),
    )

    assert canonical_bytes(Definition(workflow="w", nodes=one)) == canonical_bytes(Definition(workflow="w", nodes=two))


@pytest.mark.requirement("fault-69", "fault-70", "fault-71")
@pytest.mark.parametrize(
    "value", [float("nan"), float("-inf"), 2**64, -(2**63) - 1, "\0", "\ud800", b"x", {1: 2}, object(), {"\udfff": 1}]
)
def test_what_no_document_can_hold_is_refused(value: Any) -> None:
    definition = Definition(workflow="w", nodes=(ApproveNode(key="a", form={"x": value}),))

    with pytest.raises(DefinitionError):
        content_hash(definition)
    with pytest.raises(DefinitionError):
        to_json(definition)
    assert flaw_of(value) is not None


@pytest.mark.requirement("fault-71")
def test_a_very_deep_form_is_refused() -> None:
    form: dict[str, Any] = {}
    for _ in range(100_000):
        form = {"x": form}

    with pytest.raises(DefinitionError, match="deeper than 64"):
        content_hash(Definition(workflow="w", nodes=(ApproveNode(key="a", form=form),)))


def test_a_computed_value_is_no_number() -> None:
    fixed = Definition(workflow="w", nodes=(SleepNode(key="a", duration_ms=5),))
    computed = Definition(workflow="w", nodes=(SleepNode(key="a", duration_ms=Computed(expression="5")),))

    assert content_hash(fixed) != content_hash(computed)
