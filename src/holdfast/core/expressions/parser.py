"""Text becomes a tree: operator precedence for what stands side by side, recursion only for what is nested.

From loose to tight: ``? :``, ``||``, ``&&``, comparisons (which do not chain), ``+ -``, ``* / %``, ``! -``, ``.``.
"""

from __future__ import annotations

from typing import Final

from holdfast.core.expressions.canonical import write
from holdfast.core.expressions.errors import ExpressionSyntaxError, Site
from holdfast.core.expressions.lexer import T, Token, read_number, read_tokens, write_literal
from holdfast.core.expressions.nodes import (
    MACROS,
    Arithmetic,
    Call,
    Compare,
    Conditional,
    Default,
    Field,
    Has,
    Index,
    ListOf,
    Literal,
    Logic,
    Macro,
    MapOf,
    Name,
    Node,
    Term,
    Unary,
    children,
)

SOURCE_BYTES_MAX: Final = 4096
"""As written, and in canonical form: what was parsed once can be parsed again from either."""

NESTING_MAX: Final = 32
"""Levels of the tree; also bounds every recursion over it."""

_RECURSION_MAX: Final = 2 * NESTING_MAX + 2
"""A level of the tree takes at most an operand and a pair of parentheses."""

_POWERS: Final = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%"), 5),
}
_COMPARISON: Final = 3
_CONSTANTS: Final = {"null": None, "true": True, "false": False}
_RESERVED: Final = frozenset({*_CONSTANTS, "in"})
_MACRO_ARGUMENTS: Final = 2


def parse_tree(source: str) -> Node:
    """The tree of an expression.

    Raises:
        ExpressionSyntaxError: the text is no expression, or it is longer than 4 KiB or nested deeper than 32 levels.
    """
    _check_length(source, source, "an expression")
    parser = _Parser(source)
    root = parser.whole()
    _check_nesting(root, source)
    _check_length(write(root), source, "an expression in canonical form")
    return root


def _check_length(text: str, source: str, what: str) -> None:
    try:
        size = len(text) if len(text) > SOURCE_BYTES_MAX else len(text.encode())
    except UnicodeEncodeError as refused:
        raise Site(source, refused.start).error(ExpressionSyntaxError, "half of a surrogate pair") from None
    if size > SOURCE_BYTES_MAX:
        raise Site(source, 0).error(ExpressionSyntaxError, f"{what} has at most {SOURCE_BYTES_MAX} bytes")


def _check_nesting(root: Node, source: str) -> None:
    level: list[Node] = [root]
    for _ in range(NESTING_MAX):
        level = [child for node in level for child in children(node)]
    if level:
        raise Site(source, level[0].at).error(ExpressionSyntaxError, f"nested deeper than {NESTING_MAX} levels")


class _Parser:
    """One pass over the tokens of one text."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = read_tokens(source)
        self._next = 0
        self._recursion = 0

    def whole(self) -> Node:
        """The whole text as one expression."""
        root = self._expression()
        if self._peek().type is not T.END:
            raise self._unexpected("the end")
        return root

    # Nested parts

    def _expression(self) -> Node:
        test = self._binary(0)
        if self._peek().text != "?" or self._peek().type is not T.SYMBOL:
            return test
        at = self._take().at
        self._descend()
        then = self._expression()
        self._expect(":")
        otherwise = self._expression()
        self._recursion -= 1
        return Conditional(test, then, otherwise, at)

    def _descend(self) -> None:
        self._recursion += 1
        if self._recursion > _RECURSION_MAX:
            raise self._error(self._peek(), f"nested deeper than {NESTING_MAX} levels")

    def _binary(self, power_min: int) -> Node:
        self._descend()
        left = self._operand()
        while (power := self._power()) > power_min:
            left = self._chain(left, power)
        self._recursion -= 1
        return left

    def _power(self) -> int:
        token = self._peek()
        return _POWERS.get(token.text, 0) if token.type in {T.SYMBOL, T.NAME} else 0

    def _chain(self, first: Node, power: int) -> Node:
        """All operands that follow ``first`` at one precedence, as one flat node."""
        rest: list[Term] = []
        while self._power() == power:
            operator = self._take()
            if rest and power == _COMPARISON:
                raise self._error(operator, "comparisons do not chain; join them with &&")
            rest.append(Term(operator.text, self._binary(power), operator.at))
        head = rest[0]
        if power < _COMPARISON:
            return Logic(head.operator, (first, *(term.operand for term in rest)), head.at)
        if power == _COMPARISON:
            return Compare(head.operator, first, head.operand, head.at)
        return Arithmetic(first, tuple(rest), head.at)

    def _operand(self) -> Node:
        signs: list[Token] = []
        while self._peek().type is T.SYMBOL and self._peek().text in {"!", "-"}:
            signs.append(self._take())
        if signs and signs[-1].text == "-" and self._peek().type is T.NUMBER:
            minus = signs.pop()
            node = self._suffixes(self._number("-" + self._take().text, minus.at))
        else:
            node = self._suffixes(self._primary())
        for sign in reversed(signs):
            node = Unary(sign.text, node, sign.at)
        return node

    def _suffixes(self, target: Node) -> Node:
        while self._peek().type is T.SYMBOL:
            match self._peek().text:
                case ".":
                    self._take()
                    name = self._take_name("a field's name")
                    if self._is("("):
                        target = self._call(name, [target], receiver=True)
                    else:
                        target = Field(target, name.text, name.at)
                case "[":
                    at = self._take().at
                    key = self._expression()
                    self._expect("]")
                    if isinstance(key, Literal) and isinstance(key.value, str):
                        target = Field(target, key.value, at)
                    else:
                        target = Index(target, key, at)
                case _:
                    break
        return target

    def _primary(self) -> Node:
        token = self._peek()
        match token.type:
            case T.NUMBER:
                return self._number(self._take().text, token.at)
            case T.STRING:
                self._take()
                return Literal(write_literal(token.value), token.value, token.at)
            case T.NAME:
                return self._named()
            case T.SYMBOL if token.text == "(":
                self._take()
                inner = self._expression()
                self._expect(")")
                return inner
            case T.SYMBOL if token.text == "[":
                self._take()
                return ListOf(tuple(self._items("]")), token.at)
            case T.SYMBOL if token.text == "{":
                return self._map()
            case _:
                raise self._unexpected("a value")

    def _named(self) -> Node:
        token = self._take()
        if token.text in _CONSTANTS:
            return Literal(token.text, _CONSTANTS[token.text], token.at)
        if token.text in _RESERVED:
            raise self._error(token, f"{token.text!r} is no name of a variable")
        if self._is("("):
            return self._call(token, [], receiver=False)
        return Name(token.text, token.at)

    def _number(self, text: str, at: int) -> Literal:
        number = read_number(text, Site(self._source, at))
        return Literal(write_literal(number), number, at)

    def _map(self) -> MapOf:
        at = self._take().at
        entries: dict[str, Node] = {}
        while not self._is("}"):
            key = self._take()
            if key.type is not T.STRING:
                raise self._error(key, "a key of a map is a string in quotes")
            if key.value in entries:
                raise self._error(key, "this key stands in the map already")
            self._expect(":")
            entries[key.value] = self._expression()
            if not self._is("}"):
                self._expect(",")
        self._take()
        return MapOf(tuple(entries.items()), at)

    def _items(self, end: str) -> list[Node]:
        items: list[Node] = []
        while not self._is(end):
            items.append(self._expression())
            if not self._is(end):
                self._expect(",")
        self._take()
        return items

    def _call(self, name: Token, arguments: list[Node], *, receiver: bool) -> Node:
        if name.text in _RESERVED:
            raise self._error(name, f"{name.text!r} is no function")
        self._expect("(")
        arguments += self._items(")")
        if name.text in MACROS:
            return self._macro(name, arguments, receiver=receiver)
        if name.text == "has":
            return Has(self._path(name, arguments, count=1), name.at)
        if name.text == "default":
            return Default(self._path(name, arguments, count=2), arguments[1], name.at)
        return Call(name.text, tuple(arguments), name.at)

    def _macro(self, name: Token, arguments: list[Node], *, receiver: bool) -> Macro:
        if not receiver or len(arguments) != 1 + _MACRO_ARGUMENTS:
            raise self._error(name, f"write items.{name.text}(x, ...): a list, a name for its items, an expression")
        items, variable, body = arguments
        if not isinstance(variable, Name):
            raise self._error(name, f"the first argument of {name.text} is a name for the items")
        return Macro(name.text, items, variable.name, body, name.at)

    def _path(self, name: Token, arguments: list[Node], *, count: int) -> Field | Index:
        shape = "has(a.b)" if count == 1 else "default(a.b, fallback)"
        if len(arguments) == count and isinstance(path := arguments[0], Field | Index):
            return path
        raise self._error(name, f"write {shape}: its first argument is a field or an element")

    # Tokens

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        if token.type is not T.END:
            self._next += 1
        return token

    def _is(self, symbol: str) -> bool:
        token = self._peek()
        return token.type is T.SYMBOL and token.text == symbol

    def _expect(self, symbol: str) -> None:
        if not self._is(symbol):
            raise self._unexpected(f"'{symbol}'")
        self._take()

    def _take_name(self, what: str) -> Token:
        if self._peek().type is not T.NAME:
            raise self._unexpected(what)
        return self._take()

    def _unexpected(self, wanted: str) -> ExpressionSyntaxError:
        token = self._peek()
        found = "the expression ends" if token.type is T.END else f"found {_shorten(token.text)}"
        return self._error(token, f"expected {wanted}, but {found}")

    def _error(self, token: Token, why: str) -> ExpressionSyntaxError:
        return Site(self._source, token.at).error(ExpressionSyntaxError, why)


_SHOWN_CHARS: Final = 30


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
