"""Ranges and conditions, as RFC 9110 has them."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tusd_py.core.errors import RangeUnsatisfiable
from tusd_py.protocol.ranges import (
    ByteRange,
    Validators,
    Wish,
    build_content_range,
    build_unsatisfied_range,
    choose_range,
    judge,
    parse_date,
    parse_range,
)

TAG = '"abc"'
AT = 784111777
NOW = Validators(TAG, AT)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-9", 0, 9),
        ("bytes=3-5", 3, 5),
        ("bytes=9-9", 9, 9),
        ("bytes=5-", 5, 9),
        ("bytes=5-99", 5, 9),
        ("bytes=0-99999999999999999999999999", 0, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-10", 0, 9),
        ("bytes=-99999999999999999999999999", 0, 9),
        ("bytes=0000003-05", 3, 5),
        ("Bytes=3-5", 3, 5),
        (" bytes = 3-5 ", 3, 5),
        ("bytes=,3-5,", 3, 5),
    ],
)
def test_one_range_is_taken_exactly(text: str, first: int, last: int) -> None:
    """HTTP-RANGE: both ends are included, and cut to the file."""
    found = parse_range(text, length=10)
    assert found == ByteRange(first, last, 10)
    assert found.length == last - first + 1
    assert build_content_range(found) == f"bytes {first}-{last}/10"


@pytest.mark.parametrize(
    "text", ["bytes=10-", "bytes=10-12", "bytes=99999999999999999999-", "bytes=-0"]
)
def test_a_range_beyond_the_file_is_unsatisfiable(text: str) -> None:
    """HTTP-RANGE: and the refusal knows how long the file is."""
    with pytest.raises(RangeUnsatisfiable) as refused:
        parse_range(text, length=10)
    assert build_unsatisfied_range(refused.value.length) == "bytes */10"


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0"])
def test_an_empty_file_has_no_range(text: str) -> None:
    with pytest.raises(RangeUnsatisfiable):
        parse_range(text, length=0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=5", "bytes=a-b", "bytes=1-b", "bytes=--5"),
        *("bytes=5-3", "bytes=+1-2", "bytes=1 - 2", "bytes=0x1-2", "bytes=1-2-3", "bytes=²-3"),
        *("lines=1-2", "0-5", "=0-5", "bytes:0-5", "bytes=0-1,3-4", "bytes=0-1,-1", "bytes=99-,0-"),
    ],
)
def test_anything_else_is_ignored(text: str) -> None:
    """HTTP-RANGE: units nobody knows, several ranges, nonsense: the whole file is sent."""
    assert parse_range(text, length=10) is None


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_range_cuts_as_a_slice_does(content: bytes, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(content) - 1))
    last = data.draw(st.integers(first, len(content) + 3))
    for text, wanted in (
        (f"bytes={first}-{last}", content[first : last + 1]),
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{last + 1}", content[-(last + 1) :]),
    ):
        found = parse_range(text, length=len(content))
        assert found is not None
        assert content[found.first : found.first + found.length] == wanted


@pytest.mark.parametrize(
    "text",
    [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", f" {DATE} "],
)
def test_a_date_is_read_in_all_three_forms(text: str) -> None:
    assert parse_date(text) == AT


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "now", DATE.replace("GMT", "CET"), DATE.replace("Nov", "Nox"), DATE + "x"),
        *(DATE.replace("06", "31"), DATE.replace("08:", "24:"), DATE.replace("1994", "0000")),
        *(DATE.replace("06", "٠٦"), "Sun, 6 Nov 1994 08:49:37 GMT", DATE.replace("Nov", "nov")),
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31)))
def test_a_written_date_is_read_as_it_was(when: datetime) -> None:
    when = when.replace(microsecond=0, tzinfo=UTC)
    assert parse_date(format_datetime(when, usegmt=True)) == int(when.timestamp())


def test_a_leap_second_and_years_of_two_digits_are_read() -> None:
    assert parse_date(DATE.replace(":37", ":60")) == AT - 37 + 59
    assert parse_date("Sunday, 06-Nov-69 08:49:37 GMT") == parse_date(DATE.replace("1994", "2069"))
    assert parse_date("Sunday, 06-Nov-70 08:49:37 GMT") == parse_date(DATE.replace("1994", "1970"))


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({}, Wish.SEND),
        ({"If-Match": TAG}, Wish.SEND),
        ({"If-Match": f'"x", {TAG}'}, Wish.SEND),
        ({"If-Match": "*"}, Wish.SEND),
        ({"If-Match": '"x"'}, Wish.FAILED),
        ({"If-Match": f"W/{TAG}"}, Wish.FAILED),
        ({"If-Match": "abc"}, Wish.FAILED),
        ({"If-Match": ""}, Wish.FAILED),
        ({"If-Unmodified-Since": DATE}, Wish.SEND),
        ({"If-Unmodified-Since": AFTER}, Wish.SEND),
        ({"If-Unmodified-Since": BEFORE}, Wish.FAILED),
        ({"If-Unmodified-Since": "then"}, Wish.SEND),
        # "A recipient MUST ignore If-Unmodified-Since if the request contains an If-Match"
        ({"If-Match": TAG, "If-Unmodified-Since": BEFORE}, Wish.SEND),
        ({"If-None-Match": TAG}, Wish.NOT_MODIFIED),
        ({"If-None-Match": f"W/{TAG}"}, Wish.NOT_MODIFIED),
        ({"If-None-Match": f'"x",,W/"y" ,{TAG}'}, Wish.NOT_MODIFIED),
        ({"If-None-Match": "*"}, Wish.NOT_MODIFIED),
        ({"If-None-Match": '"x"'}, Wish.SEND),
        ({"If-None-Match": '"x" nonsense "abc"'}, Wish.SEND),
        ({"If-None-Match": '"abc'}, Wish.SEND),
        ({"If-Modified-Since": DATE}, Wish.NOT_MODIFIED),
        ({"If-Modified-Since": AFTER}, Wish.NOT_MODIFIED),
        ({"If-Modified-Since": BEFORE}, Wish.SEND),
        ({"If-Modified-Since": "then"}, Wish.SEND),
        # "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match"
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, Wish.SEND),
        ({"If-Match": '"x"', "If-None-Match": TAG}, Wish.FAILED),
        ({"If-Match": TAG, "If-None-Match": TAG}, Wish.NOT_MODIFIED),
    ],
)
def test_conditions_are_judged_in_their_order(fields: dict[str, str], wish: Wish) -> None:
    """RFC 9110, 13.2.2."""
    assert judge(CIMultiDict(fields), NOW) is wish


def test_repeated_lines_of_a_list_are_one_list_and_of_a_date_none() -> None:
    assert judge(CIMultiDict([("If-None-Match", '"x"'), ("If-None-Match", TAG)]), NOW) is (
        Wish.NOT_MODIFIED
    )
    twice = CIMultiDict([("If-Modified-Since", DATE), ("If-Modified-Since", DATE)])
    assert judge(twice, NOW) is Wish.SEND


@pytest.mark.parametrize(
    ("condition", "is_part"),
    [
        (None, True),
        (TAG, True),
        (f" {TAG} ", True),
        (DATE, True),
        ('"x"', False),
        (f"W/{TAG}", False),
        (f'{TAG}, "x"', False),
        (BEFORE, False),
        (AFTER, False),
        ("abc", False),
        ("", False),
    ],
)
def test_a_part_is_sent_only_of_the_file_that_the_client_knows(
    condition: str | None, is_part: bool
) -> None:
    """RFC 9110, 13.1.5: else the whole file, also where the range would be unsatisfiable."""
    fields = {"Range": "bytes=2-4"} | ({} if condition is None else {"If-Range": condition})
    found = choose_range(CIMultiDict(fields), NOW, length=10)
    assert found == (ByteRange(2, 4, 10) if is_part else None)
    if not is_part:
        beyond = CIMultiDict(fields | {"Range": "bytes=99-"})
        assert choose_range(beyond, NOW, length=10) is None


def test_two_lines_of_ranges_are_several_ranges_and_two_conditions_are_none() -> None:
    lines = CIMultiDict([("Range", "bytes=1-2"), ("Range", "bytes=4-5")])
    assert choose_range(lines, NOW, length=10) is None
    doubled = CIMultiDict([("Range", "bytes=1-2"), ("If-Range", TAG), ("If-Range", TAG)])
    assert choose_range(doubled, NOW, length=10) is None
    assert choose_range(CIMultiDict({"If-Range": TAG}), NOW, length=10) is None


@pytest.mark.fuzz
@given(st.text(max_size=60) | st.from_regex(r"bytes=[0-9, -]{0,40}"), st.integers(0, 2**63))
def test_no_range_is_outside_of_the_file(text: str, length: int) -> None:
    """SEC-ALIVE: whatever the text, a part lies within the file or there is none."""
    try:
        found = parse_range(text, length=length)
    except RangeUnsatisfiable as exc:
        assert exc.length == length
        return
    assert found is None or 0 <= found.first <= found.last < length


@pytest.mark.fuzz
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("Range", "If-Range", "If-Match", "If-None-Match"),
                *("If-Modified-Since", "If-Unmodified-Since"),
            ]
        ),
        st.text(max_size=60) | st.sampled_from([TAG, f"W/{TAG}", "*", DATE, "bytes=1-2"]),
    )
)
def test_no_condition_raises_anything_else(fields: dict[str, str]) -> None:
    """SEC-ALIVE."""
    headers = CIMultiDict(fields)
    assert judge(headers, NOW) in Wish
    try:
        choose_range(headers, NOW, length=10)
    except RangeUnsatisfiable:
        assert "Range" in fields
