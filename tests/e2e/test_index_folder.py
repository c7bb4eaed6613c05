"""The folder index: interrupted in the middle and started again, it says what a simple program says."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from examples.index_folder.files import FileFacts, index_file, list_folder, read_parts

ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_S: Final = 60
FILES: Final = 500


def make_tree(tree: Path) -> dict[str, bytes]:
    """A tree with duplicates, binary and empty files, deep folders and what is no file; its files' contents."""
    dice = random.Random(5)
    words = ["keep", "fast", "hold", "kelp", "rock", "tide"]
    contents: dict[str, bytes] = {"empty": b"", "a/b/c/d/e/deep.txt": b"one two\tthree\n", "blank.txt": b" \n\t "}
    for number in range(FILES):
        folder = f"f{number % 7}/g{number % 3}/" if number % 5 else ""
        text = " ".join(dice.choices(words, k=dice.randrange(400))).encode()
        contents[f"{folder}{number:03}.txt"] = b"\0" + text if number % 11 == 0 else text
    contents |= {f"copy-{number}.txt": contents["f1/g1/001.txt"] for number in range(4)}
    contents["straße/naïve \n name.txt"] = "für immer".encode()
    for path, content in contents.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    (tree / "loop").symlink_to(tree)
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    (tree / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"x")
    return contents


def start(tree: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.index_folder", str(tree), "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def interrupt(tree: Path, out: Path, *, at_copies: int, how: signal.Signals) -> int:
    """Stop the program once it has written that many copies. Returns its exit status."""
    with start(tree, out) as program:
        while sum(1 for _ in (out / "copies").rglob("*.gz")) < at_copies:
            try:
                program.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"it ended before: {program.communicate()[0]}")
        program.send_signal(how)
        program.communicate(timeout=LIMIT_S)
        return program.returncode


@pytest.mark.requirement("promise-1", "promise-2", "S-52", "S-57")
def test_an_index_that_was_interrupted_and_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    contents = make_tree(tree)

    assert interrupt(tree, out, at_copies=60, how=signal.SIGINT) == 130
    assert interrupt(tree, out, at_copies=200, how=signal.SIGKILL) == -signal.SIGKILL
    with start(tree, out) as program:
        printed = program.communicate(timeout=LIMIT_S)[0]

    assert program.returncode == 0, printed
    assert "going on" in printed
    facts = {one.path: one for one in read_parts(out / "parts")}
    assert {path: one for path, one in facts.items() if not one.problem} == {
        path: expected(path, content, out) for path, content in contents.items()
    }
    assert {path: one.problem for path, one in facts.items() if one.problem} == {
        "loop": "a link",
        "dangling": "a link",
        "pipe": "neither file nor folder",
        "not-utf8-\\udcff": "its name is not UTF-8",
    }
    check_report(msgspec.json.decode((out / "report.json").read_bytes()), contents)
    assert not list(out.rglob("*.aside"))


def expected(path: str, content: bytes, out: Path) -> FileFacts:
    """What must be known of a file, computed without the engine."""
    copy = out / "copies" / f"{path}.gz"
    assert gzip.decompress(copy.read_bytes()) == content
    binary = b"\0" in content
    return FileFacts(
        path=path,
        size=len(content),
        words=0 if binary else len(content.split()),
        sha256=hashlib.sha256(content).hexdigest(),
        compressed=copy.stat().st_size,
        binary=binary,
    )


def check_report(report: dict[str, Any], contents: dict[str, bytes]) -> None:
    groups: dict[bytes, list[str]] = defaultdict(list)
    for path, content in contents.items():
        if content:
            groups[content].append(path)
    duplicates = [sorted(paths) for paths in groups.values() if len(paths) > 1]
    totals = report["totals"]
    assert totals["files"] == len(contents)
    assert totals["size"] == sum(map(len, contents.values()))
    assert totals["words"] == sum(len(content.split()) for content in contents.values() if b"\0" not in content)
    assert totals["folders"] == len({str(parent) for path in contents for parent in Path(path).parents})
    assert totals["problems"] == 4
    assert sorted(report["duplicates"]) == sorted(duplicates)
    assert report["wasted"] == sum(len(content) * (len(paths) - 1) for content, paths in groups.items())


def test_asking_again_for_a_finished_index_answers_at_once(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.txt").write_text("one two")
    printed: list[str] = []
    for _ in range(2):
        with start(tmp_path / "tree", tmp_path / "out") as program:
            printed.append(program.communicate(timeout=LIMIT_S)[0])
            assert program.returncode == 0, printed

    assert "done before" in printed[1]
    assert "1 files in 1 folders; 0 binary, skipped 0" in printed[0]


def test_a_file_that_is_gone_or_became_a_link_is_a_result_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")

    gone = index_file(tmp_path, "gone.txt", copies=tmp_path / "copies")
    link = index_file(tmp_path, "link", copies=tmp_path / "copies")

    assert (gone.problem, gone.sha256) == ("it is gone", "")
    assert link.problem
    assert not (tmp_path / "copies").exists()


def test_a_folder_that_is_gone_is_a_result_and_pages_join_up(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name).touch()

    gone = list_folder(tmp_path, "gone", but=tmp_path / "out", after=None, limit=2)
    first = list_folder(tmp_path, "", but=tmp_path / "out", after=None, limit=2)
    second = list_folder(tmp_path, "", but=tmp_path / "out", after=first.after, limit=3)

    assert [one.problem for one in gone.skipped] == ["it is gone"]
    assert (first.files, first.after) == (["a", "b"], "b")
    assert (second.files, second.after) == (["c", "d", "e"], None)


def test_words_are_counted_across_the_borders_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"hold fast  the\nkelp to the rock "
    (tmp_path / "text").write_bytes(text)
    for size in range(1, 12):
        monkeypatch.setattr("examples.index_folder.files.CHUNK", size)

        facts = index_file(tmp_path, "text", copies=tmp_path / "copies")

        assert facts.words == len(text.split())
        assert facts.sha256 == hashlib.sha256(text).hexdigest()
