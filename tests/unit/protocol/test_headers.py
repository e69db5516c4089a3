"""Grammars of header fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tusd_py.core.errors import HeadersTooLarge, InvalidHeader, InvalidMetadata, UploadError
from tusd_py.core.metadata import build_pairs
from tusd_py.core.rules import MAX_LENGTH
from tusd_py.protocol import headers as h


@given(st.integers(0, MAX_LENGTH))
def test_a_number_of_bytes_survives_the_wire(number: int) -> None:
    assert h.parse_bytes("X", h.build_bytes(number)) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 5", "1_0", "²", "٣", "0x1", "1.0", "1e3"])
def test_what_is_no_number_of_bytes_is_refused(text: str) -> None:
    """TUS-CORE-02, TUS-CORE-03."""
    with pytest.raises(InvalidHeader):
        h.parse_bytes("X", text)


def test_leading_zeros_are_digits() -> None:
    assert h.parse_bytes("X", "0" * 100 + "7") == 7
    assert h.parse_bytes("X", "000") == 0


@pytest.mark.parametrize("text", [str(MAX_LENGTH + 1), str(2**64), "9" * 19, "9" * 5000])
def test_what_no_file_can_have_is_a_number_all_the_same(text: str) -> None:
    """TUS-CRE-11, TUS-CORE-24: the rules refuse it, as too large or as the wrong offset."""
    assert h.parse_bytes("X", text) == h.TOO_MANY_BYTES > MAX_LENGTH


@given(st.text(max_size=40), st.lists(st.text(max_size=60), max_size=4))
def test_parsers_raise_nothing_but_what_they_say(text: str, lines: list[str]) -> None:
    """Only UploadError may escape, whatever a client writes."""
    for parse in (
        lambda: h.parse_bytes("X", text),
        lambda: h.parse_defer_length(text),
        lambda: h.parse_metadata(lines, max_bytes=100),
        lambda: h.single(CIMultiDict([("X", line) for line in lines]), "X"),
    ):
        try:
            parse()
        except UploadError as error:
            assert str(error)
    assert h.parse_media_type(text) == h.parse_media_type(text).lower()
    h.parse_bearer(text)


@given(
    st.dictionaries(
        st.text("abcdefXYZ-_0123456789", min_size=1, max_size=8), st.binary(max_size=20), max_size=8
    )
)
def test_metadata_survives_the_wire(values: dict[str, bytes]) -> None:
    """TUS-CRE-10."""
    wire = h.build_metadata(build_pairs(values))
    parsed = h.parse_metadata([wire], max_bytes=4096)
    assert h.build_metadata(parsed) == wire
    assert parsed.values() == values


@pytest.mark.parametrize(
    ("lines", "wire"),
    [
        ([], ""),
        ([""], ""),
        ([" \t"], ""),
        (["a YQ==, b"], "a YQ==, b"),
        (["a YQ==", "b Yg==,a eA=="], "a YQ==,b Yg=="),
        (["a YQ==", "", "a eA=="], "a YQ=="),
    ],
)
def test_metadata_lines_are_joined_and_first_keys_count(lines: list[str], wire: str) -> None:
    assert h.parse_metadata(lines, max_bytes=100).wire == wire


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["a YQ==,a YQ=="], InvalidMetadata),
        (["a YQ==", "b Yg==,b Yg=="], InvalidMetadata),
        (["a b"], InvalidMetadata),
        (["a YQ==,"], InvalidMetadata),
        (["\udcff YQ=="], InvalidMetadata),
        (["a " + "A" * 100], HeadersTooLarge),
    ],
)
def test_bad_metadata_is_refused(lines: list[str], error: type[UploadError]) -> None:
    """TUS-CRE-04, TUS-CRE-05."""
    with pytest.raises(error):
        h.parse_metadata(lines, max_bytes=100)


def test_a_field_is_given_once_or_means_the_same() -> None:
    fields = CIMultiDict([("a", "1 "), ("A", " 1"), ("b", "1"), ("b", "2")])
    assert h.single(fields, "A") == "1"
    assert h.single(fields, "c") is None
    with pytest.raises(InvalidHeader):
        h.single(fields, "B")


def test_defer_length_is_one() -> None:
    """TUS-DEF-01, TUS-DEF-07."""
    assert h.parse_defer_length("1")
    with pytest.raises(InvalidHeader):
        h.parse_defer_length("true")


@pytest.mark.parametrize(
    ("text", "token"),
    [
        (None, None),
        ("Bearer abc", "abc"),
        (" bearer  abc ", "abc"),
        ("Bearer", None),
        ("Basic abc", None),
        ("abc", None),
    ],
)
def test_a_bearer_token_is_found(text: str | None, token: str | None) -> None:
    assert h.parse_bearer(text) == token


def test_media_types_are_compared_without_case_and_parameters() -> None:
    """HTTP-MEDIATYPE."""
    assert h.parse_media_type("Application/Offset+Octet-Stream ; x=y") == h.OFFSET_OCTET_STREAM
    assert h.parse_media_type(None) == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "1"), (1.0, "1"), (1.2, "2"), (30.0, "30")])
def test_retry_after_is_never_early(seconds: float, text: str) -> None:
    assert h.build_retry_after(seconds) == text


def test_dates_are_imf_fixdates() -> None:
    """TUS-EXP-06."""
    assert h.build_date(784111777.9) == "Sun, 06 Nov 1994 08:49:37 GMT"
