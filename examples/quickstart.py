"""Run it, press Ctrl-C while it waits, and run it again: it goes on where it was."""

import asyncio
import contextlib

import holdfast as hf

app = hf.App("quickstart")  # keeps its runs in ./holdfast.db


@app.step
async def charge(order: str) -> str:
    print(f"charging {order}: this line is printed once")
    return f"receipt for {order}"


@app.workflow
async def fulfil(order: str) -> str:
    receipt = await charge(order)  # journaled: once recorded, it never runs again
    await hf.sleep(5)  # survives the process
    return f"shipped {order} with {receipt}"


async def main() -> None:
    async with app.worker(), app.client() as client:
        run = await client.start(fulfil, "order-42", key="order-42")  # the same key, the same run
        print("started: now press Ctrl-C, or kill this" if run.created else "going on with the run of before")
        print(await run.result())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
