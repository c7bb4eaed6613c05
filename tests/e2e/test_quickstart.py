"""The first program that people run: killed or interrupted in the middle, it goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import holdfast as hf

PROGRAM: Final = Path(__file__).resolve().parents[2] / "examples" / "quickstart.py"
LIMIT_S: Final = 40


def start(folder: Path) -> subprocess.Popen[str]:
    # -u: what a killed program had printed into a buffer would be lost.
    return subprocess.Popen(
        [sys.executable, "-u", str(PROGRAM)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_until_it_waits(folder: Path, how: signal.Signals) -> str:
    """Everything that the program printed until it was stopped in that way while its run waited."""
    with start(folder) as program:
        assert program.stdout is not None
        printed = program.stdout.readline()
        with hf.connect_sync(f"sqlite:///{folder / 'holdfast.db'}") as client:
            while not client.list(status="waiting").runs:
                try:
                    program.wait(timeout=0.02)
                except subprocess.TimeoutExpired:
                    continue
                raise AssertionError(f"it ended before it waited: {printed}{program.communicate()[0]}")
        program.send_signal(how)
        return printed + program.communicate(timeout=LIMIT_S)[0]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
@pytest.mark.requirement("promise-1", "promise-2", "S-05")
def test_the_first_program_goes_on_where_it_was_stopped(tmp_path: Path, how: signal.Signals) -> None:
    first = run_until_it_waits(tmp_path, how)

    with start(tmp_path) as program:
        second = program.communicate(timeout=LIMIT_S)[0]

    assert program.returncode == 0, second
    assert "Traceback" not in first + second
    assert (first + second).count("charging order-42") == 1
    assert first.startswith("started")
    assert second.startswith("going on")
    assert second.splitlines()[-1] == "shipped order-42 with receipt for order-42"
    with hf.connect_sync(f"sqlite:///{tmp_path / 'holdfast.db'}") as client:
        (run,) = client.list().runs
        charges = [entry for entry in client.detail(run.id).journal if entry.name == "charge"]
    assert (run.status, run.key) == (hf.RunStatus.COMPLETED, "order-42")
    assert [entry.epoch for entry in charges] == [1]


def test_the_first_program_fits_on_a_page() -> None:
    assert len([line for line in PROGRAM.read_text("utf-8").splitlines() if line.strip()]) <= 30
