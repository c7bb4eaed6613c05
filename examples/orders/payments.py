"""The outside world of the shop: payments and a warehouse, behind one HTTP server that is not always well.

    python -m examples.orders.payments --orders orders.json --ledger ledger.jsonl --seed 1

Every request carries an ``Idempotency-Key``. A key that was seen takes no effect again: it gets the first answer.
Requests are slow, are answered 503, lose their connection before or after they took effect, or are answered after
the caller has given up. What happens to the n-th request of a key follows from the seed alone, and no key fails
more than three times. The server ends when its standard input does, so it never outlives who started it.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from examples.orders.ledger import Action, Fault, Ledger, Line, Outcome
from examples.orders.model import OrderBook, read_orders

FAULTS_MAX: Final = 3
"""No key is failed more often, so that a patient caller gets through."""

FAULTS: Final[tuple[tuple[Fault, float], ...]] = (
    ("unavailable", 0.07), ("reset_before", 0.04), ("reset_after", 0.05), ("late", 0.02)
)  # fmt: skip
"""How likely each fault is."""

LATENCY_S: Final = (0.02, 0.35)
LATE_S: Final = 2.5
"""Longer than the shop waits for an answer."""

ACTIONS: Final[dict[str, Action]] = {
    "/charges": "charge", "/refunds": "refund", "/reservations": "reserve", "/releases": "release",
    "/parcels": "pack", "/unpackings": "unpack", "/shipments": "ship",
}  # fmt: skip


class Request(Struct, frozen=True, kw_only=True):
    """The body of any request; each kind uses some of the fields."""

    order: str
    amount: int = 0
    currency: str = ""
    card: str = ""
    charge: str = ""
    reservation: str = ""
    pieces: dict[str, int] = {}
    serial: str = ""
    parcel: str = ""
    parcels: list[str] = []


class Answer(Struct, frozen=True):
    """A status, a body, and what it means in the ledger."""

    status: int
    body: dict[str, Any]
    outcome: Outcome
    subject: str
    pieces: dict[str, int] = {}


class Books:
    """What the service knows: who was charged, what is in stock. One thread at a time."""

    def __init__(self, orders: OrderBook) -> None:
        self.stock = dict(orders.stock)
        self._damaged = set(orders.damaged)
        self._answers: dict[str, tuple[Action, Request, Answer]] = {}
        self._charges: dict[str, Request] = {}
        self._reservations: dict[str, dict[str, int]] = {}
        self._refunded: set[str] = set()
        self._packed: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._decide: dict[Action, Callable[[Request], Answer]] = {
            "charge": self._charge, "refund": self._refund, "reserve": self._reserve, "release": self._release,
            "pack": self._pack, "unpack": self._unpack, "ship": self._ship,
        }  # fmt: skip

    def handle(self, action: Action, request: Request, key: str) -> Answer:
        """Do what is asked, or repeat the answer that this key got before."""
        known = self._answers.get(key)
        if known is not None:
            if known[:2] != (action, request):
                return _no(422, "this key was used for something else")
            first = known[2]
            return Answer(first.status, first.body, "repeated", first.subject)
        answer = self._decide[action](request)
        self._answers[key] = (action, request, answer)
        return answer

    def _made(self, kind: str, pieces: dict[str, int] | None = None, **more: Any) -> Answer:
        self._numbers[kind] = number = self._numbers.get(kind, 0) + 1
        subject = f"{kind}-{number:05}"
        return Answer(201, {kind: subject, **more}, "made", subject, pieces or {})

    def _charge(self, request: Request) -> Answer:
        if request.card in ("tok_declined", "tok_insufficient_funds"):
            return _no(402, request.card.removeprefix("tok_"))
        answer = self._made("charge", amount=request.amount, currency=request.currency)
        self._charges[answer.subject] = request
        return answer

    def _refund(self, request: Request) -> Answer:
        charge = self._charges.get(request.charge)
        if charge is None or charge.amount != request.amount or request.charge in self._refunded:
            return _no(409, f"{request.charge} cannot be refunded")
        self._refunded.add(request.charge)
        return Answer(201, {}, "made", request.charge)

    def _reserve(self, request: Request) -> Answer:
        for sku, quantity in request.pieces.items():
            if self.stock.get(sku, 0) < quantity:
                return _no(409, f"out of stock: {sku}")
        for sku, quantity in request.pieces.items():
            self.stock[sku] -= quantity
        answer = self._made("reservation", request.pieces)
        self._reservations[answer.subject] = request.pieces
        return answer

    def _release(self, request: Request) -> Answer:
        pieces = self._reservations.pop(request.reservation, None)
        if pieces is None:
            return _no(409, f"{request.reservation} cannot be released")
        for sku, quantity in pieces.items():
            self.stock[sku] += quantity
        return Answer(201, {}, "made", request.reservation, pieces)

    def _pack(self, request: Request) -> Answer:
        if request.serial in self._damaged:
            return _no(409, f"damaged: {request.serial}")
        answer = self._made("parcel", serial=request.serial)
        self._packed.add(answer.subject)
        return answer

    def _unpack(self, request: Request) -> Answer:
        if request.parcel not in self._packed:
            return _no(409, f"{request.parcel} is not packed")
        self._packed.discard(request.parcel)
        return Answer(201, {}, "made", request.parcel)

    def _ship(self, request: Request) -> Answer:
        if not self._packed.issuperset(request.parcels):
            return _no(409, "a parcel is not packed")
        return self._made("tracking")


def _no(status: int, why: str) -> Answer:
    return Answer(status, {"error": why}, "refused", why)


class Service:
    """The books, the ledger, and the faults."""

    def __init__(self, orders: OrderBook, ledger: Ledger, *, seed: int) -> None:
        self._books = Books(orders)
        self._ledger = ledger
        self._seed = seed
        self._lock = threading.Lock()
        self._seen: dict[str, int] = {}
        self._faults: dict[str, int] = {}
        self._number = 0

    def fate(self, key: str) -> tuple[Fault | None, float]:
        """The fault that the next request of this key meets, if any, and how long it takes, in seconds."""
        with self._lock:
            seen = self._seen[key] = self._seen.get(key, 0) + 1
            dice = random.Random(f"{self._seed}:{key}:{seen}")
            latency_s, at = dice.uniform(*LATENCY_S), dice.random()
            if self._faults.get(key, 0) < FAULTS_MAX:
                for fault, likelihood in FAULTS:
                    at -= likelihood
                    if at < 0:
                        self._faults[key] = self._faults.get(key, 0) + 1
                        return fault, latency_s
            return None, latency_s

    def handle(self, action: Action, request: Request, *, key: str, fault: Fault | None) -> Answer:
        """Do it, unless the fault comes first, and write it down."""
        with self._lock:
            if fault in ("unavailable", "reset_before"):
                answer = Answer(503, {"error": "try again"}, "failed", "")
            else:
                answer = self._books.handle(action, request, key)
            self._number += 1
            self._ledger.append(
                Line(
                    number=self._number,
                    at_ms=int(time.time() * 1000),
                    action=action,
                    key=key,
                    order=request.order,
                    outcome=answer.outcome,
                    fault=fault,
                    subject=answer.subject,
                    amount=request.amount,
                    currency=request.currency,
                    pieces=answer.pieces,
                )
            )
        return answer


class Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    def do_POST(self) -> None:
        """Every request that may take effect."""
        action = ACTIONS.get(self.path)
        key = self.headers.get("Idempotency-Key")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if action is None or not key:
            self._answer(404 if action is None else 400, {"error": "no such thing, or no Idempotency-Key"})
            return
        try:
            request = msgspec.json.decode(body, type=Request)
        except msgspec.DecodeError as error:
            self._answer(400, {"error": str(error)})
            return
        assert isinstance(self.server, Server)
        service = self.server.service
        fault, latency_s = service.fate(key)
        time.sleep(latency_s)
        answer = service.handle(action, request, key=key, fault=fault)
        if fault in ("reset_before", "reset_after"):
            self._reset()
            return
        if fault == "late":
            time.sleep(LATE_S)
        # Who waited may be gone: killed, or out of patience.
        with contextlib.suppress(ConnectionError):
            self._answer(answer.status, answer.body, repeated=answer.outcome == "repeated")

    def _answer(self, status: int, body: dict[str, Any], *, repeated: bool = False) -> None:
        encoded = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        if repeated:
            self.send_header("Idempotency-Replayed", "true")
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(encoded)

    def _reset(self) -> None:
        # With a linger of zero the close is a reset, not an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet: the ledger has it all."""


class Server(ThreadingHTTPServer):
    """A thread per request; on a free port of the loopback interface."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, service: Service) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.service = service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of a request is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _end_with_input(server: Server) -> None:
    sys.stdin.read()
    server.shutdown()


def main() -> None:
    """Serve until standard input ends. Prints the server's URL as its first line."""
    parser = argparse.ArgumentParser(description="The payment service of the orders demonstration.")
    parser.add_argument("--orders", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    with contextlib.closing(Ledger(wanted.ledger)) as ledger:
        server = Server(Service(read_orders(wanted.orders), ledger, seed=wanted.seed))
        threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever(poll_interval=0.1)
        server.server_close()


if __name__ == "__main__":
    main()
