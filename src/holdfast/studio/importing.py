"""Importing a graph over the one that is there: as a proposal, in which nodes keep their keys.

Journals, edges and expressions refer to nodes by their keys, so a generated or rewritten text that calls a node
something else would orphan its history. Nodes are matched by key; a node whose key is gone while one of the same
content came under another key is named as a likely rename, and keeps its key if the importer says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from holdfast.core.definitions import Difference, diff, to_plain
from holdfast.core.definitions.validation import Problem, validate
from holdfast.model.definition import Definition, Edge


class ImportPlan(Struct, frozen=True, kw_only=True):
    """What an import would do; nothing is changed until its definition is saved."""

    definition: Definition
    """The imported graph under the workflow's name."""
    difference: Difference
    """What leads from the current graph to it."""
    kept: list[str]
    """Keys of nodes that are in both."""
    renamed: dict[str, str]
    """Old keys, and the new ones under which the same content came: pass those that are meant as ``keep_keys``."""
    problems: list[Problem]
    """Why it could not be saved."""


def plan_import(current: Definition, imported: Definition, *, keep_keys: Mapping[str, str] | None = None) -> ImportPlan:
    """Propose an import of ``imported`` over ``current``.

    Args:
        keep_keys: old keys that nodes of the import are to keep, each with the key that the import gives the node.
            Edges follow. Expressions that read such a node's result by its new key are problems, and are not rewritten.
    """
    turned = {new: old for old, new in (keep_keys or {}).items()}
    nodes = tuple(msgspec.structs.replace(node, key=turned.get(node.key, node.key)) for node in imported.nodes)
    edges = tuple(_led_by(edge, turned) for edge in imported.edges)
    definition = msgspec.structs.replace(imported, workflow=current.workflow, nodes=nodes, edges=edges)
    before, after = {node.key for node in current.nodes}, {node.key for node in nodes}
    return ImportPlan(
        definition=definition,
        difference=diff(current, definition),
        kept=sorted(before & after),
        renamed=_renames(current, definition),
        problems=validate(definition),
    )


def _led_by(edge: Edge, turned: Mapping[str, str]) -> Edge:
    source, target = turned.get(edge.source, edge.source), turned.get(edge.target, edge.target)
    return msgspec.structs.replace(edge, source=source, target=target)


def _renames(current: Definition, definition: Definition) -> dict[str, str]:
    before = {node.key: _content(node) for node in current.nodes}
    after = {node.key: _content(node) for node in definition.nodes}
    came: dict[bytes, list[str]] = {}
    for key in after.keys() - before.keys():
        came.setdefault(after[key], []).append(key)
    gone = {key: came.get(before[key], []) for key in sorted(before.keys() - after.keys())}
    # Only what is plain: two nodes of one content could be either.
    return {key: keys[0] for key, keys in gone.items() if len(keys) == 1 and _is_alone(before, key)}


def _is_alone(contents: Mapping[str, bytes], key: str) -> bool:
    return sum(content == contents[key] for content in contents.values()) == 1


def _content(node: Any) -> bytes:
    plain = to_plain(node)
    del plain["key"]
    return msgspec.json.encode(plain, order="deterministic")
