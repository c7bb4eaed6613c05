"""The demonstration's processes: the payment service, and one worker at a time. All of them end with their block."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from examples.orders.service import URL_VARIABLE

ROOT: Final = Path(__file__).resolve().parents[2]
END_S: Final = 15.0
"""How long a process may take to end by itself, in seconds."""


class ProcessFailed(Exception):
    """A process of the demonstration ended when it should not; the message says what it wrote."""


@contextmanager
def payment_service(orders: Path, *, ledger: Path, seed: int) -> Generator[str]:
    """The payment service, in a process of its own; yields its URL. Raises ProcessFailed if it does not start."""
    command = [sys.executable, "-m", "examples.orders.payments", "--seed", str(seed)]
    process = subprocess.Popen(
        [*command, "--orders", str(orders.resolve()), "--ledger", str(ledger.resolve())],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the demonstration, which then ends it
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise ProcessFailed("the payment service did not start")
        yield url
    finally:
        process.stdin.close()
        _end(process)
        process.stdout.close()


class Workers:
    """Worker processes, one after the other."""

    def __init__(self, *, database: str, queue: str, service_url: str, lease_s: float, folder: Path) -> None:
        self._command = [
            str(Path(sys.executable).with_name("holdfast")), "worker", "examples.orders.workflow:app",
            "--database", database, "--queue", queue, "--lease", f"{lease_s:g}s",
        ]  # fmt: skip
        self._environment = _environment() | {URL_VARIABLE: service_url}
        self._folder = folder
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The living worker's process id. Raises ProcessFailed if there is none."""
        if self._process is None or self._process.poll() is not None:
            said = self._log.read_text("utf-8", "replace")[-2000:] if self._count else ""
            raise ProcessFailed(f"the worker is not running; it wrote:\n{said}")
        return self._process.pid

    @property
    def _log(self) -> Path:
        return self._folder / f"worker-{self._count}.log"

    def start(self) -> None:
        """Start another one."""
        self._count += 1
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it, with every process that it may have started. It gets no chance to say goodbye."""
        os.killpg(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def close(self) -> None:
        """Let the last one drain and end."""
        if self._process is not None:
            _end(self._process)


def _environment() -> dict[str, str]:
    """Ours, with these examples to be found from whatever folder the demonstration is started in."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
