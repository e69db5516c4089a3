"""A receiver of webhooks that remembers everything, and can be away in every way there is.

It checks the Standard Webhooks signature of each delivery by code of its own, so that the
server's signing is judged by another hand.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes for the tests..").decode()
TOLERANCE_SECONDS = 300


class BadSignature(Exception):
    """A delivery that a careful receiver would throw away."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver says to one delivery. ``hang`` says nothing until the sender gives up."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False


OK = Answer()
FAILS = Answer(500)
HANGS = Answer(hang=True)


def slow_down(seconds: int) -> Answer:
    """429 with ``Retry-After``."""
    return Answer(429, {"Retry-After": str(seconds)})


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request that came in, taken or not."""

    headers: CIMultiDictProxy[str]
    body: bytes
    event: dict[str, Any]
    """The CloudEvent; empty when the body is no JSON object."""
    answer: Answer
    problem: str | None
    """Why the signature is not good; None when it is."""
    at: float
    """When, by ``time.monotonic``."""

    @property
    def taken(self) -> bool:
        return not self.answer.hang and 200 <= self.answer.status < 300

    @property
    def event_id(self) -> str:
        return str(self.event.get("id", ""))

    @property
    def kind(self) -> str:
        """``upload.completed`` and so on."""
        return str(self.event.get("type", ""))

    @property
    def data(self) -> dict[str, Any]:
        data = self.event.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def upload_id(self) -> str:
        return str(self.data.get("upload_id") or self.event.get("subject") or "")


class Receiver:
    """Listens on loopback, on one port all its life, in the test's own loop."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.port = 0
        self.default = OK
        """The answer when none is queued."""
        self.deliveries: list[Delivery] = []
        """Everything that came, refused ones too, oldest first."""
        self._answers: deque[Answer] = deque()
        self._runner: web.ServerRunner | None = None
        self._grown = asyncio.Condition()
        self._leaving = asyncio.Event()
        self._seen = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go_away()

    async def come_back(self) -> None:
        """Accept connections, on the same port as before."""
        if self._runner is not None:
            return
        self._leaving = asyncio.Event()
        self._runner = web.ServerRunner(web.Server(self._receive), shutdown_timeout=1)
        await self._runner.setup()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def go_away(self) -> None:
        """Refuse connections; the open ones are ended."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            self._leaving.set()
            await runner.cleanup()

    def answer(self, *answers: Answer) -> None:
        """Queue answers; each delivery takes one, after them comes ``default``."""
        self._answers.extend(answers)

    @property
    def taken(self) -> list[Delivery]:
        """The deliveries that were answered 2xx."""
        return [delivery for delivery in self.deliveries if delivery.taken]

    def of(self, upload_id: str, kind: str | None = None) -> list[Delivery]:
        """What was taken about one upload, oldest first."""
        return [
            delivery
            for delivery in self.taken
            if delivery.upload_id == upload_id and kind in (None, delivery.kind)
        ]

    async def next(self, *, seconds: float = 20.0) -> Delivery:
        """The first delivery that no earlier ``next`` has returned."""
        async with asyncio.timeout(seconds), self._grown:
            await self._grown.wait_for(lambda: len(self.deliveries) > self._seen)
            self._seen += 1
            return self.deliveries[self._seen - 1]

    async def until(
        self, satisfied: Callable[["Receiver"], bool], *, seconds: float = 20.0
    ) -> None:
        """Wait until the deliveries satisfy ``satisfied``; asked after each one."""
        async with asyncio.timeout(seconds), self._grown:
            await self._grown.wait_for(lambda: satisfied(self))

    async def told(self, upload_id: str, kind: str, *, seconds: float = 20.0) -> Delivery:
        """Wait until this kind of event of this upload has been taken."""
        await self.until(lambda self: bool(self.of(upload_id, kind)), seconds=seconds)
        return self.of(upload_id, kind)[0]

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        answer = self._answers.popleft() if self._answers else self.default
        delivery = Delivery(
            headers=CIMultiDictProxy(CIMultiDict(request.headers)),
            body=body,
            event=_parse_event(body),
            answer=answer,
            problem=self._problem_of(request.headers, body),
            at=time.monotonic(),
        )
        async with self._grown:
            self.deliveries.append(delivery)
            self._grown.notify_all()
        if answer.hang:
            await self._leaving.wait()
            if request.transport is not None:
                request.transport.abort()
        return web.Response(status=answer.status, headers=dict(answer.headers))

    def _problem_of(self, headers: Mapping[str, str], body: bytes) -> str | None:
        try:
            verify_signature(self.secret, headers, body, now=time.time())
        except BadSignature as problem:
            return str(problem)
        return None


@asynccontextmanager
async def receiving(secret: str = SECRET) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    async with Receiver(secret) as receiver:
        yield receiver


def verify_signature(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Standard Webhooks: raises BadSignature unless one ``v1`` signature is right and fresh.

    Look-up in ``headers`` must ignore case.
    """
    try:
        message_id = headers["webhook-id"]
        timestamp = headers["webhook-timestamp"]
        signatures = headers["webhook-signature"]
    except KeyError as missing:
        raise BadSignature(f"no header {missing}") from None
    if not (timestamp.isascii() and timestamp.isdigit()):
        raise BadSignature(f"timestamp {timestamp!r} is not in whole seconds")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise BadSignature(f"timestamp {timestamp} is too far from {now:.0f}")
    if not message_id or "." in message_id:
        raise BadSignature(f"id {message_id!r} cannot be told apart from the timestamp")
    expected = (
        "v1,"
        + base64.b64encode(
            hmac.digest(
                base64.b64decode(secret.removeprefix("whsec_"), validate=True),
                f"{message_id}.{timestamp}.".encode() + body,
                hashlib.sha256,
            )
        ).decode()
    )
    if not any(hmac.compare_digest(expected, given) for given in signatures.split(" ")):
        raise BadSignature(f"none of {signatures!r} is right")


def _parse_event(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
