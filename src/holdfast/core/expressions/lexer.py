"""An expression's text as a list of tokens. No pattern backtracks: a character is looked at once or twice."""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Final, NamedTuple

from holdfast.core.expressions.errors import ExpressionSyntaxError, Site
from holdfast.core.expressions.kinds import Value

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

_TOKEN: Final = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<string>"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"|'(?:[^'\\\x00-\x1f]|\\[^\x00-\x1f])*')
    | (?P<symbol>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPES: Final = {
    "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\\": "\\", '"': '"', "'": "'", "/": "/"
}  # fmt: skip
_INT_DIGITS_MAX: Final = 19


class T(Enum):
    """What a token is."""

    NAME = "name"
    NUMBER = "number"
    STRING = "string"
    SYMBOL = "symbol"
    END = "end"


class Token(NamedTuple):
    """A piece of the text. ``value`` is what a string stands for; the parser reads numbers, for it knows their sign."""

    type: T
    text: str
    at: int
    value: str = ""


def read_tokens(source: str) -> list[Token]:
    """Cut the text into tokens; the last one is the end.

    Raises:
        ExpressionSyntaxError: a character, string or number that no expression has.
    """
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None or found.lastgroup is None:
            raise _refuse(source, at)
        text = found.group()
        match found.lastgroup:
            case "name":
                if tokens and tokens[-1].type is T.NUMBER and tokens[-1].at + len(tokens[-1].text) == at:
                    raise Site(source, at).error(ExpressionSyntaxError, "a number ends in a letter")
                tokens.append(Token(T.NAME, text, at))
            case "number":
                tokens.append(Token(T.NUMBER, text, at))
            case "string":
                tokens.append(Token(T.STRING, text, at, _unescape(source, at, text)))
            case "symbol":
                tokens.append(Token(T.SYMBOL, text, at))
            case _:
                pass
        at = found.end()
    tokens.append(Token(T.END, "", len(source)))
    return tokens


def _refuse(source: str, at: int) -> ExpressionSyntaxError:
    site = Site(source, at)
    char = source[at]
    if char in "\"'":
        return site.error(ExpressionSyntaxError, "this string does not end on its line")
    hints = {"=": "; compare with ==", "&": "; and is written &&", "|": "; or is written ||"}
    shown = f"{char!r}" if char.isprintable() else f"U+{ord(char):04X}"
    return site.error(ExpressionSyntaxError, f"unexpected character {shown}{hints.get(char, '')}")


def _unescape(source: str, at: int, text: str) -> str:
    body = text[1:-1]
    if "\\" not in body:
        return body
    for escape in _ESCAPE.finditer(body):
        if escape[1] is None and escape[2] not in _ESCAPES:
            raise Site(source, at + 1 + escape.start()).error(ExpressionSyntaxError, "no such escape")
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else _ESCAPES[escape[2]], body)
    try:  # the two halves of a character beyond U+FFFF become one; a half alone is no character
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Site(source, at).error(ExpressionSyntaxError, "half of a surrogate pair") from None


def read_number(text: str, site: Site) -> int | float:
    """The number that ``text`` (digits, perhaps with a sign, a fraction, an exponent) stands for.

    Raises:
        ExpressionSyntaxError: it does not fit 64 bits, or has leading zeros.
    """
    digits = text.lstrip("-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        raise site.error(ExpressionSyntaxError, "a number has no leading zeros")
    if digits.isdigit():
        number = int(text) if len(digits) <= _INT_DIGITS_MAX else INT_MAX + 1
        if INT_MIN <= number <= INT_MAX:
            return number
        raise site.error(ExpressionSyntaxError, "an integer must fit 64 bits")
    real = float(text)
    if math.isfinite(real):
        return real
    raise site.error(ExpressionSyntaxError, "this number is too large")


_PLAIN: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
_UNPRINTED: Final = re.compile('[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\\\"]')


def write_literal(value: Value) -> str:
    """The canonical text of null, a bool, a number or a string."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + _UNPRINTED.sub(lambda char: _PLAIN.get(char[0], f"\\u{ord(char[0]):04x}"), value) + '"'
        case _:
            return repr(value)
