"""Structured fields (RFC 9651), as far as resumable uploads and digests need them.

The grammar is http-sf's: written by an author of the RFC, complete, without a loop over copies (a
field takes microseconds, a long one linear time), and raising nothing but its own error. What is
decided here: what several lines mean, and that parameters, which no field of ours has, say nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, cast

import http_sf
from http_sf import DisplayString, Token

Value = bool | int | Decimal | str | bytes | datetime | Token | DisplayString
"""The types of RFC 9651, 3.3, in this order of Python types: Boolean, Integer, Decimal, String,
Byte Sequence, Date, Token, Display String."""
Member = Value | tuple[Value, ...]
"""What a key of a Dictionary has: an Item, or an Inner List."""

MAX_INTEGER: Final = 999_999_999_999_999
"""RFC 9651, 3.3.1: "no more than fifteen digits". A petabyte less one; a longer length than that
cannot be told in such a field."""
_OWS: Final = " \t"


class StructuredFieldError(ValueError):
    """A field that cannot be parsed, or a value that cannot be written. Nothing else escapes."""


def parse_item(lines: Sequence[str]) -> Value:
    """The value of a field that is an Item, which stands on one line."""
    if len(lines) != 1:
        # Two halves of a String would make a whole one: joining lines is for lists of things.
        raise StructuredFieldError("an Item is one line")
    value, _ = cast(tuple[Value, object], _parse(lines, "item"))
    return value


def parse_dictionary(lines: Sequence[str]) -> dict[str, Member]:
    """The members of a field that is a Dictionary, over all its lines; none where it is absent.

    Of a key that repeats the last value counts (RFC 9651, 4.2.2).
    """
    members = cast(dict[str, tuple[object, object]], _parse(lines, "dictionary"))
    return {key: _member(value) for key, (value, _) in members.items()}


def _parse(lines: Sequence[str], kind: str) -> object:
    try:
        # RFC 9651, 4.2: all lines are one value; RFC 9110, 5.5: white space around is not part.
        data = ", ".join(line.strip(_OWS) for line in lines).encode("ascii")
        return http_sf.parse(data, tltype=kind)
    except (http_sf.StructuredFieldError, UnicodeEncodeError) as error:
        raise StructuredFieldError(str(error)) from error


def _member(value: object) -> Member:
    if isinstance(value, list):
        return tuple(inner for inner, _ in cast(list[tuple[Value, object]], value))
    return cast(Value, value)


def parse_boolean_item(lines: Sequence[str]) -> bool | None:
    """None where the field is absent or anything but a Boolean: it is then ignored as a whole."""
    value = _parse_item_or_none(lines)
    return value if isinstance(value, bool) else None


def parse_integer_item(lines: Sequence[str]) -> int | None:
    """None where the field is absent or anything but a non-negative Integer: it is then ignored as
    a whole."""
    value = _parse_item_or_none(lines)
    # In Python, and nowhere in the RFC, a Boolean is an Integer.
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def _parse_item_or_none(lines: Sequence[str]) -> Value | None:
    try:
        return parse_item(lines)
    except StructuredFieldError:
        return None


def build_boolean(value: bool) -> str:
    return "?1" if value else "?0"


def build_integer(number: int) -> str:
    """Raises StructuredFieldError beyond ``MAX_INTEGER``."""
    if abs(number) > MAX_INTEGER:
        raise StructuredFieldError("an Integer has at most fifteen digits")
    return str(number)


def build_dictionary(members: Mapping[str, int] | Mapping[str, bytes]) -> str:
    """A Dictionary of Integers or of Byte Sequences.

    Raises StructuredFieldError where it has no member (the field is then not sent), a key is not
    well-formed, or a number is beyond ``MAX_INTEGER``.
    """
    try:
        return http_sf.ser(dict(members))
    except ValueError as error:
        raise StructuredFieldError(str(error)) from error
