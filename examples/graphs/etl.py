"""A DAG: extract once, clean and index side by side, load when both are done.

python -m examples.graphs.etl
"""

from __future__ import annotations

import asyncio
from collections import Counter

import holdfast as hf

app = hf.App("etl")

Row = dict[str, str]


def extract(input: str) -> list[Row]:  # noqa: A002 - what the run was started with
    return [dict(zip(("name", "city"), line.split(","), strict=True)) for line in input.splitlines()]


def clean(extract: list[Row]) -> list[Row]:
    """Drop what has no city, and say cities alike."""
    return [{**row, "city": row["city"].strip().title()} for row in extract if row["city"].strip()]


def index(extract: list[Row]) -> dict[str, int]:
    """How often each name occurs."""
    return dict(Counter(row["name"] for row in extract))


def load(clean: list[Row], index: dict[str, int]) -> str:
    return f"{len(clean)} rows of {len(index)} people"


etl = app.graph("etl")
etl.step("extract", extract)
etl.step("clean", clean, after="extract")
etl.step("index", index, after="extract")
etl.step("load", load, after=["clean", "index"])

PEOPLE = "ann,oslo\nbob, paris \nann,\ncho,seoul"


async def main() -> None:
    async with app.worker(), app.client() as client:
        run = await client.start(etl, PEOPLE)
        print((await run.result(timeout=60))["load"])


if __name__ == "__main__":
    asyncio.run(main())
