"""What the benchmarks share: fresh databases, and workers in processes of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.postgres_server import database_url

Figures = dict[str, Any]


def run_json(module: str, *arguments: str) -> Figures:
    """What a benchmark program prints, as its process."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stdout}{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


class Databases:
    """Fresh databases of one kind."""

    def __init__(self, kind: str, folder: Path, server: str | None) -> None:
        self.kind = kind
        self._folder = folder
        self._server = server
        self._number = 0

    def fresh(self) -> str:
        """The URL of an empty database."""
        self._number += 1
        if self._server is None:
            return f"sqlite:///{self._folder / f'{self._number}.db'}"
        name = f"bench_{self._number}"
        with psycopg.connect(self._server, autocommit=True) as connection:
            for command in ("drop database if exists {} with (force)", "create database {}"):
                connection.execute(sql.SQL(command).format(sql.Identifier(name)))
        return database_url(self._server, name)


@contextlib.contextmanager
def worker(url: str, *options: str) -> Generator[subprocess.Popen[str], None, None]:
    """A worker process that is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker", url, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", "the worker did not start"
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate() if process.stdin is None else process.stdin.close()
            process.wait(30)


def ask(process: subprocess.Popen[str]) -> tuple[int, int, int]:
    """A worker's memory in KiB, its calls to the store so far, and the runs that it holds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    memory, calls, runs = process.stdout.readline().split()
    return int(memory), int(calls), int(runs)
