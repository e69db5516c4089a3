"""A small tus client on bare sockets, made to cost next to nothing beside the server it measures.

Requests are built before the clock runs. Bodies come out of one file in memory by ``sendfile``.
"""

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Self

HEAD_END: Final = b"\r\n\r\n"
READ_BYTES: Final = 64 * 1024
ANSWER_SECONDS: Final = 20.0
HOST: Final = "127.0.0.1"


class BenchError(Exception):
    """A server did not do what the measurement needs; the text says what it did."""


class TooSlow(BenchError):
    """Nothing moved for as long as the connection waits."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of an answer."""

    head: bytes

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    def header(self, name: str) -> str | None:
        """``name`` in lower case."""
        marker = b"\r\n" + name.encode() + b":"
        at = self.head.lower().find(marker)
        if at < 0:
            return None
        start = at + len(marker)
        return self.head[start : self.head.index(b"\r\n", start)].strip().decode("latin-1")

    def expect(self, *statuses: int) -> Self:
        if self.status not in statuses:
            line = self.head.split(b"\r\n", 1)[0].decode("latin-1")
            raise BenchError(f"answered {line!r}, not {' or '.join(map(str, statuses))}")
        return self

    @property
    def path(self) -> str:
        """Of the upload that was created, from ``Location``, which may be a whole address."""
        location = self.header("location") or ""
        start = location.find("//")
        # //host/path and scheme://host/path; a path alone is what it is.
        at = location.find("/", start + 2) if start >= 0 else 0
        if not location.startswith("/", at):
            raise BenchError(f"Location is {location!r}")
        return location[at:]


def reply_end(data: bytes | bytearray, *, bodiless: bool) -> int | None:
    """Where the answer at the start of ``data`` ends; None while more of it has to come."""
    at = data.find(HEAD_END)
    if at < 0:
        return None
    end = at + len(HEAD_END)
    if bodiless:
        return end
    reply = Reply(bytes(data[:end]))
    if (length := reply.header("content-length")) is not None:
        end += int(length)
        return end if len(data) >= end else None
    if (reply.header("transfer-encoding") or "").lower() == "chunked":
        last = data.find(b"0" + HEAD_END, end)
        return None if last < 0 else last + 5
    return end


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where uploads are created, and the requests that go there."""

    port: int
    path: str
    create_headers: Mapping[str, str] = field(default_factory=dict)

    def create(self, length: int, **more: str) -> bytes:
        """``more``: further headers."""
        own = {name.replace("_", "-"): value for name, value in more.items()}
        return self._request(
            "POST",
            self.path,
            {"Upload-Length": length, "Content-Length": 0, **self.create_headers, **own},
        )

    def patch(self, path: str, offset: int, length: int) -> bytes:
        """The head; ``length`` bytes have to follow."""
        return self._request(
            "PATCH",
            path,
            {
                "Upload-Offset": offset,
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": length,
            },
        )

    def head(self, path: str) -> bytes:
        return self._request("HEAD", path, {})

    def options(self) -> bytes:
        return self._request("OPTIONS", self.path, {})

    def delete(self, path: str) -> bytes:
        return self._request("DELETE", path, {})

    def _request(self, method: str, path: str, headers: Mapping[str, object]) -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {HOST}:{self.port}",
            "Tus-Resumable: 1.0.0",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


class Connection:
    """One connection, used by one thread."""

    def __init__(self, port: int, *, seconds: float = ANSWER_SECONDS) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=seconds)
        # The kernel keeps the time: Python's own time-outs cost a poll before each call.
        self.socket.settimeout(None)
        timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, timeval)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()

    def ask(self, request: bytes) -> Reply:
        """One request without a body, or with the body behind its head, and its answer."""
        self.socket.sendall(request)
        return self.answer(bodiless=request.startswith(b"HEAD"))

    def answer(self, *, bodiless: bool = False) -> Reply:
        """The next answer. Raises TooSlow when it takes too long."""
        while (end := reply_end(self._received, bodiless=bodiless)) is None:
            try:
                data = self.socket.recv(READ_BYTES)
            except BlockingIOError:
                raise TooSlow("the server did not answer in time") from None
            if not data:
                raise BenchError("the server hung up before it answered")
            self._received += data
        reply = Reply(bytes(self._received[: self._received.index(HEAD_END) + len(HEAD_END)]))
        del self._received[:end]
        return reply

    def send_body(self, body: int, count: int) -> None:
        """``count`` bytes from the start of the file ``body``; several may send it at a time."""
        sent = 0
        while sent < count:
            try:
                sent += os.sendfile(self.socket.fileno(), body, sent, count - sent)
            except BlockingIOError:
                raise TooSlow("the server stopped reading") from None

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def body_file(count: int) -> int:
    """A file in memory with ``count`` bytes that do not compress; it lives as long as we do."""
    body = os.memfd_create("bench-body")
    block = os.urandom(1 << 20)
    for start in range(0, count, len(block)):
        os.write(body, block[: count - start])
    return body
