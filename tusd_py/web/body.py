"""The body of one request as a ``ByteSource``, over aiohttp's ``StreamReader``.

One timer per body watches idleness and rate; a read costs no timer of its own. Time counts only
while we wait for the client: a slow disk never makes a client too slow.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from tusd_py.protocol.headers import Fields
from tusd_py.streams import ByteSource, SourceEnd

log = logging.getLogger(__name__)

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_TRAILERS: Final[Fields] = CIMultiDictProxy(CIMultiDict[str]())


class BodyBroken(Exception):
    """Set on a stream whose transfer coding cannot be followed any further."""


class _TooSlow(Exception):
    """Set on a stream whose sender fell silent, to wake who reads it."""


class RequestBody(ByteSource):
    """What the client sends with one request. ``close`` it when the request is over."""

    def __init__(
        self,
        content: StreamReader,
        announced_bytes: int | None,
        *,
        transport: asyncio.Transport | None,
        awaits_invitation: bool,
        idle_seconds: float,
        min_bytes_per_second: float,
        trailers: Callable[[], Fields] = lambda: NO_TRAILERS,
    ) -> None:
        self._content = content
        self._announced = announced_bytes
        self._transport = transport
        self._awaits_invitation = awaits_invitation
        self._idle_seconds = idle_seconds
        self._min_rate = min_bytes_per_second
        self._trailers = trailers
        self._end: SourceEnd | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_since: float | None = None
        self._waited_seconds = 0.0
        self._window_began = 0.0
        self._window_bytes = 0

    @property
    def announced_bytes(self) -> int | None:
        return self._announced

    @property
    def end(self) -> SourceEnd | None:
        return self._end

    @property
    def trailers(self) -> Fields:
        """The trailer section: names without regard to case, repeated lines apart. None of it
        before ``end`` is COMPLETE: read to the end first, also where no byte is missing any more.
        """
        return self._trailers() if self._end is SourceEnd.COMPLETE else NO_TRAILERS

    @property
    def received_bytes(self) -> int:
        """How many bytes of the body have come, read or not."""
        return self._content.total_bytes

    @property
    def is_uninvited(self) -> bool:
        """The client waits for ``100 Continue`` and has not got it: it may never send the body."""
        return self._awaits_invitation

    async def invite(self) -> None:
        if not self._awaits_invitation:
            return
        self._awaits_invitation = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(CONTINUE)

    async def read(self) -> bytes:
        if self._end is not None:
            return b""
        if self._timer is None:
            self._start_timer()
        # No byte is taken out of the stream before the last await, so cancelling loses none.
        self._waiting_since = self._loop.time()
        try:
            if self._announced is None:
                # As many chunks as the client likes, together.
                data = await self._content.readany()
            else:
                # As received: joining what waits would copy every byte once more.
                data, _ = await self._content.readchunk()
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # the stream raises what was set on it, whatever its class
            return self._ended_by(exc)
        finally:
            self._waited_seconds += self._loop.time() - self._waiting_since
            self._waiting_since = None
        if not data:
            self._finish(SourceEnd.COMPLETE)
        return data

    def close(self) -> None:
        """The request is over: nothing of it may fire any more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended_by(self, exc: Exception) -> bytes:
        """What is left, then the end. aiohttp raises at once and leaves what came in its buffer."""
        rest = salvage(self._content)
        if rest:
            return rest
        if isinstance(exc, BodyBroken):
            self._finish(SourceEnd.MALFORMED)
        elif isinstance(exc, _TooSlow):
            self._finish(SourceEnd.TOO_SLOW)
        else:
            log.debug("body_cut", extra={"reason": repr(exc)})
            self._finish(SourceEnd.HUNG_UP)
        return b""

    def _finish(self, end: SourceEnd) -> None:
        self._end = end
        self.close()

    # ------------------------------------------------------------------ the timer

    def _start_timer(self) -> None:
        self._window_began = self._loop.time()
        self._window_bytes = self._content.total_bytes
        self._timer = self._loop.call_later(self._idle_seconds, self._check)

    def _check(self) -> None:
        now = self._loop.time()
        waiting_since = self._waiting_since
        if waiting_since is not None:
            if now - waiting_since >= self._idle_seconds or self._is_below_rate(now):
                self._timer = None
                self._content.set_exception(_TooSlow())
                return
            due = min(waiting_since, now) + self._idle_seconds
        else:
            due = now + self._idle_seconds
        if now - self._window_began >= self._idle_seconds:
            self._window_began = now
            self._window_bytes = self._content.total_bytes
            self._waited_seconds = 0.0 if waiting_since is None else waiting_since - now
        due = min(due, self._window_began + self._idle_seconds)
        self._timer = self._loop.call_at(due, self._check)

    def _is_below_rate(self, now: float) -> bool:
        """Fewer bytes than the rate wants, in a whole window that was mostly spent waiting."""
        waiting_since = self._waiting_since
        if not self._min_rate or waiting_since is None:
            return False
        if now - self._window_began < self._idle_seconds:
            return False
        waited = self._waited_seconds + now - waiting_since
        received = self._content.total_bytes - self._window_bytes
        return waited * 2 >= self._idle_seconds and received < self._min_rate * waited


def salvage(content: StreamReader) -> bytes:
    """Take what a stream received before it was cut: aiohttp hands it out no more.

    The only way is its private field; where a later aiohttp has another, nothing is salvaged.
    """
    exception = content.exception()
    if not hasattr(content, "_exception") or not hasattr(content, "_buffer"):
        log.warning("salvage_not_possible")
        return b""
    if not content._buffer:
        return b""
    content._exception = None
    try:
        return content.read_nowait(-1)
    finally:
        if exception is not None:
            content._exception = exception
