"""One request and its answer, between aiohttp and our resources."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol

from aiohttp import web

from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header
from tusd_py.protocol.base import Translator
from tusd_py.protocol.cors import Cors
from tusd_py.web.body import RequestBody
from tusd_py.web.handler import Connection
from tusd_py.web.streaming import Streamed

SERVER_NAME: Final = "tusd_py"
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus} | {
    104: "Upload Resumption Supported",
    460: "Checksum Mismatch",
}


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What a resource gets."""

    request: web.BaseRequest
    connection: Connection
    method: str
    """The effective one: of the override, where there is one."""
    tail: str
    """The path behind the resource's own."""
    request_id: str
    body: RequestBody
    announced_bytes: int | None
    translator: Translator | None = None
    """Set by the resource once it knows which protocol is spoken: refusals are told in it."""
    can_hear_interim: bool = True
    """The client understands 1xx answers, and nothing on the way to it breaks on them."""
    is_address_told: bool = False
    """The client knows where its new upload is, whatever becomes of the answer."""

    def send_interim(self, answer: Answer) -> bool:
        """Write a 1xx answer now; False where the client is gone or cannot hear it."""
        return self.can_hear_interim and self.connection.send(frame_interim(answer))


class Resource(Protocol):
    """Something at a path."""

    name: str
    """For the log: never the path itself."""

    async def answer(self, exchange: Exchange) -> Answer:
        """Raises UploadError for what is refused."""

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """The client was gone before ``answer`` could be written."""


class Sent:
    """What aiohttp gets for a response that was written already."""

    __slots__ = ("keep_alive", "sent_bytes", "status")

    def __init__(self, status: int, keep_alive: bool, sent_bytes: int) -> None:
        self.status = status
        self.keep_alive = keep_alive
        self.sent_bytes = sent_bytes
        """Of the answer's content."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to do."""

    async def write_eof(self) -> None:
        """Nothing is left to do."""


class Framer:
    """Puts answers on the wire. What never changes is made once."""

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._plain = {key: _lines(cors.headers(key)) for key in cors.keys()}  # noqa: SIM118
        self._preflight = {key: _lines(cors.preflight(key)) for key in cors.keys()}  # noqa: SIM118
        self._second = 0
        self._date = ""

    def frame(
        self, answer: Answer, request: web.BaseRequest, request_id: str, *, keep_alive: bool
    ) -> bytes:
        """The bytes of ``answer``, framed for the method and version on the wire; of one that is
        streamed its head."""
        fields = request.headers
        key = self._cors.key_of(fields.get(h.ORIGIN))
        is_preflight = answer.status == 204 and h.ACCESS_CONTROL_REQUEST_METHOD in fields
        fixed = (self._preflight if is_preflight else self._plain)[key]
        is_old = request.version == (1, 0) and request.method != UNPARSED
        status = answer.status
        lines = [
            f"HTTP/1.{0 if is_old else 1} {status} {_REASONS.get(status, 'Refused')}\r\n",
            _lines(answer.headers),
            fixed,
            f"{h.REQUEST_ID}: {request_id}\r\n{h.DATE}: {self._now()}\r\n",
        ]
        body = answer.body
        if request.method == "HEAD" or status in (204, 304):
            body = b""
        elif is_chunked(answer, request):
            lines.append(f"{h.TRANSFER_ENCODING}: chunked\r\n")
        elif not ends_with_connection(answer, request):
            lines.append(f"{h.CONTENT_LENGTH}: {_content_length(answer)}\r\n")
        if not keep_alive:
            lines.append(f"{h.CONNECTION}: close\r\n")
        elif is_old:
            lines.append(f"{h.CONNECTION}: keep-alive\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("utf-8", "replace") + body

    def _now(self) -> str:
        """The date, made once a second."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._date = f"{formatdate(now, usegmt=True)}\r\n{h.SERVER}: {SERVER_NAME}"
        return self._date


def is_chunked(answer: Answer, request: web.BaseRequest) -> bool:
    """The content's length is not known before, and the client knows chunks."""
    return _content_length(answer) is None and request.version >= (1, 1)


def ends_with_connection(answer: Answer, request: web.BaseRequest) -> bool:
    """Nothing but the end of the connection tells an old client where the content ends."""
    return _content_length(answer) is None and request.version < (1, 1)


def _content_length(answer: Answer) -> int | None:
    return answer.content.length if isinstance(answer, Streamed) else len(answer.body)


def frame_interim(answer: Answer) -> bytes:
    """The bytes of a 1xx answer: a head, and nothing behind it."""
    reason = _REASONS.get(answer.status, "Interim")
    return f"HTTP/1.1 {answer.status} {reason}\r\n{_lines(answer.headers)}\r\n".encode()


UNPARSED: Final = "UNKNOWN"
"""The method aiohttp gives to what it could not parse."""


def _lines(headers: tuple[Header, ...]) -> str:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    # One look at all of it: as many line ends as lines, and no NUL (RFC 9110, 5.5).
    if text.count("\r") != len(headers) or text.count("\n") != len(headers) or "\0" in text:
        raise ValueError("an answer's header would have ended its line")
    return text


Answered = Callable[[str, int, str | None, float], None]
"""Counts one answer: method, status, code of the refusal, seconds."""
Readiness = Callable[[], Awaitable[Mapping[str, Any]]]
"""The checks by name, each true (or a text) where it is well, false or None where it is not."""
MetricsPage = Callable[[], Awaitable[tuple[bytes, str]]]
"""The page and its content type."""
