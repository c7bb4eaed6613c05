"""Order, cycles and reachability, compared with the obvious slow way."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.definitions.structure import (
    Shape,
    cycles,
    in_order,
    knots,
    layers,
    not_before,
    path_text,
    shape_of,
    unreachable,
)

KEYS = [f"n{number}" for number in range(8)]
EDGES = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)), max_size=14)
SHAPES = EDGES.map(lambda edges: shape_of(KEYS, edges))


def after(shape: Shape, node: int) -> set[int]:
    """Everything that follows a node, directly or not."""
    found: set[int] = set()
    stack = list(shape.targets[node])
    while stack:
        other = stack.pop()
        if other not in found:
            found.add(other)
            stack += shape.targets[other]
    return found


@given(SHAPES)
def test_each_node_comes_after_all_it_follows_unless_a_cycle_is_in_the_way(shape: Shape) -> None:
    order = in_order(shape)
    place = {node: index for index, node in enumerate(order)}
    on_cycle = {node for node in range(len(KEYS)) if node in after(shape, node)}
    behind = set[int]().union(*(after(shape, node) for node in on_cycle)) | on_cycle

    assert set(order) == set(range(len(KEYS))) - behind
    assert all(place[source] < place[node] for node in order for source in shape.sources[node])


@given(SHAPES)
def test_every_knot_of_cycles_is_found_once_with_a_path(shape: Shape) -> None:
    on_cycle = {node for node in range(len(KEYS)) if node in after(shape, node)}
    knots_expected = {
        frozenset(other for other in on_cycle if other in after(shape, node) and node in after(shape, other))
        for node in on_cycle
    }

    assert {frozenset(knot) for knot in knots(shape)} == knots_expected
    found = cycles(shape)
    assert len(found) == len(knots_expected)
    for cycle in found:
        assert len(set(cycle)) == len(cycle)
        assert all(two in shape.targets[one] for one, two in zip(cycle, [*cycle[1:], cycle[0]], strict=True))


@given(SHAPES, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_what_a_node_follows_is_known_for_all_nodes_before_any_cycle(
    shape: Shape, questions: list[tuple[int, int]]
) -> None:
    judged = set(in_order(shape))

    expected = sorted(
        {(node, other) for node, other in questions if node in judged and node not in after(shape, other)}
    )

    assert not_before(shape, questions) == expected


@given(EDGES, st.data())
def test_a_node_is_unreachable_if_no_open_way_from_a_beginning_leads_to_it(
    edges: list[tuple[str, str]], data: st.DataObject
) -> None:
    closed = data.draw(st.lists(st.sampled_from(edges), max_size=3)) if edges else []
    shape = shape_of(KEYS, edges)
    open_shape = shape_of(KEYS, [edge for edge in edges if edge not in closed])
    roots = [node for node in range(len(KEYS)) if not shape.sources[node]]
    reached = set(roots).union(*(after(open_shape, root) for root in roots))
    on_cycle = {node for node in range(len(KEYS)) if node in after(shape, node)}

    assert unreachable(shape, closed=closed) == sorted(set(range(len(KEYS))) - reached - on_cycle)


@given(SHAPES)
def test_layers_grow_along_edges_and_start_at_zero(shape: Shape) -> None:
    layer = layers(shape)

    assert len(layer) == len(KEYS)
    for node in in_order(shape):
        assert layer[node] == max((layer[source] + 1 for source in shape.sources[node]), default=0)


def test_unknown_ends_and_repeated_edges_are_left_out() -> None:
    shape = shape_of(["b", "a", "a"], [("a", "b"), ("a", "b"), ("a", "x"), ("y", "b")])

    assert shape == Shape(["a", "b"], [[], [0]], [[1], []])


def test_a_long_cycle_is_shown_shortened() -> None:
    keys = [f"k{number:02}" for number in range(40)]
    shape = shape_of(keys, [*pairwise(keys), (keys[-1], keys[0])])

    [cycle] = cycles(shape)

    assert path_text(shape, cycle).startswith("'k00' -> 'k01' -> ")
    assert path_text(shape, cycle).endswith(" -> ... -> 'k00'")


def test_long_chains_wide_fans_and_large_cycles_need_no_recursion() -> None:
    keys = [f"k{number:05}" for number in range(20_000)]
    chain = list(pairwise(keys))
    fan = [(keys[0], key) for key in keys[1:-1]] + [(key, keys[-1]) for key in keys[1:-1]]

    assert len(in_order(shape_of(keys, chain))) == len(keys)
    assert len(in_order(shape_of(keys, fan))) == len(keys)
    assert len(cycles(shape_of(keys, [*chain, (keys[-1], keys[0])]))[0]) == len(keys)
    first_read_by_all = [(node, 0) for node in range(1, len(keys))]
    assert not_before(shape_of(keys, chain), first_read_by_all) == []
