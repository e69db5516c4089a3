"""Our own aiohttp connection: errors in our words, half-closed clients answered, orderly ends.

What aiohttp's ``RequestHandler`` does not do, and what is done here instead:

* its own error answers carry neither our headers nor our body: ``_make_error_handler``;
* its parser drops trailers, and good bytes before bad ones: ``intake``;
* a client that closes its sending half is dropped with its answer unsent: ``eof_received``;
* a refused body is read for a time without bound in bytes, then the connection is closed with bytes
  unread, which makes the kernel send a RST that can destroy the answer: ``linger``.

It rests on a few private names of aiohttp 3.14; ``check_aiohttp`` says at start where one is gone.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import web, web_protocol
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from tusd_py.core.errors import BadRequest, HeadersTooLarge, MethodUnknown, UploadError
from tusd_py.web.intake import Intake

log = logging.getLogger(__name__)

Handle = Callable[[web.BaseRequest], Awaitable[Any]]
HandleError = Callable[[web.BaseRequest, UploadError], Awaitable[Any]]

# Where llhttp stops at the method aiohttp quotes the line: a token there is an unknown method.
_METHOD_LINE: Final = re.compile(r"\bb['\"]([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32})(?: |['\"])")
_PRIVATE: Final = (
    "_messages",
    "_waiter",
    "_request_count",
    "_force_close",
    "_close",
    "_max_msg_queue_size",
    "_reading_paused",
)


def check_aiohttp() -> None:
    """Raises RuntimeError where the installed aiohttp lacks a private name that is used here."""
    known = set(RequestHandler.__slots__) | set(RequestHandler.__mro__[1].__slots__)  # type: ignore[attr-defined]
    missing = [name for name in _PRIVATE if name not in known]
    missing += [
        name for name in ("_make_error_handler", "start") if not hasattr(RequestHandler, name)
    ]
    if not hasattr(web_protocol, "_ErrInfo"):
        missing.append("_ErrInfo")
    if missing:
        raise RuntimeError(f"this aiohttp lacks {', '.join(missing)}; install another 3.x version")


class Connection(Intake):
    """One client connection."""

    __slots__ = ("_discarded", "_gone", "_handle_error", "_has_half_closed", "on_eof", "on_lost")

    def __init__(self, manager: "EdgeServer", **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._handle_error: HandleError = manager.handle_error
        self._has_half_closed = False
        self._discarded: int | None = None
        """How many bytes may still be thrown away; None while they are parsed."""
        self._gone: asyncio.Future[None] | None = None
        self.on_lost: Callable[[], None] | None = None
        """Called once the connection is gone: for answers that are written over a long time."""
        self.on_eof: Callable[[], None] | None = None
        """Called when the client closes its half: for answers that have no end of their own."""

    # ------------------------------------------------------------------ questions

    @property
    def is_idle(self) -> bool:
        """No request is being answered or waits for that."""
        waiter = self._waiter
        return (waiter is not None and not waiter.done()) or self._request_count == 0

    @property
    def is_fresh(self) -> bool:
        """Its first request has not come yet; it is probably on its way."""
        return self._request_count == 0 and self.transport is not None

    @property
    def ends_after_this(self) -> bool:
        """Nothing can follow the request that is being answered."""
        return (self._is_broken or self._has_half_closed) and not self._messages

    @property
    def has_more(self) -> bool:
        """Requests that came in a pipeline behind the present one."""
        return bool(self._messages)

    # ------------------------------------------------------------------ what the transport calls

    def data_received(self, data: bytes) -> None:
        if self._discarded is not None:
            self._discard(len(data))
            return
        super().data_received(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client has nothing more to send. True keeps our half open for its answers."""
        self._has_half_closed = True
        self._set_gone()
        if self.on_eof is not None:
            self.on_eof()
        if self._discarded is not None or self.is_idle:
            return None
        self._end_open_body(ConnectionResetError("the client closed its half within a body"))
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._set_gone()
        if self.on_lost is not None:
            self.on_lost()

    # ------------------------------------------------------------------ answers

    def send(self, data: bytes) -> bool:
        """Write an answer; False where the client has gone already."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data)
        return True

    async def flush(self, seconds: float) -> None:
        """Wait while the client takes nothing; cut it off where that lasts too long."""
        if not self.writing_paused:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._drain_helper()
        except TimeoutError:
            log.info("client_takes_no_answer")
            if self.transport is not None:
                self.transport.abort()
        except ConnectionError:
            self.force_close()

    async def drained(self) -> None:
        """Wait until the transport wants more. Raises ConnectionError where it is gone. Not to be
        cancelled but for the end of the connection."""
        await self._drain_helper()

    async def linger(self, max_bytes: int, seconds: float) -> None:
        """After the last answer: close our half, throw away what still comes, up to a bound.

        No parser sees any of it. Closing at once would answer it with a RST, on which the client's
        kernel may forget the answer before the client has read it.
        """
        transport = self.transport
        if transport is None or transport.is_closing() or self._has_half_closed:
            return
        self._discarded = max_bytes
        self._gone = self._loop.create_future()
        if transport.can_write_eof():
            transport.write_eof()
        with suppress(RuntimeError):
            transport.resume_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone
        if self.transport is not None:
            self.transport.close()

    def _discard(self, size: int) -> None:
        self._discarded = (self._discarded or 0) - size
        if self._discarded <= 0 and self.transport is not None:
            # Not closed yet: the client is held back instead, and gets its time to read.
            with suppress(RuntimeError):
                self.transport.pause_reading()

    def _set_gone(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    # ------------------------------------------------------------------ errors of the parser

    def _make_error_handler(self, err_info: Any) -> Handle:
        error = _translate(err_info.exc)

        async def handle(request: web.BaseRequest) -> Any:
            return await self._handle_error(request, error)

        return handle


def _translate(exc: BaseException) -> UploadError:
    """Which of our errors aiohttp's parser meant."""
    log.debug("bad_request", extra={"reason": repr(exc)[:500]})
    if isinstance(exc, LineTooLong):
        return HeadersTooLarge()
    text = exc.message if isinstance(exc, HttpProcessingError) else ""
    if "Too many" in text:
        return HeadersTooLarge()
    if isinstance(exc, BadHttpMethod) and _METHOD_LINE.search(text):
        return MethodUnknown()
    return BadRequest()


class EdgeServer(web.Server):
    """Makes a ``Connection`` of each connection, with the settings on purpose."""

    def __init__(self, handle: Handle, handle_error: HandleError, **kwargs: Any) -> None:
        async def handle_and_forget(request: web.BaseRequest) -> Any:
            try:
                return await handle(request)
            finally:
                if isinstance(request.protocol, Connection):
                    request.protocol.forget(request.content)

        super().__init__(handle_and_forget, handler_cancellation=False)
        self.handle_error = handle_error
        self._connection_kwargs = kwargs

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._connection_kwargs)
