"""``holdfast tenants`` and ``holdfast retention``: what an operator decides about tenants, and what belongs to them.

``holdfast tenants wall`` is in ``wall.py``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from typing import Annotated, Any, Final

import typer
from msgspec import structs
from rich.table import Table

from holdfast.cli import options
from holdfast.cli.database import choose_url, find_database
from holdfast.cli.durations import parse_duration
from holdfast.cli.output import Output, clean
from holdfast.cli.shapes import plain
from holdfast.cli.tables import make_table, show_span
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.tenant import Ended, Everything, Expired, Pruning, TenantPolicy, TenantRow
from holdfast.store.port import Hint, Statements, Store

NO_LIMIT: Final = "none"
BATCH: Final = 500
"""Runs deleted in one transaction."""

commands = typer.Typer(no_args_is_help=False)
retention = typer.Typer(no_args_is_help=False)

Name = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]


def _limit(help_: str) -> Any:
    return typer.Option(metavar="N", help=f"{help_} `none`: no limit.", show_default=False)


@commands.command("list")
def list_all(*, database: options.Database = None, as_json: options.AsJson = False) -> None:
    """List every tenant that has a run or a limit, with its runs by status."""
    from holdfast.store.tenancy import list_tenants

    output = Output(as_json=as_json)
    with _open(database) as store:
        rows = store.transact(None, list_tenants, read_only=True)
    if as_json:
        output.document(
            {"tenants": [{**plain(row.policy), "runs": row.runs, "stored_bytes": row.stored_bytes} for row in rows]}
        )
    elif rows:
        output.show(_tenant_table(rows))
    else:
        output.say("no tenants yet")


@commands.command("quota")
def set_quota(
    tenant: Name,
    *,
    queued: Annotated[str | None, _limit("The most runs in the line or delayed.")] = None,
    running: Annotated[str | None, _limit("The most runs that workers hold at a time; others wait.")] = None,
    payload_bytes: Annotated[str | None, _limit("The largest input of a run, in bytes.")] = None,
    stored_bytes: Annotated[str | None, _limit("The most bytes of payloads, of all that is kept.")] = None,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Show or set how much a tenant may start, run and store."""
    from holdfast.store.accounts import count_now

    given = {
        "queued_max": queued,
        "running_max": running,
        "payload_bytes_max": payload_bytes,
        "stored_bytes_max": stored_bytes,
    }
    changes = {name: _number(value) for name, value in given.items() if value is not None}
    with _open(database) as store:
        policy = _change(store, tenant, changes)
        if changes.get("stored_bytes_max") is not None:
            count_now(store, policy.tenant)
        if "running_max" in changes:
            store.hints.publish(Hint(work=True))
    _show(policy, Output(as_json=as_json))


@commands.command("export")
def export_tenant(tenant: Name, *, database: options.Database = None) -> None:
    """Print all that a tenant has: one JSON object per row and line, with the table it stands in."""
    from holdfast.store.tenancy import export

    with _open(database) as store:
        for line in export(store, _named(tenant)):
            sys.stdout.buffer.write(line + b"\n")


@commands.command("erase")
def erase_tenant(
    tenant: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: nothing of it comes back.", show_default=False)] = False,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete all that a tenant has, its live runs too, and count what is left. May be repeated."""
    from holdfast.store.tenancy import count_rows

    if not yes:
        raise UsageError(f"this deletes all that tenant {tenant!r} has, for good; say so with --yes")
    output = Output(as_json=as_json)
    name = _named(tenant)
    with _open(database) as store:
        deleted = _prune(store, Everything(name))
        left = store.transact(name, lambda statements: count_rows(statements, name), read_only=True)
    if as_json:
        output.document({"tenant": name, "runs_deleted": deleted, "rows_left": left})
    else:
        rest = ", ".join(f"{count} in {table}" for table, count in left.items()) or "nothing"
        output.say(f"{deleted} run(s) deleted; left of tenant {name}: {rest}")
    if left:
        raise typer.Exit(1)


@retention.command("set")
def set_retention(
    tenant: Name,
    age: Annotated[str, typer.Argument(metavar="AGE", help="30d, 12h, or `none` to keep runs for ever.")],
    *,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Set how long a tenant's ended runs are kept; workers delete what is older, in batches."""
    retention_ms = None if age == NO_LIMIT else round(parse_duration(age).total_seconds() * 1000)
    with _open(database) as store:
        policy = _change(store, tenant, {"retention_ms": retention_ms})
    _show(policy, Output(as_json=as_json))


@retention.command("run")
def run_retention(
    *,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="This tenant alone.", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Instead of what is set, with --tenant.", show_default=False),
    ] = None,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete now what workers would delete: ended runs that are older than their tenant's age."""
    if (tenant is None) != (older_than is None):
        raise UsageError("--tenant and --older-than belong together; without them each tenant's own age counts")
    output = Output(as_json=as_json)
    with _open(database) as store:
        what: Pruning = Expired()
        if tenant is not None and older_than is not None:
            age_ms = round(parse_duration(older_than).total_seconds() * 1000)
            what = Ended(_named(tenant), UnixMs(store.read_clock() - age_ms))
        deleted = _prune(store, what)
    if as_json:
        output.document({"runs_deleted": deleted})
    else:
        output.say(f"{deleted} run(s) deleted")


@contextlib.contextmanager
def _open(database: str | None) -> Generator[Store]:
    with contextlib.closing(find_database(choose_url(database, None))) as store:
        store.check_schema()
        yield store


def _prune(store: Store, what: Pruning) -> int:
    deleted = 0
    while True:
        count = store.prune(what, limit=BATCH)
        deleted += count
        if count < BATCH:
            return deleted


def _change(store: Store, tenant: str, changes: dict[str, int | None]) -> TenantPolicy:
    from holdfast.store.tenancy import read_policy, write_policy

    name = _named(tenant)

    def change(statements: Statements) -> TenantPolicy:
        policy = structs.replace(read_policy(statements, name), **changes)
        if changes:
            write_policy(statements, policy)
        return policy

    return store.transact(name, change)


def _named(tenant: str) -> Tenant:
    return Tenant(check_name("tenant", tenant))


def _number(text: str) -> int | None:
    if text == NO_LIMIT:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r} is no number of runs or bytes; write 0, 1000 or none")
    return int(text)


def _show(policy: TenantPolicy, output: Output) -> None:
    if output.as_json:
        output.document(plain(policy))
    else:
        output.show(_tenant_table([TenantRow(policy=policy, runs={})]))


def _tenant_table(rows: list[TenantRow]) -> Table:
    table = make_table(
        None, "tenant", "*runs", "queued max", "running max", "payload max", "stored", "stored max", "kept"
    )
    for row in rows:
        policy = row.policy
        runs = ", ".join(f"{count} {status}" for status, count in sorted(row.runs.items()))
        limits = (
            policy.queued_max,
            policy.running_max,
            policy.payload_bytes_max,
            row.stored_bytes,
            policy.stored_bytes_max,
        )
        kept = "for ever" if policy.retention_ms is None else show_span(policy.retention_ms)
        table.add_row(clean(policy.tenant), runs, *("-" if one is None else str(one) for one in limits), kept)
    return table
