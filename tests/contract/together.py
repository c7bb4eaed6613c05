"""Several threads that do something at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 60


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of these at the same moment, each in a thread of its own; their answers, in the same order."""
    start = threading.Barrier(len(acts))
    answers: dict[int, Any] = {}
    errors: list[BaseException] = []

    def run(number: int, act: Callable[[], Any]) -> None:
        start.wait(TIMEOUT_S)
        try:
            answers[number] = act()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=one) for one in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    for error in errors:
        raise error
    return [answers[number] for number in range(len(acts))]
