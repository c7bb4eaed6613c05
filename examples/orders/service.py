"""How the shop calls the payment service: plain HTTP, with the step's idempotency key in every request."""

from __future__ import annotations

import os
from http.client import HTTPConnection, HTTPException
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

import holdfast as hf

T = TypeVar("T")

URL_VARIABLE: Final = "ORDERS_SERVICE_URL"
PATIENCE_S: Final = 2.0
"""How long the shop waits for an answer. The charge may have been made all the same; the key tells on the next try."""


class Refused(hf.NonRetryable):
    """The service said no, and will say so again."""


class CardDeclined(Refused):
    """The customer's bank said no."""


class CannotSupply(Refused):
    """Out of stock, or damaged."""


class ServiceUnreachable(Exception):
    """No answer, or one that makes no sense. Whether the request took effect is not known."""


def post(path: str, body: dict[str, Any], answer: type[T] | Any) -> T:
    """Ask the service to do something, once per step however often this is called.

    Raises:
        CardDeclined, CannotSupply, Refused: it said no.
        hf.RetryAfter: it is busy and says when to come back.
        ServiceUnreachable: there was no answer.
    """
    step = hf.current()
    assert isinstance(step, hf.StepInfo), "only steps call the service"
    status, text, retry_after = _exchange(path, msgspec.json.encode(body), step.idempotency_key)
    if status == 201:
        return msgspec.json.decode(text, type=answer)
    if status == 503:
        raise hf.RetryAfter(float(retry_after or 1), "the service is busy")
    why = text.decode(errors="replace")
    raise {402: CardDeclined, 409: CannotSupply}.get(status, Refused)(f"{status} {why}")


def _exchange(path: str, body: bytes, key: str) -> tuple[int, bytes, str | None]:
    connection = HTTPConnection(urlsplit(os.environ[URL_VARIABLE]).netloc, timeout=PATIENCE_S)
    try:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        connection.request("POST", path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers.get("Retry-After")
    except (OSError, HTTPException) as error:
        raise ServiceUnreachable(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
