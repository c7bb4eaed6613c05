"""Definitions as text: JSON and YAML to be read and edited by people, and the JSON Schema of both.

Writing and reading again gives an equal definition; the order of nodes and edges is kept. Reading is strict: an unknown
field, a missing one or a value of another type is refused. Whether the graph can be run is for ``validate``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from holdfast.core.definitions.canonical import DEPTH_MAX, DefinitionError, flaw_of, to_plain
from holdfast.errors import UsageError
from holdfast.model.definition import Definition

DOCUMENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""About 80,000 nodes."""

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_EXTRA: Final = "YAML needs an extra: pip install 'holdfast[yaml]'"

_decode_json: Final = msgspec.json.Decoder(Definition).decode


def to_json(definition: Definition) -> str:
    """The document, indented. Raises: DefinitionError if it holds what JSON cannot."""
    return msgspec.json.format(msgspec.json.encode(to_plain(definition)), indent=2).decode() + "\n"


def from_json(text: str | bytes) -> Definition:
    """Read a document.

    Raises: DefinitionError if it is no definition; the message says where, such as ``$.nodes[2].handler``.
    """
    data = _bytes(text)
    try:
        return _whole(_decode_json(data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DefinitionError(why=str(error)) from error
    except RecursionError as error:
        raise DefinitionError(why=f"it is nested deeper than {DEPTH_MAX} levels") from error


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
    data = _bytes(text)
    try:
        from holdfast.core.definitions.yaml_text import read_yaml
    except ImportError as error:
        raise UsageError(_EXTRA) from error
    try:
        plain = read_yaml(data.decode(), depth_max=DEPTH_MAX)
        return _whole(msgspec.convert(plain, Definition))
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise DefinitionError(why=str(error)) from error


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


def _whole(definition: Definition) -> Definition:
    """A form may hold anything that the text could say, so it is looked at for what cannot be stored."""
    flaw = flaw_of(definition)
    if flaw is not None:
        raise DefinitionError(why=flaw)
    return definition
