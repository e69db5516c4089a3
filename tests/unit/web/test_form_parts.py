"""Parts of forms: bytes in, fields and pieces of files out, and nothing but these."""

import pytest

from tests.support.forms import WEBKIT, field, file, form, part
from tusd_py.core.errors import FormInvalid
from tusd_py.web.form_parts import (
    MAX_AROUND_BYTES,
    MAX_FIELDS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_SILENT_BYTES,
    FormLimits,
    PartReader,
    parse_boundary,
)

LIMITS = FormLimits(max_files=4, max_field_bytes=2000)


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
