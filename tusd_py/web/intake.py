"""What comes in on a connection: where the head and the body of each request end.

aiohttp's parser is given one head, or a piece of one body, at a time, never what stands behind it:
where it finds an error it forgets everything else it was given with that. Chunked bodies it gets
in a framing of ours, because it drops trailers; they are kept here.

What we take for the end of a head or a body must be its end for the parser, too. Where the two
do not agree nothing is guessed: the connection is broken then, or somebody could hide a request.
"""

import logging
import re
from enum import Enum, auto
from typing import Any, Final

from aiohttp import hdrs, web_protocol
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy

from tusd_py.protocol.headers import Fields
from tusd_py.web.body import NO_TRAILERS, BodyBroken
from tusd_py.web.chunked import ChunkedError, ChunkedFilter

log = logging.getLogger(__name__)

HEAD_END: Final = b"\r\n\r\n"
LINE_ENDS: Final = b"\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_OVERLAP: Final = len(HEAD_END) - 1
_LENGTH: Final = re.compile(r"[0-9]{1,20}")
_NOT_LINE_END: Final = re.compile(rb"[^\r\n]")


class _Part(Enum):
    """What the next byte belongs to."""

    HEAD = auto()
    SIZED = auto()
    """A body with Content-Length."""
    CHUNKED = auto()
    BODY_END = auto()
    """No byte: a body is there, and the parser is told so when its reader has room."""
    NOTHING = auto()
    """No request follows: the client said so, or goes on in another protocol."""


class Intake(RequestHandler):
    """The reading half of a connection.

    Flow control is aiohttp's. Beside what its streams and its queue of requests hold, at most what
    came in one piece waits here.
    """

    __slots__ = (
        "_backlog",
        "_filter",
        "_is_broken",
        "_is_last",
        "_last_payload",
        "_left",
        "_part",
        "_seam",
        "_trailers",
    )

    def __init__(self, manager: Any, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._is_broken = False
        """It cannot be told where a next request begins: not one byte more is parsed."""
        self._last_payload: StreamReader = EMPTY_PAYLOAD
        """The body of the request that was parsed last: no other can be incomplete."""
        self._is_last = False
        """No other request follows that one."""
        self._part = _Part.HEAD
        self._seam = b""
        """The last bytes of a head that has begun: its end may have begun with them."""
        self._left = 0
        """How much of a body with a length is to come."""
        self._filter: ChunkedFilter | None = None
        self._backlog = b""
        """What came and has to wait until there is room."""
        self._trailers: dict[StreamReader, Fields] = {}

    def trailers_of(self, content: StreamReader) -> Fields:
        """The trailer section of the body ``content``, once ``content`` is at its end."""
        return self._trailers.get(content, NO_TRAILERS)

    def forget(self, content: StreamReader) -> None:
        """The request with the body ``content`` is over. Idempotent."""
        self._trailers.pop(content, None)

    def data_received(self, data: bytes) -> None:
        """Also called without data, by aiohttp's streams and queue when they have room again."""
        if self._is_broken or self._force_close or self._close:
            return
        if self._part is _Part.SIZED and len(data) < self._left:  # nearly every call
            if data:
                self._left -= len(data)
                self._parse_body(data)
            return
        if self._backlog:
            data, self._backlog = self._backlog + data, b""
        at: int | None = 0
        while at is not None and not self._is_broken:
            rest = at
            at = self._take(data, at)
            if at is None:
                self._backlog = data[rest:]

    # ------------------------------------------------------------------ one part after the other

    def _take(self, data: bytes, at: int) -> int | None:
        """Take what belongs to the present part. Where that ends; None where nothing more can be
        taken, before more comes or before there is room."""
        if self._part is _Part.BODY_END:
            return at if self._end_body() else None
        if at == len(data):
            return None
        match self._part:
            case _Part.HEAD:
                return self._take_head(data, at)
            case _Part.SIZED:
                return self._take_sized(data, at)
            case _Part.CHUNKED:
                return self._take_chunked(data, at)
            case _Part.NOTHING:
                # Bytes behind the last request leave the kernel a reason for a RST.
                end = _skip_line_ends(data, at)
                self._is_broken = end < len(data)
                return end

    def _take_head(self, data: bytes, at: int) -> int | None:
        if len(self._messages) >= self._max_msg_queue_size:
            return None
        if not self._seam and data[at] in LINE_ENDS:
            return _skip_line_ends(data, at)
        end = self._end_of_head(data, at)
        if end is None:
            self._seam = (self._seam + data[max(at, len(data) - _OVERLAP) :])[-_OVERLAP:]
            if self._parse(data[at:]):
                self._messages.pop()
                self._dispute("a request before the end of its head")
            return len(data)
        self._seam = b""
        if self._parse(data[at:end]):
            self._begin_body(*self._messages[-1])
        elif not self._is_broken:
            self._dispute("the end of a head and no request")
        return end

    def _end_of_head(self, data: bytes, at: int) -> int | None:
        """Where in ``data`` the head ends that goes on at ``at``; its end may have begun before."""
        torn = (self._seam + data[at : at + _OVERLAP]).find(HEAD_END)
        if torn >= 0:
            return at - len(self._seam) + torn + len(HEAD_END)
        found = data.find(HEAD_END, at)
        return None if found < 0 else found + len(HEAD_END)

    def _begin_body(self, message: Any, payload: StreamReader) -> None:
        """The head of ``message`` has been parsed."""
        try:
            length = _length_of_body(message)
        except BadHttpMessage as exc:
            self._messages.pop()
            self._refuse(exc)
            return
        self._last_payload = payload
        self._is_last = message.should_close or message.upgrade
        self._filter = None
        if message.method == hdrs.METH_CONNECT:
            self._part = _Part.NOTHING
        elif (length == 0) is not (payload is EMPTY_PAYLOAD):
            self._messages.pop()
            self._dispute("a body for the one and not for the other")
        elif length is None:
            self._part, self._filter = _Part.CHUNKED, ChunkedFilter()
        else:
            self._part, self._left = _Part.SIZED if length else _Part.BODY_END, length

    def _take_sized(self, data: bytes, at: int) -> int:
        piece = data[at : at + self._left]
        self._left -= len(piece)
        if not self._left:
            self._part = _Part.BODY_END
        self._parse_body(piece)
        return at + len(piece)

    def _take_chunked(self, data: bytes, at: int) -> int:
        assert self._filter is not None
        pieces: list[bytes] = []
        is_malformed = False
        try:
            for piece in self._filter.feed(data, at):
                pieces.append(piece)  # what came before an error counts
        except ChunkedError as exc:
            log.debug("body_malformed", extra={"reason": str(exc)})
            is_malformed = True
        # Together: many small chunks are no more work for those who read them than one large.
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if content:
            self._parse_body(b"%x\r\n" % len(content))
            self._parse_body(content)
            self._parse_body(b"\r\n")
        if is_malformed:
            self._break_body()
        if self._filter.end is None:
            return len(data)
        if self._filter.trailers:
            fields = CIMultiDictProxy(CIMultiDict(self._filter.trailers))
            self._trailers[self._last_payload] = fields
        self._part = _Part.BODY_END
        return self._filter.end

    def _end_body(self) -> bool:
        """Let the parser see the end of the body. False where its reader has no room."""
        payload = self._last_payload
        if not payload.is_eof():
            if self._reading_paused:
                return False
            self._parse_body(b"" if self._filter is None else LAST_CHUNK)
            if not payload.is_eof():
                self._break_body()
        self._filter = None
        self._part = _Part.NOTHING if self._is_last else _Part.HEAD
        return True

    # ------------------------------------------------------------------ aiohttp's parser

    def _parse(self, data: bytes) -> bool:
        """Give it ``data``; whether there is one request more in its queue now."""
        known = len(self._messages)
        super().data_received(data)
        if len(self._messages) == known:
            return False
        # Every error of the parser comes as a message of its own.
        self._is_broken = not hasattr(self._messages[-1][0], "should_close")
        return not self._is_broken

    def _parse_body(self, data: bytes) -> None:
        known = len(self._messages)
        super().data_received(data)
        if len(self._messages) != known:
            self._messages.pop()
            self._break_body()

    def _dispute(self, reason: str) -> None:
        """The parser and we do not agree where something ends."""
        log.warning("framing_disputed", extra={"reason": reason})
        self._refuse(BadHttpMessage(reason))

    def _refuse(self, exc: BadHttpMessage) -> None:
        """Queue an error, as aiohttp does where its parser raises one."""
        self._is_broken = True
        error = web_protocol._ErrInfo(status=400, exc=exc, message=exc.message)
        self._messages.append((error, EMPTY_PAYLOAD))
        self._request_count += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break_body(self) -> None:
        self._is_broken = True
        self._end_open_body(BodyBroken())

    def _end_open_body(self, exc: Exception) -> None:
        stream = self._last_payload  # the one before it is at its end, or this had not been parsed
        if not stream.is_eof() and stream.exception() is None:
            stream.set_exception(exc)


def _length_of_body(message: Any) -> int | None:
    """RFC 9112, 6.3; None where it is chunked. Raises BadHttpMessage for what nobody may send.

    aiohttp's parser refuses most of it first; but what follows a body is a request, so it is not
    left to another's leniency. RFC 9112, 6.1: a transfer coding in HTTP/1.0 is faulty framing.
    """
    lengths = message.headers.getall(hdrs.CONTENT_LENGTH, [])
    codings = message.headers.getall(hdrs.TRANSFER_ENCODING, [])
    if codings or message.chunked:
        if [coding.lower() for coding in codings] != ["chunked"] or not message.chunked:
            raise BadHttpMessage("another transfer coding than chunked")
        if lengths or message.version < (1, 1):
            raise BadHttpMessage("a transfer coding where there can be none")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadHttpMessage("a length that is none")
    return int(lengths[0])


def _skip_line_ends(data: bytes, at: int) -> int:
    """RFC 9112, 2.2: empty lines before a request are ignored."""
    found = _NOT_LINE_END.search(data, at)
    return len(data) if found is None else found.start()
