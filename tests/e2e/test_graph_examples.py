"""The graphs of the examples: they run as printed, undo what was refused, and look as their pictures show."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import holdfast as hf
from examples.graphs import etl, onboarding, panel
from holdfast.core.definitions import draw_svg

ROOT: Final = Path(__file__).resolve().parents[2]
PICTURES: Final = ROOT / "docs" / "guide" / "pictures"
GRAPHS: Final = {"etl": etl.etl, "panel": panel.panel, "onboarding": onboarding.onboarding}
PRINTED: Final = {
    "etl": "3 rows of 3 people\n",
    "panel": "literal: WHAT LASTS; reverse: lasts what; terse: 2 words\n",
    "onboarding": "pro plan for the account of cho\n",
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.requirement("S-19", "O-05")
def test_an_example_prints_what_it_came_to(name: str, tmp_path: Path) -> None:
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": search, "HOLDFAST_DATABASE_URL": f"sqlite:///{tmp_path / 'runs.db'}"}

    done = subprocess.run(
        [sys.executable, "-m", f"examples.graphs.{name}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, PRINTED[name]), done.stderr


@pytest.mark.parametrize("name", GRAPHS)
def test_a_picture_in_the_docs_shows_the_graph_as_it_is(name: str) -> None:
    drawn = draw_svg(GRAPHS[name].build())

    assert (PICTURES / f"{name}.svg").read_text("utf-8") == drawn


@pytest.mark.requirement("S-32", "promise-8")
def test_an_account_that_a_person_refuses_is_unmade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", f"sqlite:///{tmp_path / 'runs.db'}")

    async def refuse() -> hf.Run:
        async with onboarding.app.worker(), onboarding.app.client() as client:
            run = await client.start(onboarding.onboarding, {"name": "dan", "plan": "free"})
            while not (waiting := (await client.approvals()).approvals):
                await asyncio.sleep(0.02)
            await client.reject(run.id, waiting[0].key, by="ann")
            return await client.wait_for_end(run.id, timeout=30)

    ended = asyncio.run(refuse())

    assert (ended.status, ended.terminal_reason) == (hf.RunStatus.FAILED, "compensated")
    assert onboarding.made == []
