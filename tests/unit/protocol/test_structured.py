"""Structured fields: RFC 9651's own examples, and what of them our fields make."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from http_sf import DisplayString, Token
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.protocol import structured as sf
from tusd_py.protocol.structured import MAX_INTEGER, StructuredFieldError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # RFC 9651, 3.3
        pytest.param("42", 42, id="an Integer"),
        pytest.param("4.5", Decimal("4.5"), id="a Decimal"),
        pytest.param('"hello world"', "hello world", id="a String"),
        pytest.param("foo123/456", Token("foo123/456"), id="a Token"),
        pytest.param(
            ":cHJldGVuZCB0aGlzIGlzIGJpbmFyeSBjb250ZW50Lg==:",
            b"pretend this is binary content.",
            id="a Byte Sequence",
        ),
        pytest.param("?1", True, id="a Boolean"),
        pytest.param("@1659578233", datetime(2022, 8, 4, 1, 57, 13, tzinfo=UTC), id="a Date"),
        pytest.param(
            '%"This is intended for display to %c3%bc users."',
            DisplayString("This is intended for display to ü users."),
            id="a Display String",
        ),
        pytest.param("5; foo=bar;q", 5, id="parameters say nothing"),
        pytest.param(" \t5\t ", 5, id="white space around a line is not part of it"),
        pytest.param("-0", 0, id="zero below zero"),
        pytest.param("00042", 42, id="leading zeros"),
        pytest.param("999999999999999", MAX_INTEGER, id="the largest Integer"),
    ],
)
def test_an_item_has_the_value_that_the_rfc_gives_it(text: str, value: object) -> None:
    parsed = sf.parse_item([text])
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="absent"),
        pytest.param([""], id="empty"),
        pytest.param(["1", "1"], id="two lines"),
        pytest.param(['"a', 'b"'], id="two halves of one String"),
        pytest.param(["1000000000000000"], id="sixteen digits"),
        pytest.param(["1."], id="a Decimal without decimals"),
        pytest.param(["1.2345"], id="four decimals"),
        pytest.param(["?2"], id="neither true nor false"),
        pytest.param(["? 1"], id="a Boolean with a hole"),
        pytest.param(["1, 2"], id="a List"),
        pytest.param(["(1 2)"], id="an Inner List"),
        pytest.param(["1 x"], id="something behind"),
        pytest.param(["1;"], id="a parameter without name"),
        pytest.param([":a:"], id="no Base64"),
        pytest.param([":YQ==YQ==:"], id="padding inside"),
        pytest.param([":YQ=="], id="a Byte Sequence without end"),
        pytest.param(['"ü"'], id="text that is not ASCII"),
        pytest.param(["\udcff"], id="a byte that is no text at all"),
        pytest.param(["@1.5"], id="a Date between two seconds"),
        pytest.param(["@999999999999999"], id="a Date that no calendar has"),
        pytest.param(['%"%C3%BC"'], id="upper case where lower case is wanted"),
        pytest.param(["٣"], id="a digit that is not ASCII"),
    ],
)
def test_what_is_no_item_is_refused(lines: list[str]) -> None:
    with pytest.raises(StructuredFieldError):
        sf.parse_item(lines)


@pytest.mark.parametrize(
    ("lines", "members"),
    [
        pytest.param([], {}, id="absent"),
        pytest.param([""], {}, id="without members"),
        pytest.param(
            ['en="Applepie", da=:w4ZibGV0w6ZydGU=:'],
            {"en": "Applepie", "da": "Æbletærte".encode()},
            id="Strings and Byte Sequences",
        ),
        pytest.param(["a=?0, b, c; foo=bar"], {"a": False, "b": True, "c": True}, id="Booleans"),
        pytest.param(
            ["rating=1.5, feelings=(joy sadness)"],
            {"rating": Decimal("1.5"), "feelings": (Token("joy"), Token("sadness"))},
            id="an Inner List",
        ),
        pytest.param(
            ["a=(1 2), b=3, c=4;aa=bb, d=(5 6);valid"],
            {"a": (1, 2), "b": 3, "c": 4, "d": (5, 6)},
            id="parameters of both",
        ),
        pytest.param(["foo=1, bar=2", "baz=3"], {"foo": 1, "bar": 2, "baz": 3}, id="two lines"),
        pytest.param(["a=1,a=2", "a=3"], {"a": 3}, id="the last of a key that repeats"),
        pytest.param(["a=()"], {"a": ()}, id="an empty Inner List"),
        pytest.param(["a=1\t,\tb=2"], {"a": 1, "b": 2}, id="tabs around the comma"),
    ],
)
def test_a_dictionary_has_the_members_that_the_rfc_gives_it(
    lines: list[str], members: object
) -> None:
    assert sf.parse_dictionary(lines) == members


@pytest.mark.parametrize("text", ["a=1,", ",a=1", "a=1 b=2", "A=1", "a=", "a=(1", "a=(1,2)", "1=1"])
def test_what_is_no_dictionary_is_refused(text: str) -> None:
    with pytest.raises(StructuredFieldError):
        sf.parse_dictionary([text])


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (["?1"], True),
        (["?0;q=1"], False),
        ([], None),
        (["1"], None),
        (["true"], None),
        (["?1", "?1"], None),
        (["?1, ?1"], None),
        (["?2"], None),
        ([":MQ==:"], None),
    ],
)
def test_what_is_no_boolean_is_ignored_as_a_whole(lines: list[str], value: bool | None) -> None:
    """RUFH-CMP-02."""
    assert sf.parse_boolean_item(lines) is value


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (["0"], 0),
        (["100;a=b"], 100),
        ([], None),
        (["?1"], None),
        (["-1"], None),
        (["1.0"], None),
        (['"1"'], None),
        (["1", "1"], None),
        (["1, 1"], None),
        (["1000000000000000"], None),
        (["+1"], None),
        (["0x1"], None),
    ],
)
def test_what_is_no_size_is_ignored_as_a_whole(lines: list[str], value: int | None) -> None:
    """RUFH-OFF-03, RUFH-LEN-03."""
    parsed = sf.parse_integer_item(lines)
    assert parsed == value and not isinstance(parsed, bool)


@given(st.integers(0, MAX_INTEGER), st.booleans())
def test_items_survive_the_wire(number: int, truth: bool) -> None:
    assert sf.parse_integer_item([sf.build_integer(number)]) == number
    assert sf.parse_boolean_item([sf.build_boolean(truth)]) is truth


KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,10}", fullmatch=True)


@given(
    st.dictionaries(KEYS, st.integers(-MAX_INTEGER, MAX_INTEGER), min_size=1)
    | st.dictionaries(KEYS, st.binary(max_size=64), min_size=1)
)
def test_dictionaries_survive_the_wire(members: dict[str, int] | dict[str, bytes]) -> None:
    assert sf.parse_dictionary([sf.build_dictionary(members)]) == members


def test_the_examples_of_the_drafts_are_built_as_they_stand_there() -> None:
    assert sf.build_boolean(True) == "?1" and sf.build_boolean(False) == "?0"
    assert sf.build_dictionary({"max-size": 1_000_000_000}) == "max-size=1000000000"
    assert sf.build_dictionary({"min-size": 0, "max-age": 3600}) == "min-size=0, max-age=3600"
    assert sf.build_dictionary({"md5": b"\x00"}) == "md5=:AA==:"


@pytest.mark.parametrize(
    "members",
    [{}, {"Max": 1}, {"": 1}, {"a": MAX_INTEGER + 1}, {"a b": 1}, {"a": -MAX_INTEGER - 1}],
)
def test_what_no_dictionary_can_hold_is_not_built(members: dict[str, int]) -> None:
    with pytest.raises(StructuredFieldError):
        sf.build_dictionary(members)


def test_a_number_that_no_integer_can_hold_is_not_built() -> None:
    assert sf.build_integer(MAX_INTEGER) == "9" * 15
    for number in (MAX_INTEGER + 1, -MAX_INTEGER - 1):
        with pytest.raises(StructuredFieldError):
            sf.build_integer(number)
