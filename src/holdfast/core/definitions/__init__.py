"""Definitions as data: what is wrong with one, whether two are the same, and how one is written, read and drawn."""

from holdfast.core.definitions.canonical import DefinitionError, canonical_bytes, content_hash, to_plain
from holdfast.core.definitions.difference import Change, Difference, FieldChange, diff
from holdfast.core.definitions.documents import from_json, from_yaml, json_schema, to_json, to_yaml
from holdfast.core.definitions.merge import Merge, MergeConflict, merge
from holdfast.core.definitions.mermaid import draw_mermaid
from holdfast.core.definitions.nodes import find_node, nodes_in_order
from holdfast.core.definitions.svg import draw_svg
from holdfast.core.definitions.tidy import Tidied, tidy
from holdfast.core.definitions.validation import (
    GraphError,
    Needs,
    Problem,
    check_definition,
    names_needed,
    queued_handlers,
    validate,
    validate_part,
)

__all__ = [
    "Change",
    "DefinitionError",
    "Difference",
    "FieldChange",
    "GraphError",
    "Merge",
    "MergeConflict",
    "Needs",
    "Problem",
    "Tidied",
    "canonical_bytes",
    "check_definition",
    "content_hash",
    "diff",
    "draw_mermaid",
    "draw_svg",
    "find_node",
    "from_json",
    "from_yaml",
    "json_schema",
    "merge",
    "names_needed",
    "nodes_in_order",
    "queued_handlers",
    "tidy",
    "to_json",
    "to_plain",
    "to_yaml",
    "validate",
    "validate_part",
]
