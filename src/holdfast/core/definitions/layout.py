"""Where the boxes and lines of a drawing stand: layer by layer from the top, few crossings, no overlaps.

The usual four steps (Sugiyama, Tagawa and Toda 1981): layers, bends for lines that cross layers, an order within each
layer by the mean of the neighbours, and positions. Everything is a function of keys, edges and sizes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from holdfast.core.definitions.structure import layers, shape_of

GAP_X: Final = 28.0
GAP_Y: Final = 56.0
BEND_WIDTH: Final = 14.0
LABEL_GAP: Final = 6.0
LABEL_HEIGHT: Final = 13.0
LABEL_PLACES: Final = (0.5, 0.8, 0.2)
"""How far along the first curve of its line a label may stand: the middle, a line of text below it, and one above."""
BENDS_MAX: Final = 24
"""A line over more layers than this goes straight: it would need a bend in each of them."""
SWEEPS: Final = 6

Point = tuple[float, float]


class Size(Struct, frozen=True):
    """Of a box, in pixels."""

    width: float
    height: float


class Placing(Struct, frozen=True):
    """A laid out graph."""

    width: float
    height: float
    boxes: dict[str, Point]
    """The upper left corner of each box."""
    lines: dict[tuple[str, str], list[Point]]
    """Of each (source, target) edge: from the source's lower edge over its bends to the target's upper edge.

    Lines are upright within a layer, so that they pass between its boxes, and curved between layers.
    """
    labels: dict[tuple[str, str], Point] = {}
    """The middle of each label."""


def place(
    sizes: Mapping[str, Size],
    edges: Sequence[tuple[str, str]],
    labels: Mapping[tuple[str, str], float] = {},
) -> Placing:
    """Lay out boxes of these sizes; edges of unknown boxes and of a box with itself have no line.

    ``labels`` are the widths of the labels of edges.
    """
    shape = shape_of(sizes, edges)
    if not shape.keys:
        return Placing(0.0, 0.0, {}, {})
    layer = layers(shape)
    routes = _routes(shape.targets, layer)
    grid = _Grid([sizes[key] for key in shape.keys], layer, routes)
    grid.order()
    grid.position()
    boxes = {key: (grid.x[node] - sizes[key].width / 2, grid.tops[layer[node]]) for node, key in enumerate(shape.keys)}
    lines: dict[tuple[str, str], list[Point]] = {}
    for (source, target), route in routes.items():
        upper, lower = (source, target) if layer[source] <= layer[target] else (target, source)
        start = (grid.x[upper], grid.tops[layer[upper]] + sizes[shape.keys[upper]].height)
        end = (grid.x[lower], grid.tops[layer[lower]])
        points = [start, (start[0], grid.bottom(layer[upper]))]
        for bend in route if upper == source else route[::-1]:
            points += [(grid.x[bend], grid.tops[grid.layer[bend]]), (grid.x[bend], grid.bottom(grid.layer[bend]))]
        points = list(dict.fromkeys([*points, end]))
        lines[shape.keys[source], shape.keys[target]] = points if upper == source else points[::-1]
    return _with_labels(Placing(grid.width, grid.height, boxes, lines), labels)


def _with_labels(placing: Placing, widths: Mapping[tuple[str, str], float]) -> Placing:
    """Put each label on its line, beside or above the others, and make room for those that reach beyond the boxes."""
    labels: dict[tuple[str, str], Point] = {}
    taken: list[tuple[float, float, float]] = []
    wanted = {edge: _first_curve(placing.lines[edge]) for edge in widths if edge in placing.lines}
    for edge, curve in sorted(wanted.items(), key=lambda item: (item[1][0][1], _on(item[1], 0.5), item[0])):
        width = widths[edge]
        free = [at for at in (_on(curve, t) for t in LABEL_PLACES) if not _meets(at, width, taken)]
        x, y = free[0] if free else _on(curve, LABEL_PLACES[0])
        labels[edge] = x, y
        taken.append((x, y, width))
    left = min([0.0, *(x - width / 2 for x, _, width in taken)])
    right = max([placing.width, *(x + width / 2 for x, _, width in taken)])
    return Placing(
        right - left,
        placing.height,
        {key: (x - left, y) for key, (x, y) in placing.boxes.items()},
        {edge: [(x - left, y) for x, y in line] for edge, line in placing.lines.items()},
        {edge: (x - left, y) for edge, (x, y) in labels.items()},
    )


def _first_curve(line: Sequence[Point]) -> tuple[Point, Point]:
    """The first part of a line that is not upright within a layer."""
    parts = list(pairwise(line))
    return next(((one, two) for one, two in parts if abs(one[1] - two[1]) == GAP_Y), parts[0])


def _on(curve: tuple[Point, Point], t: float) -> Point:
    """The point of a curve that is upright at both ends, ``t`` of the way along."""
    (x1, y1), (x2, y2) = curve
    near, far = (1 - t) ** 3, t**3
    first, second = 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2
    middle = (y1 + y2) / 2
    return x1 * (near + first) + x2 * (second + far), y1 * near + middle * (first + second) + y2 * far


def _meets(at: Point, width: float, taken: Sequence[tuple[float, float, float]]) -> bool:
    return any(
        abs(at[0] - x) < (width + other) / 2 + LABEL_GAP and abs(at[1] - y) < LABEL_HEIGHT for x, y, other in taken
    )


def _routes(targets: Sequence[Sequence[int]], layer: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """The bends of each edge, as numbers above those of the boxes."""
    count = len(layer)
    routes: dict[tuple[int, int], list[int]] = {}
    for source, followers in enumerate(targets):
        for target in followers:
            if source == target:
                continue
            between = abs(layer[target] - layer[source]) - 1
            bends = max(between, 0) if between <= BENDS_MAX else 0
            routes[source, target] = list(range(count, count + bends))
            count += bends
    return routes


class _Grid:
    """Boxes and bends in their layers."""

    def __init__(
        self, sizes: Sequence[Size], layer: Sequence[int], routes: Mapping[tuple[int, int], Sequence[int]]
    ) -> None:
        self.layer = list(layer)
        self.widths = [size.width for size in sizes]
        for (source, target), bends in routes.items():
            step = 1 if self.layer[source] < self.layer[target] else -1
            self.layer += [self.layer[source] + step * (place + 1) for place in range(len(bends))]
            self.widths += [BEND_WIDTH] * len(bends)
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        for node, at in enumerate(self.layer):
            self.rows[at].append(node)
        self.above: list[list[int]] = [[] for _ in self.layer]
        self.below: list[list[int]] = [[] for _ in self.layer]
        for (source, target), bends in routes.items():
            chain = [source, *bends, target]
            for one, two in pairwise(chain):
                upper, lower = (one, two) if self.layer[one] <= self.layer[two] else (two, one)
                self.below[upper].append(lower)
                self.above[lower].append(upper)
        self.x = [0.0] * len(self.layer)
        self.tops: list[float] = []
        self.heights: list[float] = []
        top = 0.0
        for row in self.rows:
            height = max((sizes[node].height for node in row if node < len(sizes)), default=0.0)
            self.tops.append(top)
            self.heights.append(height)
            top += height + GAP_Y
        self.height = top - GAP_Y
        self.width = 0.0

    def bottom(self, row: int) -> float:
        """Where a layer ends."""
        return self.tops[row] + self.heights[row]

    def order(self) -> None:
        """Sort each layer by the mean place of its neighbours in the layer before, down and up in turn."""
        place = [0.0] * len(self.layer)
        for row in self.rows:
            for index, node in enumerate(row):
                place[node] = float(index)
        for sweep in range(SWEEPS):
            neighbours = self.above if sweep % 2 == 0 else self.below
            rows = self.rows if sweep % 2 == 0 else self.rows[::-1]
            for row in rows:
                wish = {node: _mean([place[other] for other in neighbours[node]], place[node]) for node in row}
                row.sort(key=lambda node: (wish[node], node))
                for index, node in enumerate(row):
                    place[node] = float(index)

    def position(self) -> None:
        """Move each box as near to the middle of its neighbours as the others of its layer let it."""
        for row in self.rows:
            self._settle(row, [0.0] * len(row))
        for sweep in range(SWEEPS):
            neighbours = self.above if sweep % 2 == 0 else self.below
            rows = self.rows if sweep % 2 == 0 else self.rows[::-1]
            for row in rows:
                self._settle(row, [_mean([self.x[other] for other in neighbours[node]], self.x[node]) for node in row])
        left = min(x - width / 2 for x, width in zip(self.x, self.widths, strict=True))
        self.x = [x - left for x in self.x]
        self.width = max(x + width / 2 for x, width in zip(self.x, self.widths, strict=True))

    def _settle(self, row: Sequence[int], wishes: Sequence[float]) -> None:
        """The positions nearest to the wishes (least squares) that keep order and gaps: pool adjacent violators."""
        offsets: list[float] = []
        offset = 0.0
        for index, node in enumerate(row):
            if index:
                offset += (self.widths[row[index - 1]] + self.widths[node]) / 2 + GAP_X
            offsets.append(offset)
        pools: list[tuple[float, int]] = []
        for wish, offset in zip(wishes, offsets, strict=True):
            total, count = wish - offset, 1
            while pools and pools[-1][0] / pools[-1][1] > total / count:
                before, size = pools.pop()
                total, count = total + before, count + size
            pools.append((total, count))
        start = 0
        for total, count in pools:
            for index in range(start, start + count):
                self.x[row[index]] = total / count + offsets[index]
            start += count


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
