"""Orders, a payment service that fails now and then, and a worker that is killed again and again: ``make demo``.

    python -m examples.orders.demo --kills 3 --seed 1 --database postgresql://user@host/database

Nothing needs to be installed: without ``--database`` it works on a SQLite file. The exit status is 0 if every order
ended, nothing was charged twice, failed orders were refunded, and journal and ledger agree about all of it; else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console

import holdfast as hf
from examples.orders.audit import Ended, Evidence, Verdict, judge, money
from examples.orders.display import Display
from examples.orders.killer import Kill, Killer, Takeover, takeover_of
from examples.orders.ledger import read_ledger
from examples.orders.model import Approval, Case, Shipment, read_orders
from examples.orders.processes import ProcessFailed, Workers, payment_service
from examples.orders.workflow import app, fulfil
from holdfast.errors import HoldfastError, RunError, RunFailed, RunFinished
from holdfast.model.status import TERMINAL_STATUSES

LEASE_S: Final = hf.WorkerSettings().lease.total_seconds()
LOOK_S: Final = 0.4
LIMIT_S: Final = 240.0
"""When the demonstration stops waiting for orders to end, in seconds."""
KEPT_BACK: Final = 0.85
"""The share of the orders that come before the last kill."""
TWICE_EVERY: Final = 20
"""Every so many orders one is sent twice, as by an impatient customer."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    orders: Path
    kills: int
    seed: int
    lease_s: float
    approve_s: float
    database: str | None
    folder: Path | None


class Shop:
    """Sends the orders and the approvals, and knows how far everything is."""

    def __init__(self, client: hf.Client, cases: list[Case], *, queue: str, options: Options) -> None:
        self.client = client
        self.cases = cases
        self.runs: dict[str, hf.RunHandle[Shipment]] = {}
        self.sent_twice = 0
        self._queue = queue
        self._options = options
        self._dice = random.Random(f"{options.seed}:shop")
        self._decided: set[str] = set()
        self._by_run: dict[str, Case] = {}

    async def send_orders(self, *, over_s: float, killed: asyncio.Event) -> None:
        """Start a run for each order, spread over that many seconds; the last ones come when the killing is over."""
        within = timedelta(seconds=self._options.approve_s)
        for number, case in enumerate(self.cases):
            if number == int(len(self.cases) * KEPT_BACK):
                await killed.wait()
            order = case.order
            run = await self.client.start(fulfil, order, within, key=order.id, queue=self._queue)
            self.runs[order.id] = run
            self._by_run[run.id] = case
            if number % TWICE_EVERY == 0:
                again = await self.client.start(fulfil, order, within, key=order.id, queue=self._queue)
                assert again.id == run.id
                self.sent_twice += 1
            if case.decision == "early":
                await self._decide(case)
            await asyncio.sleep(over_s / len(self.cases))

    async def send_approvals(self) -> None:
        """Decide about orders that wait, until there are no more."""
        while len(self._decided) < sum(case.decision != "never" for case in self.cases):
            page = await self.client.list(status="waiting", limit=1000)
            for run in page.runs:
                case = self._by_run.get(run.id)
                if case is not None and case.decision in ("late", "refused"):
                    await self._decide(case)
            await asyncio.sleep(LOOK_S)

    async def _decide(self, case: Case) -> None:
        if case.order.id in self._decided:
            return
        self._decided.add(case.order.id)
        payload = Approval(approved=case.decision != "refused", by=self._dice.choice(("Ann", "Bo", "Cy")))
        run = self.runs[case.order.id]
        try:
            await self.client.signal(
                "order.approved", payload, run_id=run.id, signal_id=str(uuid.uuid5(uuid.UUID(run.id), "approval"))
            )
        except RunFinished:
            # Its card was declined meanwhile, say: there is nothing left to approve.
            return

    async def until_all_ended(self, display: Display, killer: Killer) -> None:
        """Show the progress until every order has ended."""
        while True:
            counts = await self.client.count(workflow=fulfil.name)
            display.show(counts, kills=len(killer.kills), takeovers=killer.takeovers)
            if sum(counts.get(status, 0) for status in TERMINAL_STATUSES) == len(self.cases):
                return
            await asyncio.sleep(LOOK_S)

    async def collect(self) -> list[Ended]:
        """How every order ended, from the journal."""
        ended: list[Ended] = []
        for case in self.cases:
            run = self.runs.get(case.order.id)
            if run is not None:
                detail = await self.client.detail(run.id)
                ended.append(Ended(case, detail, await self._failure(run, detail.run)))
        return ended

    async def _failure(self, handle: hf.RunHandle[Shipment], run: hf.Run) -> str:
        if run.status not in TERMINAL_STATUSES:
            return run.status.value
        try:
            await handle.result()
        except RunFailed as error:
            return str(error.failure.type).rpartition(".")[2]
        except RunError as error:
            return type(error).__name__
        return ""


async def play(options: Options, folder: Path, console: Console) -> bool:
    """The whole demonstration. Returns whether everything held."""
    book = read_orders(options.orders)
    database = options.database or f"sqlite:///{folder / 'holdfast.db'}"
    # A tenant and a queue of its own, so that a database may be used again.
    name = f"orders-{time.time_ns():x}"
    ledger = folder / "ledger.jsonl"
    dice = random.Random(f"{options.seed}:kills")
    with payment_service(options.orders, ledger=ledger, seed=options.seed) as url:
        async with hf.connect(database, tenant=name, app=app) as client:
            workers = Workers(database=database, queue=name, service_url=url, lease_s=options.lease_s, folder=folder)
            shop = Shop(client, book.cases, queue=name, options=options)
            with Display(console, total=len(book.cases)) as display:
                display.say(f"{len(book.cases)} orders, a lease of {options.lease_s:g} s, payment service at {url}")
                killer = Killer(client, workers, dice=dice, say=display.say)
                try:
                    await _act(shop, killer, workers, display, options)
                finally:
                    await asyncio.to_thread(workers.close)
            orders = await shop.collect()
    evidence = Evidence(book, orders, read_ledger(ledger), killer.kills, options.kills)
    return _report(evidence, shop, console)


async def _act(shop: Shop, killer: Killer, workers: Workers, display: Display, options: Options) -> None:
    workers.start()
    # A kill every lease and a few seconds, for that is how long a takeover takes.
    over_s = max(1, options.kills) * (options.lease_s + 4)
    try:
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
            group.create_task(killer.run(options.kills))
            group.create_task(shop.send_orders(over_s=over_s, killed=killer.done))
            approving = group.create_task(shop.send_approvals())
            await shop.until_all_ended(display, killer)
            # Orders that failed early are never decided about.
            approving.cancel()
    except TimeoutError:
        display.say(f"stopped waiting after {LIMIT_S:g} s")


def _report(evidence: Evidence, shop: Shop, console: Console) -> bool:
    details = {order.detail.run.id: order.detail for order in evidence.orders}
    console.print()
    for number, kill in enumerate(evidence.kills, start=1):
        console.print(_takeover_line(number, kill, takeover_of(kill, details)), soft_wrap=True)
    for currency, (charged, refunded) in money(evidence).items():
        console.print(
            f"{currency}: charged {charged:,}, refunded {refunded:,}, kept {charged - refunded:,} minor units"
        )
    console.print(f"{shop.sent_twice} orders were sent twice under the same key and were started once", soft_wrap=True)
    console.print()
    verdicts = judge(evidence)
    for verdict in verdicts:
        _print_verdict(verdict, console)
    held = not any(verdict.problems for verdict in verdicts)
    console.print()
    console.print("everything held" if held else "[red]not everything held[/red]")
    return held


def _takeover_line(number: int, kill: Kill, takeover: Takeover | None) -> str:
    if takeover is None:
        return f"kill {number}: worker {kill.pid} held {len(kill.held)} orders; no takeover was recorded"
    return (
        f"kill {number}: worker {kill.pid} held {len(kill.held)} orders; the first was taken over after "
        f"{takeover.claimed_s:.1f} s and progressed after {takeover.progress_s:.1f} s, the last was taken over after "
        f"{takeover.last_s:.1f} s"
    )


def _print_verdict(verdict: Verdict, console: Console) -> None:
    mark = "[red]NO[/red]" if verdict.problems else "[green]ok[/green]"
    console.print(f"{mark}  {verdict.title} ({verdict.facts})", highlight=False, soft_wrap=True)
    for problem in verdict.problems[:20]:
        console.print(f"      {problem}", highlight=False, markup=False, soft_wrap=True)
    if len(verdict.problems) > 20:
        console.print(f"      and {len(verdict.problems) - 20} more")


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.orders.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--orders", type=Path, default=Path(__file__).with_name("orders.json"), metavar="FILE")
    parser.add_argument("--kills", type=int, default=3, help="how often the worker is killed (3)")
    parser.add_argument("--seed", type=int, default=1, help="of faults, delays and the moments of the kills (1)")
    parser.add_argument("--lease", type=float, default=LEASE_S, dest="lease_s", help=f"in seconds ({LEASE_S:g})")
    parser.add_argument("--approve-within", type=float, default=15, dest="approve_s", help="in seconds (15)")
    parser.add_argument("--database", help="its URL; a SQLite file by default")
    parser.add_argument(
        "--folder", type=Path, help="for the database, the ledger and the logs; a temporary one by default"
    )
    wanted = parser.parse_args(arguments)
    return Options(**vars(wanted))


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    """See the module's docstring."""
    options, console = parse(), Console()
    folder = options.folder.resolve() if options.folder else Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "ledger.jsonl").exists():
        console.print(f"{folder} holds an earlier demonstration: name an empty folder")
        return 2
    # A polite end of the demonstration ends its processes too.
    signal.signal(signal.SIGTERM, _interrupt)
    held = False
    try:
        held = asyncio.run(play(options, folder, console))
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    except (ExceptionGroup, HoldfastError, ProcessFailed) as error:
        failures = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        for failure in failures:
            console.print(f"{type(failure).__name__}: {failure}", markup=False, soft_wrap=True)
    finally:
        if held and options.folder is None:
            shutil.rmtree(folder)
        else:
            console.print(f"the database, the ledger and the workers' logs are in {folder}", soft_wrap=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
