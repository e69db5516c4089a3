"""The edge of the server: finds the resource, frames its answer, ends the exchange in order.

The low level of ``aiohttp.web`` is used, without its router and middlewares: a table of a few
paths needs neither, and nothing may happen between the head of a request and the checks of its
resource (aiohttp's own would send ``100 Continue`` there).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPMethod
from typing import Any, Final

from aiohttp import web

from tusd_py.core.errors import (
    BadRequest,
    ExpectationFailed,
    InternalError,
    MethodUnknown,
    NotFound,
    UploadError,
)
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.base import Translator
from tusd_py.web.body import RequestBody
from tusd_py.web.exchange import (
    UNPARSED,
    Answered,
    Exchange,
    Framer,
    Resource,
    Sent,
    ends_with_connection,
    is_chunked,
)
from tusd_py.web.handler import Connection
from tusd_py.web.interim import allows_interim
from tusd_py.web.request_id import REQUEST_ID, choose_request_id
from tusd_py.web.settings import HttpSettings
from tusd_py.web.streaming import End, Streamed, Streams

log = logging.getLogger(__name__)

METHODS: Final = frozenset(method.value for method in HTTPMethod)
QUIET: Final = frozenset({"HEAD", "OPTIONS", "GET"})
"""Methods whose successes are logged for debugging only."""
NO_ROUTE: Final = "none"
STOP_LINGER_SECONDS: Final = 1.0
"""A client that sends on and on holds up a restart for no longer; phones give up after seconds."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Where resources are. One entry makes another known."""

    exact: Mapping[str, Resource]
    prefixes: tuple[tuple[str, Resource], ...]
    """Each ends with a slash; without it the path is served as well."""
    leaves: tuple[tuple[str, str, Resource], ...] = ()
    """Prefix, last segment, and what lies under that name below each thing at the prefix."""

    def find(self, path: str) -> tuple[Resource, str] | None:
        """The resource at ``path`` and the rest of the path that is its own."""
        if (resource := self.exact.get(path)) is not None:
            return resource, ""
        for prefix, name, resource in self.leaves:
            start, end = len(prefix), len(path) - len(name) - 1
            if end > start and path.startswith(prefix) and path[end:] == f"/{name}":
                return resource, path[start:end]
        for prefix, resource in self.prefixes:
            if path.startswith(prefix):
                return resource, path[len(prefix) :]
            if len(path) + 1 == len(prefix) and prefix.startswith(path):
                return resource, ""
        return None


class Edge:
    """Answers requests. ``translator`` tells the refusals of those that name no protocol, or did
    not get so far. ``is_stopping`` makes each answer the last of its connection."""

    def __init__(
        self,
        routes: Routes,
        framer: Framer,
        settings: HttpSettings,
        translator: Translator,
        streams: Streams,
        *,
        refusal_status: Callable[[], int | None] = lambda: None,
        answered: Answered = lambda method, status, code, seconds: None,
    ) -> None:
        self._routes = routes
        self._framer = framer
        self._settings = settings
        self._translator = translator
        self._streams = streams
        self._refusal_status = refusal_status
        self._answered = answered
        self._running: set[asyncio.Task[Any]] = set()
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self.is_stopping = False

    async def wait_until_idle(self) -> None:
        """Returns when no request is being answered."""
        await self._all_answered.wait()

    async def cancel_all(self, seconds: float) -> None:
        """End requests that go on for too long; each commits what it has in a short time."""
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=seconds)

    # ------------------------------------------------------------------ one request

    async def handle(self, request: web.BaseRequest) -> Sent:
        """Answer one request, whatever it is. Only cancellation comes out."""
        began = time.perf_counter()
        task = self._begin()
        request_id = choose_request_id(request.headers.get(h.REQUEST_ID))
        marker = REQUEST_ID.set(request_id)
        exchange = self._exchange(request, request_id)
        try:
            resource, answer = await self._answer(exchange)
            sent = await self._send(exchange, resource, answer)
            self._note(exchange, resource, answer, sent, time.perf_counter() - began)
            return sent
        finally:
            exchange.body.close()
            REQUEST_ID.reset(marker)
            self._finish(task)

    async def handle_unparsed(self, request: web.BaseRequest, error: UploadError) -> Sent:
        """Answer what is not HTTP, or not enough of it. It is the last of its connection."""
        began = time.perf_counter()
        task = self._begin()
        try:
            exchange = self._exchange(request, choose_request_id(None))
            answer = self._translator.build_error(error, method="", request_id=exchange.request_id)
            sent = await self._send(exchange, None, answer)
            self._note(exchange, None, answer, sent, time.perf_counter() - began)
            return sent
        finally:
            self._finish(task)

    def _begin(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None  # aiohttp gives each request a task of its own
        self._running.add(task)
        self._all_answered.clear()
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not self._running:
            self._all_answered.set()

    def _exchange(self, request: web.BaseRequest, request_id: str) -> Exchange:
        connection = request.protocol
        assert isinstance(connection, Connection)  # we made it
        announced = announced_bytes(request)
        settings = self._settings
        expects = (
            request.headers.get(h.EXPECT, "").strip().lower() == "100-continue"
            and request.version >= (1, 1)
            and announced != 0
        )
        return Exchange(
            request=request,
            connection=connection,
            method=request.method,
            tail="",
            request_id=request_id,
            body=RequestBody(
                request.content,
                announced,
                transport=connection.transport,
                awaits_invitation=expects,
                idle_seconds=settings.body_idle_seconds,
                min_bytes_per_second=settings.min_bytes_per_second,
                trailers=lambda: connection.trailers_of(request.content),
            ),
            announced_bytes=announced,
            can_hear_interim=request.version >= (1, 1)
            and allows_interim(settings, request.headers),
        )

    async def _answer(self, exchange: Exchange) -> tuple[Resource | None, Answer]:
        resource: Resource | None = None
        error: UploadError
        try:
            check_version(exchange.request)
            exchange.method = effective_method(exchange.request)
            resource = self._find(exchange)
            check_expectation(exchange.request)
            return resource, await self._ask(resource, exchange)
        except UploadError as exc:
            error = exc
        except Exception:
            log.exception("request_failed", extra={"route": resource.name if resource else None})
            error = InternalError()
        build_error = (exchange.translator or self._translator).build_error
        return resource, build_error(
            error,
            method=exchange.method,
            request_id=exchange.request_id,
            refusal_status=self._refusal_status(),
        )

    async def _ask(self, resource: Resource, exchange: Exchange) -> Answer:
        answer = await resource.answer(exchange)
        if isinstance(answer, Streamed) and exchange.request.method == "HEAD":
            # A GET by override: on the wire there is no place for content.
            await answer.content.close()
            return Answer(answer.status, answer.headers)
        return answer

    def _find(self, exchange: Exchange) -> Resource:
        path = exchange.request.rel_url.raw_path
        if path == "*" and exchange.method == "OPTIONS":
            path = self._settings.base_path  # of the server as a whole: what it offers
        found = self._routes.find(path)
        if found is None:
            raise NotFound()
        resource, exchange.tail = found
        return resource

    # ------------------------------------------------------------------ the end of it

    async def _send(self, exchange: Exchange, resource: Resource | None, answer: Answer) -> Sent:
        request, connection = exchange.request, exchange.connection
        unread = self._unread_bytes(exchange)
        keep_alive = unread is not None and self._may_go_on(exchange, answer)

        def frame() -> bytes:
            return self._framer.frame(answer, request, exchange.request_id, keep_alive=keep_alive)

        sent_bytes = len(answer.body)
        if isinstance(answer, Streamed):
            chunked = is_chunked(answer, request)
            ended = await self._streams.send(connection, frame, answer.content, is_chunked=chunked)
            sent_bytes = ended.sent_bytes
            keep_alive = keep_alive and ended.end is End.WHOLE
        elif not connection.send(frame()) and resource is not None:
            await resource.unsent(exchange, answer)
        await connection.flush(self._settings.answer_seconds)
        if keep_alive and unread and not await self._drain(exchange):
            keep_alive = False
        if not keep_alive:
            await self._part(exchange)
        return Sent(answer.status, keep_alive, sent_bytes)

    def _may_go_on(self, exchange: Exchange, answer: Answer) -> bool:
        """Another request may follow on this connection, as far as its body does not matter."""
        request, connection = exchange.request, exchange.connection
        return (
            request.keep_alive
            # What follows a wish for another protocol may be in that protocol.
            and request.method not in ("CONNECT", UNPARSED)
            and h.UPGRADE not in request.headers
            and not connection.ends_after_this
            and not (self.is_stopping and not connection.has_more)
            and not ends_with_connection(answer, request)
        )

    async def _part(self, exchange: Exchange) -> None:
        """The last answer of a connection was sent."""
        connection, body = exchange.connection, exchange.body
        # A body that is complete leaves nothing behind that could make the kernel send a RST,
        # unless a parser that lost its way left bytes unread.
        if exchange.request.content.is_eof() and not connection.ends_after_this:
            return
        body.close()
        seconds = self._settings.refusal_drain_seconds
        if self.is_stopping:
            seconds = min(seconds, STOP_LINGER_SECONDS)
        await connection.linger(self._settings.refusal_drain_bytes, seconds)

    def _unread_bytes(self, exchange: Exchange) -> int | None:
        """How much of the body has not come yet; None where the connection cannot go on after it:
        too much, an unknown amount, or perhaps nothing at all."""
        content = exchange.request.content
        if content.is_eof():
            return 0
        if exchange.body.is_uninvited or exchange.announced_bytes is None:
            return None
        if content.exception() is not None:
            return None
        rest = exchange.announced_bytes - exchange.body.received_bytes
        return rest if rest <= self._settings.refusal_drain_bytes else None

    async def _drain(self, exchange: Exchange) -> bool:
        """Throw the rest of the body away; whether it came in time."""
        content = exchange.request.content
        exchange.body.close()
        try:
            async with asyncio.timeout(self._settings.refusal_drain_seconds):
                while not content.is_eof():
                    await content.readany()
        except TimeoutError:
            return False
        except Exception as exc:  # whatever was set on the stream: the client went
            log.debug("drain_ended", extra={"reason": repr(exc)})
            return False
        return True

    def _note(
        self,
        exchange: Exchange,
        resource: Resource | None,
        answer: Answer,
        sent: Sent,
        seconds: float,
    ) -> None:
        self._answered(exchange.method, answer.status, answer.code, seconds)
        quiet = answer.status < 400 and exchange.method in QUIET
        level = logging.DEBUG if quiet else logging.INFO
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "request",
            extra={
                "method": exchange.method,
                "route": resource.name if resource else NO_ROUTE,
                "status": answer.status,
                "code": answer.code,
                "received_bytes": exchange.body.received_bytes,
                "sent_bytes": sent.sent_bytes,
                "seconds": round(seconds, 6),
                "request_id": exchange.request_id,
            },
        )


def announced_bytes(request: web.BaseRequest) -> int | None:
    """Size of the body; None where it is chunked, 0 where there is none. The parser has refused
    values that are no numbers."""
    fields = request.headers
    if h.TRANSFER_ENCODING in fields:
        return None
    length = fields.get(h.CONTENT_LENGTH)
    return 0 if length is None else int(length)


def check_version(request: web.BaseRequest) -> None:
    """A request line without a version is HTTP/0.9 to the parser; RFC 9112 knows none such."""
    if request.version < (1, 0):
        raise BadRequest()


def effective_method(request: web.BaseRequest) -> str:
    """tus 1.0, "X-HTTP-Method-Override": the header is the method, whatever stands on the wire.

    Compared without case: one known client writes ``Patch``. Lines that differ are refused.
    """
    override = h.single(request.headers, h.METHOD_OVERRIDE)
    if override is None:
        return request.method
    method = override.upper()
    if method not in METHODS:
        raise MethodUnknown()
    return method


def check_expectation(request: web.BaseRequest) -> None:
    """RFC 9110, 10.1.1: another expectation than 100-continue may be answered with 417."""
    expectation = request.headers.get(h.EXPECT)
    if expectation is not None and expectation.strip().lower() != "100-continue":
        raise ExpectationFailed()
