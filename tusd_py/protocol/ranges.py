"""Which bytes of a file a GET wants, and whether it wants them at all (RFC 9110, 13 and 14).

Text of a client that cannot be read never refuses a request: such a range is ignored, such a tag
or date matches nothing. Nothing but RangeUnsatisfiable escapes.
"""

import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from tusd_py.core.errors import RangeUnsatisfiable
from tusd_py.protocol import headers as h

BYTES: Final = "bytes"
ANY: Final = "*"
_OWS: Final = " \t"
_SPEC: Final = re.compile(r"([0-9]*)-([0-9]*)", re.ASCII)
_MAX_DIGITS: Final = 19
"""More than any file has; longer texts never become a number, which takes quadratic time."""
_TAG: Final = re.compile(r'(W/)?"[^"\x00-\x20\x7f]*"')
_BETWEEN: Final = re.compile(r"[ \t,]*")

_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_DAY: Final = r"(?P<day>[ \d]\d)"
_MONTH: Final = r"(?P<month>[A-Z][a-z]{2})"
_TIME: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES: Final = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"[A-Z][a-z]{{2}}, {_DAY} {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"[A-Z][a-z]{{5,8}}, {_DAY}-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"[A-Z][a-z]{{2}} {_MONTH} {_DAY} {_TIME} (?P<year>\d{{4}})",
    )
)
"""RFC 9110, 5.6.7: the one form that is written, and the two that "MUST" be read besides."""
_PIVOT: Final = 70
"""Of years with two digits, of which no living client knows but from old code."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``first`` to ``last``, both included, of a file of ``total``."""

    first: int
    last: int
    total: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a file from another."""

    tag: str
    """A strong entity tag, with its quotes."""
    modified_at: int
    """Whole Unix seconds."""


class Wish(Enum):
    """What the conditions of a request come to."""

    SEND = "send"
    NOT_MODIFIED = "not_modified"
    """304: the client has it already."""
    FAILED = "failed"
    """412: it is not in the state that the client wants it in."""


def judge(fields: h.Fields, current: Validators) -> Wish:
    """RFC 9110, 13.2.2, in its order: "If-Match" and what stands in for it, then "If-None-Match"
    and what stands in for that."""
    if (match := _joined(fields, h.IF_MATCH)) is not None:
        if not _lists(match, current.tag, weakly=False):
            return Wish.FAILED
    elif _was_modified_since(fields, h.IF_UNMODIFIED_SINCE, current) is True:
        return Wish.FAILED
    if fields.getall(h.IF_NONE_MATCH, []):
        return Wish.NOT_MODIFIED if is_known(fields, current.tag) else Wish.SEND
    if _was_modified_since(fields, h.IF_MODIFIED_SINCE, current) is False:
        return Wish.NOT_MODIFIED
    return Wish.SEND


def is_known(fields: h.Fields, tag: str) -> bool:
    """The client has the state of ``tag`` already, and says so by "If-None-Match"."""
    text = _joined(fields, h.IF_NONE_MATCH)
    return text is not None and _lists(text, tag, weakly=True)


def choose_range(fields: h.Fields, current: Validators, *, length: int) -> ByteRange | None:
    """The one range to send; None: all of it. Raises RangeUnsatisfiable.

    Several ranges are answered with all of it, which RFC 9110, 14.2 leaves to the server: they
    are how a small request is made to cost much.
    """
    text = _joined(fields, h.RANGE)
    if text is None or not _is_still(fields, current):
        return None
    return parse_range(text, length=length)


def parse_range(text: str, *, length: int) -> ByteRange | None:
    """RFC 9110, 14.1.2: ``bytes=0-499``, ``bytes=500-``, ``bytes=-500``. None where it is anything
    else or malformed. Raises RangeUnsatisfiable."""
    unit, equals, rest = text.partition("=")
    if not equals or unit.strip(_OWS).lower() != BYTES:
        return None
    specs = [spec.strip(_OWS) for spec in rest.split(",") if spec.strip(_OWS)]
    found = _SPEC.fullmatch(specs[0]) if len(specs) == 1 else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        wanted = min(_number(found[2]), length)
        first, last = length - wanted, length - 1
    else:
        first, last = _number(found[1]), _number(found[2]) if found[2] else length - 1
        if found[2] and last < first:
            return None  # "invalid if the last-pos value is less than its first-pos"
        last = min(last, length - 1)
    if first >= length or last < first:
        raise RangeUnsatisfiable(length)
    return ByteRange(first, last, length)


def build_content_range(part: ByteRange) -> str:
    return f"{BYTES} {part.first}-{part.last}/{part.total}"


def build_unsatisfied_range(length: int) -> str:
    return f"{BYTES} */{length}"


def parse_date(text: str) -> int | None:
    """Unix seconds of an HTTP date; None where it is none."""
    text = text.strip(_OWS)
    found = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    if found is None or found["month"] not in _MONTHS.split():
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        year += 2000 if year < _PIVOT else 1900
    try:
        when = datetime(
            year,
            _MONTHS.split().index(found["month"]) + 1,
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            # A leap second, which the grammar has and clocks have not.
            min(int(found["second"]), 59),
        )
    except ValueError:
        return None
    return timegm(when.timetuple())


def _joined(fields: h.Fields, name: str) -> str | None:
    """Repeated lines of a list are one list."""
    lines = fields.getall(name, [])
    return ",".join(lines).strip(_OWS) if lines else None


def _lists(text: str, tag: str, *, weakly: bool) -> bool:
    """``text``, the value of If-Match or If-None-Match, means ``tag``, a strong one."""
    if text == ANY:
        return True
    return any(opaque == tag and (weakly or not is_weak) for opaque, is_weak in _tags(text))


def _tags(text: str) -> Iterator[tuple[str, bool]]:
    """Each tag of a list without its ``W/``, and whether that was there; up to what is no tag."""
    position = 0
    while True:
        between = _BETWEEN.match(text, position)
        position = between.end() if between else position
        found = _TAG.match(text, position)
        if found is None:
            return
        position = found.end()
        yield found[0].removeprefix("W/"), found[1] is not None


def _is_still(fields: h.Fields, current: Validators) -> bool:
    """RFC 9110, 13.1.5, "If-Range": the part is wanted of the file as the client knows it. A weak
    tag never says so; a date does if it is the very one that was told."""
    lines = fields.getall(h.IF_RANGE, [])
    if not lines:
        return True
    text = lines[0].strip(_OWS)
    if len(lines) > 1:
        return False
    if text.startswith(('"', "W/")):
        return text == current.tag
    return parse_date(text) == current.modified_at


def _was_modified_since(fields: h.Fields, name: str, current: Validators) -> bool | None:
    """None: the field is not there, or is no date and so "MUST" be ignored."""
    lines = fields.getall(name, [])
    when = parse_date(lines[0]) if len(lines) == 1 else None
    return None if when is None else current.modified_at > when


def _number(digits: str) -> int:
    """As a number; one that is far beyond every file where the text is longer than any."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
