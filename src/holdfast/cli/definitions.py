"""``holdfast definitions``: stored versions of graphs, and the releases that point to them."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.output import Output, clean
from holdfast.cli.shapes import plain
from holdfast.cli.tables import fact_table, make_table, show_ago
from holdfast.cli.target import load_app
from holdfast.core.definitions import draw_mermaid, draw_svg, json_schema, nodes_in_order, to_plain
from holdfast.errors import UsageError
from holdfast.model.catalog import LIVE, Put, ReleaseMove, StoredDefinition
from holdfast.model.ids import DEFAULT_TENANT

commands = typer.Typer()


class Format(StrEnum):
    """How a document is written."""

    YAML = "yaml"
    JSON = "json"


class Picture(StrEnum):
    """How a drawing is written."""

    MERMAID = "mermaid"
    SVG = "svg"


Reference = Annotated[
    str,
    typer.Argument(
        metavar="VERSION", help="A version's number, its content hash (12 digits or more), or a release such as live."
    ),
]
AFTER_HELP = "Where the page begins, as the page before says."
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="The most rows of a page.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this; recorded.", show_default=False)]
Release = Annotated[str, typer.Option("--release", metavar="NAME", help="The release.")]
PictureFormat = Annotated[Picture, typer.Option("--format", help="How it is drawn.")]
Target = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write here instead of printing it.", show_default=False),
]


@commands.command("list")
def list_versions(
    workflow: Annotated[
        str | None,
        typer.Argument(metavar="WORKFLOW", help="Its versions. Default: every workflow.", show_default=False),
    ] = None,
    *,
    limit: Limit = 100,
    after: Annotated[str | None, typer.Option("--after", metavar="PLACE", help=AFTER_HELP, show_default=False)] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List the workflows with stored versions, or the versions of one of them, newest first."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        if workflow is None:
            entries = session.client.definitions.workflows(limit=limit, after=after)
            if as_json:
                output.document({"workflows": plain(entries)})
                return
            table = make_table(None, "workflow", "versions", "newest", "*releases")
            for entry in entries:
                releases = ", ".join(f"{name} {number}" for name, number in entry.releases.items())
                table.add_row(clean(entry.workflow), str(entry.versions), str(entry.newest), clean(releases))
        else:
            before = None if after is None else _number(after)
            versions = session.client.definitions.list(workflow, limit=limit, before=before)
            if as_json:
                output.document({"versions": plain(versions)})
                return
            now_ms = session.store.read_clock()
            table = make_table(None, "version", "hash", "source", "*by", "stored")
            for one in versions:
                stored = show_ago(now_ms, one.created_ms)
                table.add_row(str(one.number), one.short_hash, clean(one.source), clean(one.created_by), stored)
    if table.row_count:
        output.show(table)
    else:
        output.say("nothing is stored")


@commands.command("show")
def show_version(
    workflow: options.WorkflowName,
    reference: Reference,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show a version and its nodes, in the order in which a run comes to them."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        stored = session.client.definitions.get(workflow, reference)
        now_ms = session.store.read_clock()
    if as_json:
        output.document(_plain_stored(stored))
        return
    version = stored.version
    facts = {
        "workflow": clean(version.workflow),
        "version": str(version.number),
        "hash": version.hash,
        "source": clean(version.source),
        "by": clean(version.created_by) or None,
        "stored": show_ago(now_ms, version.created_ms),
    }
    table = make_table(None, "node", "kind", "*after")
    for node in nodes_in_order(stored.definition):
        sources = sorted(edge.source for edge in stored.definition.edges if edge.target == node.key)
        table.add_row(clean(node.key), str(type(node).__struct_config__.tag), clean(", ".join(sources)))
    output.show(fact_table(facts), "", table)


@commands.command("diff")
def diff_versions(
    workflow: options.WorkflowName,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A version, hash or release.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Another.", show_default=False)],
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show what leads from one version to another, node by node."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        difference = session.client.definitions.diff(workflow, before, after)
    if as_json:
        output.document(plain(difference))
        return
    for line in difference.lines() or ["they have the same content"]:
        output.say(line)


@commands.command("export")
def export_version(
    workflow: options.WorkflowName,
    reference: Reference,
    *,
    form: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.YAML,
    target: Target = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
) -> None:
    """Print a version's document, to be edited, kept or imported elsewhere."""
    with open_session(database, tenant) as session:
        _write(session.client.definitions.export(workflow, reference, form=form.value), target)


@commands.command("import")
def import_version(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A .yaml or .json document; - for standard input.", show_default=False)
    ],
    *,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="How it is written. Default: as the file's name says.", show_default=False),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", help="The number that it must get.", show_default=False),
    ] = None,
    created_by: By = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Store a document as a version; content that is stored already is found again."""
    text = read_document(file)
    if form is None:
        form = Format.JSON if file.endswith(".json") else Format.YAML
    with open_session(database, tenant) as session:
        put = session.client.definitions.import_text(text, form=form.value, version=version, created_by=created_by)
    _show_put(Output(as_json=as_json), put)


@commands.command("push")
def push_graphs(
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Whose graphs: orders:app is `app` in orders.py.")],
    *,
    created_by: By = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Store the graphs of an App, as a deployment may do before its workers start."""
    output = Output(as_json=as_json)
    loaded = load_app(app)
    with open_session(database, tenant, app=loaded) as session:
        puts: list[Put] = []
        for name in loaded.graph_names:
            graph = loaded.find_graph(name)
            assert graph is not None
            puts.append(session.client.definitions.put(graph, source="cli", created_by=created_by))
    if as_json:
        output.document({"versions": [_plain_put(put) for put in puts]})
        return
    for put in puts:
        _show_put(output, put)
    if not puts:
        output.say(f"app {loaded.name!r} has no graphs")


@commands.command("promote")
def promote_version(
    workflow: options.WorkflowName,
    reference: Reference,
    *,
    name: Release = LIVE,
    moved_by: By = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Make a release stand for a version: starts by name follow `live` from now on. Runs keep the version they have."""
    with open_session(database, tenant) as session:
        stored = session.client.definitions.get(workflow, reference)
        move = session.client.definitions.promote(workflow, stored.version.number, name=name, moved_by=moved_by)
    _show_move(Output(as_json=as_json), move)


@commands.command("restore")
def restore_version(
    workflow: options.WorkflowName,
    *,
    number: Annotated[
        int | None,
        typer.Option(
            "--number", metavar="N", help="An entry of its history. Default: the last but one.", show_default=False
        ),
    ] = None,
    name: Release = LIVE,
    moved_by: By = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Make a release stand again for what it stood for before."""
    with open_session(database, tenant) as session:
        move = session.client.definitions.restore(workflow, number=number, name=name, moved_by=moved_by)
    _show_move(Output(as_json=as_json), move)


@commands.command("history")
def show_history(
    workflow: options.WorkflowName,
    *,
    name: Release = LIVE,
    limit: Limit = 100,
    before: Annotated[
        int | None, typer.Option("--before", metavar="N", help="Only entries below this number.", show_default=False)
    ] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show every move of a release, newest first."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        moves = session.client.definitions.history(workflow, name, limit=limit, before=before)
        now_ms = session.store.read_clock()
    if as_json:
        output.document({"moves": plain(moves)})
        return
    if not moves:
        output.say(f"workflow {workflow!r} has no release {name!r}")
        return
    table = make_table(None, "number", "kind", "version", "*by", "when")
    for move in moves:
        when = show_ago(now_ms, move.moved_ms)
        table.add_row(str(move.number), move.kind, str(move.version), clean(move.moved_by), when)
    output.show(table)


@commands.command("draw")
def draw_version(
    workflow: options.WorkflowName,
    reference: Reference,
    *,
    form: PictureFormat = Picture.MERMAID,
    target: Target = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
) -> None:
    """Draw a version as a Mermaid flowchart or an SVG picture."""
    with open_session(database, tenant) as session:
        definition = session.client.definitions.get(workflow, reference).definition
    _write(draw_svg(definition) if form is Picture.SVG else draw_mermaid(definition), target)


@commands.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of the documents, for editors that check YAML and JSON."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--after {text!r} is no version's number")
    return int(text)


def read_document(file: str) -> bytes:
    """What a file, or standard input, holds. Raises UsageError if it cannot be read."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error


def _write(text: str, target: Path | None) -> None:
    if target is None:
        sys.stdout.write(text)
        return
    try:
        target.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error


def _plain_stored(stored: StoredDefinition) -> dict[str, Any]:
    return {"version": plain(stored.version), "definition": to_plain(stored.definition)}


def _plain_put(put: Put) -> dict[str, Any]:
    return {"version": plain(put.version), "created": put.created}


def _show_put(output: Output, put: Put) -> None:
    if output.as_json:
        output.document(_plain_put(put))
        return
    version = put.version
    what = "stored" if put.created else "was stored before"
    output.say(f"version {version.number} of {version.workflow} ({version.short_hash}) {what}")


def _show_move(output: Output, move: ReleaseMove) -> None:
    if output.as_json:
        output.document({"move": plain(move)})
    else:
        output.say(
            f"release {move.name} of {move.workflow} is version {move.version} (entry {move.number}, {move.kind})"
        )
