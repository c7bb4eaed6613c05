"""What is done with one file or folder of the tree. Every effect may be repeated: it is written aside, then renamed.

What is wrong with the tree (a file that cannot be read, or is gone) is a result. What is wrong with the out folder
(the disk is full) is an error, and is tried again.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import Struct

CHUNK: Final = 1024 * 1024
ASIDE: Final = ".aside"
"""How the names of files end that are being written."""
BINARY_LOOK: Final = 8192
"""A file with a NUL in its first bytes is binary: its words are not counted."""


class Listing(Struct, frozen=True):
    """A folder's entries, by name."""

    files: list[str] = []
    folders: list[str] = []
    skipped: list[FileFacts] = []
    """Links and devices, names that are not UTF-8; or the folder itself, if it cannot be read."""
    after: str | None = None
    """Where the next page begins; None at the end."""


class FileFacts(Struct, frozen=True, omit_defaults=True):
    """What is known of a file."""

    path: str
    """Relative to the tree, with ``/`` between its parts."""
    size: int = 0
    words: int = 0
    sha256: str = ""
    compressed: int = 0
    """The size of its compressed copy."""
    binary: bool = False
    problem: str = ""
    """Why it was not indexed; empty if it was."""


class Totals(Struct, frozen=True):
    """Sums over files."""

    files: int = 0
    size: int = 0
    words: int = 0
    compressed: int = 0
    binary: int = 0
    folders: int = 0
    problems: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            *(a + b for a, b in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True))
        )


class Report(Struct, frozen=True):
    """The whole tree."""

    tree: str
    totals: Totals
    duplicates: list[list[str]]
    """Files with the same contents: the largest waste first, at most a hundred groups."""
    duplicate_groups: int
    wasted: int
    """Bytes that the duplicates take beyond one copy of each."""


def sum_up(facts: Iterable[FileFacts]) -> Totals:
    """The totals of files."""
    total = Totals()
    for one in facts:
        if one.problem:
            total += Totals(problems=1)
        else:
            total += Totals(1, one.size, one.words, one.compressed, int(one.binary))
    return total


def list_folder(tree: Path, folder: str, *, but: Path, after: str | None, limit: int) -> Listing:
    """A page of a folder's entries in the order of their names. Links are not followed, so there are no loops.

    Args:
        but: a folder that is left out, because what we write is in it.
        after: the name behind which the page begins.
        limit: the most entries of a page.
    """
    here = tree / folder
    try:
        entries = sorted(os.scandir(here), key=lambda entry: entry.name)
    except OSError as error:
        return Listing(skipped=[FileFacts(folder or ".", problem=_why(error))])
    entries = [entry for entry in entries if after is None or entry.name > after]
    files: list[str] = []
    folders: list[str] = []
    skipped: list[FileFacts] = []
    for entry in entries[:limit]:
        path = f"{folder}/{entry.name}" if folder else entry.name
        problem = _unfit(entry)
        if problem:
            skipped.append(FileFacts(path.encode(errors="backslashreplace").decode(), problem=problem))
        elif entry.is_dir(follow_symlinks=False):
            if Path(entry.path) != but:
                folders.append(path)
        else:
            files.append(path)
    more = len(entries) > limit
    return Listing(files, folders, skipped, entries[limit - 1].name if more else None)


def _unfit(entry: os.DirEntry[str]) -> str:
    """Why an entry is passed over; empty if it is not."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if entry.is_symlink():
        return "a link"
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return _why(error)
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "neither file nor folder"


def index_file(tree: Path, path: str, *, copies: Path) -> FileFacts:
    """Hash a file, count its words, and write a compressed copy. Raises OSError if the copy cannot be written."""
    try:
        source = _open(tree / path)
    except OSError as error:
        return FileFacts(path, problem=_why(error))
    target = copies / f"{path}.gz"
    try:
        with source:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _written_aside(target) as out:
                return _copy(source, out, path)
    except _CannotReadError as error:
        return FileFacts(path, problem=str(error))


class _CannotReadError(Exception):
    pass


def _copy(source: IO[bytes], out: IO[bytes], path: str) -> FileFacts:
    digest = hashlib.sha256()
    size = words = 0
    binary = in_word = False
    # No time and no name in the copy: the same file gives the same copy, however often it is made.
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as packed:
        while chunk := _read(source):
            binary = binary or (size == 0 and b"\0" in chunk[:BINARY_LOOK])
            digest.update(chunk)
            packed.write(chunk)
            if not binary:
                words += len(chunk.split()) - (in_word and not chunk[:1].isspace())
                in_word = not chunk[-1:].isspace()
            size += len(chunk)
    return FileFacts(path, size, words, digest.hexdigest(), out.tell(), binary)


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(CHUNK)
    except OSError as error:
        raise _CannotReadError(_why(error)) from error


def _open(path: Path) -> IO[bytes]:
    # Between the listing and now a file may have become a link, or a pipe that would block.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("neither file nor folder")
    return os.fdopen(handle, "rb")


@contextlib.contextmanager
def _written_aside(target: Path) -> Generator[IO[bytes]]:
    """A file that is under its name whole or not at all. Two that write the same one do not meet."""
    aside = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}-{os.getpid()}{ASIDE}")
    try:
        with aside.open("wb") as out:
            yield out
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_part(parts: Path, name: str, facts: list[FileFacts]) -> None:
    """Write what is known of a folder's files, one line of JSON for each. Raises OSError."""
    parts.mkdir(parents=True, exist_ok=True)
    with _written_aside(parts / f"{name}.jsonl") as out:
        out.writelines(msgspec.json.encode(one) + b"\n" for one in facts)


def sweep(out: Path) -> None:
    """Remove what a killed process left half written."""
    for aside in out.rglob(f".*{ASIDE}"):
        aside.unlink(missing_ok=True)


def read_parts(parts: Path) -> Generator[FileFacts]:
    """What is known of all files, folder by folder. Raises OSError."""
    for part in sorted(parts.glob("*.jsonl")):
        with part.open("rb") as lines:
            for line in lines:
                yield msgspec.json.decode(line, type=FileFacts)


def find_duplicates(facts: Iterable[FileFacts]) -> tuple[list[list[FileFacts]], int]:
    """Groups of files with the same contents, the largest waste first, and how many bytes they waste."""
    by_hash: dict[str, list[FileFacts]] = {}
    for one in facts:
        if one.sha256 and one.size:
            by_hash.setdefault(one.sha256, []).append(one)
    groups = [sorted(group, key=lambda one: one.path) for group in by_hash.values() if len(group) > 1]
    groups.sort(key=lambda group: (-_waste(group), group[0].path))
    return groups, sum(map(_waste, groups))


def _waste(group: list[FileFacts]) -> int:
    return group[0].size * (len(group) - 1)


def write_report(out: Path, report: Report) -> None:
    """Write ``report.json``. Raises OSError."""
    with _written_aside(out / "report.json") as file:
        file.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def _why(error: OSError) -> str:
    known: dict[type[OSError], str] = {
        FileNotFoundError: "it is gone",
        PermissionError: "it may not be read",
        NotADirectoryError: "it is gone",
    }
    return known.get(type(error)) or (error.strerror or str(error))
