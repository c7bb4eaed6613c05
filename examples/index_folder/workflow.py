"""One run for the tree, one for each folder, one for each file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from msgspec import Struct

import holdfast as hf
from examples.index_folder import files
from examples.index_folder.files import FileFacts, Listing, Report, Totals

app = hf.App("index-folder")

PAGE: Final = 400
"""Entries of a folder that are dealt with together, so that their facts fit into one payload."""
FILES_AT_ONCE: Final = 100
FOLDERS_AT_ONCE: Final = 10
GROUPS_MAX: Final = 100
PATHS_MAX: Final = 20


class Job(Struct, frozen=True):
    """What to index, and where to write: absolute paths."""

    tree: str
    out: str

    @property
    def key(self) -> str:
        """The same job has the same key, so asking for it again goes on with it."""
        return hashlib.sha256(f"{self.tree}\0{self.out}".encode(errors="surrogateescape")).hexdigest()[:32]

    @property
    def copies(self) -> Path:
        """Where the compressed copies are."""
        return Path(self.out, "copies")

    @property
    def parts(self) -> Path:
        """Where the folders' facts are."""
        return Path(self.out, "parts")


@app.step
def list_page(job: Job, folder: str, after: str | None) -> Listing:
    """A page of a folder."""
    return files.list_folder(Path(job.tree), folder, but=Path(job.out), after=after, limit=PAGE)


@app.step
def index(job: Job, path: str) -> FileFacts:
    """Hash, count, compress."""
    return files.index_file(Path(job.tree), path, copies=job.copies)


@app.step
def write_facts(job: Job, folder: str, page: int, facts: list[FileFacts]) -> None:
    """Keep a folder's facts for the report: all of them together may be too many for one payload."""
    name = hashlib.sha256(folder.encode()).hexdigest()[:24]
    files.write_part(job.parts, f"{name}-{page:04}", facts)


@app.step
def write_report(job: Job, totals: Totals) -> Report:
    """Look for duplicates and write the report."""
    files.sweep(Path(job.out))
    groups, wasted = files.find_duplicates(files.read_parts(job.parts))
    shown = [[one.path for one in group[:PATHS_MAX]] for group in groups[:GROUPS_MAX]]
    report = Report(job.tree, totals, shown, len(groups), wasted)
    files.write_report(Path(job.out), report)
    return report


@app.workflow
async def index_one_file(job: Job, path: str) -> FileFacts:
    """A file."""
    return await index.aio(job, path)


@app.workflow
async def index_one_folder(job: Job, folder: str) -> Totals:
    """A folder: page by page, its files and the folders in it side by side."""

    async def file(path: str) -> FileFacts:
        return await hf.run_child(index_one_file, job, path)

    async def inner(path: str) -> Totals:
        return await hf.run_child(index_one_folder, job, path)

    totals, page, after = Totals(folders=1), 0, None
    while True:
        listing = await list_page.aio(job, folder, after)
        indexed, below = await hf.gather(
            hf.map(file, listing.files, concurrency=FILES_AT_ONCE),
            hf.map(inner, listing.folders, concurrency=FOLDERS_AT_ONCE),
        )
        facts = [*indexed, *listing.skipped]
        await write_facts.aio(job, folder, page, facts)
        totals = sum(below, totals + files.sum_up(facts))
        if listing.after is None:
            return totals
        page, after = page + 1, listing.after


@app.workflow
async def index_tree(job: Job) -> Report:
    """The tree."""
    totals = await hf.run_child(index_one_folder, job, "")
    return await write_report.aio(job, totals)
