"""Forms: the JSON Schema of the data that a person enters, and whether some data fits it.

The keywords are those of JSON Schema 2020-12 that the schemas of dataclasses, msgspec and Pydantic use. A form with any
other keyword that would restrict the data is refused when it is declared, so that nothing is let through unchecked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec

from holdfast.errors import UsageError

Schema = dict[str, Any]

DEPTH_MAX: Final = 64
"""Levels of data and of references that are followed."""

_NOTES: Final = frozenset(
    {
        *("$defs", "$schema", "$id", "$comment", "definitions", "title", "description", "default", "examples"),
        *("format", "deprecated", "readOnly", "writeOnly", "discriminator", "contentEncoding", "contentMediaType"),
    }
)
"""Keywords that describe and do not restrict (``format`` is one of them by the standard)."""

_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "null": lambda data: data is None,
    "boolean": lambda data: isinstance(data, bool),
    "integer": lambda data: not isinstance(data, bool) and (isinstance(data, int) or _is_whole(data)),
    "number": lambda data: isinstance(data, int | float) and not isinstance(data, bool),
    "string": lambda data: isinstance(data, str),
    "array": lambda data: isinstance(data, list),
    "object": lambda data: isinstance(data, dict),
}


def form_of(form: Any) -> Schema:
    """The JSON Schema of a form: a schema as it is, or that of a type.

    Raises:
        UsageError: the type has none, or the schema uses a keyword that is not checked here.
    """
    if isinstance(form, dict):
        schema = cast("Schema", form)
    elif isinstance(form, type) and hasattr(form, "model_json_schema") and "pydantic" in sys.modules:
        schema = cast("Any", form).model_json_schema()
    else:
        try:
            schema = msgspec.json.schema(form)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the form {form!r} is neither a JSON Schema nor a type that has one: {error}") from error
    for keyword, place in _keywords(schema, "#", 0):
        if keyword not in _NOTES and keyword not in _RULES:
            raise UsageError(f"the form's keyword {keyword!r} at {place} is not supported: the data would go unchecked")
    return schema


def misfits(form: Schema, data: Any) -> list[str]:
    """Why the data, a JSON value, does not fit the form; empty if it does."""
    return list(_Check(form).run(form, data, "$", 0))


def _keywords(schema: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    """Every keyword of a schema and of those inside it. Raises UsageError for one that is malformed."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        raise UsageError(f"the form is no JSON Schema at {place}")
    for keyword, value in cast("Schema", schema).items():
        yield keyword, place
        below = f"{place}/{keyword}"
        match keyword:
            case "properties" | "$defs" | "definitions" if isinstance(value, dict):
                for name, part in cast("Schema", value).items():
                    yield from _keywords(part, f"{below}/{name}", depth + 1)
            case "items" | "additionalProperties" | "propertyNames" | "not":
                yield from _keywords(value, below, depth + 1)
            case "anyOf" | "oneOf" | "allOf" | "prefixItems" if isinstance(value, list):
                for number, part in enumerate(cast("Sequence[Any]", value)):
                    yield from _keywords(part, f"{below}/{number}", depth + 1)
            case "pattern":
                _compile(value, below)
            case "type" if not set([value] if isinstance(value, str) else value) <= set(_TYPES):
                raise UsageError(f"the form names an unknown type at {below}: {value!r}")
            case "$ref" if not (isinstance(value, str) and value.startswith("#")):
                raise UsageError(f"the form refers to something outside of itself at {below}: {value!r}")
            case _:
                pass


def _compile(pattern: Any, place: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UsageError(f"the form's pattern at {place} cannot be used: {error}") from error


class _Check:
    """One check of data against the form ``root``."""

    def __init__(self, root: Schema) -> None:
        self.root = root

    def run(self, schema: Any, data: Any, place: str, depth: int) -> Iterator[str]:
        if schema is True:
            return
        if schema is False or depth > DEPTH_MAX:
            yield f"{place} is not allowed"
            return
        for keyword, value in schema.items():
            rule = _RULES.get(keyword)
            if rule is not None:
                yield from rule(self, schema, value, data, place, depth + 1)

    def fits(self, schema: Any, data: Any, place: str, depth: int) -> bool:
        return next(self.run(schema, data, place, depth), None) is None

    def find(self, reference: str) -> Any:
        found: Any = self.root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return found


Rule = Callable[[_Check, Schema, Any, Any, str, int], Iterator[str]]


def _reference(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    yield from check.run(check.find(value), data, place, depth)


def _type(_check: _Check, _schema: Schema, value: Any, data: Any, place: str, _depth: int) -> Iterator[str]:
    names = [value] if isinstance(value, str) else value
    if not any(_TYPES[name](data) for name in names):
        yield f"{place} must be {' or '.join(names)}"


def _enum(_check: _Check, _schema: Schema, value: Any, data: Any, place: str, _depth: int) -> Iterator[str]:
    if not any(_equal(one, data) for one in value):
        yield f"{place} must be one of {', '.join(map(repr, value))}"


def _const(_check: _Check, _schema: Schema, value: Any, data: Any, place: str, _depth: int) -> Iterator[str]:
    if not _equal(value, data):
        yield f"{place} must be {value!r}"


def _required(_check: _Check, _schema: Schema, value: Any, data: Any, place: str, _depth: int) -> Iterator[str]:
    if isinstance(data, dict):
        yield from (f"{place}.{name} is missing" for name in value if name not in data)


def _properties(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if isinstance(data, dict):
        for name, part in value.items():
            if name in data:
                yield from check.run(part, cast("Schema", data)[name], f"{place}.{name}", depth)


def _additional(check: _Check, schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if isinstance(data, dict):
        for name, part in cast("Schema", data).items():
            if name not in schema.get("properties", {}):
                yield from check.run(value, part, f"{place}.{name}", depth)


def _names(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if isinstance(data, dict):
        for name in cast("Schema", data):
            yield from check.run(value, name, f"the name {name!r} in {place}", depth)


def _prefix(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if isinstance(data, list):
        for number, (part, item) in enumerate(zip(value, cast("Sequence[Any]", data), strict=False)):
            yield from check.run(part, item, f"{place}[{number}]", depth)


def _items(check: _Check, schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if isinstance(data, list):
        first = len(schema.get("prefixItems", ()))
        for number, item in enumerate(cast("Sequence[Any]", data)[first:], first):
            yield from check.run(value, item, f"{place}[{number}]", depth)


def _unique(_check: _Check, _schema: Schema, value: Any, data: Any, place: str, _depth: int) -> Iterator[str]:
    if value and isinstance(data, list):
        forms = [msgspec.json.encode(item, order="sorted") for item in cast("Sequence[Any]", data)]
        if len(set(forms)) < len(forms):
            yield f"{place} holds something twice"


def _any_of(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if not any(check.fits(part, data, place, depth) for part in value):
        yield f"{place} fits none of the alternatives"


def _one_of(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if sum(check.fits(part, data, place, depth) for part in value) != 1:
        yield f"{place} must fit exactly one of the alternatives"


def _all_of(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    for part in value:
        yield from check.run(part, data, place, depth)


def _not(check: _Check, _schema: Schema, value: Any, data: Any, place: str, depth: int) -> Iterator[str]:
    if check.fits(value, data, place, depth):
        yield f"{place} is not allowed"


def _pattern(_check: _Check, _schema: Schema, value: Any, data: Any, place: str, _depth: int) -> Iterator[str]:
    if isinstance(data, str) and re.search(value, data) is None:
        yield f"{place} must match {value!r}"


def _bound(kind: Any, measure: Callable[[Any], Any], fits: Callable[[Any, Any], bool], words: str) -> Rule:
    def rule(_check: _Check, _schema: Schema, value: Any, data: Any, place: str, _depth: int) -> Iterator[str]:
        if isinstance(data, kind) and not isinstance(data, bool) and not fits(measure(data), value):
            yield f"{place} must {words} {value}"

    return rule


def _same(data: Any) -> Any:
    return data


def _at_least(size: Any, bound: Any) -> bool:
    return bool(size >= bound)


def _at_most(size: Any, bound: Any) -> bool:
    return bool(size <= bound)


def _is_whole(data: Any) -> bool:
    return isinstance(data, float) and data.is_integer()


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and one == other


_NUMBER: Final = (int, float)
_RULES: Final[dict[str, Rule]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "prefixItems": _prefix,
    "items": _items,
    "uniqueItems": _unique,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "allOf": _all_of,
    "not": _not,
    "pattern": _pattern,
    "minimum": _bound(_NUMBER, _same, _at_least, "be at least"),
    "maximum": _bound(_NUMBER, _same, _at_most, "be at most"),
    "exclusiveMinimum": _bound(_NUMBER, _same, lambda size, bound: bool(size > bound), "be more than"),
    "exclusiveMaximum": _bound(_NUMBER, _same, lambda size, bound: bool(size < bound), "be less than"),
    "multipleOf": _bound(_NUMBER, _same, lambda size, bound: size % bound == 0, "be a multiple of"),
    "minLength": _bound(str, len, _at_least, "have a length of at least"),
    "maxLength": _bound(str, len, _at_most, "have a length of at most"),
    "minItems": _bound(list, len, _at_least, "have a number of items of at least"),
    "maxItems": _bound(list, len, _at_most, "have a number of items of at most"),
    "minProperties": _bound(dict, len, _at_least, "have a number of fields of at least"),
    "maxProperties": _bound(dict, len, _at_most, "have a number of fields of at most"),
}
