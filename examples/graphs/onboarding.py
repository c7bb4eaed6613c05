"""Onboarding: an account, two records side by side, a person's approval, and the plan that was asked for.

If the approval is refused, or anything fails later, what was made is unmade.

    python -m examples.graphs.onboarding
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import holdfast as hf

app = hf.App("onboarding")

made: list[str] = []


def create_account(input: dict[str, str]) -> str:  # noqa: A002 - what the run was started with
    made.append(input["name"])
    return f"account of {input['name']}"


def delete_account(input: dict[str, str], result: str) -> None:  # noqa: A002, ARG001 - as above
    made.remove(input["name"])


def create_mailbox(account: str) -> str:
    return f"mailbox for {account}"


def create_record(account: str) -> str:
    return f"record of {account}"


def check(review: dict[str, Any]) -> bool:
    if not review["approved"]:
        raise PermissionError(f"refused by {review['by']}")
    return True


def set_up(plan: str, account: str) -> str:
    return f"{plan} plan for the {account}"


def way(plan: str) -> hf.With:
    return hf.With(set_up, input={"plan": f"'{plan}'", "account": "results.account"})


onboarding = (
    app.graph("onboarding")
    .step("account", create_account, compensate=delete_account)
    .parallel("provision", {"mail": create_mailbox, "crm": create_record})
    .approve("review", by=["ann"], escalate_after=timedelta(days=2), escalate_to=["boss"])
    .step("check", check, retry=hf.Retry.never())
    .route("plan", "input.plan", {"free": way("free"), "pro": way("pro")})
)


async def main() -> None:
    async with app.worker(), app.client() as client:
        run = await client.start(onboarding, {"name": "cho", "plan": "pro"})
        while not (waiting := (await client.approvals()).approvals):
            await asyncio.sleep(0.05)
        await client.approve(run.id, waiting[0].key, by="ann")
        print((await run.result(timeout=60))["plan"]["result"])


if __name__ == "__main__":
    asyncio.run(main())
