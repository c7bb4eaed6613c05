"""Definitions and releases: immutable, numbered, found again; the same on every store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import update

from holdfast.core.definitions import (
    GraphError,
    canonical_bytes,
    content_hash,
    find_node,
    from_json,
    nodes_in_order,
    to_json,
    validate,
)
from holdfast.errors import (
    DefinitionNotFound,
    NodeNotFound,
    ReleaseMoved,
    ReleaseNotFound,
    StoreCorrupt,
    UsageError,
    VersionConflict,
)
from holdfast.model.catalog import ReleaseMove
from holdfast.model.definition import Definition, Edge, StepNode, SubgraphNode
from holdfast.model.ids import DEFAULT_TENANT, Tenant
from holdfast.store.catalog import Catalog, put_in
from holdfast.store.port import Statements
from holdfast.store.rendering import insert_new
from holdfast.store.tables import DEFINITIONS, RELEASES
from tests.contract.stores import OpenStore
from tests.unit.core.definitions.documents import definition_of

OTHER = Tenant("other")


@pytest.fixture
def catalog(opened: OpenStore) -> Catalog:
    """The catalog of each store in turn, empty."""
    return Catalog(opened.store)


def chain(*handlers: str, workflow: str = "signup") -> Definition:
    """A definition that calls these handlers one after the other, each as the node of its name."""
    nodes = tuple(StepNode(key=name, handler=name) for name in handlers)
    edges = tuple(Edge(source=a, target=b) for a, b in pairwise(handlers))
    return Definition(workflow=workflow, nodes=nodes, edges=edges)


def put(catalog: Catalog, *handlers: str, **options: Any) -> int:
    """Store such a definition; its version's number."""
    return catalog.put(DEFAULT_TENANT, chain(*handlers), **options).version.number


@pytest.mark.requirement("C-01", "C-02")
def test_the_same_content_is_the_same_version(catalog: Catalog) -> None:
    first = catalog.put(DEFAULT_TENANT, chain("account", "mail"), source="app")
    # The order of nodes means nothing, and neither does who says it.
    turned = Definition(
        workflow="signup", nodes=chain("account", "mail").nodes[::-1], edges=chain("account", "mail").edges
    )
    again = catalog.put(DEFAULT_TENANT, turned, source="cli", created_by="ann")

    assert (first.created, again.created) == (True, False)
    assert again.version == first.version
    assert (first.version.number, first.version.source) == (1, "app")
    assert first.version.hash == content_hash(turned)


@pytest.mark.requirement("C-01", "C-03", "C-21")
def test_changed_content_is_the_next_version_and_both_can_be_read(catalog: Catalog) -> None:
    assert [put(catalog, "account"), put(catalog, "account", "mail"), put(catalog, "account")] == [1, 2, 1]

    stored = catalog.get(DEFAULT_TENANT, "signup", version=2)
    assert content_hash(stored.definition) == content_hash(chain("account", "mail")) == stored.version.hash
    assert [node.key for node in nodes_in_order(stored.definition)] == ["account", "mail"]
    assert catalog.get(DEFAULT_TENANT, "signup", version=1).definition == chain("account")
    assert catalog.get(DEFAULT_TENANT, "signup", digest=stored.version.short_hash) == stored
    assert catalog.get(DEFAULT_TENANT, "signup", digest=stored.version.hash) == stored
    assert [one.number for one in catalog.versions(DEFAULT_TENANT, "signup")] == [2, 1]


@pytest.mark.requirement("C-02", "C-57")
def test_changed_content_under_a_given_version_is_a_conflict_and_changes_nothing(catalog: Catalog) -> None:
    put(catalog, "account", version=3)

    with pytest.raises(VersionConflict, match="version 3 of workflow 'signup'") as raised:
        put(catalog, "account", "mail", version=3)

    assert raised.value.code == "definition_version_conflict"
    assert catalog.get(DEFAULT_TENANT, "signup", version=3).definition == chain("account")
    assert [one.number for one in catalog.versions(DEFAULT_TENANT, "signup")] == [3]
    # The same content under the same number is what it was; the next one counts on from there.
    assert (put(catalog, "account", version=3), put(catalog, "mail")) == (3, 4)


@pytest.mark.requirement("C-57")
def test_stored_content_is_not_stored_again_under_another_number(catalog: Catalog) -> None:
    put(catalog, "account")

    with pytest.raises(VersionConflict, match="is version 1 already"):
        put(catalog, "account", version=2)


@pytest.mark.requirement("C-57", "L-58")
def test_the_database_itself_refuses_to_change_a_version_or_a_release(opened: OpenStore, catalog: Catalog) -> None:
    put(catalog, "account")
    catalog.promote(DEFAULT_TENANT, "signup", 1)

    with pytest.raises(UsageError, match=r"never changed|append-only"):
        opened.store.transact(None, lambda s: s.changed(update(DEFINITIONS).values(source="x")))
    with pytest.raises(UsageError, match="append-only"):
        opened.store.transact(None, lambda s: s.changed(update(RELEASES).values(version=2)))

    assert catalog.get(DEFAULT_TENANT, "signup", version=1).version.source == "client"


@pytest.mark.requirement("C-03")
@pytest.mark.parametrize("version", [0, -1, True, 2**31])
def test_a_version_is_a_positive_number(catalog: Catalog, version: int) -> None:
    with pytest.raises(UsageError, match="a version is a number from 1"):
        put(catalog, "account", version=version)


@pytest.mark.requirement("C-03", "C-04")
def test_what_is_not_stored_is_none_or_a_typed_error(catalog: Catalog) -> None:
    put(catalog, "account")

    assert catalog.find(DEFAULT_TENANT, "signup", version=2) is None
    assert catalog.find(DEFAULT_TENANT, "other") is None
    with pytest.raises(DefinitionNotFound, match="'signup' has no stored definition 2"):
        catalog.get(DEFAULT_TENANT, "signup", version=2)
    with pytest.raises(UsageError, match="12 to 64 hex digits"):
        catalog.find(DEFAULT_TENANT, "signup", digest="abc")


@pytest.mark.requirement("C-04")
def test_a_stored_definition_is_rebuilt_from_its_row_alone(opened: OpenStore, catalog: Catalog) -> None:
    inner = SubgraphNode(key="inner", nodes=chain("a", "b").nodes, edges=chain("a", "b").edges)
    drawn = Definition(workflow="signup", nodes=(inner, StepNode(key="last", handler="mail", timeout_ms=5)))
    document = from_json(to_json(drawn))

    number = catalog.put(DEFAULT_TENANT, document).version.number

    assert Catalog(opened.store).get(DEFAULT_TENANT, "signup", version=number).definition == drawn


@pytest.mark.requirement("C-05", "C-08")
def test_a_node_is_looked_up_within_its_own_version_only(catalog: Catalog) -> None:
    one, two = put(catalog, "account"), put(catalog, "account", "mail")

    assert catalog.get_node(DEFAULT_TENANT, "signup", two, "mail") == StepNode(key="mail", handler="mail")
    assert find_node(catalog.get(DEFAULT_TENANT, "signup", version=one).definition, "mail") is None
    with pytest.raises(NodeNotFound, match="has no node 'mail'"):
        catalog.get_node(DEFAULT_TENANT, "signup", one, "mail")


@pytest.mark.requirement("promise-10")
def test_tenants_number_their_versions_and_move_their_releases_apart(catalog: Catalog) -> None:
    put(catalog, "account")
    put(catalog, "account", "mail")
    catalog.promote(DEFAULT_TENANT, "signup", 2)
    theirs = catalog.put(OTHER, chain("account", "mail")).version

    assert (theirs.number, theirs.tenant) == (1, OTHER)
    assert [one.number for one in catalog.versions(OTHER, "signup")] == [1]
    assert catalog.release(OTHER, "signup") is None
    with pytest.raises(DefinitionNotFound):
        catalog.promote(OTHER, "signup", 2)


def test_a_graph_that_cannot_be_run_is_not_stored(catalog: Catalog) -> None:
    with pytest.raises(GraphError, match="signup"):
        put(catalog)

    assert catalog.workflows(DEFAULT_TENANT) == []


def test_a_document_that_is_not_what_was_hashed_is_reported_as_corrupt(opened: OpenStore, catalog: Catalog) -> None:
    values = {
        "tenant": DEFAULT_TENANT,
        "workflow": "signup",
        "version": 1,
        "hash": content_hash(chain("account")),
        "document": to_json(chain("mail")),
        "source": "x",
        "created_by": "",
        "created_ms": 1,
    }
    opened.store.transact(None, lambda s: s.changed(insert_new(DEFINITIONS).values(values)))

    with pytest.raises(StoreCorrupt, match="version 1 of workflow 'signup'"):
        catalog.get(DEFAULT_TENANT, "signup", version=1)


def test_a_put_in_the_callers_transaction_goes_with_it(opened: OpenStore, catalog: Catalog) -> None:
    def work(statements: Statements) -> None:
        put_in(statements, DEFAULT_TENANT, chain("account"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened.store.transact(None, work)

    assert catalog.find(DEFAULT_TENANT, "signup") is None


@pytest.mark.requirement("C-04", "L-56")
def test_random_definitions_come_back_as_they_were_and_are_found_again(catalog: Catalog) -> None:
    for seed in range(30):
        definition = definition_of(seed)
        if validate(definition):
            continue
        version = catalog.put(DEFAULT_TENANT, definition).version

        stored = catalog.get(DEFAULT_TENANT, definition.workflow, version=version.number)
        again = catalog.put(DEFAULT_TENANT, from_json(to_json(stored.definition)))

        assert canonical_bytes(stored.definition) == canonical_bytes(definition)
        assert (again.version, again.created) == (version, False)


# Releases


@pytest.mark.requirement("L-27", "L-58")
def test_a_release_is_its_history_of_moves(opened: OpenStore, catalog: Catalog) -> None:
    put(catalog, "account")
    put(catalog, "account", "mail")
    live = catalog.promote(DEFAULT_TENANT, "signup", 1, moved_by="ann")
    opened.clock.advance(5)
    catalog.promote(DEFAULT_TENANT, "signup", 2, moved_by="bob")
    back = catalog.restore(DEFAULT_TENANT, "signup", number=1)

    assert (live.number, live.version, live.kind, live.moved_by) == (1, 1, "go_live", "ann")
    assert (back.number, back.version, back.kind) == (3, 1, "restore")
    assert catalog.release(DEFAULT_TENANT, "signup") == back
    moves = catalog.history(DEFAULT_TENANT, "signup")
    assert [(one.number, one.version, one.kind) for one in moves] == [
        (3, 1, "restore"),
        (2, 2, "promote"),
        (1, 1, "go_live"),
    ]
    assert moves[1].moved_ms == live.moved_ms + 5


@pytest.mark.requirement("L-27")
def test_moving_a_release_to_where_it_is_writes_nothing(catalog: Catalog) -> None:
    put(catalog, "account")

    moves = [catalog.promote(DEFAULT_TENANT, "signup", 1) for _ in range(2)]

    assert moves[0] == moves[1]
    assert len(catalog.history(DEFAULT_TENANT, "signup")) == 1


@pytest.mark.requirement("L-27")
def test_a_release_that_somebody_else_moved_is_not_moved_over_it(catalog: Catalog) -> None:
    for handlers in (("account",), ("account", "mail"), ("mail",)):
        put(catalog, *handlers)
    catalog.promote(DEFAULT_TENANT, "signup", 1, expected=0)
    catalog.promote(DEFAULT_TENANT, "signup", 2, expected=1)

    with pytest.raises(ReleaseMoved, match="entry 2 is its last one"):
        catalog.promote(DEFAULT_TENANT, "signup", 3, expected=1)

    assert catalog.release(DEFAULT_TENANT, "signup") == catalog.history(DEFAULT_TENANT, "signup")[0]


def test_releases_of_one_workflow_move_apart(catalog: Catalog) -> None:
    put(catalog, "account")
    put(catalog, "account", "mail")
    catalog.promote(DEFAULT_TENANT, "signup", 1)
    catalog.promote(DEFAULT_TENANT, "signup", 2, name="canary")

    [entry] = catalog.workflows(DEFAULT_TENANT)
    assert (entry.workflow, entry.versions, entry.newest) == ("signup", 2, 2)
    assert entry.releases == {"live": 1, "canary": 2}
    assert catalog.get_named(DEFAULT_TENANT, "signup", "canary").version.number == 2
    assert catalog.get_named(DEFAULT_TENANT, "signup", "1").version.number == 1


def test_a_release_stands_for_a_version_that_exists(catalog: Catalog) -> None:
    put(catalog, "account")

    with pytest.raises(DefinitionNotFound):
        catalog.promote(DEFAULT_TENANT, "signup", 2)
    with pytest.raises(ReleaseNotFound, match="'signup' has no release 'live'"):
        catalog.get_named(DEFAULT_TENANT, "signup", "live")
    with pytest.raises(ReleaseNotFound, match="with an entry 4"):
        catalog.restore(DEFAULT_TENANT, "signup", number=4)
    with pytest.raises(UsageError, match="a release cannot be called '12'"):
        catalog.promote(DEFAULT_TENANT, "signup", 1, name="12")


@pytest.mark.requirement("L-56")
def test_versions_are_compared_by_the_keys_of_their_nodes(catalog: Catalog) -> None:
    before, after = put(catalog, "account", "mail"), put(catalog, "account", "letter")

    difference = catalog.diff(DEFAULT_TENANT, "signup", str(before), str(after))

    assert (difference.nodes_added, difference.nodes_removed, difference.nodes_changed) == (["letter"], ["mail"], [])


# Races


def _together(count: int, act: Callable[[int], Any]) -> list[Any]:
    start, answers = threading.Barrier(count), dict[int, Any]()

    def run(number: int) -> None:
        start.wait(60)
        try:
            answers[number] = act(number)
        except Exception as error:  # noqa: BLE001 - an answer too: looked at by the test
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [answers[number] for number in range(count)]


@pytest.mark.requirement("C-02", "C-57")
def test_processors_that_store_different_content_get_different_numbers(catalog: Catalog) -> None:
    numbers = _together(8, lambda number: put(catalog, f"step_{number // 2}"))

    assert sorted(set(numbers)) == [1, 2, 3, 4]
    assert all(numbers[one] == numbers[one + 1] for one in range(0, 8, 2))
    assert len(catalog.versions(DEFAULT_TENANT, "signup")) == 4


@pytest.mark.requirement("C-02")
def test_of_processors_that_want_one_number_for_different_content_one_gets_it(catalog: Catalog) -> None:
    answers = _together(6, lambda number: put(catalog, f"step_{number}", version=1))

    assert answers.count(1) == 1
    assert sum(isinstance(answer, VersionConflict) for answer in answers) == 5


@pytest.mark.requirement("L-27")
def test_moves_of_one_release_that_race_are_all_in_its_history(catalog: Catalog) -> None:
    numbers = [put(catalog, f"step_{number}") for number in range(6)]

    moves = _together(6, lambda number: catalog.promote(DEFAULT_TENANT, "signup", numbers[number]))

    assert all(isinstance(move, ReleaseMove) for move in moves)
    history = catalog.history(DEFAULT_TENANT, "signup")
    assert [move.number for move in history] == [6, 5, 4, 3, 2, 1]
    assert sorted(move.version for move in history) == numbers
    assert catalog.release(DEFAULT_TENANT, "signup") == history[0]
