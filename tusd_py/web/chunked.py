"""Reads the chunked transfer coding (RFC 9112, 7.1) from bytes that are cut up anywhere.

aiohttp's parser drops the trailer section, and where a segment ends in nonsense it drops the good
bytes before it as well. Here nothing that can be followed is lost, and nothing is guessed: a size
that two parsers could read differently is refused, or somebody could hide a request in a body.

Pure: no waiting, no clock. What is held between two calls is bounded whatever comes: one line, or
one trailer section.
"""

import re
from collections.abc import Iterator
from typing import Final

MAX_LINE_BYTES: Final = 4096
"""Longest line of a chunk: its size, its extensions, and the line end of the chunk before."""
MAX_FRAMING_EXCESS_BYTES: Final = 16 * 1024
"""So much framing (extensions, above all) is read beyond what even small chunks need."""
USUAL_FRAMING_BYTES: Final = 16
MAX_TRAILER_BYTES: Final = 8192
MAX_TRAILER_FIELDS: Final = 32

# The classes leave out CR and LF, so that neither can stand anywhere but at the end of a line; the
# possessive repeats never try a text twice. RFC 9112 allows white space before an extension only.
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_SIZE: Final = rb"[0-9A-Fa-f]{1,16}"
_FIRST: Final = re.compile(rb"(%b)(?:[ \t]*+;%b)?\r\n" % (_SIZE, _TEXT))
_NEXT: Final = re.compile(rb"\r\n(%b)(?:[ \t]*+;%b)?\r\n" % (_SIZE, _TEXT))
_TRAILER: Final = re.compile(rb"(?:(%b):(%b))?\r\n" % (_TOKEN, _TEXT))
# What each may begin with: nonsense is refused at once, not when its line gets complete.
_SIZE_BEGUN: Final = rb"(?:%b(?:[ \t]*+|(?:[ \t]*+;%b)?\r?))?" % (_SIZE, _TEXT)
_BEGUN: Final = {
    _FIRST: re.compile(_SIZE_BEGUN),
    _NEXT: re.compile(rb"\r?|\r\n%b" % _SIZE_BEGUN),
    _TRAILER: re.compile(rb"\r?|%b(?::%b\r?)?" % (_TOKEN, _TEXT)),
}


class ChunkedError(Exception):
    """The coding is malformed, or has more of something than is read. Nothing that follows can be
    understood."""


class ChunkedFilter:
    """Takes the coding off one body. Of no further use once ``feed`` has raised."""

    __slots__ = ("_excess", "_expected", "_held", "_left", "_trailer_bytes", "end", "trailers")

    def __init__(self) -> None:
        self._expected = _FIRST
        """The line that comes next, when the present chunk has been read."""
        self._left = 0
        """How much of the present chunk is to come."""
        self._held = b""
        """The beginning of a line."""
        self._excess = 0
        self._trailer_bytes = 0
        self.trailers: list[tuple[str, str]] = []
        """Names and values of the trailer section; all of them once ``end`` is set."""
        self.end: int | None = None
        """Where in the data fed last the body ended, and what follows it begins; None before."""

    def feed(self, data: bytes, at: int = 0) -> Iterator[bytes]:
        """The content in ``data`` from ``at`` on, piece by piece; run it to its end.

        Raises ChunkedError where the coding is malformed, after every good byte before that.
        """
        while self.end is None:
            if self._left:
                # A slice that is all of it is the same object: no copy of what is large.
                piece = data[at : at + self._left]
                if not piece:
                    return
                at += len(piece)
                self._left -= len(piece)
                yield piece
                continue
            is_trailer = self._expected is _TRAILER
            limit = MAX_TRAILER_BYTES - self._trailer_bytes if is_trailer else MAX_LINE_BYTES
            line = self._next_line(data, at, limit)
            if line is None:
                return
            at += line.end() - line.pos - len(self._held)
            self._held = b""
            if not is_trailer:
                self._begin_chunk(line)
            elif line[1] is None:
                self.end = at
            else:
                self._add_trailer(line)

    def _next_line(self, data: bytes, at: int, limit: int) -> re.Match[bytes] | None:
        """The line at ``at``, with what is held before it; None where its end is still to come."""
        if self._held:
            data, at = self._held + data[at : at + limit - len(self._held)], 0
        line = self._expected.match(data, at, at + limit)
        if line is None:
            begun = data[at : at + limit]
            if len(begun) == limit or not _BEGUN[self._expected].fullmatch(begun):
                raise ChunkedError(f"no {'trailer' if self._expected is _TRAILER else 'size'} line")
            self._held = begun
        return line

    def _begin_chunk(self, line: re.Match[bytes]) -> None:
        self._left = int(line[1], 16)
        self._expected = _NEXT if self._left else _TRAILER
        # As Go counts: two bytes of framing for each of content, and a usual line, cost nothing.
        excess = self._excess + line.end() - line.start() - USUAL_FRAMING_BYTES - 2 * self._left
        self._excess = max(excess, 0)
        if excess > MAX_FRAMING_EXCESS_BYTES:
            raise ChunkedError("more framing than content")

    def _add_trailer(self, line: re.Match[bytes]) -> None:
        if len(self.trailers) == MAX_TRAILER_FIELDS:
            raise ChunkedError("too many trailer fields")
        self._trailer_bytes += line.end() - line.start()
        name, value = line[1].decode("ascii"), line[2].strip(b" \t")
        # As aiohttp decodes header fields: any byte survives.
        self.trailers.append((name, value.decode("utf-8", "surrogateescape")))
