"""A panel: one question to several models at once, then one answer from all of theirs.

The models are functions of this file, so that it runs anywhere; each call is a journaled step, paid for once.

    python -m examples.graphs.panel
"""

from __future__ import annotations

import asyncio

import holdfast as hf

app = hf.App("panel")


class Overloaded(Exception):
    """A model has no room just now."""


def terse(question: str) -> str:
    return f"{len(question.split())} words"


def literal(question: str) -> str:
    if hf.current_step().attempt == 1:
        raise Overloaded("try again")
    return question.upper()


def reverse(question: str) -> str:
    return " ".join(reversed(question.split()))


def synthesis(ask: dict[str, str]) -> str:
    """What the panel says, in the order of its members' names."""
    return "; ".join(f"{name}: {answer}" for name, answer in sorted(ask.items()))


QUESTION = {"question": "input.question"}
PATIENT = hf.Retry(max_attempts=5)

panel = (
    app.graph("panel")
    .parallel(
        "ask",
        {
            "terse": hf.With(terse, input=QUESTION, retry=PATIENT),
            "literal": hf.With(literal, input=QUESTION, retry=PATIENT),
            "reverse": hf.With(reverse, input=QUESTION, retry=PATIENT),
        },
    )
    .step("synthesis", synthesis)
)


async def main() -> None:
    async with app.worker(), app.client() as client:
        run = await client.start(panel, {"question": "what lasts"})
        print((await run.result(timeout=60))["synthesis"])


if __name__ == "__main__":
    asyncio.run(main())
