"""What ordinary fields say of a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tusd_py.protocol.representation import (
    MAX_NAME_BYTES,
    parse_file_name,
    parse_representation,
)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        pytest.param('inline; filename="film.mp4"', "film.mp4", id="quoted"),
        pytest.param("inline;filename=film.mp4", "film.mp4", id="a token"),
        pytest.param('Attachment ; FileName = "film.mp4" ; x=y', "film.mp4", id="no case"),
        pytest.param(r'inline; filename="a\"b\\c.mp4"', "c.mp4", id="quoted pairs"),
        pytest.param("inline; filename*=UTF-8''f%C3%BCr%20dich.mp4", "für dich.mp4", id="UTF-8"),
        pytest.param("inline; filename*=iso-8859-1'en'f%FCr.mp4", "für.mp4", id="Latin-1"),
        pytest.param("inline; filename=a; filename*=utf-8''b", "b", id="the extended one counts"),
        pytest.param("inline; filename=a; filename*=utf-9''b", "a", id="unless it is broken"),
        pytest.param("inline; filename=a; filename*=utf-8''%2F", "a", id="or is no name"),
        pytest.param("inline; filename=a; filename=b", "a", id="the first one counts"),
        pytest.param('inline;; filename="a"', "a", id="an empty parameter"),
        pytest.param('inline; filename="für.mp4"', "für.mp4", id="not ASCII, as browsers do"),
        pytest.param('inline; filename="C:\\\\fakepath\\\\a.mp4"', "a.mp4", id="a path"),
        pytest.param("inline; filename=../../etc/passwd", "passwd", id="a traversal"),
        pytest.param("inline; filename=..", None, id="no name at all"),
        pytest.param('inline; filename=""', None, id="an empty one"),
        pytest.param('inline; filename="a\x00\u202e4pm.\x1bb"', "a4pm.b", id="what hides a name"),
        pytest.param('inline; filename="\udcff.mp4"', ".mp4", id="no UTF-8"),
        pytest.param('inline; filename="a', None, id="no end"),
        pytest.param("filename=a", None, id="no type"),
        pytest.param("inline; filename=a b", None, id="a space in a token"),
        pytest.param("inline", None, id="nothing said"),
    ],
)
def test_a_name_is_read(value: str, name: str | None) -> None:
    """RUFH-CRE-13, RUFH-SEC-02."""
    assert parse_file_name([value]) == name


def test_two_dispositions_say_nothing() -> None:
    assert parse_file_name(["inline; filename=a", "inline; filename=b"]) is None
    assert parse_file_name([]) is None


def test_a_long_name_is_cut_between_characters() -> None:
    name = parse_file_name([f'inline; filename="{"ü" * 200}.mp4"'])
    assert name is not None and len(name.encode()) == MAX_NAME_BYTES - 1
    assert set(name) == {"ü"}


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({"Content-Type": "Video/MP4; codecs=x"}, {"filetype": b"video/mp4"}),
        ({"Content-Type": "application/partial-upload"}, {}),
        ({"Content-Type": "application/offset+octet-stream"}, {}),
        ({"Content-Type": "nonsense"}, {}),
        ({"Content-Type": "a/" + "b" * 200}, {}),
        ({"Content-Encoding": "GZIP"}, {"content_encoding": b"gzip"}),
        ({"Content-Encoding": "gzip, br"}, {"content_encoding": b"gzip, br"}),
        ({"Content-Encoding": "identity"}, {}),
        ({"Content-Encoding": "é"}, {}),
        ({}, {}),
    ],
)
def test_what_is_well_written_becomes_metadata(
    fields: dict[str, str], values: dict[str, bytes]
) -> None:
    """RUFH-CRE-13, RUFH-COD-01: the coding is noted, and nothing is decoded."""
    assert parse_representation(CIMultiDict(fields)).values() == values


@pytest.mark.fuzz
@given(st.text(max_size=80), st.text("inl; \"\\filename*=utf-8'%41\udcff", max_size=60))
def test_nothing_that_a_client_writes_is_an_error(text: str, near: str) -> None:
    """RUFH-SEC-02: and no name is anything but one component of a path."""
    for value in (text, f"inline; filename={near}", f"inline; filename*=utf-8''{text}"):
        fields = CIMultiDict({"Content-Disposition": value, "Content-Type": text})
        name = parse_representation(fields).text("filename")
        assert name is None or (name and "/" not in name and "\0" not in name and name != "..")
