"""A small language for conditions, input mappings and signal filters: typed, total and bounded.

*Typed*: ``Expression.check`` reports at build time what could never work. *Total*: an evaluation ends with a value or
with an ExpressionError that points into the text. *Bounded*: text, nesting, fuel, strings, lists and results have
caps, so that no expression over any input takes long. It is interpreted here, never by Python: values are JSON, there
are no attributes, no imports, no loops but those over a list, no clock and no randomness.

    >>> ready = parse("results.clean.rows > 0 && !has(input.dry_run)")
    >>> ready.evaluate({"input": {}, "results": {"clean": {"rows": 3}}})
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from holdfast.core.expressions.canonical import write
from holdfast.core.expressions.checker import check_tree
from holdfast.core.expressions.compiler import Program, compile_tree
from holdfast.core.expressions.errors import (
    ExpressionBudgetExceeded,
    ExpressionError,
    ExpressionNameError,
    ExpressionSyntaxError,
    ExpressionTypeError,
    ExpressionValueError,
)
from holdfast.core.expressions.kinds import Kind, Value
from holdfast.core.expressions.machine import FUEL_DEFAULT, LIST_ITEMS_MAX, RESULT_BYTES_MAX, STRING_CHARS_MAX
from holdfast.core.expressions.nodes import Node, Path, read_fields, read_paths
from holdfast.core.expressions.parser import NESTING_MAX, SOURCE_BYTES_MAX, parse_tree

__all__ = [
    "FUEL_DEFAULT",
    "LIST_ITEMS_MAX",
    "NESTING_MAX",
    "RESULT_BYTES_MAX",
    "SOURCE_BYTES_MAX",
    "STRING_CHARS_MAX",
    "Expression",
    "ExpressionBudgetExceeded",
    "ExpressionError",
    "ExpressionNameError",
    "ExpressionSyntaxError",
    "ExpressionTypeError",
    "ExpressionValueError",
    "Kind",
    "Path",
    "Value",
    "parse",
]


@dataclass(frozen=True)
class Expression:
    """A parsed expression, made by ``parse``. ``str`` is its canonical form; those with the same one are equal."""

    source: str = field(compare=False)
    """The text as it was written; errors point into it."""

    root: Node = field(repr=False)

    def __str__(self) -> str:
        return write(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return (parse, (self.source,))

    @cached_property
    def paths(self) -> frozenset[Path]:
        """What it may read, as long as it is known without values: ``{("results", "clean", "rows")}``.

        An index that is computed ends a path: ``results[input.step]`` reads ``("results",)``, which stands for all
        that is below, and ``("input", "step")``.
        """
        return frozenset(read_paths(self.root))

    @cached_property
    def fields(self) -> tuple[str, ...] | None:
        """What it reads if it does nothing else: ``("results", "clean", "rows")`` for ``results.clean.rows``."""
        return read_fields(self.root)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The variables that it may read, without those that its macros bind."""
        return frozenset(str(path[0]) for path in self.paths)

    def check(self, types: Mapping[str, Kind]) -> Kind:
        """The kind of its value, if the variables are of these kinds. ``Kind.DYN`` leaves a variable open.

        Raises:
            ExpressionNameError: an unknown variable or function.
            ExpressionTypeError: operands or arguments that never fit, or too many or too few of them.
        """
        return check_tree(self.root, types, self.source)

    def evaluate(self, values: Mapping[str, Any], *, fuel: int = FUEL_DEFAULT) -> Value:
        """Its value over these variables, which are JSON values as ``json.loads`` makes them.

        The same values give the same result, or the same error. A result may share parts with ``values``: read it, do
        not change it. ``fuel`` bounds the work (see ``machine``).

        Raises:
            ExpressionNameError: an unknown variable or function.
            ExpressionTypeError: an operation on a value of the wrong kind.
            ExpressionValueError: a missing field, a division by zero, a number that does not fit.
            ExpressionBudgetExceeded: more work, or a larger text, list or result, than is allowed.
        """
        return self._program.run(values, fuel=fuel)[0]

    def measure(self, values: Mapping[str, Any], *, fuel: int = FUEL_DEFAULT) -> int:
        """The units of fuel that ``evaluate`` takes over these values. Raises what it raises."""
        return self._program.run(values, fuel=fuel)[1]

    @cached_property
    def _program(self) -> Program:
        return compile_tree(self.root, self.source)


def parse(source: str) -> Expression:
    """The expression that a text is.

    Raises:
        ExpressionSyntaxError: it is none, or it is longer than 4 KiB or nested deeper than 32 levels.
    """
    return Expression(source, parse_tree(source))
