"""Answers whose content is on its way for longer than a moment: downloads, event streams.

The head goes out first; from then on there is no second answer: what goes wrong cuts the
connection, which the client notices by the framing. A client that takes nothing for a while, or is
gone, ends it at once, wherever it waits. Memory does not grow with the content.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from tusd_py.protocol.answers import Answer
from tusd_py.stores.base import OpenBytes, StoreError
from tusd_py.web.handler import Connection
from tusd_py.web.sendfile import (
    FileCutShort,
    KernelPath,
    SendThreads,
    kernel_path,
    unread_bytes,
)

log = logging.getLogger(__name__)

READ_BYTES: Final = 256 * 1024
"""Pieces of a file where the kernel cannot send it itself."""
STOP_STREAM_SECONDS: Final = 1.0
"""A download holds up a stop for no longer: its client goes on with it by a range."""


class End(StrEnum):
    """How a stream ended."""

    WHOLE = "whole"
    CUT = "cut"
    """The client went or took nothing, or the server was stopped."""
    FAILED = "failed"


class Cut(Exception):
    """The client is gone, takes nothing, or has to go."""


class ClientLeft(Cut):
    """Nothing is more usual: a film is left, a page closed."""

    def __init__(self) -> None:
        super().__init__("the client is gone")


class Content(ABC):
    """What a streamed answer consists of."""

    kind: ClassVar[str]
    """For the figures."""
    length: int | None
    """How many bytes; None where that is not known: the answer is chunked then, or ends with the
    connection."""

    @abstractmethod
    async def send(self, sink: "Sink") -> None:
        """Send all of it. May be cancelled at every wait. What it raises cuts the connection."""

    @abstractmethod
    async def close(self) -> None:
        """Called once in the end, also where nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed(Answer):
    """An answer whose body is sent bit by bit. It must get to the edge, or be closed."""

    content: Content


class Sink:
    """Where one answer's content goes."""

    def __init__(
        self,
        connection: Connection,
        *,
        is_chunked: bool,
        stall_seconds: float,
        threads: SendThreads | None,
    ) -> None:
        self._connection = connection
        self._is_chunked = is_chunked
        self._stall_seconds = stall_seconds
        self._threads = threads
        self._handed = 0
        self._scope = asyncio.timeout(None)
        self._why: Cut = ClientLeft()
        self.sent_bytes = 0
        """Of the content."""

    async def write(self, data: bytes) -> None:
        """Send ``data``, and wait until the client has taken most of what was sent. Raises Cut."""
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
            self.sent_bytes += len(data)
        await self._drain()

    async def write_bytes(self, opened: OpenBytes, first: int, count: int) -> None:
        """Send ``count`` bytes of a file from ``first`` on. Raises Cut, FileCutShort, StoreError,
        OSError."""
        transport = self._transport()
        end = first + count
        if opened.descriptor is not None and not self._is_chunked and count:
            # Whatever waits in the transport's buffer has to go first, to the last byte.
            transport.set_write_buffer_limits(high=0)
            await self._drain()
            with kernel_path(transport, self._threads) as path:
                if path is not None and transport.get_write_buffer_size() == 0:
                    first += await self._send_file(path, opened.descriptor, first, count)
            transport.set_write_buffer_limits()
        while first < end:
            data = await opened.read(first, min(READ_BYTES, end - first))
            if not data:
                raise FileCutShort
            first += len(data)
            await self.write(data)

    @property
    def unread_bytes(self) -> int:
        """What was written and the client's machine has not taken yet."""
        return unread_bytes(self._transport())

    @property
    def taken_bytes(self) -> int:
        """Grows while the client takes something; what it counts from means nothing."""
        return self._handed - self.unread_bytes

    def cut(self, why: Cut) -> None:
        """End it from outside, wherever it waits."""
        self._why = why
        try:
            self._scope.reschedule(asyncio.get_running_loop().time())
        except RuntimeError:
            log.debug("stream_over_already")

    async def run(self, head: bytes, content: Content) -> None:
        """All of the answer. Raises Cut, or what ``content`` raises."""
        try:
            async with self._scope:
                self._write(head)
                await content.send(self)
                if self._is_chunked:
                    self._write(b"0\r\n\r\n")
                elif content.length not in (None, self.sent_bytes):
                    raise FileCutShort
        except TimeoutError:
            if not self._scope.expired():
                raise
            raise self._why from None
        except ConnectionError as exc:
            raise ClientLeft() from exc

    async def _send_file(self, path: KernelPath, file: int, offset: int, count: int) -> int:
        """How much of it was sent: less than ``count`` where the file cannot be sent like this."""
        sent = 0
        while sent < count:
            try:
                moved, is_full = await path.burst(file, offset + sent, count - sent)
            except ConnectionError:
                raise
            except OSError as exc:
                if sent:
                    raise
                log.debug("sendfile_not_possible", extra={"reason": repr(exc)})
                return 0
            sent += moved
            self._handed += moved
            self.sent_bytes += moved
            self._transport()
            taken = self.taken_bytes
            # To the kernel there is room only once a third of the socket's buffer is free: a slow
            # client needs its time for that.
            while is_full and not await path.room(self._stall_seconds):
                taken = self._check_progress(taken)
        return sent

    async def _drain(self) -> None:
        if not self._connection.writing_paused:
            return
        draining = asyncio.ensure_future(self._connection.drained())
        taken = self.taken_bytes
        try:
            while not draining.done():
                await asyncio.wait({draining}, timeout=self._stall_seconds)
                if not draining.done():
                    taken = self._check_progress(taken)
            await draining
        finally:
            draining.cancel()
        self._transport()

    def _check_progress(self, taken_before: int) -> int:
        if (taken := self.taken_bytes) <= taken_before:
            raise Cut("the client takes nothing")
        return taken

    def _write(self, data: bytes) -> None:
        self._transport().write(data)
        self._handed += len(data)

    def _transport(self) -> asyncio.Transport:
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ClientLeft()
        return transport


@dataclass(frozen=True, slots=True)
class Ended:
    """One stream, when it is over."""

    end: End
    sent_bytes: int


CountStream = Callable[[str, End, int], None]
"""Counts one stream: kind, how it ended, bytes."""


class Streams:
    """All that is being streamed. A stop ends it soon."""

    def __init__(
        self, threads: SendThreads | None, *, stall_seconds: float, count: CountStream
    ) -> None:
        self._threads = threads
        self._stall_seconds = stall_seconds
        self._count = count
        self._sinks: set[Sink] = set()
        self._is_over = False

    async def send(
        self,
        connection: Connection,
        frame: Callable[[], bytes],
        content: Content,
        *,
        is_chunked: bool,
    ) -> Ended:
        """Send the head, which ``frame`` makes, and the content, and close that. Raises nothing but
        CancelledError; unless it ended WHOLE, the connection is cut."""
        sink = Sink(
            connection,
            is_chunked=is_chunked,
            stall_seconds=self._stall_seconds,
            threads=self._threads,
        )
        self._sinks.add(sink)
        connection.on_lost = lambda: sink.cut(ClientLeft())
        if content.length is None:
            # A page that is closed sends a FIN and no more: nothing else would tell of it before
            # the second write after that.
            connection.on_eof = connection.on_lost
        end = End.CUT
        try:
            end = await self._run(sink, frame, content)
        finally:
            connection.on_lost = connection.on_eof = None
            self._sinks.discard(sink)
            self._count(content.kind, end, sink.sent_bytes)
            if end is not End.WHOLE and connection.transport is not None:
                connection.transport.abort()
            await _close(content)
        return Ended(end, sink.sent_bytes)

    async def _run(self, sink: Sink, frame: Callable[[], bytes], content: Content) -> End:
        try:
            if self._is_over:
                raise Cut("the server stops")
            await sink.run(frame(), content)
        except Cut as exc:
            log.log(
                logging.DEBUG if isinstance(exc, ClientLeft) else logging.INFO,
                "stream_cut",
                extra={"kind": content.kind, "sent_bytes": sink.sent_bytes, "reason": str(exc)},
            )
            return End.CUT
        except Exception:
            log.exception(
                "stream_failed", extra={"kind": content.kind, "sent_bytes": sink.sent_bytes}
            )
            return End.FAILED
        return End.WHOLE

    def stop(self) -> None:
        """What runs gets a moment more."""
        asyncio.get_running_loop().call_later(STOP_STREAM_SECONDS, self._cut_all)

    def _cut_all(self) -> None:
        self._is_over = True
        for sink in tuple(self._sinks):
            sink.cut(Cut("the server stops"))


async def _close(content: Content) -> None:
    try:
        await content.close()
    except StoreError:
        log.exception("close_failed", extra={"kind": content.kind})
