"""Try the installed wheel: ``<empty environment>/bin/python -I tools/wheel_smoke.py``. Fails loudly."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "holdfast"

PROGRAM = """
import asyncio
import holdfast as hf

app = hf.App("smoke")

@app.step
async def double(number: int) -> int:
    return 2 * number

@app.workflow
async def quadruple(number: int) -> int:
    return await double(await double(number))

async def main() -> None:
    async with app.worker(), app.client() as client:
        run = await client.start(quadruple, 21, key="once")
        again = await client.start(quadruple, 21, key="once")
        assert again.id == run.id
        print(await run.result(timeout=30))

asyncio.run(main())
"""


def main() -> None:
    installed = find_package()
    missing = list_files(SOURCE) ^ list_files(installed)
    if missing:
        sys.exit(f"the wheel and the source differ in: {', '.join(sorted(missing))}")
    if not (installed / "py.typed").is_file():
        sys.exit("the wheel has no py.typed")

    print(f"holdfast {version('holdfast')} in {installed}: {len(list_files(installed))} files")
    with tempfile.TemporaryDirectory() as folder:
        run(folder, str(Path(sys.executable).with_name("holdfast")), "--help", expected="worker")
        Path(folder, "program.py").write_text(PROGRAM, "utf-8")
        run(folder, sys.executable, "program.py", expected="84")


def find_package() -> Path:
    """Where the environment, not the source tree, has the package."""
    import holdfast

    installed = Path(holdfast.__file__ or "").resolve().parent
    if not installed.is_relative_to(Path(sys.prefix).resolve()):
        sys.exit(f"holdfast comes from {installed}, not from the environment {sys.prefix}")
    return installed


def list_files(package: Path) -> set[str]:
    return {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(folder: str, *command: str, expected: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    name = " ".join([Path(command[0]).name, *command[1:]])
    if done.returncode != 0 or expected not in done.stdout:
        sys.exit(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    print(f"{name}: as expected")


if __name__ == "__main__":
    main()
