"""Saving: one winner, nothing overwritten, nothing half done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from holdfast.core.definitions import merge, validate
from holdfast.errors import HoldfastError
from holdfast.model.definition import Definition, Edge
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.store.catalog import Catalog
from holdfast.studio import Drafts, Role, Saved, SaveRefused
from holdfast.studio.errors import DraftMoved, DraftNotFound, Forbidden, NameTaken, SnapshotNotFound, StaleBase
from tests.contract.editing import ONE, OTHER_PROJECT, SIGNUP, THREE, TWO, Desk, graph, step
from tests.contract.scene import run_id
from tests.contract.stores import OpenStore

TIMEOUT_S = 60


@pytest.fixture
def desk(opened: OpenStore) -> Desk:
    """A project with people on each store in turn."""
    return Desk(opened)


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of these at the same moment; what each answered, or the error that it raised."""
    start = threading.Barrier(len(acts))
    answers: list[Any] = [None] * len(acts)

    def run(number: int, act: Callable[[], Any]) -> None:
        start.wait(TIMEOUT_S)
        try:
            answers[number] = act()
        except HoldfastError as error:
            answers[number] = error

    threads = [threading.Thread(target=run, args=one) for one in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    return answers


def versions(desk: Desk) -> list[int]:
    return [one.number for one in Catalog(desk.opened.store).versions(DEFAULT_TENANT, "signup")]


@pytest.mark.requirement("L-25")
def test_every_save_is_a_version_of_its_own_number(desk: Desk) -> None:
    first, second = desk.save(ONE, 0), desk.save(TWO, 1)

    assert [(one.version.number, one.created, one.is_first) for one in (first, second)] == [
        (1, True, True),
        (2, True, False),
    ]
    assert [row.facts["version"] for row in desk.projects.audit(desk.of(Role.ADMIN), limit=2)] == [2, 1]


@pytest.mark.requirement("L-50")
def test_the_content_of_the_latest_version_makes_no_new_one(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1)
    before = len(desk.projects.audit(desk.of(Role.OWNER)))

    again = [desk.save(TWO, base) for base in (2, 1, 0)]

    assert [(one.version.number, one.created) for one in again] == [(2, False)] * 3
    assert versions(desk) == [2, 1]
    assert len(desk.projects.audit(desk.of(Role.OWNER))) == before


@pytest.mark.requirement("L-50", "L-26")
def test_a_stale_base_is_a_conflict_with_the_three_documents(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1, by=Role.ADMIN)

    with pytest.raises(StaleBase) as caught:
        desk.try_save(THREE, 1)

    stale = caught.value
    assert (stale.base_version, stale.version, stale.author) == (1, 2, "adam")
    assert (stale.base, stale.theirs, stale.mine) == (ONE, TWO, THREE)
    assert stale.merge == merge(ONE, TWO, THREE)
    assert stale.merge.is_clean
    assert versions(desk) == [2, 1]
    assert desk.save(stale.merge.definition, stale.version).version.number == 3


@pytest.mark.requirement("L-50")
def test_a_save_that_was_refused_leaves_nothing_behind(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1)

    for base in (1, 0):
        with pytest.raises(StaleBase):
            desk.try_save(THREE, base)
    with pytest.raises(SnapshotNotFound):
        desk.try_save(THREE, 3)

    assert versions(desk) == [2, 1]


@pytest.mark.requirement("L-01", "L-05")
def test_a_first_save_that_is_sent_again_inserts_nothing(desk: Desk) -> None:
    """The answer was lost, the client still believes that the workflow is new."""
    desk.save(ONE, 0)

    again = desk.save(ONE, 0)

    assert (again.version.number, again.created, again.is_first) == (1, False, False)
    with pytest.raises(StaleBase) as caught:
        desk.try_save(TWO, 0)
    assert (caught.value.base, caught.value.theirs) == (Definition(workflow="signup"), ONE)


@pytest.mark.requirement("L-58")
def test_old_content_that_is_saved_again_is_its_old_version(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1)

    back = desk.save(ONE, 2)

    assert (back.version.number, back.created) == (1, False)
    assert desk.base == 1
    with pytest.raises(StaleBase):
        desk.try_save(THREE, 2)
    assert desk.save(THREE, 1).version.number == 3


@pytest.mark.requirement("L-28", "L-57")
@pytest.mark.parametrize(
    ("edge", "code"),
    [
        (Edge(source="a", target="b", condition="result.ok +"), "bad_expression"),
        (Edge(source="a", target="b", condition="eval('1')"), "bad_expression"),
        (Edge(source="a", target="b", condition="1 + 1"), "bad_expression"),
        (Edge(source="a", target="b", condition="secrets.key == 'x'"), "unknown_variable"),
        (Edge(source="a", target="a"), "cycle"),
        (Edge(source="a", target="b", label="x" * 600), "bad_label"),
    ],
)
def test_problems_are_told_to_the_saver_and_stored_nowhere(desk: Desk, edge: Edge, code: str) -> None:
    wrong = graph(step("a"), step("b"), edges=(edge,))
    drafts = Drafts(desk.opened.store)
    draft = drafts.put(desk.scope(), SIGNUP, wrong, base_version=0)

    answer = desk.try_save(wrong, 0)

    assert isinstance(answer, SaveRefused)
    assert answer.problems == validate(wrong)
    assert code in {problem.code for problem in answer.problems}
    assert drafts.get(desk.scope(), SIGNUP) == draft
    assert versions(desk) == []


@pytest.mark.requirement("L-28", "L-57")
@pytest.mark.parametrize("condition", ["always", "on_success", "on_failure", "result.total > 10 && input.vip"])
def test_an_edges_condition_is_a_word_or_a_typed_expression(desk: Desk, condition: str) -> None:
    saved = desk.save(graph(step("a"), step("b"), edges=(Edge(source="a", target="b", condition=condition),)), 0)

    assert saved.created


def test_edges_that_lead_nowhere_are_dropped_and_named(desk: Desk) -> None:
    saved = desk.save(graph(step("a"), edges=(Edge(source="a", target="gone"),)), 0)

    assert saved.dropped == ["a -> gone"]
    assert desk.resolver.resolve(desk.scope(), SIGNUP, "edit").definition == ONE


def test_a_workflow_keeps_its_name(desk: Desk) -> None:
    desk.save(ONE, 0)

    answer = desk.try_save(graph(step("a"), name="other"), 1)

    assert isinstance(answer, SaveRefused)
    assert [problem.code for problem in answer.problems] == ["renamed"]


def test_a_name_belongs_to_one_workflow_of_the_tenant(desk: Desk) -> None:
    desk.save(ONE, 0)
    Catalog(desk.opened.store).put(DEFAULT_TENANT, graph(step("x"), name="billing"), source="app")

    with pytest.raises(NameTaken):
        desk.try_save(TWO, 0, id=run_id(12))
    with pytest.raises(NameTaken):
        desk.saver.save(desk.elsewhere, run_id(12), TWO, base_version=0)
    with pytest.raises(NameTaken):
        desk.try_save(graph(step("y"), name="billing"), 0, id=run_id(13))

    assert [one.name for one in desk.projects.workflows(desk.scope())] == ["signup"]
    assert list(desk.projects.workflows(desk.scope("olga", OTHER_PROJECT))) == []


@pytest.mark.requirement("L-53")
def test_a_viewer_saves_nothing(desk: Desk) -> None:
    with pytest.raises(Forbidden) as caught:
        desk.try_save(ONE, 0, by=Role.VIEWER)

    assert (caught.value.role, caught.value.action) == ("viewer", "save")
    assert versions(desk) == []


# Releases


@pytest.mark.requirement("L-27", "L-58")
def test_a_release_is_moved_by_who_may_with_its_history(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1)
    admin = desk.of(Role.ADMIN)

    live = desk.saver.publish(admin, SIGNUP, 1)
    moved = desk.saver.publish(admin, SIGNUP, 2, expected=1)
    back = desk.saver.restore_release(admin, SIGNUP, number=1)

    moves = [(move.number, move.version, move.kind, move.moved_by) for move in (live, moved, back)]
    assert moves == [(1, 1, "go_live", "adam"), (2, 2, "promote", "adam"), (3, 1, "restore", "adam")]
    with pytest.raises(Forbidden):
        desk.saver.publish(desk.of(Role.EDITOR), SIGNUP, 2)


# Races


@pytest.mark.requirement("L-50")
def test_of_many_that_save_on_one_base_one_wins(desk: Desk) -> None:
    desk.save(ONE, 0)
    rivals = [graph(step("a"), step(f"n{number}")) for number in range(6)]

    answers = together(*(partial(desk.try_save, rival, 1) for rival in rivals))

    saved = [answer for answer in answers if isinstance(answer, Saved)]
    stale = [answer for answer in answers if isinstance(answer, StaleBase)]
    assert (len(saved), len(stale)) == (1, 5)
    assert {one.version for one in stale} == {2}
    assert versions(desk) == [2, 1]


@pytest.mark.requirement("L-01", "L-04")
def test_of_many_first_saves_one_inserts(desk: Desk) -> None:
    rivals = [graph(step(f"n{number}")) for number in range(5)]

    answers = together(*(partial(desk.try_save, rival, 0) for rival in [*rivals, rivals[0]]))

    firsts = [answer for answer in answers if isinstance(answer, Saved) and answer.is_first]
    assert len(firsts) == 1
    assert versions(desk) == [1]
    assert len(desk.projects.workflows(desk.scope())) == 1


@pytest.mark.requirement("L-50")
def test_a_save_never_passes_over_what_a_program_stores_meanwhile(desk: Desk) -> None:
    catalog = Catalog(desk.opened.store)
    desk.save(ONE, 0)
    base = 1
    for number in range(8):
        deployed = graph(step("a"), step(f"d{number}"))
        drawn = graph(step("a"), step(f"s{number}"))

        answer, put = together(
            partial(desk.try_save, drawn, base), partial(catalog.put, DEFAULT_TENANT, deployed, source="cli")
        )

        if isinstance(answer, StaleBase):
            assert answer.theirs == deployed
        else:
            # The program came later: its version is the current one, on top of the saved one.
            assert answer.version.number == put.version.number - 1
        base = desk.base
        assert base == put.version.number


# Drafts


@pytest.mark.requirement("L-50")
def test_a_draft_keeps_its_base_while_others_save(desk: Desk) -> None:
    drafts = Drafts(desk.opened.store)
    desk.save(ONE, 0)
    drafts.put(desk.scope(), SIGNUP, THREE, base_version=1)
    desk.save(TWO, 1, by=Role.ADMIN)

    draft = drafts.get(desk.of(Role.VIEWER), SIGNUP)

    assert (draft.base_version, draft.definition, draft.revision, draft.updated_by) == (1, THREE, 1, "eve")


@pytest.mark.requirement("L-50")
def test_rebasing_a_draft_brings_both_together_or_tells_the_conflicts(desk: Desk) -> None:
    drafts = Drafts(desk.opened.store)
    desk.save(ONE, 0)
    drafts.put(desk.scope(), SIGNUP, THREE, base_version=1)
    desk.save(TWO, 1)

    rebased = drafts.rebase(desk.scope(), SIGNUP, revision=1)

    assert (rebased.version, rebased.draft.base_version, rebased.draft.revision) == (2, 2, 2)
    assert {node.key for node in rebased.draft.definition.nodes} == {"a", "b", "c"}
    desk.save(graph(step("a", "theirs")), 2)
    edited = drafts.put(desk.scope(), SIGNUP, graph(step("a", "mine")), base_version=2, revision=2)
    stuck = drafts.rebase(desk.scope(), SIGNUP, revision=3)
    assert stuck.merge is not None
    assert [(one.what, one.field) for one in stuck.merge.conflicts] == [("a", "handler")]
    assert drafts.get(desk.scope(), SIGNUP) == edited == stuck.draft


def test_a_draft_is_written_over_the_revision_that_was_seen_and_no_other(desk: Desk) -> None:
    drafts = Drafts(desk.opened.store)
    drafts.put(desk.scope(), SIGNUP, ONE, base_version=0)
    rivals = [partial(drafts.put, desk.scope(), SIGNUP, one, base_version=0, revision=1) for one in (TWO, THREE, ONE)]

    answers = together(*rivals)

    assert len([answer for answer in answers if isinstance(answer, DraftMoved)]) == 2
    for revision in (0, 1, 3):
        with pytest.raises(DraftMoved) as caught:
            drafts.put(desk.scope(), SIGNUP, TWO, base_version=0, revision=revision)
        assert caught.value.found == 2
    with pytest.raises(DraftMoved):
        drafts.discard(desk.scope(), SIGNUP, revision=1)
    drafts.discard(desk.scope(), SIGNUP, revision=2)
    with pytest.raises(DraftNotFound):
        drafts.get(desk.scope(), SIGNUP)


def test_a_draft_of_another_project_is_not_taken_over_before_its_first_save(desk: Desk) -> None:
    drafts = Drafts(desk.opened.store)
    drafts.put(desk.scope(), SIGNUP, ONE, base_version=0)

    for act in (
        lambda: drafts.get(desk.elsewhere, SIGNUP),
        lambda: drafts.put(desk.elsewhere, SIGNUP, TWO, base_version=0),
        lambda: drafts.put(desk.elsewhere, SIGNUP, TWO, base_version=0, revision=1),
        lambda: drafts.discard(desk.elsewhere, SIGNUP, revision=1),
    ):
        with pytest.raises(HoldfastError) as caught:
            act()
        assert caught.value.code == "wrong_project"
    assert drafts.get(desk.scope(), SIGNUP).definition == ONE


def test_a_draft_names_a_base_that_there_is(desk: Desk) -> None:
    drafts = Drafts(desk.opened.store)

    with pytest.raises(SnapshotNotFound):
        drafts.put(desk.scope(), SIGNUP, ONE, base_version=1)
    desk.save(ONE, 0)
    with pytest.raises(SnapshotNotFound):
        drafts.put(desk.scope(), SIGNUP, ONE, base_version=2)
