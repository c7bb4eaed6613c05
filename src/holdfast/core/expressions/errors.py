"""What may go wrong with an expression, and where in its text.

    ExpressionError
    ├── ExpressionSyntaxError      the text is no expression
    ├── ExpressionNameError        an unknown variable or function
    ├── ExpressionTypeError        an operation on a value of the wrong kind, or a wrong number of arguments
    ├── ExpressionValueError       a missing field, a division by zero, a number that does not fit
    └── ExpressionBudgetExceeded   it takes more fuel, or makes something larger, than it may

Messages name kinds and parts of the expression's own text, never values: payloads stay out of logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from holdfast.errors import UsageError

_EXCERPT_CHARS: Final = 100


class ExpressionError(UsageError):
    """An expression cannot be read, or evaluated over these values.

    ``why`` says what is wrong, ``source`` is the whole expression and ``position`` an index into it (in characters).
    """

    code = "expression_error"
    template = "{why}{pointer}"


class ExpressionSyntaxError(ExpressionError):
    """The text is no expression, or a longer or deeper one than is allowed."""

    code = "expression_syntax"


class ExpressionNameError(ExpressionError):
    """The expression names a variable or a function that does not exist."""

    code = "expression_name"


class ExpressionTypeError(ExpressionError):
    """An operation or a function met a value of a kind that it does not take."""

    code = "expression_type"


class ExpressionValueError(ExpressionError):
    """The kinds fit, but there is no result: a missing field, a division by zero, an integer beyond 64 bits."""

    code = "expression_value"


class ExpressionBudgetExceeded(ExpressionError):
    """The evaluation took more fuel, or made a larger text, list or result, than it may."""

    code = "expression_budget"


E = TypeVar("E", bound=ExpressionError)


@dataclass(frozen=True, slots=True)
class Site:
    """A place in an expression's text."""

    source: str
    at: int

    def error(self, cls: type[E], why: str) -> E:
        """An error that shows the place."""
        return cls(why=why, source=self.source, position=self.at, pointer=_draw_caret(self.source, self.at))


def _draw_caret(source: str, at: int) -> str:
    """The line of ``source`` around ``at`` with a caret below; cut to an excerpt, control characters blanked."""
    start = source.rfind("\n", 0, at) + 1
    end = source.find("\n", at)
    end = len(source) if end < 0 else end
    first = max(start, at - _EXCERPT_CHARS // 2)
    shown = source[first : min(end, first + _EXCERPT_CHARS)]
    return "\n  " + "".join(char if char.isprintable() else " " for char in shown) + "\n  " + " " * (at - first) + "^"
