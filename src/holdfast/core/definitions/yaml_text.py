"""JSON values as YAML and back: the one module that imports PyYAML, which only the extra ``yaml`` installs.

YAML can say much more than JSON; none of that is read. An alias can make a short text endless, a tag can ask for any
type, and YAML 1.1 reads ``no``, ``on``, ``1:30`` and ``2026-01-01`` as something else than they look. What is written
is quoted wherever either reading would differ, so other tools read the same.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml  # type: ignore[import-untyped, unused-ignore]  # its types come in a package of their own

from holdfast.core.definitions.canonical import DefinitionError

_YAML: Any = yaml


def read_yaml(text: str, *, depth_max: int) -> Any:
    """The JSON value that a YAML document says. Raises: DefinitionError."""
    try:
        _check_events(text, depth_max)
        return _YAML.load(text, _Loader)  # a subclass of the safe loader
    except (_YAML.YAMLError, ValueError) as error:
        raise DefinitionError(why=str(error)) from error


def write_yaml(plain: Any) -> str:
    """A JSON value as YAML; the order of dicts is kept."""
    return str(
        _YAML.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=_WIDTH)
    )


_WIDTH: Final = 120
_LoaderBase: Any = getattr(_YAML, "CSafeLoader", _YAML.SafeLoader)
_DumperBase: Any = getattr(_YAML, "CSafeDumper", _YAML.SafeDumper)

_PLAIN: Final = (
    ("tag:yaml.org,2002:null", re.compile(r"(?:~|null)?\Z"), ["~", "n", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z"), ["t", "f"]),
    ("tag:yaml.org,2002:int", re.compile(r"-?(?:0|[1-9][0-9]*)\Z"), list("-0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z"),
        list("-0123456789"),
    ),
)
"""What a text without quotes may mean apart from itself: what it means in JSON (and ``~``)."""


class _Loader(_LoaderBase):  # type: ignore[misc, unused-ignore]
    """The safe loader, less YAML 1.1's own ideas of plain text, and without repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as its base has it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as its base
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, _YAML.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise _YAML.constructor.ConstructorError(None, None, "a key must be text", key.start_mark)
            if key.value in keys:
                raise _YAML.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
            keys.add(key.value)
        mapping: dict[Any, Any] = _LoaderBase.construct_mapping(self, node, deep=deep)
        return mapping


class _Dumper(_DumperBase):  # type: ignore[misc, unused-ignore]
    """The safe dumper; it also quotes text that only our reading would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as its base
        return True


for _tag, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def _check_events(text: str, depth_max: int) -> None:
    """Refuse what JSON has not, before anything is built; the parser keeps its place without recursion."""
    depth = 0
    for event in _YAML.parse(text, _LoaderBase):
        if isinstance(event, _YAML.AliasEvent):
            raise _refusal("an alias", event)
        if isinstance(event, _YAML.NodeEvent) and event.anchor is not None:
            raise _refusal("an anchor", event)
        if isinstance(event, _YAML.ScalarEvent | _YAML.CollectionStartEvent) and event.tag is not None:
            raise _refusal(f"the tag {event.tag!r}", event)
        if isinstance(event, _YAML.CollectionStartEvent):
            depth += 1
            if depth > depth_max:
                raise _refusal(f"more than {depth_max} levels", event)
        elif isinstance(event, _YAML.CollectionEndEvent):
            depth -= 1


def _refusal(what: str, event: Any) -> DefinitionError:
    return DefinitionError(why=f"{what} in line {event.start_mark.line + 1}: write it as plain YAML")
