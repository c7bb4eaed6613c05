"""A definition as a Mermaid flowchart: text that many pages and editors draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.core.definitions.captions import Caption, caption_of, caption_of_edge
from holdfast.model.definition import ON_FAILURE, ON_TIMEOUT, Definition, Edge, Node, SubgraphNode
from holdfast.model.status import StepState

LINE_CHARACTERS_MAX: Final = 60


def draw_mermaid(definition: Definition, states: Mapping[str, StepState] | None = None) -> str:
    """The flowchart. Equal definitions give equal text; any text in them is drawn as itself.

    ``states`` colours nodes, by path: see ``Dag.node_states``.
    """
    # What has not been come to looks as ever.
    states = {path: state for path, state in (states or {}).items() if state is not StepState.BLOCKED}
    chart = _Chart(states)
    lines = ["flowchart TD", *chart.level(definition.nodes, definition.edges, "    ", "")]
    used = sorted(set(states.values()))
    lines += [f"    classDef {state} {_MARKS[state]}" for state in used]
    return "\n".join(lines) + "\n"


class _Chart:
    """Numbers nodes in the order of their keys, so that no key has to be a Mermaid identifier."""

    def __init__(self, states: Mapping[str, StepState]) -> None:
        self.count = 0
        self.states = states

    def level(self, nodes: Sequence[Node], edges: Sequence[Edge], indent: str, path: str) -> list[str]:
        names: dict[str, str] = {}
        lines: list[str] = []
        for node in sorted(nodes, key=lambda node: node.key):
            names[node.key] = name = f"n{self.count}"
            self.count += 1
            lines += self.node(node, name, indent, path + node.key)
        for edge in sorted(edges, key=lambda edge: (edge.source, edge.target, edge.condition, edge.label)):
            if edge.source in names and edge.target in names:
                label = _escape(caption_of_edge(edge))
                arrow = "-.->" if edge.condition in {ON_FAILURE, ON_TIMEOUT} else "-->"
                between = f'{arrow}|"{label}"|' if label else arrow
                lines.append(f"{indent}{names[edge.source]} {between} {names[edge.target]}")
        return lines

    def node(self, node: Node, name: str, indent: str, path: str) -> list[str]:
        caption = caption_of(node)
        if isinstance(node, SubgraphNode):
            inner = self.level(node.nodes, node.edges, indent + "    ", f"{path}/")
            marks = [f"{indent}class {name} {state}"] if (state := self.states.get(path)) is not None else []
            return [f'{indent}subgraph {name}["{_text(caption)}"]', *inner, f"{indent}end", *marks]
        opening, closing = _SHAPES.get(caption.kind, ("[", "]"))
        state = self.states.get(path)
        mark = "" if state is None else f":::{state}"
        return [f'{indent}{name}{opening}"{_text(caption)}"{closing}{mark}']


_MARKS: Final = {
    StepState.COMPLETED: "fill:#dcfce7,stroke:#15803d,color:#14532d",
    StepState.FAILED: "fill:#fee2e2,stroke:#b91c1c,color:#7f1d1d",
    StepState.RUNNING: "fill:#dbeafe,stroke:#1d4ed8,color:#1e3a8a",
    StepState.READY: "fill:#eff6ff,stroke:#60a5fa,color:#1e3a8a",
    StepState.WAITING: "fill:#fef3c7,stroke:#b45309,color:#78350f",
    StepState.SKIPPED: "fill:#f1f5f9,stroke:#94a3b8,color:#64748b,stroke-dasharray:4 3",
}
"""The states' looks, the same as in the picture."""


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
