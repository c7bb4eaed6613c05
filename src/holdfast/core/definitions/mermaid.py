"""A definition as a Mermaid flowchart: text that many pages and editors draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.core.definitions.captions import Caption, caption_of, caption_of_edge
from holdfast.model.definition import ON_FAILURE, ON_TIMEOUT, Definition, Edge, Node, SubgraphNode

LINE_CHARACTERS_MAX: Final = 60


def draw_mermaid(definition: Definition) -> str:
    """The flowchart. Equal definitions give equal text; any text in them is drawn as itself."""
    lines = ["flowchart TD", *_Chart().level(definition.nodes, definition.edges, "    ")]
    return "\n".join(lines) + "\n"


class _Chart:
    """Numbers nodes in the order of their keys, so that no key has to be a Mermaid identifier."""

    def __init__(self) -> None:
        self.count = 0

    def level(self, nodes: Sequence[Node], edges: Sequence[Edge], indent: str) -> list[str]:
        names: dict[str, str] = {}
        lines: list[str] = []
        for node in sorted(nodes, key=lambda node: node.key):
            names[node.key] = name = f"n{self.count}"
            self.count += 1
            lines += self.node(node, name, indent)
        for edge in sorted(edges, key=lambda edge: (edge.source, edge.target, edge.condition, edge.label)):
            if edge.source in names and edge.target in names:
                label = _escape(caption_of_edge(edge))
                arrow = "-.->" if edge.condition in {ON_FAILURE, ON_TIMEOUT} else "-->"
                between = f'{arrow}|"{label}"|' if label else arrow
                lines.append(f"{indent}{names[edge.source]} {between} {names[edge.target]}")
        return lines

    def node(self, node: Node, name: str, indent: str) -> list[str]:
        caption = caption_of(node)
        if isinstance(node, SubgraphNode):
            inner = self.level(node.nodes, node.edges, indent + "    ")
            return [f'{indent}subgraph {name}["{_text(caption)}"]', *inner, f"{indent}end"]
        opening, closing = _SHAPES.get(caption.kind, ("[", "]"))
        return [f'{indent}{name}{opening}"{_text(caption)}"{closing}']


_SHAPES: Final = {
    "parallel": ("[[", "]]"),
    "route": ("{{", "}}"),
    "map": ("[[", "]]"),
    "sleep": ("([", "])"),
    "signal": (">", "]"),
    "approve": ("[/", "/]"),
    "child": ("[[", "]]"),
    "graft": ("(", ")"),
}


def _text(caption: Caption) -> str:
    detail = "".join(f"<br/>{_escape(line)}" for line in caption.lines)
    return f"<b>{_escape(caption.title)}</b><br/><i>{caption.kind}</i>{detail}"


def _escape(text: str) -> str:
    """Text that Mermaid shows as it is: everything that could mean something is written as a number."""
    short = text if len(text) <= LINE_CHARACTERS_MAX else text[: LINE_CHARACTERS_MAX - 1] + "…"
    return "".join(char if char.isalnum() or char in " _.,-…" else f"#{ord(char)};" for char in short)
