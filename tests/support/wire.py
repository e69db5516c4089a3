"""A raw HTTP/1.1 client: it sends any bytes one likes, and reads answers strictly.

``Wire`` is one connection. Heads, bodies and chunks may be sent in pieces, wrongly framed, in
a pipeline, and the connection may be half-closed or reset at any byte. Answers are framed by
the method that stood on the wire, in the order of the requests.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)\r\n")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*\r\n", re.DOTALL)
DIGITS = re.compile(r"[0-9]+")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[^\r\n]*)?\r\n")
ANSWER_SECONDS = 20.0


class WireError(Exception):
    """The server sent something that is no HTTP/1.1 answer to this request."""


class Hangup(Exception):
    """The connection ended before the answer did. ``received`` is what came of it."""

    def __init__(self, why: str, received: bytes = b"") -> None:
        super().__init__(f"{why} after {received[:200]!r}")
        self.received = received


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, interim (1xx) or final."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    """Names keep their case, repeated lines stay apart, look-up ignores case."""
    body: bytes = b""
    interim: tuple["Response", ...] = ()
    """The 1xx answers that came before a final one."""
    version: tuple[int, int] = (1, 1)

    @property
    def offset(self) -> int:
        """``Upload-Offset``; KeyError without one."""
        return int(self.headers["Upload-Offset"])

    @property
    def length(self) -> int | None:
        value = self.headers.get("Upload-Length")
        return None if value is None else int(value)

    @property
    def location(self) -> str:
        """``Location``; KeyError without one."""
        return self.headers["Location"]

    @property
    def closes(self) -> bool:
        """The answer says that the connection ends with it."""
        tokens = ",".join(self.headers.getall("Connection", [])).lower()
        said = {token.strip() for token in tokens.split(",")}
        return "close" in said or (self.version == (1, 0) and "keep-alive" not in said)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Wire:
    """One connection to a server. Use ``Wire.to(url)`` or ``async with connected(url)``."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, netloc: str
    ) -> None:
        self.netloc = netloc
        """What goes into ``Host``."""
        self._reader = reader
        self._writer = writer
        self._methods: deque[str] = deque()
        self._finished = False

    @classmethod
    async def to(cls, url: str) -> Self:
        """Connect to the server that serves ``url``."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or 80, limit=1024 * 1024
        )
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer, parts.netloc)

    # --- sending

    async def send(self, data: bytes) -> None:
        """Send bytes as they are. Raises ConnectionError when the connection is gone."""
        self._writer.write(data)
        await self._writer.drain()

    async def send_head(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        *,
        host: str | None = "",
        version: str = "HTTP/1.1",
    ) -> None:
        """Send a request's head, and remember its method for the answer.

        ``host``: the empty string is the address connected to, None sends no Host.
        """
        await self.send(self.head(method, target, headers, host=host, version=version))
        self.expect_answer(method)

    def head(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        *,
        host: str | None = "",
        version: str = "HTTP/1.1",
    ) -> bytes:
        """The bytes of a request's head, nothing added but Host."""
        lines = [f"{method} {path_of(target)} {version}"]
        if host is not None:
            lines.append(f"Host: {host or self.netloc}")
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        lines += [f"{name}: {value}" for name, value in pairs]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def expect_answer(self, method: str) -> None:
        """For heads sent as bare bytes: an answer to ``method`` is going to come."""
        self._methods.append(method)

    async def send_chunk(self, data: bytes, *, extension: str = "") -> None:
        """Send one chunk of a chunked body."""
        if data:
            await self.send(b"%x%s\r\n%s\r\n" % (len(data), extension.encode(), data))

    async def end_chunks(self, trailers: Headers = ()) -> None:
        """End a chunked body."""
        pairs = trailers.items() if isinstance(trailers, Mapping) else trailers
        lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
        await self.send(f"0\r\n{lines}\r\n".encode("latin-1"))

    # --- receiving

    async def read_any(self, *, seconds: float = ANSWER_SECONDS) -> Response:
        """The next answer, interim or final. A final one takes its request off the list."""
        if not self._methods:
            raise AssertionError("no request was sent whose answer could come")
        async with asyncio.timeout(seconds):
            response = await self._read_head()
            if response.status < 200 and response.status != 101:
                return response
            method = self._methods.popleft()
            return _with_body(response, await self._read_body(method, response))

    async def read_response(self, *, seconds: float = ANSWER_SECONDS) -> Response:
        """The next final answer, with the interim ones before it."""
        interim: list[Response] = []
        async with asyncio.timeout(seconds):
            while (response := await self.read_any(seconds=seconds)).status < 200:
                interim.append(response)
        return _with_body(response, response.body, tuple(interim))

    async def read_stream_head(self, *, seconds: float = ANSWER_SECONDS) -> Response:
        """The head of the next answer, whose chunks are then read one by one: ``read_chunk``."""
        method = self._methods.popleft()
        async with asyncio.timeout(seconds):
            response = await self._read_head()
        if method == "HEAD" or response.headers.get("Transfer-Encoding") != "chunked":
            raise WireError(f"no stream: {response}")
        return response

    async def read_chunk(self, *, seconds: float = ANSWER_SECONDS) -> bytes:
        """The next chunk of a stream; empty at its end."""
        async with asyncio.timeout(seconds):
            return await self._read_chunk()

    async def read_continue(self, *, seconds: float = ANSWER_SECONDS) -> Response | None:
        """None when ``100 Continue`` comes, else the final answer that came instead of it."""
        response = await self.read_any(seconds=seconds)
        while response.status < 200 and response.status != 100:
            response = await self.read_any(seconds=seconds)
        return None if response.status == 100 else response

    async def request(
        self, method: str, target: str, headers: Headers = (), body: bytes | None = None
    ) -> Response:
        """Send one request, ``Content-Length`` added when there is a body, and read the answer.

        A server may refuse and hang up while the body is sent; its answer is read all the same.
        """
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if body is not None and not any(name.lower() == "content-length" for name, _ in pairs):
            pairs.append(("Content-Length", str(len(body))))
        await self.send_head(method, target, pairs)
        sending = asyncio.create_task(self._send_body(body or b""))
        try:
            return await self.read_response()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def is_closed(self, *, seconds: float = ANSWER_SECONDS) -> bool:
        """Wait until the server ends the connection, by FIN or RST, without another byte."""
        if self._methods:
            raise AssertionError(f"answers are outstanding: {list(self._methods)}")
        try:
            async with asyncio.timeout(seconds):
                extra = await self._reader.read(1)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        if extra:
            raise WireError(f"{extra!r} came after the last answer")
        return True

    async def is_usable(self) -> bool:
        """Try it: another request gets its answer on this connection."""
        try:
            return (await self.request("OPTIONS", "*", {"Tus-Resumable": "1.0.0"})).status > 0
        except (Hangup, ConnectionError):
            return False

    async def read_rest(self, *, seconds: float = ANSWER_SECONDS) -> bytes:
        """Everything until the server ends the connection."""
        async with asyncio.timeout(seconds):
            return await self._reader.read()

    # --- ending

    def half_close(self) -> None:
        """FIN; answers can still be read."""
        self._writer.write_eof()

    async def reset(self) -> None:
        """RST, now; what the kernel has not sent yet is lost."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def close(self) -> None:
        """End it in an orderly way."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- the parser

    async def _send_body(self, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(body), 256 * 1024):
                await self.send(body[start : start + 256 * 1024])

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            raise Hangup("the server ended the connection", error.partial) from error
        except ConnectionError as error:
            raise Hangup(f"the connection broke ({error})") from error

    async def _exactly(self, count: int) -> bytes:
        try:
            return await self._reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            raise Hangup(f"a body of {count} bytes broke off", error.partial) from error
        except ConnectionError as error:
            raise Hangup(f"a body broke off ({error})") from error

    async def _read_head(self) -> Response:
        line = await self._line()
        match = STATUS_LINE.fullmatch(line)
        if match is None:
            raise WireError(f"no status line: {line[:200]!r}")
        headers = await self._read_fields()
        return Response(
            status=int(match[2]),
            reason=match[3].decode("latin-1"),
            headers=headers,
            version=(1, int(match[1])),
        )

    async def _read_fields(self) -> CIMultiDictProxy[str]:
        fields: CIMultiDict[str] = CIMultiDict()
        while (line := await self._line()) != b"\r\n":
            match = FIELD_LINE.fullmatch(line)
            if match is None or b"\r" in match[2] or b"\0" in match[2]:
                raise WireError(f"no field line: {line[:200]!r}")
            fields.add(match[1].decode("ascii"), match[2].decode("latin-1"))
        return CIMultiDictProxy(fields)

    async def _read_body(self, method: str, response: Response) -> bytes:
        """RFC 9112, 6.3: how long the content of an answer is."""
        headers = response.headers
        coding = [token.strip().lower() for token in headers.getall("Transfer-Encoding", [])]
        lengths = set(headers.getall("Content-Length", []))
        if coding and lengths:
            raise WireError("both Transfer-Encoding and Content-Length")
        if len(lengths) > 1 or not all(DIGITS.fullmatch(length) for length in lengths):
            raise WireError(f"Content-Length {sorted(lengths)}")
        if response.status == 204 and (coding or lengths):
            raise WireError("a 204 has neither Content-Length nor Transfer-Encoding")
        if method == "HEAD" or response.status in (204, 304):
            return b""
        if coding:
            if coding != ["chunked"] or response.version == (1, 0):
                raise WireError(f"Transfer-Encoding {coding}")
            return await self._read_chunks()
        if lengths:
            return await self._exactly(int(lengths.pop()))
        return await self._reader.read()

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while chunk := await self._read_chunk():
            body += chunk
        return bytes(body)

    async def _read_chunk(self) -> bytes:
        line = await self._line()
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise WireError(f"no chunk size: {line[:200]!r}")
        size = int(match[1], 16)
        if size == 0:
            await self._read_fields()
            return b""
        chunk = await self._exactly(size)
        if await self._exactly(2) != b"\r\n":
            raise WireError("a chunk is longer than it says")
        return chunk


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Wire]:
    """One connection to the server that serves ``url``."""
    async with await Wire.to(url) as wire:
        yield wire


async def request(
    method: str, url: str, headers: Headers = (), body: bytes | None = None
) -> Response:
    """One request on a connection of its own."""
    async with connected(url) as wire:
        return await wire.request(method, url, headers, body)


def path_of(target: str) -> str:
    """The path and query of a URL; anything else (a path, ``*``) stays as it is."""
    if not target.startswith(("http://", "https://")):
        return target
    parts = urlsplit(target)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _with_body(response: Response, body: bytes, interim: tuple[Response, ...] = ()) -> Response:
    return Response(
        response.status, response.reason, response.headers, body, interim, response.version
    )
