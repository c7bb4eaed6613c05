"""A definition as an SVG picture, without any library: equal definitions give equal text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from msgspec import Struct

from holdfast.core.definitions.captions import Caption, caption_of, caption_of_edge
from holdfast.core.definitions.layout import Placing, Point, Size, place
from holdfast.model.definition import ALWAYS, ON_SUCCESS, Definition, Edge, Node, SubgraphNode
from holdfast.model.status import StepState

LINE_COLUMNS_MAX: Final = 42
"""Longer text is cut; a pointer over the box shows all of it."""

_MARGIN: Final = 16.0
_PADDING: Final = 12.0
_COLUMN: Final = 7.0
_TITLE_HEIGHT: Final = 20.0
_LINE_HEIGHT: Final = 16.0
_LABEL_COLUMNS: Final = 34
_LABEL_COLUMN: Final = 6.4
_TITLE_COLUMN: Final = 8.0

_COLOURS: Final = {
    "step": "#2563eb",
    "parallel": "#7c3aed",
    "route": "#c2410c",
    "loop": "#0f766e",
    "map": "#6d28d9",
    "sleep": "#64748b",
    "signal": "#a16207",
    "child": "#0369a1",
    "approve": "#be185d",
    "subgraph": "#475569",
    "graft": "#4d7c0f",
}

_STATE_COLOURS: Final = {
    StepState.COMPLETED: ("#dcfce7", "#15803d"),
    StepState.FAILED: ("#fee2e2", "#b91c1c"),
    StepState.RUNNING: ("#dbeafe", "#1d4ed8"),
    StepState.READY: ("#eff6ff", "#60a5fa"),
    StepState.WAITING: ("#fef3c7", "#b45309"),
    StepState.SKIPPED: ("#f1f5f9", "#94a3b8"),
}
"""Of a node that a run has come to: fill and frame."""

_DASHED: Final[dict[StepState | None, str]] = {StepState.SKIPPED: ' stroke-dasharray="4 3"'}

_STYLE: Final = (
    "text{font-family:system-ui,sans-serif;font-size:12px;fill:#334155}"
    ".t{font-size:13px;font-weight:600;fill:#0f172a}.k{font-size:11px}"
    ".e{fill:none;stroke:#64748b;stroke-width:1.4}.d{stroke-dasharray:5 4}"
    ".l{font-size:11px;text-anchor:middle;paint-order:stroke;stroke-width:4px}"
)

_ARROW: Final = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#64748b"/></marker></defs>'
)


class _Box(Struct, frozen=True):
    """A node that is drawn but not placed."""

    caption: Caption
    size: Size
    state: StepState | None
    inside: _Scene | None = None


class _Scene(Struct, frozen=True):
    """The drawn nodes and edges of one level, placed."""

    boxes: dict[str, _Box]
    placing: Placing
    edges: list[Edge]


def draw_svg(definition: Definition, states: Mapping[str, StepState] | None = None) -> str:
    """The picture: a whole SVG document. Text is escaped; what XML cannot hold is replaced.

    ``states`` colours nodes, by path: see ``Dag.node_states``.
    """
    scene = _scene(definition.nodes, definition.edges, states or {}, "")
    w, h = _n(scene.placing.width + 2 * _MARGIN), _n(scene.placing.height + 2 * _MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img">',
        f"<title>{_escape(definition.workflow)}</title>",
        f"<style>{_STYLE}</style>",
        _ARROW,
        f'<rect width="{w}" height="{h}" fill="#fff"/>',
        *_draw_scene(scene, _MARGIN, _MARGIN, ground="#fff"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# Sizes


def _scene(nodes: Sequence[Node], edges: Sequence[Edge], states: Mapping[str, StepState], path: str) -> _Scene:
    boxes = {node.key: _box(node, states, path + node.key) for node in sorted(nodes, key=lambda node: node.key)}
    sizes = {key: box.size for key, box in boxes.items()}
    known = {(edge.source, edge.target): edge for edge in sorted(edges, key=_edge_place)}
    labels = {ends: _columns(text) * _LABEL_COLUMN for ends, edge in known.items() if (text := _label(edge))}
    return _Scene(boxes, place(sizes, list(known), labels), list(known.values()))


def _label(edge: Edge) -> str:
    return _cut(caption_of_edge(edge), _LABEL_COLUMNS)


def _edge_place(edge: Edge) -> tuple[str, str, str, str]:
    return edge.source, edge.target, edge.condition, edge.label


def _box(node: Node, states: Mapping[str, StepState], path: str) -> _Box:
    caption, state = caption_of(node), states.get(path)
    title = _columns(_cut(f"{caption.title}   {caption.kind}")) * _TITLE_COLUMN
    width = max([title, *(_columns(_cut(line)) * _COLUMN for line in caption.lines)]) + 2 * _PADDING
    height = _TITLE_HEIGHT + len(caption.lines) * _LINE_HEIGHT + 2 * _PADDING - 6
    if not isinstance(node, SubgraphNode):
        return _Box(caption, Size(width, height), state)
    inside = _scene(node.nodes, node.edges, states, f"{path}/")
    size = Size(max(width, inside.placing.width + 2 * _PADDING), height + inside.placing.height + _PADDING)
    return _Box(caption, size, state, inside)


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _cut(text: str, columns_max: int = LINE_COLUMNS_MAX) -> str:
    if _columns(text) <= columns_max:
        return text
    kept, columns = "", 1
    for char in text:
        columns += _columns(char)
        if columns > columns_max:
            break
        kept += char
    return kept + "…"


# Drawing


def _draw_scene(scene: _Scene, left: float, top: float, *, ground: str) -> list[str]:
    """``ground`` is the colour behind it: labels keep a little of it around them."""
    parts: list[str] = []
    for edge in scene.edges:
        line = scene.placing.lines.get((edge.source, edge.target))
        if line is not None:
            dashed = "" if edge.condition in {ON_SUCCESS, ALWAYS} else " d"
            points = [(x + left, y + top) for x, y in line]
            parts.append(f'<path class="e{dashed}" d="{_curve(points)}" marker-end="url(#a)"/>')
    for key, box in scene.boxes.items():
        x, y = scene.placing.boxes[key]
        parts += _draw_box(box, x + left, y + top)
    # Labels come last, so that no line is drawn over them.
    for edge in scene.edges:
        middle = scene.placing.labels.get((edge.source, edge.target))
        if middle is not None:
            at = f'x="{_n(middle[0] + left)}" y="{_n(middle[1] + top + 4)}"'
            parts.append(f'<text class="l" {at} style="stroke:{ground}">{_escape(_label(edge))}</text>')
    return parts


def _draw_box(box: _Box, x: float, y: float) -> list[str]:
    caption, size = box.caption, box.size
    colour = _COLOURS.get(caption.kind, "#475569")
    state = () if box.state is None else (box.state.value,)
    whole = "\n".join((f"{caption.title} ({caption.kind})", *state, *caption.lines))
    fill, stroke = "#f8fafc" if box.inside is not None else "#fff", colour
    if box.state is not None:
        fill, stroke = _STATE_COLOURS.get(box.state, (fill, stroke))
    title = _cut(caption.title, LINE_COLUMNS_MAX - len(caption.kind) - 3)
    baseline = y + _PADDING + 11
    frame = f'x="{_n(x)}" y="{_n(y)}" width="{_n(size.width)}" height="{_n(size.height)}" rx="6"'
    corner = f'x="{_n(x + size.width - _PADDING)}" y="{_n(baseline)}" text-anchor="end" style="fill:{colour}"'
    parts = [
        f"<g><title>{_escape(whole)}</title>",
        f'<rect {frame} fill="{fill}" stroke="{stroke}"{_DASHED.get(box.state, "")}/>',
        f'<text class="t" x="{_n(x + _PADDING)}" y="{_n(baseline)}">{_escape(title)}</text>',
        f'<text class="k" {corner}>{caption.kind}</text>',
    ]
    for number, line in enumerate(caption.lines, 1):
        at = f'x="{_n(x + _PADDING)}" y="{_n(baseline + 4 + number * _LINE_HEIGHT)}"'
        parts.append(f"<text {at}>{_escape(_cut(line))}</text>")
    if box.inside is not None:
        inner = box.inside.placing
        inside_at = x + (size.width - inner.width) / 2, y + size.height - inner.height - _PADDING
        parts += _draw_scene(box.inside, *inside_at, ground=fill)
    return [*parts, "</g>"]


def _curve(points: Sequence[Point]) -> str:
    """Through all points, upright at each of them."""
    x, y = points[0]
    path = f"M{_n(x)} {_n(y)}"
    for next_x, next_y in points[1:]:
        middle = (y + next_y) / 2
        path += f"C{_n(x)} {_n(middle)} {_n(next_x)} {_n(middle)} {_n(next_x)} {_n(next_y)}"
        x, y = next_x, next_y
    return path


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _escape(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))
