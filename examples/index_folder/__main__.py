"""Indexes a folder tree: ``python -m examples.index_folder PATH --out DIR``.

For each file its SHA-256, its words and a compressed copy; at the end a report with the duplicates. Press Ctrl-C, or
pull the plug, at any point: the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.live import Live

import holdfast as hf
from examples.index_folder.files import Report
from examples.index_folder.workflow import Job, app, index_one_file, index_one_folder, index_tree

SETTINGS: Final = hf.WorkerSettings(threads=8, lease=timedelta(seconds=4))
"""Few threads, because compressing is work for the processor. A short lease: after a power cut nobody else works on it,
and the next start goes on after at most four seconds."""

LOOK_S: Final = 0.5
LINE_S: Final = 5.0
"""How often progress is shown on a terminal, and elsewhere."""


async def index(job: Job, console: Console) -> Report:
    """Start the job, or go on with it, and wait for its end."""
    async with app.worker(settings=SETTINGS), app.client() as client:
        run = await client.start(index_tree, job, key=job.key)
        if not run.created:
            console.print("this tree was begun before: going on" if (await run.get()).result is None else "done before")
        showing = asyncio.create_task(_show(client, console))
        try:
            return await run.result()
        finally:
            showing.cancel()


async def _show(client: hf.Client, console: Console) -> None:
    began = time.monotonic()
    line_at = began
    live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
    with live or Console(quiet=True):
        while True:
            files, folders = (
                await client.count(workflow=index_one_file.name),
                await client.count(workflow=index_one_folder.name),
            )
            now = time.monotonic()
            text = (
                f"{now - began:5.1f} s  {files.get('completed', 0)} of {sum(files.values())} files found so far, "
                f"{folders.get('completed', 0)} of {sum(folders.values())} folders"
            )
            if live is not None:
                live.update(text, refresh=True)
            elif now >= line_at:
                line_at = now + LINE_S
                console.print(text, highlight=False, soft_wrap=True)
            await asyncio.sleep(LOOK_S)


def _print_report(report: Report, job: Job, console: Console) -> None:
    totals = report.totals
    ratio = totals.compressed / totals.size if totals.size else 1.0
    lines = [
        f"{totals.files:,} files in {totals.folders:,} folders; {totals.binary:,} binary, skipped {totals.problems:,}",
        f"{totals.size:,} bytes, {totals.words:,} words; the copies take {totals.compressed:,} bytes ({ratio:.1%})",
        f"{report.duplicate_groups:,} groups of duplicates, {report.wasted:,} bytes in them could be saved",
    ]
    lines += [f"  {len(group)} x {group[0]}" for group in report.duplicates[:5]]
    lines += [f"the copies and report.json are in {job.out}"]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m examples.index_folder", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("tree", type=Path, metavar="PATH")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--database", help="its URL; index.db in the out folder by default")
    wanted = parser.parse_args()
    console = Console()
    if not wanted.tree.is_dir():
        parser.error(f"{wanted.tree} is not a folder")
    wanted.out.mkdir(parents=True, exist_ok=True)
    job = Job(str(wanted.tree.resolve()), str(wanted.out.resolve()))
    app.database = wanted.database or f"sqlite:///{job.out}/index.db"
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        report = asyncio.run(index(job, console))
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on", soft_wrap=True)
        return 130
    except hf.HoldfastError as error:
        console.print(f"{type(error).__name__}: {error}", markup=False, soft_wrap=True)
        return 1
    _print_report(report, job, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
