"""Trees for people."""

from __future__ import annotations

from rich.text import Text

from holdfast.cli.output import clean
from holdfast.cli.tables import shorten, show_ago, show_status
from holdfast.model.ids import UnixMs
from holdfast.model.lineage import Kinship, Lineage, Relative


def lineage_lines(lineage: Lineage, now_ms: UnixMs) -> list[Text]:
    """A lineage as a tree, each run on a line of its own, however long that is."""
    lines: list[Text] = []
    waiting: list[tuple[str, str, Relative | None]] = [("", "", lineage.origin)]
    while waiting:
        begin, guide, one = waiting.pop()
        line = Text("...", "dim") if one is None else _line(one, lineage, now_ms)
        lines.append(Text.assemble((begin + guide, "dim"), line))
        if one is None:
            continue
        inner = begin + {"": "", _FORK: "│   ", _LAST: "    "}[guide]
        below: list[tuple[str, Relative | None]] = [(_FORK, relative) for relative in one.relatives]
        below += [(_FORK, None)] if one.more else []
        if below:
            below[-1] = (_LAST, below[-1][1])
        waiting += [(inner, *row) for row in reversed(below)]
    return lines


_FORK, _LAST = "├── ", "└── "


def _line(one: Relative, lineage: Lineage, now_ms: UnixMs) -> Text:
    is_asked = one.id == lineage.asked_id
    line = Text.assemble((_kinship(one), "dim"), (one.id, "bold" if is_asked else ""), "  ", clean(one.workflow), "  ")
    line.append_text(show_status(one.status, one.status_reason))
    line.append(f"  {show_ago(now_ms, one.finalized_ms or one.created_ms)}")
    if one.error is not None:
        line.append(f"  {shorten(one.error, 80)}", "red")
    if is_asked:
        line.append("  <- this run", "bold")
    return line


def _kinship(one: Relative) -> str:
    match one.kinship:
        case Kinship.ORIGIN:
            return ""
        case Kinship.RETRY:
            return f"retry, attempt {one.attempt}: "
        case Kinship.CONTINUED:
            return f"link {one.link}: "
        case Kinship.FORK:
            return "fork: "
        case Kinship.CHILD:
            return f"child at {clean(one.parent_key or '')}: "
