"""Two of an actor's operations at one moment, on the same run or family: what chance brings about too seldom."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from holdfast.core.ids import successor_id
from holdfast.errors import HoldfastError
from holdfast.model.command import Cancel, Change, Command, Order
from holdfast.model.commit import Continue, Finish, NewWait, Park, RunCommit
from holdfast.model.ids import Json, RunId, Tenant
from holdfast.model.run import NewRun, Signal
from holdfast.model.status import RunStatus, WaitKind
from tests.contract.scene import RESULT
from tests.contract.together import together

if TYPE_CHECKING:
    from tests.contract.crowd import Actor, Lease


def meet(actor: Actor) -> str:
    """One of the meetings, with a run that the actor holds."""
    actor.claim()
    found = [one for one in actor.held.values() if one.run.status is RunStatus.RUNNING and not one.cancelled]
    if not found:
        return "meet: nobody"
    meeting = actor.pick.choice(MEETINGS)
    return meeting(actor, actor.pick.choice(found)) or f"meet: {meeting.__name__}"


def child_ends(actor: Actor, lease: Lease) -> str:
    """A parent parks while its child ends or continues."""
    child = _child(actor, lease)
    actor.record([lease], [RunCommit(lease.run.id, lease.run.epoch, children=[child])])
    actor.claim_all()
    mine = actor.held.get(child.id)
    if mine is None or lease.run.id not in actor.held:
        return "meet: missed"
    parking = _parking(lease, child=child.id)
    if actor.chance(0.5):
        # It has waited for a while, and now for nothing else.
        actor.record([lease], [structs.replace(parking, move=None)])
        parking = RunCommit(lease.run.id, lease.run.epoch, move=Park(len(lease.open)), counted=lease.run.counted)
        if lease.run.id not in actor.held:
            return "meet: missed"
    ends = actor.chance(0.7)
    move = Finish(RunStatus.COMPLETED, "completed", RESULT) if ends else Continue(successor_id(child.id), RESULT)
    together(
        partial(actor.record, [lease], [parking]),
        partial(actor.record, [mine], [RunCommit(child.id, mine.run.epoch, move=move, counted=mine.run.counted)]),
    )
    return ""


def parent_is_cancelled(actor: Actor, lease: Lease) -> str:
    """A parked parent is cancelled while its child is claimed, or parks."""
    child = _child(actor, lease)
    if actor.chance(0.5):
        actor.record([lease], [_parking(lease, child=child.id, children=[child])])
        together(partial(_order, actor, lease.run.tenant, lease.run.id, Cancel()), actor.claim_all)
        return ""
    actor.record([lease], [_parking(lease, child=child.id, children=[child])])
    actor.claim_all()
    mine = actor.held.get(child.id)
    if mine is None:
        return "meet: missed"
    together(
        partial(_order, actor, lease.run.tenant, lease.run.id, Cancel()),
        partial(actor.record, [mine], [_parking(mine, signal="approved")]),
    )
    return ""


def run_is_shifted(actor: Actor, _: Lease) -> str:
    """A run goes to another line while its own is claimed from."""
    runs = [actor.new_run(queue="default", delay_ms=0) for _ in range(2)]
    actor.start_these(runs)
    shifts = [partial(_order, actor, run.tenant, run.id, Change(queue="other")) for run in runs]
    together(partial(actor.claim_from, ["default"]), *shifts)
    return ""


def signal_is_kept(actor: Actor, lease: Lease) -> str:
    """A signal is kept for all while a wait for it opens: sent by a client, or by a run and then swept."""
    id_ = actor.next_id()
    # A name of its own: of others many are kept.
    name = f"paid{actor.number}"
    signal = Signal(
        id=id_,
        tenant=lease.run.tenant,
        name=name,
        payload=Json(b'{"value":%d}' % actor.number),
        keep_ms=1_000_000,
    )
    parking = partial(actor.record, [lease], [_parking(lease, signal=name)])
    senders = [one for one in actor.held.values() if one is not lease and one.run.tenant == lease.run.tenant]
    if not senders or actor.chance(0.5):
        together(parking, partial(actor.send, signal))
        return ""

    def send_and_sweep() -> None:
        sender = senders[0]
        actor.record([sender], [RunCommit(sender.run.id, sender.run.epoch, signals=[signal])])
        actor.sweep()

    together(parking, send_and_sweep)
    return ""


MEETINGS: list[Callable[[Actor, Lease], str]] = [child_ends, parent_is_cancelled, run_is_shifted, signal_is_kept]


def _child(actor: Actor, lease: Lease) -> NewRun:
    lease.seq += 1
    place = {"parent_id": lease.run.id, "parent_key": f"c{actor.number}.{lease.seq}"}
    return actor.new_run(tenant=lease.run.tenant, queue="default", delay_ms=0, **place)


def _parking(
    lease: Lease, *, child: RunId | None = None, signal: str | None = None, children: list[NewRun] | None = None
) -> RunCommit:
    lease.seq += 1
    kind = WaitKind.SIGNAL if child is None else WaitKind.CHILD
    key = f"w{lease.run.epoch}.{lease.seq}"
    wait = NewWait(key=key, seq=lease.seq, kind=kind, child_id=child, signal=signal)
    move = Park(len(lease.open) + 1)
    run = lease.run
    return RunCommit(run.id, run.epoch, children=children or [], waits=[wait], move=move, counted=run.counted)


def _order(actor: Actor, tenant: Tenant, of: RunId, command: Command) -> str:
    try:
        actor.store.command(tenant, of, Order(id=actor.next_id(), command=command))
    except HoldfastError as error:
        return type(error).__name__
    return ""
