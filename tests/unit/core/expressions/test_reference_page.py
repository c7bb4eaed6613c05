"""Every example of the reference page does what the page says, and its tables are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast.core import expressions
from holdfast.core.expressions import ExpressionError, errors, parse
from holdfast.core.expressions.functions import FUNCTIONS
from holdfast.core.expressions.nodes import MACROS

PAGE: Final = (Path(__file__).resolve().parents[4] / "docs" / "reference" / "expressions.md").read_text("utf-8")
VARIABLES: Final[dict[str, Any]] = json.loads("\n".join(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)))
EXAMPLES: Final = [
    (source, shown)
    for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    for source, shown in re.findall(r"^(.+?)  =>  (.+)$", block, re.MULTILINE)
]


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("  =>  ") >= 60


@pytest.mark.parametrize(("source", "shown"), EXAMPLES)
def test_an_example_gives_what_the_page_shows(source: str, shown: str) -> None:
    try:
        answer = json.dumps(parse(source).evaluate(VARIABLES), ensure_ascii=False)
    except ExpressionError as error:
        answer = type(error).__name__

    assert answer == shown


def test_the_program_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    exec(compile(program, "expressions.md", "exec"), {})  # noqa: S102 - our own page


def test_the_drawn_error_is_the_real_one() -> None:
    with pytest.raises(ExpressionError) as refused:
        parse('"a" + 1').evaluate({})

    assert f"```text\n{refused.value}\n```" in PAGE


def test_every_function_macro_error_and_limit_stands_on_the_page() -> None:
    names = [f"`{name}(" for name in FUNCTIONS]
    macros = [f"`{name}`" for name in MACROS - {"all"}]
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, ExpressionError)]
    codes = [f"| `{cls.__name__}` | `{cls.code}` |" for cls in classes]
    limits = [name for name in expressions.__all__ if name.isupper()]
    numbers = [f" {getattr(expressions, name)} " for name in limits]

    assert len(classes) == 6
    assert len(limits) == 6
    assert [text for text in names + macros + codes + numbers if text not in PAGE] == []
