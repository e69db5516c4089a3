"""Parts of forms: bytes in, fields and pieces of files out, and nothing but these."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.forms import WEBKIT, field, file, form, part
from tusd_py.core.errors import FormInvalid
from tusd_py.web.form_parts import (
    MAX_AROUND_BYTES,
    MAX_FIELDS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_SILENT_BYTES,
    Event,
    Field,
    FileEnd,
    FileHead,
    FormLimits,
    PartReader,
    parse_boundary,
)

LIMITS = FormLimits(max_files=4, max_field_bytes=2000)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"x" * (MAX_AROUND_BYTES + 1), "its first boundary does not come"),
        (form(part(["Content-Type: text/plain"], b"1")), "Content-Disposition"),
        (form(part(["Content-Disposition: attachment"], b"1")), "no form-data"),
        (
            form(part(["Content-Disposition: form-data"] * 2, b"1")),
            "no Content-Disposition, or several",
        ),
        (form(field("", "1")), "the name of a field"),
        (form(field("a b", "1")), "the name of a field"),
        (form(field("a,b", "1")), "the name of a field"),
        (form(field("a" * 129, "1")), "the name of a field"),
        (form(part(["Content-Disposition: form-data"], b"1")), "the name of a field"),
        (form(field("a", b"1" * 2000)), "a file's part has a filename"),
        (form(*[field("a", b"1" * 500)] * 4), "larger than 2000 bytes"),
        (form(*[field("a", "1")] * (MAX_FIELDS + 1)), f"more than {MAX_FIELDS} fields"),
        (form(*[file(b"")] * 5), "more than 4 files"),
        (form(*[file(b"", "")] * 5), "more than 4 files"),
        (form(field("a", "1", "Content-Type: multipart/mixed; boundary=b")), "multipart itself"),
        (form(field("a", "1", "Content-Transfer-Encoding: base64")), "Transfer-Encoding"),
        (form(field("a", "1", "X: a\0b")), "control character"),
        (form(field("a", "1", "X: a\nFilename: b")), "control character"),
        (form(field("a", "1", " folded")), "malformed"),
        (form(field("a", "1", "No colon")), "malformed"),
        (form(field("a", "1", "X: " + "y" * MAX_HEADER_BYTES)), "malformed, or too large"),
        (form(field("a", "1", *["X: y"] * MAX_HEADERS)), "malformed, or too large"),
        (b"--" + WEBKIT + b" " * (MAX_SILENT_BYTES + 1), "followed by too much"),
    ],
)
@pytest.mark.parametrize("is_torn", [False, True])
def test_a_form_that_cannot_be_used_says_why(body: bytes, reason: str, is_torn: bool) -> None:
    reader = PartReader(WEBKIT, LIMITS)
    step = 1000 if is_torn else len(body)
    for at in range(0, len(body), step):
        reader.feed(body[at : at + step])
    assert reader.error is not None and not reader.is_over
    assert reason in str(reader.error)
    said = len(reader.events)
    reader.feed(form(file(b"1")))
    assert len(reader.events) == said


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=" + "a" * 71,
        "multipart/form-data; boundary=\N{SNOWMAN}",
        'multipart/form-data; boundary="a\\\r\nb"',
        "multipart/form-data; boundary*=a",
        "multipart/form-data; boundary=\udcff",
    ],
)
def test_a_form_needs_a_boundary(content_type: str) -> None:
    with pytest.raises(FormInvalid, match="names no boundary"):
        parse_boundary(content_type)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; BOUNDARY="a b:c"', b"a b:c"),
        ("multipart/form-data;boundary=" + "a" * 70, b"a" * 70),
    ],
)
def test_the_boundary_is_read_as_clients_write_it(content_type: str, boundary: bytes) -> None:
    assert parse_boundary(content_type) == boundary


def test_nothing_is_kept_of_what_was_handed_on() -> None:
    """After any part of a long form the reader holds a boundary's worth at most: no byte of a file
    waits in it."""
    reader = PartReader(WEBKIT, LIMITS)
    body = form(file(b"\r\n--" * 100_000))
    handed = 0
    for at in range(0, len(body), 777):
        reader.feed(body[at : at + 777])
        handed += sum(len(event) for event in reader.events if isinstance(event, bytes))
        reader.events.clear()
        assert min(at + 777, len(body)) - handed <= 200
    assert handed == 400_000


# ------------------------------------------------------------------ any form in any segments

PIECES = [b"\r\n", b"\r", b"\n", b"-", b"--", b"\r\n--", WEBKIT, WEBKIT[:-1], b"a", b"\0", b" "]
ANYTHING = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)
CONTENT = ANYTHING.filter(lambda data: b"\r\n--" + WEBKIT not in b"\r\n" + data)
PARTS = st.lists(st.tuples(st.booleans(), CONTENT), max_size=6)
ENDS = st.lists(st.integers(0, 600), max_size=30)
ANY_LIMITS = FormLimits(max_files=6, max_field_bytes=100_000)


def read_in_segments(reader: PartReader, body: bytes, ends: list[int]) -> list[Event]:
    """The events of a body in segments that end there; the pieces of a file are joined."""
    events: list[Event] = []
    at = 0
    for end in [*sorted(ends), len(body)]:
        reader.feed(body[at : min(end, len(body))])
        at = max(at, min(end, len(body)))
        for event in reader.events:
            if isinstance(event, bytes) and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
        reader.events.clear()
    return events


@given(parts=PARTS, ends=ENDS, is_torn=st.booleans())
def test_any_form_in_any_segments_is_the_same_form(
    parts: list[tuple[bool, bytes]], ends: list[int], is_torn: bool
) -> None:
    """Segments end anywhere, within boundaries too, or are of a byte each."""
    body = form(*[file(data) if is_file else field("a", data) for is_file, data in parts])
    reader = PartReader(WEBKIT, ANY_LIMITS)
    events = read_in_segments(reader, body, list(range(len(body))) if is_torn else ends)
    assert reader.is_over and reader.error is None
    expected: list[object] = []
    for is_file, data in parts:
        if is_file:
            expected += [FileHead, *([data] if data else []), FileEnd]
        else:
            expected.append(Field("a", data))
    assert [type(e) if isinstance(e, FileHead | FileEnd) else e for e in events] == expected


@given(tail=ANYTHING, ends=ENDS)
def test_what_is_no_form_is_the_same_in_any_segments(tail: bytes, ends: list[int]) -> None:
    """Bytes that begin a form and go on as they like: one outcome, and FormInvalid is all that can
    be wrong."""
    body = b"--" + WEBKIT + b"\r\n" + file(b"1") + tail
    readers = PartReader(WEBKIT, ANY_LIMITS), PartReader(WEBKIT, ANY_LIMITS)
    whole, torn = (
        read_in_segments(reader, body, cuts)
        for reader, cuts in zip(readers, ([], ends), strict=True)
    )
    assert str(readers[0].error) == str(readers[1].error)
    assert readers[0].is_over == readers[1].is_over
    assert [e for e in whole if isinstance(e, bytes)] == [e for e in torn if isinstance(e, bytes)]
