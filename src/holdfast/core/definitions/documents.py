"""Definitions as text: JSON and YAML to be read and edited by people, and the JSON Schema of both.

Writing and reading again gives an equal definition; the order of nodes and edges is kept. Reading is strict: an unknown
field, a missing one or a value of another type is refused. Whether the graph can be run is for ``validate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from holdfast.core.definitions.canonical import DEPTH_MAX, DefinitionError, flaw_of, to_plain
from holdfast.errors import UsageError
from holdfast.model.definition import Definition, Edge, Grafted, Node, NodeBase, Part

DOCUMENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""About 80,000 nodes."""

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_EXTRA: Final = "YAML needs an extra: pip install 'holdfast[yaml]'"

_decode_json: Final = msgspec.json.Decoder(Definition).decode
_decode_part: Final = msgspec.json.Decoder(Grafted).decode

P = TypeVar("P", bound=Part)


def to_json(definition: Definition) -> str:
    """The document, indented. Raises: DefinitionError if it holds what JSON cannot."""
    return msgspec.json.format(msgspec.json.encode(to_plain(definition)), indent=2).decode() + "\n"


def from_json(text: str | bytes) -> Definition:
    """Read a document.

    Raises: DefinitionError if it is no definition; the message says where, such as ``$.nodes[2].handler``.
    """
    return _read_json(text, _decode_json)


def part_from_json(text: str | bytes) -> Grafted:
    """Read nodes and edges without a graph around them: ``{"nodes": [], "edges": []}``. Raises as ``from_json``."""
    return _read_json(text, _decode_part)


def to_yaml(definition: Definition) -> str:
    """The document as YAML; needs the extra ``yaml``. Raises: DefinitionError as ``to_json``; UsageError without it."""
    plain = to_plain(definition)
    try:
        from holdfast.core.definitions.yaml_text import write_yaml
    except ImportError as error:
        raise UsageError(_EXTRA) from error
    return write_yaml(plain)


def from_yaml(text: str | bytes) -> Definition:
    """Read a YAML document; needs the extra ``yaml``.

    Only what JSON can say is read: aliases, tags and dates are refused, ``no`` and ``on`` are text.
    Raises: DefinitionError as ``from_json``; UsageError without the extra.
    """
    return _read_yaml(text, Definition)


def part_from_yaml(text: str | bytes) -> Grafted:
    """As ``part_from_json``, from YAML. Raises as ``from_yaml``."""
    return _read_yaml(text, Grafted)


def _read_json(text: str | bytes, decode: Callable[[bytes], P]) -> P:
    data = _bytes(text)
    try:
        return _whole(decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DefinitionError(why=str(error)) from error
    except RecursionError as error:
        raise DefinitionError(why=f"it is nested deeper than {DEPTH_MAX} levels") from error


def _read_yaml(text: str | bytes, kind: type[P]) -> P:
    data = _bytes(text)
    try:
        from holdfast.core.definitions.yaml_text import read_yaml
    except ImportError as error:
        raise UsageError(_EXTRA) from error
    try:
        plain = read_yaml(data.decode(), depth_max=DEPTH_MAX)
        return _whole(msgspec.convert(plain, kind))
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise DefinitionError(why=str(error)) from error


def read_part(nodes: Iterable[Node | Mapping[str, Any]], edges: Iterable[Edge | Mapping[str, Any]]) -> Grafted:
    """Nodes and edges given as records or as documents of such. Raises: DefinitionError, which says where."""
    try:
        part = Grafted(
            nodes=tuple(one if isinstance(one, NodeBase) else msgspec.convert(one, Node) for one in nodes),
            edges=tuple(one if isinstance(one, Edge) else msgspec.convert(one, Edge) for one in edges),
        )
    except msgspec.ValidationError as error:
        raise DefinitionError(why=str(error)) from error
    return _whole(part)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Definition)))
    return {"$schema": SCHEMA_DIALECT, "title": "holdfast workflow definition", **schema}


def _bytes(text: str | bytes) -> bytes:
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise DefinitionError(why=str(error)) from error
    if len(data) > DOCUMENT_BYTES_MAX:
        raise DefinitionError(why=f"it has {len(data)} bytes; the limit is {DOCUMENT_BYTES_MAX}")
    return data


def _whole(document: P) -> P:
    """A form may hold anything that the text could say, so it is looked at for what cannot be stored."""
    flaw = flaw_of(document)
    if flaw is not None:
        raise DefinitionError(why=flaw)
    return document
