"""Definitions as JSON and YAML."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core.definitions import (
    DefinitionError,
    content_hash,
    documents,
    from_json,
    from_yaml,
    json_schema,
    to_json,
    to_plain,
    to_yaml,
)
from holdfast.errors import UsageError
from holdfast.model.definition import ApproveNode, Definition, Edge, Options, ParallelNode, RetryPolicy, StepNode
from tests.unit.core.definitions.documents import JSON, SEEDS, TEXT, definition_of

ORDERS = Definition(
    workflow="orders",
    nodes=(
        StepNode(key="pay", handler="orders.pay", retry=RetryPolicy(max_attempts=5), compensate="refund"),
        ApproveNode(key="check", form={"type": "object", "required": ["ok"]}, by=("ann",), when="input.total > 100"),
    ),
    edges=(Edge(source="pay", target="check", condition="always", label="then"),),
    options=Options(timeout_ms=60_000),
)

YAML = """\
workflow: orders
nodes:
- kind: step
  key: pay
  compensate: refund
  handler: orders.pay
  retry:
    max_attempts: 5
- kind: approve
  key: check
  when: input.total > 100
  form:
    type: object
    required:
    - ok
  by:
  - ann
edges:
- source: pay
  target: check
  condition: always
  label: then
options:
  timeout_ms: 60000
"""


@pytest.mark.requirement("C-04", "L-56")
@given(SEEDS)
def test_writing_json_and_reading_it_is_the_identity(seed: int) -> None:
    definition = definition_of(seed)

    again = from_json(to_json(definition))

    assert again == definition
    assert [node.key for node in again.nodes] == [node.key for node in definition.nodes]


@pytest.mark.requirement("C-04", "L-56")
@given(SEEDS)
def test_writing_yaml_and_reading_it_is_the_identity(seed: int) -> None:
    definition = definition_of(seed)

    again = from_yaml(to_yaml(definition))

    assert again == definition
    assert content_hash(again) == content_hash(definition)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_whatever_a_form_holds_comes_back_from_both_texts_with_its_type(form: dict[str, Any]) -> None:
    definition = Definition(workflow="w", nodes=(ApproveNode(key="a", form=form),))

    for again in (from_json(to_json(definition)), from_yaml(to_yaml(definition))):
        assert content_hash(again) == content_hash(definition)


def test_the_text_is_what_a_person_would_write() -> None:
    assert to_yaml(ORDERS) == YAML
    assert msgspec.json.decode(to_json(ORDERS)) == to_plain(ORDERS)
    assert to_json(ORDERS).startswith('{\n  "workflow": "orders",\n  "nodes": [\n')


@pytest.mark.parametrize(
    "word",
    ["no", "on", "yes", "off", "~", "null", "1:30", "2026-01-01", "0x1f", "010", "1_000", "1e5", ".5", "=", "<<"],
)
def test_words_that_yaml_could_take_for_something_else_stay_text(word: str) -> None:
    definition = Definition(workflow=word, nodes=(ApproveNode(key="a", form={word: [word]}),))

    assert from_yaml(to_yaml(definition)) == definition


def test_plain_words_that_a_person_writes_in_yaml_are_text() -> None:
    text = "workflow: no\nnodes:\n- {kind: parallel, key: on, branches: {off: {handler: 1:30}, y: {handler: 010}}}\n"

    definition = from_yaml(text)

    assert definition.workflow == "no"
    assert isinstance(definition.nodes[0], ParallelNode)
    assert [branch.handler for branch in definition.nodes[0].branches.values()] == ["1:30", "010"]


@pytest.mark.requirement("C-21")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `workflow`"),
        ('{"workflow": "w", "node": []}', "unknown field `node`"),
        ('{"workflow": "w", "nodes": [{"key": "a"}]}', "missing required field `kind`"),
        (
            '{"workflow": "w", "nodes": [{"kind": "stop", "key": "a"}]}',
            r"Invalid value 'stop' - at `\$.nodes\[0\].kind`",
        ),
        (
            '{"workflow": "w", "nodes": [{"kind": "step", "key": "a"}]}',
            r"missing required field `handler` - at `\$.nodes",
        ),
        (
            '{"workflow": "w", "nodes": [{"kind": "sleep", "key": "a", "duration_ms": "1"}]}',
            r"Expected `int \| object`, got `str` - at `\$.nodes\[0\].duration_ms`",
        ),
        ('{"workflow": "w", "nodes": [{"kind": "approve", "key": "a", "form": {"x": 1e400}}]}', "out of range"),
        (
            '{"workflow": "w", "nodes": [{"kind": "approve", "key": "a", "form": {"x": 99999999999999999999}}]}',
            "no JSON",
        ),
        ('{"workflow": "w", "nodes": [{"kind": "approve", "key": "a", "form": {"x": "\\u0000"}}]}', "cannot be stored"),
        (b'{"workflow": "\xff"}', "utf-8"),
        ('{"workflow": "\ud800"}', "surrogates"),
        ('{"workflow": "w", "nodes": [{"kind": "approve", "key": "a", "form": {"x": ' + "[" * 100_000, "deeper"),
        ('{"workflow": "' + "x" * documents.DOCUMENT_BYTES_MAX + '"}', "the limit is"),
    ],
)
def test_a_text_that_is_no_definition_is_refused_with_the_place(text: str | bytes, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        from_json(text)


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.requirement("fault-71")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "an anchor in line 1"),
        ("workflow: *a\n", "an alias in line 1"),
        ("workflow: !!python/object/apply:os.system [echo]\n", "the tag"),
        ("workflow: !!binary aGVsbG8=\n", "the tag"),
        ("workflow: w\nnodes: " + "[" * 100_000, "more than 64 levels"),
        ("workflow: w\nworkflow: v\n", "the key 'workflow' twice"),
        ("workflow: w\n1: v\n", "a key must be text"),
        ("workflow: w\n---\nworkflow: v\n", "a single document"),
        ("workflow: [", "did not find expected node content"),
        ("workflow: 5\n", "Expected `str`, got `int`"),
        ("", "Expected `object`"),
        ("workflow: w\n\x07", "control characters"),
        (b"workflow: \xff", "utf-8"),
    ],
)
def test_yaml_that_says_more_than_json_can_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        from_yaml(text)


@given(st.text(max_size=60) | st.sampled_from(["{}", "[]", "a: &b c", "? x", "- - -", "!!str", "%YAML 1.1", "'"]))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (from_json, from_yaml):
        try:
            read(text)
        except DefinitionError as error:
            assert error.why  # noqa: PT017 - either is right


def test_the_schema_describes_every_kind_and_refuses_unknown_fields() -> None:
    schema = json_schema()

    nodes = schema["$defs"]["Definition"]["properties"]["nodes"]["items"]
    kinds = set(nodes["discriminator"]["mapping"])
    assert kinds == {
        *("step", "parallel", "route", "loop", "map", "sleep", "signal", "child", "approve", "subgraph", "graft")
    }
    for described in schema["$defs"].values():
        assert described["additionalProperties"] is False
        assert described.get("description") or described.get("title")
    assert schema["$defs"]["StepNode"]["required"] == ["kind", "key", "handler"]
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema


def test_without_the_extra_yaml_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "holdfast.core.definitions.yaml_text", raising=False)

    for use in (lambda: to_yaml(ORDERS), lambda: from_yaml(YAML)):
        with pytest.raises(UsageError, match=r"pip install 'holdfast\[yaml\]'"):
            use()
    assert from_json(to_json(ORDERS)) == ORDERS
