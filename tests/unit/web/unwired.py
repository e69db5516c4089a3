"""A connection without a socket: what it makes of segments that a test cuts as it likes."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from tests.unit.web.rig import until
from tusd_py.core.errors import UploadError
from tusd_py.streams import SourceEnd
from tusd_py.web.app import announced_bytes
from tusd_py.web.body import RequestBody
from tusd_py.web.exchange import Sent
from tusd_py.web.handler import Connection, EdgeServer

BUFFER = 1024
"""Bytes of a body from which on a connection is not read."""


@dataclass(frozen=True)
class Seen:
    """One request as it reached its resource."""

    target: str
    content: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()
    end: SourceEnd | None = SourceEnd.COMPLETE


class Transport(asyncio.Transport):
    """Notes whether its protocol wants to be given anything."""

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False
        self._is_closing = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True


@dataclass
class Unwired:
    """A connection, and what it made of its segments. ``pause`` cleared: bodies are not read."""

    seen: list[Seen | str] = field(default_factory=list)
    pause: asyncio.Event = field(default_factory=asyncio.Event)
    transport: Transport = field(default_factory=Transport)

    def __post_init__(self) -> None:
        self.pause.set()
        server = EdgeServer(
            self._handle,
            self._handle_error,
            access_log=None,
            auto_decompress=False,
            lingering_time=0,
            read_bufsize=BUFFER,
        )
        connection = server()
        assert isinstance(connection, Connection)
        self.connection = connection
        connection.connection_made(self.transport)

    async def _handle(self, request: web.BaseRequest) -> Any:
        body = RequestBody(
            request.content,
            announced_bytes(request),
            transport=None,
            awaits_invitation=False,
            idle_seconds=30.0,
            min_bytes_per_second=0.0,
            trailers=partial(self.connection.trailers_of, request.content),
        )
        content = b""
        await self.pause.wait()
        while data := await body.read():
            content += data
            await self.pause.wait()
        trailers: Any = body.trailers
        self.seen.append(Seen(request.path_qs, content, tuple(trailers.items()), body.end))
        body.close()
        return Sent(204, request.keep_alive and not self.connection.ends_after_this, 0)

    async def _handle_error(self, request: web.BaseRequest, error: UploadError) -> Any:
        self.seen.append(error.code)
        return Sent(400, False, 0)

    async def feed(self, *segments: bytes) -> None:
        """As a transport does: not while it is paused, and to a connection that waits."""
        await asyncio.sleep(0)
        for segment in segments:
            await until(lambda: not self.transport.is_paused)
            self.connection.data_received(segment)

    async def settled(self) -> list[Seen | str]:
        """What has been seen when nothing more is going to happen without more input."""
        await until(lambda: self.connection.is_idle or self.transport.is_closing())
        await asyncio.sleep(0)
        await until(lambda: self.connection.is_idle or self.transport.is_closing())
        return self.seen

    def is_held_back(self) -> bool:
        return self.transport.is_paused

    def ends_after_this(self) -> bool:
        return self.connection.ends_after_this

    def end(self) -> None:
        self.transport.close()
        self.connection.connection_lost(None)


async def saw(*segments: bytes) -> list[Seen | str]:
    """What a connection makes of these segments."""
    unwired = Unwired()
    try:
        await unwired.feed(*segments)
        return await unwired.settled()
    finally:
        unwired.end()


def a_head(target: str, *lines: str, method: str = "PATCH", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{method} {target} {version}", "Host: x", *lines, "", ""]).encode(
        "latin-1"
    )


def sized(target: str, content: bytes) -> bytes:
    return a_head(target, f"Content-Length: {len(content)}") + content
