"""Ids of uploads: one spelling, and nothing else ever becomes a path or a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import AN_ID
from tusd_py.core.ids import ID_BYTES, build_upload_id, parse_upload_id


@given(st.binary(min_size=ID_BYTES, max_size=ID_BYTES))
def test_an_id_that_was_made_is_recognised(randomness: bytes) -> None:
    made = build_upload_id(randomness)
    assert parse_upload_id(made) == made
    assert bytes.fromhex(made) == randomness


@pytest.mark.parametrize("count", [0, ID_BYTES - 1, ID_BYTES + 1])
def test_an_id_of_another_randomness_is_not_made(count: int) -> None:
    with pytest.raises(ValueError, match=f"not {count}"):
        build_upload_id(bytes(count))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(AN_ID[:-1], id="too short"),
        pytest.param(AN_ID + "0", id="too long"),
        pytest.param(AN_ID.upper(), id="upper case: two spellings of one file"),
        pytest.param(AN_ID + "\n", id="a line end"),
        pytest.param(" " + AN_ID[1:], id="a blank"),
        pytest.param("../" + AN_ID[3:], id="a path"),
        pytest.param(AN_ID[:-1] + "/", id="a slash at the end"),
        pytest.param(AN_ID[:-1] + "\x00", id="a zero byte"),
        pytest.param(AN_ID[:-1] + "g", id="no hexadecimal digit"),
        pytest.param(AN_ID[:-1] + "٣", id="a digit that is not ASCII"),
        pytest.param("01234567-89ab-cdef-0123-456789abcdef", id="a UUID with hyphens"),
    ],
)
def test_no_other_text_is_an_id(text: str) -> None:
    assert parse_upload_id(text) is None


@given(st.text(max_size=40))
def test_any_text_is_an_id_as_it_stands_or_none(text: str) -> None:
    assert parse_upload_id(text) in (text, None)
