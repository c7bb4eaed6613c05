"""Values to JSON and back: strict, faithful or refused.

A payload is the UTF-8 text ``{"value": <json>}``, so that scalars, lists and null are documents too. What is
stored can be read back as an equal value of its declared type; what JSON cannot hold (NaN, integers beyond 64
bits, NUL, lone surrogates, unknown types, more than 64 levels) is refused with the reason before anything is
written. The order of a dict is kept; that of a set means nothing. If a document from elsewhere repeats a key,
the last one counts. Never pickle.

The encoder is written in C and lets four things pass that we refuse: it writes NaN as null, integers of any size,
NUL, and time zone offsets without their seconds. Each is looked for in the *output*, where a suspicion costs a scan
in C; only a suspect is examined closely.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from types import UnionType
from typing import Any, Final, TypeGuard, Union, cast, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from holdfast.core.annotations import type_hints
from holdfast.errors import DecodeError, EncodeError, PayloadTooLarge, UsageError
from holdfast.model.ids import Json

PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""2 MiB: what comparable engines take (Temporal: 2 MB), and well within one row of either database."""

DEPTH_MAX: Final = 64
"""Levels of nesting. Parsers recurse, each with its own limit (PostgreSQL by its stack); this is below them all."""

Decode = Callable[[Json, str], Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
DecodeArguments = Callable[[Json, str], Arguments]
ReadArguments = Callable[[tuple[Any, ...], dict[str, Any], str], Arguments]

_PREFIX: Final = b'{"value":'
_SUFFIX: Final = b"}"


class Codec:
    """Encodes and decodes payloads; keeps one decoder per type."""

    def __init__(self, *, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        self.payload_bytes_max = payload_bytes_max
        self._decoders: dict[Any, Decode] = {}

    def encode(self, value: object, where: str) -> Json:
        """The payload of a value; ``where`` names it in errors, such as "the result of step 'charge'".

        Raises: EncodeError if it has no faithful JSON form; PayloadTooLarge.
        """
        try:
            body = _encode(value)
        except Exception as error:
            raise EncodeError(where=where, why=_why_not(value, error)) from error
        size = len(body) + len(_PREFIX) + len(_SUFFIX)
        if size > self.payload_bytes_max:
            raise PayloadTooLarge(where=where, size=size, limit=self.payload_bytes_max)
        flaw = _flaw(value, body)
        if flaw is not None:
            raise EncodeError(where=where, why=flaw)
        return Json(_PREFIX + body + _SUFFIX)

    def wrap(self, value: bytes) -> Json:
        """The payload of a value that is JSON already."""
        return Json(_PREFIX + value + _SUFFIX)

    def unwrap(self, payload: Json) -> Raw:
        """The JSON of the value that a payload holds, as it was encoded by this codec."""
        return Raw(payload[len(_PREFIX) : -len(_SUFFIX)])

    def check_size(self, payload: Json, where: str) -> None:
        """Raises PayloadTooLarge if a payload that was made elsewhere is too large."""
        if len(payload) > self.payload_bytes_max:
            raise PayloadTooLarge(where=where, size=len(payload), limit=self.payload_bytes_max)

    def decoder(self, type_: Any) -> Decode:
        """A function ``decode(payload, where)`` that reads a payload as that type, which may be any annotation.

        Raises: DecodeError at once if no value of that type can be read; the function raises it for a payload
        that does not fit.
        """
        try:
            known = self._decoders.get(type_)
        except TypeError:  # unhashable, such as Annotated[int, {}]
            return _payload_decoder(type_)
        if known is None:
            known = self._decoders[type_] = _payload_decoder(type_)
        return known

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], where: str) -> Json:
        """The payload of a call's arguments: ``{"value": {"args": [...], "kwargs": {...}}}``, empty parts left out.

        Raises: as ``encode``.
        """
        return self.encode(_Call(args, kwargs), where)

    def fingerprint(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """16 hex digits that are equal for equal arguments in every process; empty if they have no JSON form."""
        call = (args, kwargs)
        try:
            data = _encode_sorted(call)
        except TypeError:
            try:
                data = _sorted_form(call)
            except Exception:  # noqa: BLE001 - no JSON form, or the user's own conversion failed
                return ""
        except Exception:  # noqa: BLE001 - the same
            return ""
        return hashlib.blake2b(data, digest_size=8).hexdigest()

    def arguments_decoder(self, function: Callable[..., Any]) -> DecodeArguments:
        """A function that reads stored arguments as ``function`` declares them.

        It is called ``args, kwargs = decode(payload, where)``. Parameters without annotation are read as plain JSON;
        missing ones with a default are left to the call.
        Raises: UsageError if an annotation cannot be resolved, DecodeError if its type cannot be read; the function
        raises DecodeError for arguments that do not fit, naming the parameter.
        """
        return _ArgumentsDecoder(self, function).decode

    def scalars_kept(self, type_: Any) -> frozenset[type]:
        """The types of those JSON values that are the same when they are read as ``type_``."""
        return _SCALARS.get(type_, _NO_SCALARS) if isinstance(type_, type) or type_ is Any else _NO_SCALARS

    def arguments_reader(self, function: Callable[..., Any]) -> ReadArguments:
        """A function that reads arguments that are JSON values as ``function`` declares them.

        It is called ``args, kwargs = read(args, kwargs, where)``, and answers what storing and decoding them would.
        Raises: as ``arguments_decoder``; the function raises EncodeError too.
        """
        return _ArgumentsDecoder(self, function).read


class _Call(Struct, frozen=True, omit_defaults=True):
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


class StoredArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """What ``encode_arguments`` stores, its parts not yet read."""

    args: list[Raw] = []
    kwargs: dict[str, Raw] = {}


class _StoredValue(Struct, frozen=True, forbid_unknown_fields=True):
    value: Raw


# --- Reading -----------------------------------------------------------------------------------------------------


def _payload_decoder(type_: Any) -> Decode:
    read = _reader(type_)

    def decode(payload: Json, where: str) -> Any:
        try:
            if _is_deep(payload, DEPTH_MAX + 1):
                raise ValueError(f"nested deeper than {DEPTH_MAX} levels")
            return read(payload)
        except Exception as error:
            raise DecodeError(where=where, type=_type_name(type_), why=_reason(error)) from error

    return decode


def _reader(type_: Any) -> Callable[[bytes], Any]:
    """Reads the document ``{"value": ...}`` in one pass. Made once for each type, whoever asks: it takes a while."""
    try:
        return _known_reader(type_)
    except TypeError:  # unhashable, such as Annotated[int, {}]
        return _make_reader(type_)


def _make_reader(type_: Any) -> Callable[[bytes], Any]:
    try:
        if _needs_model_reader(type_):
            return _model_reader(type_)
        wrapper = msgspec.defstruct("Payload", [("value", type_)], frozen=True, forbid_unknown_fields=True)
        decode = cast("Callable[[bytes], Any]", msgspec.json.Decoder(wrapper, dec_hook=_from_plain).decode)
    except Exception as error:
        raise DecodeError(where="a value", type=_type_name(type_), why=f"no such value can be read: {error}") from error

    def read(payload: bytes) -> Any:
        return decode(payload).value

    return read


_known_reader: Final = lru_cache(maxsize=1_000)(_make_reader)


def _model_reader(type_: Any) -> Callable[[bytes], Any]:
    """For unions of Pydantic models, which only Pydantic can tell apart."""
    adapter = sys.modules["pydantic"].TypeAdapter(type_)
    unwrap = msgspec.json.Decoder(_StoredValue).decode
    options = _validation_options()

    def read(payload: bytes) -> Any:
        return adapter.validate_json(bytes(unwrap(payload).value), **options)

    return read


class _ArgumentsDecoder:
    """Reads the stored arguments of one function."""

    def __init__(self, codec: Codec, function: Callable[..., Any]) -> None:
        self._name = getattr(function, "__qualname__", repr(function))
        self._positional: list[str] = []
        self._named: set[str] = set()
        self._required: list[str] = []
        self._readers: dict[str, Callable[[bytes], Any]] = {}
        self._types: dict[str, Any] = {}
        self._rest: str | None = None
        self._rest_named: str | None = None
        self._scalars: dict[str, frozenset[type]] = {}
        self._codec = codec
        self._unwrap = codec.decoder(StoredArguments)
        hints = _hints(function)
        for parameter in inspect.signature(function).parameters.values():
            self._add(parameter, hints.get(parameter.name, Any))

    def _add(self, parameter: inspect.Parameter, type_: Any) -> None:
        name = parameter.name
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                self._rest, name = "*" + name, "*" + name
            case inspect.Parameter.VAR_KEYWORD:
                self._rest_named, name = "**" + name, "**" + name
            case kind:
                if kind is not inspect.Parameter.KEYWORD_ONLY:
                    self._positional.append(name)
                if kind is not inspect.Parameter.POSITIONAL_ONLY:
                    self._named.add(name)
                if parameter.default is inspect.Parameter.empty:
                    self._required.append(name)
        self._types[name] = type_
        self._readers[name] = _reader(type_)
        self._scalars[name] = self._codec.scalars_kept(type_)

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any], where: str) -> Arguments:
        """JSON values as the function declares them. Raises: DecodeError, EncodeError."""
        if not args and len(kwargs) == len(self._types):
            # Scalars are the same in both forms. All else is copied, too: a handler may change what it gets.
            scalars = self._scalars
            for name, value in kwargs.items():
                if type(value) not in scalars.get(name, _NO_SCALARS):
                    break
            else:
                return args, kwargs
        return self.decode(self._codec.encode_arguments(args, kwargs, where), where)

    def decode(self, payload: Json, where: str) -> Arguments:
        """The arguments to call the function with. Raises: DecodeError."""
        call = self._unwrap(payload, where)
        given = set(self._positional[: len(call.args)])
        args: list[Any] = []
        for index, raw in enumerate(call.args):
            name = self._positional[index] if index < len(self._positional) else self._rest
            if name is None:
                raise self._misfit(where, f"it takes {len(self._positional)} arguments, {len(call.args)} are stored")
            args.append(self._read(name, raw, where))
        kwargs: dict[str, Any] = {}
        for key, raw in call.kwargs.items():
            name = key if key in self._named else self._rest_named
            if name is None:
                raise self._misfit(where, f"it has no parameter {key!r}")
            if name in given:
                raise self._misfit(where, f"the parameter {key!r} is stored twice")
            kwargs[key] = self._read(name, raw, where)
        missing = [name for name in self._required if name not in given and name not in kwargs]
        if missing:
            raise self._misfit(where, f"the parameter {missing[0]!r} has no stored value and no default")
        return tuple(args), kwargs

    def _read(self, name: str, raw: Raw, where: str) -> Any:
        try:
            return self._readers[name](_wrap(raw))
        except Exception as error:
            type_name = _type_name(self._types[name])
            raise DecodeError(where=f"parameter {name!r} in {where}", type=type_name, why=_reason(error)) from error

    def _misfit(self, where: str, why: str) -> DecodeError:
        return DecodeError(where=where, type=f"the parameters of {self._name}", why=why)


_NO_SCALARS: Final[frozenset[type]] = frozenset()
_SCALARS: Final[dict[Any, frozenset[type]]] = {
    int: frozenset({int}),
    str: frozenset({str}),
    bool: frozenset({bool}),
    Any: frozenset({int, str, bool, type(None)}),
}
"""Annotations, and the types of JSON values that they leave as they are. Not floats: NaN is to be refused."""


def _wrap(raw: Raw) -> bytes:
    return _PREFIX + bytes(raw) + _SUFFIX


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return type_hints(inspect.unwrap(function))
    except NameError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise UsageError(
            f"an annotation of {name} cannot be resolved ({error}): "
            "import the type at run time and define it at module level"
        ) from error
    except TypeError:  # a callable that carries no annotations itself, such as functools.partial
        return {}


def _from_plain(type_: Any, value: Any) -> Any:
    """Build a value that the decoder does not know: a Pydantic model, a path, a subclass of a plain type."""
    if type_ is object:
        return value
    if _is_model(type_):
        return type_.model_validate_json(msgspec.json.encode(value), **_validation_options())
    for base, plain in _PLAIN_FORMS:
        if isinstance(type_, type) and issubclass(type_, base) and isinstance(value, plain):
            return cast("Any", type_)(value)
    raise TypeError(f"values of type {_type_name(type_)} cannot be read")


# Subclasses of these are stored as plain values.
_PLAIN_FORMS: Final[tuple[tuple[type, type | tuple[type, ...]], ...]] = (
    (PurePath, str),
    (str, str),
    (int, int),
    (float, (float, int)),
)


# --- Writing -----------------------------------------------------------------------------------------------------


class _Unstorable(TypeError):
    """An object of a type that has no JSON form."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(f"objects of type {_type_name(type(value))} have no JSON form")


def _to_plain(value: Any) -> Any:
    """Replace a value that the encoder does not know."""
    if _is_model(type(value)):
        return value.model_dump(mode="json", round_trip=True, by_alias=not _validation_options())
    return _plain_of(value)


def _to_sortable(value: Any) -> Any:
    """As ``_to_plain``, but sets inside models stay sets, so that they can be put in order."""
    return value.model_dump(mode="python", round_trip=True) if _is_model(type(value)) else _plain_of(value)


def _plain_of(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise _Unstorable(value)


_encode: Final = msgspec.json.Encoder(enc_hook=_to_plain).encode
_encode_sorted: Final = msgspec.json.Encoder(enc_hook=_to_sortable, order="deterministic").encode
_pack: Final = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode


def _sorted_form(value: Any) -> bytes:
    """A deterministic form of what the sorting encoder refuses: dicts with other keys than text, mixed sets."""
    if isinstance(value, dict):
        items = cast("Mapping[Any, Any]", value).items()
        return b"{%s}" % b",".join(sorted(_sorted_form(key) + b":" + _sorted_form(item) for key, item in items))
    if isinstance(value, set | frozenset):
        return b"[%s]" % b",".join(sorted(_sorted_form(item) for item in cast("set[Any]", value)))
    if isinstance(value, list | tuple):
        return b"[%s]" % b",".join(_sorted_form(item) for item in cast("list[Any]", value))
    if isinstance(value, Enum):
        return _sorted_form(value.value)
    if _field_names(value):
        return _sorted_form(dict(_parts(value)))
    if _is_model(type(value)):
        return _sorted_form(_to_sortable(value))
    return _encode_sorted(value)


# --- What the encoder lets pass ----------------------------------------------------------------------------------

_DIGITS: Final = bytes(ord("0") if byte in b"0123456789" else ord(".") for byte in range(256))
_LONG_NUMBER: Final = b"0" * 19  # the shortest integer beyond 64 bits has 19 digits
_NUMBER_BYTES_MAX: Final = 20  # the longest within them, sign or not
_INTEGER: Final = re.compile(rb"(?<![\d.eE+-])-?\d{19,}(?![\d.eE])")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")  # a float64 in MessagePack, exponent all ones
_ODD_OFFSET: Final = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d:(?!00|15|30|45)\d\d"')
_NOT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_MINUTE_S: Final = 60
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_QUOTED: Final = re.compile(rb'"[^"]*"')


def _flaw(value: object, body: bytes) -> str | None:
    """Why an encoded value is not faithful, or None if it is."""
    if len(body) >= len(_LONG_NUMBER) and _LONG_NUMBER in body.translate(_DIGITS):
        for found in _INTEGER.findall(_STRING.sub(b'""', body)):
            if len(found) > _NUMBER_BYTES_MAX or not -(2**63) <= int(found) < 2**64:
                return f"the integer {found[:40].decode()} does not fit 64 bits; pass it as text or Decimal"
    if b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b""):
        path = _find(value, _has_nul)
        return f"{_at(path)}text contains the character NUL, which PostgreSQL cannot store"
    if b"null" in body and value is not None and _may_hold_non_finite(value):
        path = _find(msgspec.to_builtins(value, enc_hook=_to_plain, str_keys=True), _is_non_finite)
        if path is not None:
            return f"{_at(path)}NaN and infinity have no JSON form; pass None or text"
    if b"T" in body and _ODD_OFFSET.search(body):
        path = _find(value, _is_off_the_minute)
        if path is not None:
            return f"{_at(path)}the time zone's offset is not in whole minutes; convert the datetime to UTC"
    if _is_deep(body, DEPTH_MAX):
        return f"it is nested deeper than {DEPTH_MAX} levels"
    return None


def _may_hold_non_finite(value: object) -> bool:
    try:
        return _NOT_FINITE.search(_pack(value)) is not None
    except Exception:  # noqa: BLE001 - to be looked at closely
        return True


def _is_deep(body: bytes, levels: int) -> bool:
    """Whether a JSON document is nested deeper than so many levels. A malformed one is not: the parser says so better.

    Only brackets outside strings are kept; then one level of leaves at a time is taken off. All of it runs in C.
    """
    if len(body) <= 2 * levels or body.count(b"[") + body.count(b"{") <= levels:
        return False
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_TO_SQUARE, _NOT_STRUCTURE)
    bare = _QUOTED.sub(b"", bare.replace(b'""', b""))
    for _ in range(levels):
        stripped = bare.replace(b"[]", b"")
        if not stripped or len(stripped) == len(bare):
            return False
        bare = stripped
    return b"[]" in bare


def _why_not(value: object, error: Exception) -> str:
    """What to tell the user about a value that the encoder refused."""
    match error:
        case RecursionError():
            return f"it refers to itself, or is nested deeper than {DEPTH_MAX} levels"
        case _Unstorable():
            path = _find(value, lambda part: part is error.value)
            return (
                f"{_at(path)}{error}; pass a dataclass, a msgspec Struct, a Pydantic model "
                "or plain values, or only the facts that are needed from it"
            )
        case UnicodeEncodeError():
            return f"{_at(_find(value, _has_surrogate))}text contains a lone surrogate, which UTF-8 cannot hold"
        case _:
            return _reason(error)


def _find(value: object, wanted: Callable[[Any], bool]) -> str | None:
    """The path of the first part that is wanted, such as ``.items[2]``. Not for the hot path."""
    stack: list[tuple[Any, str]] = [(value, "")]
    seen: set[int] = set()
    while stack:
        part, path = stack.pop()
        if wanted(part):
            return path
        if id(part) in seen:
            continue
        seen.add(id(part))
        stack.extend((item, path + _step(part, name)) for name, item in reversed(list(_parts(part))))
        if _is_mapping(part):
            stack.extend((key, path) for key in part)
    return None


def _is_mapping(part: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(part, Mapping)


def _step(part: object, name: object) -> str:
    return f"[{name!a}]" if isinstance(part, Mapping | list | tuple | set | frozenset) else f".{name}"


def _parts(part: Any) -> Iterator[tuple[Any, Any]]:
    """The members of a container or object, with their keys, positions or field names."""
    if _is_mapping(part):
        yield from part.items()
    elif isinstance(part, list | tuple | set | frozenset):
        yield from enumerate(cast("list[Any]", part))
    elif names := _field_names(part):
        yield from ((name, getattr(part, name)) for name in names if hasattr(part, name))
    elif _is_model(type(part)):
        yield from cast("dict[str, Any]", part.__dict__).items()


def _field_names(part: Any) -> tuple[str, ...]:
    if isinstance(part, type):
        return ()
    if isinstance(part, Struct):
        return part.__struct_fields__
    if dataclasses.is_dataclass(part):
        return tuple(field.name for field in dataclasses.fields(part))
    kind = cast("type[object]", type(part))
    return tuple(field.name for field in getattr(kind, "__attrs_attrs__", ()))


def _at(path: str | None) -> str:
    return f"at {path}: " if path else ""


def _has_nul(part: object) -> bool:
    return isinstance(part, str) and "\0" in part


def _has_surrogate(part: object) -> bool:
    return isinstance(part, str) and any("\ud800" <= character <= "\udfff" for character in part)


def _is_off_the_minute(part: object) -> bool:
    """JSON has the offset as hours and minutes only; before time zones, clocks were set to the local sun."""
    offset = part.utcoffset() if isinstance(part, datetime) else None
    return offset is not None and offset.total_seconds() % _MINUTE_S != 0


def _is_non_finite(part: object) -> bool:
    return isinstance(part, float) and not math.isfinite(part)


# --- Pydantic, if the program uses it ----------------------------------------------------------------------------


def _is_model(type_: Any) -> bool:
    """Whether a type is a Pydantic model. If Pydantic was never imported, there are none."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(type_, type) and issubclass(type_, base)


def _needs_model_reader(type_: Any) -> bool:
    """Whether a type holds a union of a Pydantic model with anything but None."""
    members = [member for member in get_args(type_) if member is not type(None)]
    if get_origin(type_) in (Union, UnionType) and len(members) > 1 and any(map(_is_model, members)):
        return True
    return any(map(_needs_model_reader, members))


def _validation_options() -> dict[str, bool]:
    """Fields are stored under their own names; before 2.11 Pydantic could only read them by their aliases."""
    version = tuple(int(part) for part in sys.modules["pydantic"].VERSION.split(".")[:2])
    return {"by_name": True, "by_alias": False} if version >= (2, 11) else {}


# --- Words -------------------------------------------------------------------------------------------------------


def _type_name(type_: Any) -> str:
    if isinstance(type_, type) and not get_args(type_):
        return type_.__qualname__
    return str(type_).replace("typing.", "")


def _reason(error: Exception) -> str:
    """The parser's words; its paths start at our wrapper, the user's at the value."""
    if isinstance(error, RecursionError):
        return f"nested deeper than {DEPTH_MAX} levels"
    return str(error).replace("`$.value", "`$") or type(error).__name__
