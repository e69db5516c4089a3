"""The parts of a ``multipart/form-data`` body: bytes in, fields and pieces of files out.

python-multipart finds the boundaries; what a part may be, and how much of everything there may be,
is decided here. Nothing waits, and nothing but fields is kept.
"""

import logging
import re
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from multidict import CIMultiDict
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from tusd_py.core.errors import FormInvalid
from tusd_py.core.metadata import MAX_KEY_CHARS, MAX_PAIRS
from tusd_py.protocol import headers as h
from tusd_py.protocol.representation import parse_file_name

KIB: Final = 1024
MAX_FIELDS: Final = MAX_PAIRS - 4
"""Metadata has so many pairs; some are left for what a file's own head says."""
MAX_HEADERS: Final = 16
MAX_HEADER_BYTES: Final = 8 * KIB
MAX_AROUND_BYTES: Final = 64 * KIB
"""What may stand before the first boundary (RFC 2046: "ignored"), and is read behind the last."""
MAX_SILENT_BYTES: Final = 16 * KIB
"""So much of a body makes nothing of a part: blanks behind a boundary have no end otherwise."""

# RFC 2046, 5.1.1: 1 to 70 characters, the last one no space. More of them than it lists are taken.
_BOUNDARY: Final = re.compile(rb"[!-~ ]{0,69}[!-~]")
_FIELD_NAME: Final = re.compile(rf"[^\x00-\x20,\x7f-\x9f\ud800-\udfff\ufffd]{{1,{MAX_KEY_CHARS}}}")
_UNFIT_IN_VALUES: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_AS_IT_IS: Final = frozenset({"", "7bit", "8bit", "binary"})
# Its own log would have lines made of what a client wrote, as many as a client likes.
_SILENT: Final = logging.Logger("python_multipart.silent", logging.CRITICAL + 1)


def parse_boundary(content_type: str) -> bytes:
    """The boundary that a form's ``Content-Type`` names. Raises FormInvalid."""
    _, options = parse_options_header(content_type.encode("utf-8", "surrogatepass"))
    boundary = options.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise FormInvalid("its Content-Type names no boundary of 1 to 70 characters")
    return boundary


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLimits:
    """What a form may have."""

    max_files: int
    max_fields: int = MAX_FIELDS
    max_field_bytes: int
    """All names and values of fields together: they are kept in memory."""


class _Kind(Enum):
    """What the bytes of the present part are."""

    IGNORED = auto()
    FIELD = auto()
    FILE = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """A field that has come as a whole."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class FileHead:
    """A file begins; its bytes follow."""

    headers: h.Fields


class FileEnd:
    """The file has come as a whole."""


Event = Field | FileHead | bytes | FileEnd


class PartReader:
    """Bytes of a form in, what they mean out. What came before a fault counts."""

    def __init__(self, boundary: bytes, limits: FormLimits) -> None:
        self.events: deque[Event] = deque()
        """In the order of the form. Whoever takes them takes all before the next ``feed``."""
        self.error: FormInvalid | None = None
        """Nothing more can be understood."""
        self.is_over = False
        """The last boundary has come."""
        self._limits = limits
        self._kind = _Kind.IGNORED
        self._parts = self._fields = self._files = 0
        self._field_bytes = self._ignored_bytes = self._silent_bytes = 0
        self._has_news = False
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._header = b""
        self._name = ""
        self._value = b""
        self._unbegun: FileHead | None = None
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )
        self._parser.logger = _SILENT
        # What stands before the first boundary becomes a part without headers: the parser takes
        # nothing there, RFC 2046 anything. Its line end belongs to the first boundary.
        self._parser.write(b"--" + boundary + b"\r\n\r\n\r\n")

    def feed(self, data: bytes) -> None:
        """Take in some of the form. Never raises; bytes after an end or a fault are ignored."""
        if self.is_over or self.error is not None:
            return
        self._has_news = False
        try:
            self._parser.write(data)
            self._silent_bytes = 0 if self._has_news else self._silent_bytes + len(data)
            if self._silent_bytes > MAX_SILENT_BYTES:
                raise FormInvalid("a boundary of it is followed by too much that means nothing")
        except FormInvalid as error:
            self.error = error
        except FormParserError:
            self.error = FormInvalid("the head of a part is malformed, or too large")

    # ------------------------------------------------------------------ called by the parser

    def _on_part_begin(self) -> None:
        self._has_news = True
        self._parts += 1
        self._kind = _Kind.IGNORED
        self._headers = CIMultiDict()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._has_news = True
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._has_news = True
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        value = self._value.decode("utf-8", "surrogateescape").strip(" \t")
        if _UNFIT_IN_VALUES.search(value):
            raise FormInvalid("the head of a part has a control character")
        self._headers.add(self._header.decode("ascii"), value)
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        self._has_news = True
        if self._parts > 1:  # the first one is what stands before the first boundary
            self._begin(self._headers)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._has_news = True
        size = end - start
        piece = data if size == len(data) else data[start:end]
        if self._kind is _Kind.FILE:
            if self._unbegun is not None:
                self.events.append(self._unbegun)
                self._unbegun = None
            self.events.append(piece)
        elif self._kind is _Kind.FIELD:
            self._count_field_bytes(size)
            self._value += piece
        else:
            self._ignored_bytes += size
            if self._ignored_bytes > MAX_AROUND_BYTES:
                raise FormInvalid("its first boundary does not come")

    def _on_part_end(self) -> None:
        self._has_news = True
        if self._kind is _Kind.FIELD:
            self.events.append(Field(self._name, self._value))
            self._value = b""
        elif self._kind is _Kind.FILE and self._unbegun is None:
            self.events.append(FileEnd())
        self._unbegun = None

    def _on_end(self) -> None:
        self.is_over = True

    # ------------------------------------------------------------------ what a head means

    def _begin(self, headers: CIMultiDict[str]) -> None:
        lines = headers.getall(h.CONTENT_DISPOSITION, [])
        if len(lines) != 1:
            raise FormInvalid("a part of it has no Content-Disposition, or several")
        kind, options = parse_options_header(lines[0].encode("utf-8", "surrogateescape"))
        if kind != b"form-data":
            raise FormInvalid("a part of it is no form-data by its Content-Disposition")
        if h.parse_media_type(headers.get(h.CONTENT_TYPE)).startswith("multipart/"):
            raise FormInvalid("a part of it is a multipart itself")
        if headers.get(h.CONTENT_TRANSFER_ENCODING, "").lower() not in _AS_IT_IS:
            raise FormInvalid("a part of it has a Content-Transfer-Encoding")
        if b"filename" in options or parse_file_name(lines) is not None:
            self._begin_file(FileHead(headers), is_named=options.get(b"filename") != b"")
        else:
            self._begin_field(options.get(b"name", b"").decode("utf-8", "replace"))

    def _begin_file(self, head: FileHead, *, is_named: bool) -> None:
        self._kind = _Kind.FILE
        self._files += 1
        if self._files > self._limits.max_files:
            raise FormInvalid(f"it has more than {self._limits.max_files} files")
        if is_named:
            self.events.append(head)
        else:
            # Browsers send it for a control in which no file was chosen; with bytes it is one.
            self._unbegun = head

    def _begin_field(self, name: str) -> None:
        self._kind = _Kind.FIELD
        self._fields += 1
        if self._fields > self._limits.max_fields:
            raise FormInvalid(f"it has more than {self._limits.max_fields} fields")
        if not _FIELD_NAME.fullmatch(name):
            raise FormInvalid(
                f"the name of a field has 1 to {MAX_KEY_CHARS} characters, and no space, comma or "
                "control character"
            )
        self._name = name
        self._count_field_bytes(len(name.encode()))

    def _count_field_bytes(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > self._limits.max_field_bytes:
            raise FormInvalid(
                f"its fields are larger than {self._limits.max_field_bytes} bytes; a file's part "
                "has a filename"
            )
