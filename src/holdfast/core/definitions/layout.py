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
    """Of each (source, target) edge: from the source's lower edge over its bends to the target's upper edge."""


def place(sizes: Mapping[str, Size], edges: Sequence[tuple[str, str]]) -> Placing:
    """Lay out boxes of these sizes; edges of unknown boxes and of a box with itself have no line."""
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
        bends = [(grid.x[bend], grid.middle(grid.layer[bend])) for bend in route]
        points = [start, *bends, end]
        lines[shape.keys[source], shape.keys[target]] = points if upper == source else points[::-1]
    return Placing(grid.width, grid.height, boxes, lines)


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

    def middle(self, row: int) -> float:
        """The height at which lines bend in a layer."""
        return self.tops[row] + self.heights[row] / 2

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
