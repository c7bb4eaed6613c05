"""Forms: what fits a JSON Schema, and what a schema may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field

from holdfast.core.forms import form_of, misfits
from holdfast.errors import UsageError


class Size(Enum):
    """Sizes."""

    SMALL = "small"
    LARGE = "large"


@dataclass
class Part:
    """A part of the form."""

    name: str
    size: Size = Size.SMALL


@dataclass
class Order:
    """A form with everything that the types of Python say."""

    days: Annotated[int, msgspec.Meta(ge=1, le=30)]
    parts: list[Part]
    when: date | None = None
    way: Literal["air", "sea"] = "sea"
    rate: float = 0.5
    pair: tuple[int, str] = (1, "a")
    notes: dict[str, str] = field(default_factory=dict[str, str])


class Contact(BaseModel):
    """A form of Pydantic's."""

    mail: str = Field(pattern="@", max_length=20)
    age: int = Field(default=18, gt=17)


GOOD: dict[str, Any] = {"days": 3, "parts": [{"name": "x"}, {"name": "y", "size": "large"}], "when": None}


def test_what_a_type_takes_fits_its_form() -> None:
    assert misfits(form_of(Order), GOOD) == []
    assert misfits(form_of(Order), {**GOOD, "when": "2030-01-01", "pair": [2, "b"], "notes": {"a": "b"}}) == []
    assert misfits(form_of(Contact), {"mail": "a@b"}) == []


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"days": 0}, "$.days must be at least 1"),
    ({"days": 31}, "$.days must be at most 30"),
    ({"days": True}, "$.days must be integer"),
    ({"days": 1.5}, "$.days must be integer"),
    ({"parts": {}}, "$.parts must be array"),
    ({"parts": [{}]}, "$.parts[0].name is missing"),
    ({"parts": [{"name": "x", "size": "huge"}]}, "$.parts[0].size must be one of"),
    ({"way": "road"}, "$.way must be one of"),
    ({"rate": "1"}, "$.rate must be number"),
    ({"notes": {"a": 1}}, "$.notes.a must be string"),
    ({"when": 3}, "$.when fits none of the alternatives"),
    ({"pair": [1, 2]}, "$.pair[1] must be string"),
    ({"pair": [1, "a", 3]}, "number of items of at most 2"),
]


@pytest.mark.parametrize(
    ("changes", "words"),
    MISFITS,
)
def test_what_does_not_fit_is_named_with_its_place(changes: dict[str, Any], words: str) -> None:
    found = misfits(form_of(Order), {**GOOD, **changes})

    assert any(words in one for one in found), found


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"const": 1}, 1, True),
        ({"enum": [1, None]}, None, True),
        ({"type": ["string", "null"]}, None, 1),
        ({"not": {"type": "null"}}, 1, None),
        ({"oneOf": [{"type": "integer"}, {"minimum": 5}]}, 3, 7),
        ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, 2, 4),
        ({"type": "object", "additionalProperties": False, "properties": {"a": True}}, {"a": 1}, {"b": 1}),
        ({"propertyNames": {"pattern": "^[a-z]+$"}}, {"a": 1}, {"A": 1}),
        ({"minProperties": 1}, {"a": 1}, {}),
        ({"maxProperties": 1}, {}, {"a": 1, "b": 2}),
        ({"uniqueItems": True}, [1, 2], [{"a": 1}, {"a": 1}]),
        ({"minItems": 1}, [1], []),
        ({"minLength": 2}, "ab", "a"),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 3}, 2, 3),
        ({"multipleOf": 5}, 10, 11),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, "x", 1),
        ({"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, [1, "a"], [1, 2]),
        ({"$ref": "#"}, None, None),
    ],
)
def test_each_keyword_restricts_what_it_says(schema: dict[str, Any], good: Any, bad: Any) -> None:
    form = form_of(schema)

    if schema != {"$ref": "#"}:
        assert misfits(form, good) == []
    assert misfits(form, bad) != []


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"contains": {}}, "'contains' at # is not supported"),
        ({"properties": {"a": {"if": {}}}}, "'if' at #/properties/a"),
        ({"type": "text"}, "unknown type"),
        ({"$ref": "https://elsewhere/x"}, "outside of itself"),
        ({"pattern": "("}, "pattern"),
        ({"items": 3}, "no JSON Schema at #/items"),
        (object(), "neither a JSON Schema nor a type"),
    ],
)
def test_a_form_that_would_let_data_go_unchecked_is_refused(form: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        form_of(form)
