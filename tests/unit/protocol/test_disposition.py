"""What a browser is told of a file that somebody sent."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.core.metadata import Metadata, build_pairs
from tusd_py.protocol.disposition import (
    OCTET_STREAM,
    build_disposition,
    check_inline_type,
    present,
)

LISTED = frozenset({"audio/*", "video/mp4", "image/png", "text/plain"})


def said(**values: str) -> Metadata:
    return build_pairs({key: value.encode() for key, value in values.items()})


@pytest.mark.parametrize(
    ("filetype", "told"),
    [
        ("video/mp4", "video/mp4"),
        ("Video/MP4; codecs=avc1", "video/mp4"),
        ("audio/ogg", "audio/ogg"),
        ("image/png", "image/png"),
        ("text/plain;charset=utf-8", "text/plain"),
    ],
)
def test_a_type_that_is_listed_is_shown_in_place(filetype: str, told: str) -> None:
    """SEC-XSS: without the client's parameters."""
    shown = present(said(filetype=filetype, filename="a.b"), LISTED)
    assert (shown.content_type, shown.disposition) == (told, 'inline; filename="a.b"')


@pytest.mark.parametrize(
    "filetype",
    [
        *("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf"),
        *("video/webm", "image/gif", "", "video", "video/", "/mp4", "audio/*", "*/*", "audio/a b"),
        *("audio/x\r\nSet-Cookie: a=b", "audio/ü", "text/javascript", "audio/" + "x" * 100),
        "audio/svg+xml",
    ],
)
def test_everything_else_is_bytes_to_be_saved(filetype: str) -> None:
    """SEC-XSS, SEC-INJECT."""
    shown = present(said(filetype=filetype, filename="a.html"), LISTED)
    assert shown.content_type == OCTET_STREAM
    assert shown.disposition == 'attachment; filename="a.html"'


@pytest.mark.parametrize("listed", ["text/html", "image/svg+xml", "audio/svg+xml"])
def test_a_list_that_was_not_checked_cannot_make_a_page_run(listed: str) -> None:
    """SEC-XSS."""
    assert present(said(filetype=listed), frozenset({listed})).content_type == OCTET_STREAM


def test_the_other_keys_of_clients_count_too() -> None:
    shown = present(said(type="video/mp4", name="b.mp4"), LISTED)
    assert (shown.content_type, shown.disposition) == ("video/mp4", 'inline; filename="b.mp4"')
    both = present(said(filetype="image/png", type="video/mp4", filename="", name="c"), LISTED)
    assert (both.content_type, both.disposition) == ("image/png", 'inline; filename="c"')


@pytest.mark.parametrize(
    ("coding", "told"),
    [("gzip", "gzip"), ("BR", "br"), ("gzip, br", None), ("x", None), ("", None)],
)
def test_bytes_that_were_sent_encoded_are_handed_out_as_such(coding: str, told: str | None) -> None:
    """RUFH-COD-01: offsets count the encoded bytes, so they are what is kept."""
    assert present(said(content_encoding=coding), LISTED).coding == told


@pytest.mark.parametrize(
    "listed", ["video/*", "audio/*", "VIDEO/mp4", " image/webp ", "text/plain", "text/vtt"]
)
def test_an_operator_may_list_what_is_harmless(listed: str) -> None:
    assert check_inline_type(listed) == listed.strip().lower()


@pytest.mark.parametrize(
    "listed",
    [
        *("text/html", "image/svg+xml", "image/*", "*/*", "text/*", "application/pdf", "text/xml"),
        *("application/*", "application/javascript", "video", "video/mp4; a=b", "", "audio/xml"),
    ],
)
def test_nothing_that_can_run_may_be_listed(listed: str) -> None:
    """SEC-XSS."""
    with pytest.raises(ValueError, match=r"no media type|never shown in place"):
        check_inline_type(listed)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("clip.mp4", 'filename="clip.mp4"'),
        ("a b;c.mp4", 'filename="a b;c.mp4"'),
        ("für Eva.mp4", "filename=\"f_r Eva.mp4\"; filename*=UTF-8''f%C3%BCr%20Eva.mp4"),
        ("100%25.mp4", "filename=\"100_25.mp4\"; filename*=UTF-8''100%2525.mp4"),
        ("日本.mp4", "filename=\"__.mp4\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.mp4"),
        ("C:\\fakepath\\clip.mp4", 'filename="clip.mp4"'),
        ("../../etc/passwd", 'filename="passwd"'),
        (".htaccess", 'filename="htaccess"'),
        ('a"b.mp4', 'filename="a_b.mp4"'),
        ("a\r\nSet-Cookie: b.mp4", 'filename="a__Set-Cookie_ b.mp4"'),
        ("clip\u202egpj.exe", 'filename="clip_gpj.exe"'),
        ("con.mp4", 'filename="_con.mp4"'),
    ],
)
def test_a_name_is_told_so_that_old_and_new_clients_save_under_it(name: str, told: str) -> None:
    """RFC 6266 and 8187; SEC-INJECT, SEC-PATH."""
    assert present(said(filename=name), LISTED).disposition == f"attachment; {told}"


@pytest.mark.parametrize("name", ["", " ", "..", "/", ". ."])
def test_without_a_name_none_is_told(name: str) -> None:
    assert present(said(filename=name), LISTED).disposition == "attachment"
    assert build_disposition(None, is_inline=True) == "inline"


def test_a_long_name_keeps_its_suffix() -> None:
    told = present(said(filename="n" * 5000 + ".mp4"), LISTED).disposition
    assert told.endswith('nn.mp4"') and len(told) < 200


@pytest.mark.fuzz
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_name_and_no_type_can_leave_its_header(name: bytes, filetype: bytes) -> None:
    """SEC-INJECT, SEC-XSS: whatever the bytes, the header is one line of RFC 6266's grammar, and
    both of its names are the same to those who read them."""
    shown = present(build_pairs({"filename": name, "filetype": filetype}), LISTED)
    assert shown.content_type in {OCTET_STREAM, "video/mp4", "image/png", "text/plain"} or (
        re.fullmatch(r"audio/[\w!#$&^.+-]+", shown.content_type)
    )
    grammar = r"""(inline|attachment)(; filename="([ !#-\[\]-~]*)"(; filename\*=UTF-8''(\S+))?)?"""
    found = re.fullmatch(grammar, shown.disposition)
    assert found is not None
    if found[5] is not None:
        true_name = unquote(found[5])
        assert len(true_name) == len(found[3])
        assert all(ours in (theirs, "_") for ours, theirs in zip(found[3], true_name, strict=True))
