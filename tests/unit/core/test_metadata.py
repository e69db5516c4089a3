"""``Upload-Metadata``: read strictly, kept byte for byte, less what must not be kept."""

import base64
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tusd_py.core.errors import InvalidMetadata
from tusd_py.core.metadata import (
    MAX_KEY_CHARS,
    MAX_PAIRS,
    Metadata,
    build_pairs,
    parse_pairs,
)

TOKEN = {"token"}

keys = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs"], exclude_characters=","),
    min_size=1,
    max_size=12,
)
values = st.binary(max_size=20)
blanks = st.text(" \t", max_size=2)
near_pairs = st.text("token =,abY2F0\t", max_size=40)
"""Text that is often almost metadata: plain text hardly ever is."""


@st.composite
def odd_wires(draw: st.DrawFn) -> str:
    """Metadata that can be read, with any order and any spacing that is let through."""
    parts = []
    for key in draw(st.lists(st.sampled_from(["token", "a", "b", "tokens", "Token"]), unique=True)):
        value = base64.b64encode(draw(values)).decode()
        gap = " " + draw(blanks) if value else draw(blanks)
        parts.append(draw(blanks) + key + gap + value + draw(blanks))
    return ",".join(parts)


# ------------------------------------------------------------------ what is read


@pytest.mark.parametrize(
    ("wire", "pairs"),
    [
        pytest.param("", {}, id="an empty header: tuspy sends one"),
        pytest.param(" \t ", {}, id="only white space"),
        pytest.param("filename Y2F0", {"filename": b"cat"}, id="one pair"),
        pytest.param("a Y2F0,b ZG9n", {"a": b"cat", "b": b"dog"}, id="two pairs"),
        pytest.param("a Y2F0, b ZG9n", {"a": b"cat", "b": b"dog"}, id="a blank after the comma"),
        pytest.param("\ta Y2F0 ,\tb ZG9n ", {"a": b"cat", "b": b"dog"}, id="blanks around pairs"),
        pytest.param("is_secret", {"is_secret": b""}, id="a key alone has an empty value"),
        pytest.param("is_secret ", {"is_secret": b""}, id="a key and its space"),
        pytest.param("a  Y2F0", {"a": b"cat"}, id="two spaces"),
        pytest.param("a Y2E=", {"a": b"ca"}, id="padded"),
        pytest.param("a Y2E", {"a": b"ca"}, id="without its padding"),
        pytest.param("a _w", InvalidMetadata, id="Base64 for URLs is not Base64"),
        pytest.param("a /w==", {"a": b"\xff"}, id="bytes that are not UTF-8"),
        pytest.param("größe Y2F0", {"größe": b"cat"}, id="a key that is not ASCII"),
        pytest.param("A Y2F0,a ZG9n", {"A": b"cat", "a": b"dog"}, id="case matters"),
        pytest.param("a Y2F0,", InvalidMetadata, id="a comma at the end"),
        pytest.param(",a Y2F0", InvalidMetadata, id="a comma at the beginning"),
        pytest.param("a Y2F0,,b ZG9n", InvalidMetadata, id="two commas"),
        pytest.param("a Y2F0,a ZG9n", InvalidMetadata, id="a key that repeats"),
        pytest.param("a,a", InvalidMetadata, id="a bare key that repeats"),
        pytest.param("a cat!", InvalidMetadata, id="a value that is not Base64"),
        pytest.param("a Y", InvalidMetadata, id="no Base64 has this length"),
        pytest.param("a Y2F0Y", InvalidMetadata, id="nor this"),
        pytest.param("a Y2E==", InvalidMetadata, id="too much padding"),
        pytest.param("a Y=2E", InvalidMetadata, id="padding in the middle"),
        pytest.param("a ====", InvalidMetadata, id="nothing but padding"),
        pytest.param("a Y2F0 ZG9n", InvalidMetadata, id="a space in the value"),
        pytest.param("a Y2F0é", InvalidMetadata, id="a value that is not ASCII"),
        pytest.param("a\tY2F0", InvalidMetadata, id="a tab does not end a key"),
        pytest.param("a\nb Y2F0", InvalidMetadata, id="a line end in a key"),
        pytest.param("a\x00 Y2F0", InvalidMetadata, id="a zero byte in a key"),
        pytest.param("a\x7f Y2F0", InvalidMetadata, id="a delete character in a key"),
        pytest.param("a\x85 Y2F0", InvalidMetadata, id="a control character above ASCII"),
        pytest.param("a\udcff Y2F0", InvalidMetadata, id="a key that is not UTF-8"),
        pytest.param("a \udcff", InvalidMetadata, id="a value that is not UTF-8"),
    ],
)
def test_the_grammar_of_pairs(wire: str, pairs: dict[str, bytes] | type[Exception]) -> None:
    if isinstance(pairs, dict):
        assert parse_pairs(wire) == pairs
        assert Metadata(wire).values() == pairs
    else:
        with pytest.raises(pairs):
            parse_pairs(wire)


def test_pairs_keep_the_clients_order() -> None:
    assert list(Metadata("b Y2F0,a ZG9n,c").values()) == ["b", "a", "c"]


@pytest.mark.parametrize(("count", "is_fine"), [(MAX_PAIRS, True), (MAX_PAIRS + 1, False)])
def test_the_number_of_pairs_is_bounded(count: int, is_fine: bool) -> None:
    wire = ",".join(f"k{number}" for number in range(count))
    if is_fine:
        assert len(parse_pairs(wire)) == count
    else:
        with pytest.raises(InvalidMetadata):
            parse_pairs(wire)


@pytest.mark.parametrize(("chars", "is_fine"), [(MAX_KEY_CHARS, True), (MAX_KEY_CHARS + 1, False)])
def test_the_length_of_a_key_is_bounded(chars: int, is_fine: bool) -> None:
    key = "k" * chars
    if is_fine:
        assert parse_pairs(key) == {key: b""}
    else:
        with pytest.raises(InvalidMetadata):
            parse_pairs(key)


@given(st.one_of(st.text(), near_pairs))
@example("token \udcff")
def test_any_text_is_read_or_refused_and_nothing_else_escapes(wire: str) -> None:
    with suppress(InvalidMetadata):
        parse_pairs(wire)


@given(st.one_of(st.text(), near_pairs), st.sampled_from(["eyJhbGciOiJI", "s3cret!"]))
def test_a_refusal_never_quotes_what_the_client_wrote(noise: str, secret: str) -> None:
    """A token can stand in the value, or, by mistake, in the key."""
    for wire in (f"token {secret}!,{noise}", f"token {secret},token {secret}", f"\x7f{secret} x"):
        with pytest.raises(InvalidMetadata) as refusal:
            parse_pairs(wire)
        assert secret not in str(refusal.value)


@given(st.dictionaries(keys, values, max_size=MAX_PAIRS))
def test_what_is_built_is_read_back(pairs: dict[str, bytes]) -> None:
    built = build_pairs(pairs)
    assert built.values() == pairs
    assert list(built.values()) == list(pairs)


def test_an_empty_value_is_built_as_a_key_alone() -> None:
    assert build_pairs({"is_secret": b"", "a": b"cat"}).wire == "is_secret,a Y2F0"


# ------------------------------------------------------------------ values as text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(b"cat.mp4", "cat.mp4", id="as it is"),
        pytest.param(b" 17\r\n", "17", id="without white space around it"),
        pytest.param("größe".encode(), "größe", id="UTF-8"),
        pytest.param(b"\xff17", "\ufffd17", id="not UTF-8"),
        pytest.param(b"", "", id="empty"),
    ],
)
def test_a_value_as_text(value: bytes, text: str) -> None:
    assert build_pairs({"key": value}).text("key") == text


def test_a_key_that_is_absent_has_no_text() -> None:
    assert Metadata("filename Y2F0").text("video_id") is None


# ------------------------------------------------------------------ what is not kept


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        pytest.param("a Y2F0,token eHg=,b ZG9n", "a Y2F0,b ZG9n", id="in the middle"),
        pytest.param("token eHg=,a Y2F0", "a Y2F0", id="at the beginning"),
        pytest.param("a Y2F0,token eHg=", "a Y2F0", id="at the end"),
        pytest.param("token eHg=", "", id="alone"),
        pytest.param("token", "", id="without a value"),
        pytest.param("a Y2F0, \ttoken  eHg= ,b ZG9n", "a Y2F0,b ZG9n", id="oddly spaced"),
        pytest.param("a  Y2F0 , token eHg=,\tb ZG9n", "a  Y2F0 ,\tb ZG9n", id="others stay odd"),
        pytest.param("token eHg=,token eXk=,a Y2F0", "a Y2F0", id="twice"),
        pytest.param("tokens eHg=,Token eHg=", "tokens eHg=,Token eHg=", id="look-alikes stay"),
        pytest.param("a dG9rZW4=", "a dG9rZW4=", id="a value that says token stays"),
        pytest.param(" a Y2F0\t", " a Y2F0\t", id="nothing to remove, nothing changed"),
        pytest.param("", "", id="nothing there"),
    ],
)
def test_the_token_goes_and_every_other_byte_stays(wire: str, kept: str) -> None:
    assert Metadata(wire).without(TOKEN).wire == kept


@given(odd_wires())
def test_removing_a_pair_changes_no_other(wire: str) -> None:
    before, after = parse_pairs(wire), parse_pairs(Metadata(wire).without(TOKEN).wire)
    assert list(after.items()) == [(k, v) for k, v in before.items() if k != "token"]


@given(odd_wires())
def test_what_is_left_stands_in_the_text_as_the_client_wrote_it(wire: str) -> None:
    left = Metadata(wire).without(TOKEN).wire
    if left:
        others = [p for p in wire.split(",") if p.strip(" \t").partition(" ")[0] != "token"]
        assert left in {",".join(others), ",".join(others).strip(" \t")}
    if "token" not in parse_pairs(wire):
        assert left == wire


@given(st.one_of(st.text(), near_pairs, odd_wires()))
@example("token eHg= ,\t token eHg=")
@example("token,token")
def test_no_spelling_of_the_token_is_left_that_would_be_read_as_one(wire: str) -> None:
    """Also in text that as a whole is refused: each pair for itself."""
    for pair in Metadata(wire).without(TOKEN).wire.split(","):
        with suppress(InvalidMetadata):
            assert "token" not in parse_pairs(pair)


@given(st.one_of(st.text(), near_pairs, odd_wires()))
def test_removing_twice_is_removing_once(wire: str) -> None:
    once = Metadata(wire).without(TOKEN)
    assert once.without(TOKEN) == once
