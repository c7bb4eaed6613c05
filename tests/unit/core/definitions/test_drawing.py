"""Definitions as pictures."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.definitions import draw_mermaid, draw_svg
from holdfast.core.definitions.captions import span
from holdfast.core.definitions.layout import GAP_X, LABEL_HEIGHT, Point, Size, place
from holdfast.model.definition import (
    Branch,
    Computed,
    Definition,
    Edge,
    Node,
    ParallelNode,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from tests.unit.core.definitions.documents import SEEDS, definition_of, nasty_definition_of

NODES: tuple[Node, ...] = (
    StepNode(key="account", handler="on.account", compensate="on.undo"),
    RouteNode(
        key="plan",
        selector=Computed(expression="results.account.plan"),
        branches={"free": Branch(handler="on.free"), "pro": Branch(handler="on.pro")},
        default="free",
    ),
    SubgraphNode(
        key="warm",
        nodes=(StepNode(key="one", handler="h"), SleepNode(key="two", duration_ms=90_061_000)),
        edges=(Edge(source="one", target="two"),),
    ),
    SignalNode(key="consent", signal="user.consented", timeout_ms=604_800_000),
    StepNode(key="give up", handler="on.stop"),
)
EDGES = (
    Edge(source="account", target="plan"),
    Edge(source="plan", target="warm", condition="result.branch == 'pro'"),
    Edge(source="warm", target="consent"),
    Edge(source="consent", target="give up", condition="on_timeout"),
)
ONBOARDING = Definition(workflow="onboarding", nodes=NODES, edges=EDGES)


@pytest.mark.requirement("S-20", "O-03")
def test_a_mermaid_flowchart_shows_nodes_edges_conditions_and_subgraphs() -> None:
    assert (
        draw_mermaid(ONBOARDING)
        == """\
flowchart TD
    n0["<b>account</b><br/><i>step</i><br/>on.account<br/>undone by on.undo"]
    n1>"<b>consent</b><br/><i>signal</i><br/>user.consented<br/>within 7 d"]
    n2["<b>give up</b><br/><i>step</i><br/>on.stop"]
    n3{{"<b>plan</b><br/><i>route</i><br/>by results.account.plan<br/>free#58; on.free<br/>pro#58; on.pro\
<br/>otherwise free"}}
    subgraph n4["<b>warm</b><br/><i>subgraph</i>"]
        n5["<b>one</b><br/><i>step</i><br/>h"]
        n6(["<b>two</b><br/><i>sleep</i><br/>1 d 1 h 1 min 1 s"])
        n5 --> n6
    end
    n0 --> n3
    n1 -.->|"on timeout"| n2
    n3 -->|"result.branch #61;#61; #39;pro#39;"| n4
    n4 --> n1
"""
    )


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.requirement("S-20", "O-03")
def test_an_svg_shows_every_key_kind_and_condition() -> None:
    shown = texts(draw_svg(ONBOARDING))

    assert {"account", "plan", "warm", "one", "two", "consent", "give up"} <= set(shown)
    assert {"step", "route", "subgraph", "sleep", "signal"} <= set(shown)
    assert {"on timeout", "result.branch == 'pro'", "pro: on.pro", "1 d 1 h 1 min 1 s"} <= set(shown)


@given(SEEDS)
def test_drawings_depend_on_content_alone(seed: int) -> None:
    definition = definition_of(seed)
    turned = Definition(
        workflow=definition.workflow,
        nodes=definition.nodes[::-1],
        edges=definition.edges[::-1],
        options=definition.options,
    )

    assert draw_svg(turned) == draw_svg(definition)
    assert draw_mermaid(turned) == draw_mermaid(definition)


@given(SEEDS)
def test_any_definition_can_be_drawn_whatever_is_wrong_with_it(seed: int) -> None:
    definition = nasty_definition_of(seed)

    parsed(draw_svg(definition))

    for line in draw_mermaid(definition).splitlines()[1:]:
        assert re.fullmatch(r" *(n\d+|subgraph n\d+|end)\b.*", line), line


@given(st.text(max_size=40))
def test_text_is_drawn_as_itself_and_never_becomes_markup(text: str) -> None:
    definition = Definition(
        workflow="w",
        nodes=(StepNode(key="a", handler="h"), StepNode(key="b", handler="h")),
        edges=(Edge(source="a", target="b", label=text),),
    )

    svg, mermaid = draw_svg(definition), draw_mermaid(definition)

    assert len(list(parsed(svg).iter())) == len(
        list(parsed(draw_svg(Definition(workflow="w", nodes=definition.nodes, edges=(EDGE,)))).iter())
    ) - (0 if text else 1)
    assert mermaid.count("\n") == 4
    assert not re.search(r'[<>"]', re.sub(r"<br/>|</?[bi]>|-->|\|\"|\"\||\[\"|\"\]", "", mermaid))


EDGE = Edge(source="a", target="b", label="label")


def test_markup_in_names_is_escaped() -> None:
    hostile = '</svg><script>alert("x")</script>]]>'
    definition = Definition(workflow=hostile, nodes=(StepNode(key=hostile, handler=hostile),))

    svg = draw_svg(definition)

    assert "<script" not in svg
    assert 'alert("' not in svg
    assert "<script" not in draw_mermaid(definition)


SIZES = st.builds(Size, width=st.floats(10, 300), height=st.floats(10, 200))


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from("abcdefghij"), SIZES, min_size=1), st.data())
def test_boxes_never_overlap_and_lie_inside_the_picture(sizes: dict[str, Size], data: st.DataObject) -> None:
    keys = sorted(sizes)
    edges = data.draw(st.lists(st.tuples(st.sampled_from(keys), st.sampled_from(keys)), max_size=15))

    placing = place(sizes, edges)

    for key, (x, y) in placing.boxes.items():
        assert -0.01 <= x <= placing.width - sizes[key].width + 0.01
        assert -0.01 <= y <= placing.height - sizes[key].height + 0.01
    for one, two in combinations(keys, 2):
        (x1, y1), (x2, y2) = placing.boxes[one], placing.boxes[two]
        apart_x = max(x1, x2) - min(x1 + sizes[one].width, x2 + sizes[two].width)
        apart_y = max(y1, y2) - min(y1 + sizes[one].height, y2 + sizes[two].height)
        assert apart_x >= GAP_X - 0.01 or apart_y > 0
    assert set(placing.lines) == {(a, b) for a, b in edges if a != b}


def along(line: Sequence[Point]) -> Iterator[Point]:
    """Points of the drawn line: upright at each of its own, and curved between them."""
    for (x1, y1), (x2, y2) in pairwise(line):
        for step in range(21):
            t = step / 20
            share = t * t * (3 - 2 * t)
            middle = 1.5 * t * (1 - t) + t**3
            yield x1 + (x2 - x1) * share, y1 + (y2 - y1) * middle


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from("abcdefghij"), SIZES, min_size=2), st.data())
def test_no_line_goes_through_a_box(sizes: dict[str, Size], data: st.DataObject) -> None:
    pairs = list(combinations(sorted(sizes), 2))
    edges = data.draw(st.lists(st.sampled_from(pairs), max_size=15))

    placing = place(sizes, edges)

    for line in placing.lines.values():
        for (x, y), (key, (left, top)) in product(along(line), placing.boxes.items()):
            within_x = left + 0.01 < x < left + sizes[key].width - 0.01
            assert not (within_x and top + 0.01 < y < top + sizes[key].height - 0.01)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from("abcde"), SIZES, min_size=2), st.data())
def test_labels_stand_within_the_picture(sizes: dict[str, Size], data: st.DataObject) -> None:
    pairs = list(combinations(sorted(sizes), 2))
    labels = data.draw(st.dictionaries(st.sampled_from(pairs), st.floats(10, 250), max_size=6))

    placing = place(sizes, list(labels), labels)

    assert set(placing.labels) == set(labels)
    for edge, (x, _) in placing.labels.items():
        assert x - labels[edge] / 2 >= -0.01
        assert x + labels[edge] / 2 <= placing.width + 0.01


def test_labels_of_two_edges_do_not_cover_each_other() -> None:
    box = Size(80, 40)
    labels = {("a", "b"): 120.0, ("a", "c"): 120.0, ("a", "d"): 120.0}

    placing = place(dict.fromkeys("abcd", box), list(labels), labels)

    for (x1, y1), (x2, y2) in combinations(placing.labels.values(), 2):
        assert abs(x1 - x2) >= 120 or abs(y1 - y2) >= LABEL_HEIGHT


def test_a_chain_is_straight_and_a_fan_is_centred() -> None:
    box = Size(80, 40)

    chain = place({"a": box, "b": box, "c": box}, [("a", "b"), ("b", "c")])
    fan = place(dict.fromkeys("abcde", box), [("a", "b"), ("a", "c"), ("a", "d"), ("b", "e"), ("c", "e"), ("d", "e")])

    assert len({x for x, _ in chain.boxes.values()}) == 1
    assert fan.boxes["a"][0] == fan.boxes["c"][0] == fan.boxes["e"][0]


def test_a_graph_of_thousands_is_drawn() -> None:
    nodes = tuple(StepNode(key=f"n{number:04}", handler="h") for number in range(3000))
    keys = [node.key for node in nodes]
    chain = tuple(Edge(source=a, target=b) for a, b in pairwise(keys))
    fan = tuple(Edge(source=keys[0], target=key) for key in keys[1:])

    for edges in (chain, fan):
        assert draw_svg(Definition(workflow="w", nodes=nodes, edges=edges)).count("<g>") == len(nodes)


def test_long_text_is_cut_in_the_box_and_whole_in_its_title() -> None:
    name = "a_handler_with_a_very_long_name_" * 4
    svg = draw_svg(Definition(workflow="w", nodes=(StepNode(key="a", handler=name),)))

    assert all(len(text) <= 42 for text in texts(svg))
    assert name in svg


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0 ms"), (1, "1 ms"), (1500, "1 s 500 ms"), (3_600_000, "1 h"), (90_000_000, "1 d 1 h")]
)
def test_durations_are_written_in_the_units_people_use(ms: int, text: str) -> None:
    assert span(ms) == text


def test_an_empty_graph_and_an_empty_parallel_are_drawn() -> None:
    assert parsed(draw_svg(Definition(workflow="w")))
    assert draw_mermaid(Definition(workflow="w")) == "flowchart TD\n"
    assert "fan" in draw_svg(Definition(workflow="w", nodes=(ParallelNode(key="fan", branches={}),)))
