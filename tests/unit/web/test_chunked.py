"""The chunked coding: whatever is well-formed is read, however it is cut up, and nothing else."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import assume, given
from hypothesis import strategies as st

from tusd_py.web.chunked import (
    MAX_FRAMING_EXCESS_BYTES,
    MAX_LINE_BYTES,
    MAX_TRAILER_BYTES,
    MAX_TRAILER_FIELDS,
    ChunkedError,
    ChunkedFilter,
)

HEAD = b"PATCH / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
TEXT = "\t !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~\x80\xe9\xff"
TOKEN = "!#$%&'*+-.^_`|~09AZaz"


@dataclass(frozen=True)
class Read:
    """What was made of the bytes."""

    content: bytes
    trailers: Sequence[tuple[str, str]] = ()
    rest: bytes | None = None
    """What followed the body; None where it did not end."""
    is_refused: bool = False


def read(segments: Iterable[bytes], *, held: list[int] | None = None) -> Read:
    """Run a filter over the segments. Any exception but the documented one comes out."""
    chunked, content = ChunkedFilter(), b""
    rest: bytes | None = None
    for segment in segments:
        if rest is not None:
            rest += segment
            continue
        try:
            for piece in chunked.feed(segment):
                assert piece
                content += piece
        except ChunkedError:
            return Read(content, is_refused=True)
        if held is not None:
            held.append(len(chunked._held))
        if chunked.end is not None:
            rest = segment[chunked.end :]
    return Read(content, chunked.trailers if rest is not None else (), rest)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` in segments; places beyond its end are none."""
    at = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[a:b] for a, b in itertools.pairwise(at)]


def one_by_one(data: bytes) -> list[bytes]:
    return cut(data, range(len(data)))


# ------------------------------------------------------------------ what is well-formed


@dataclass(frozen=True)
class Body:
    """A body and one of its spellings."""

    wire: bytes
    content: bytes
    trailers: tuple[tuple[str, str], ...]


PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
DIGITS = st.sampled_from(["%x", "%X", "%04x", "%016X"])
NO_EXTENSION = st.just("")
EXTENSION = NO_EXTENSION | st.from_regex(rf"\A[ \t]{{0,2}};[{re.escape(TEXT)}]{{0,12}}\Z")
FIELDS = st.lists(
    st.tuples(st.text(TOKEN, min_size=1, max_size=8), st.text(TEXT, max_size=12)), max_size=4
)


@st.composite
def bodies(draw: st.DrawFn, extension: st.SearchStrategy[str] = EXTENSION) -> Body:
    def line(size: int) -> bytes:
        return f"{draw(DIGITS) % size}{draw(extension)}\r\n".encode("latin-1")

    pieces, trailers = draw(PIECES), draw(FIELDS)
    wire = b"".join(line(len(piece)) + piece + b"\r\n" for piece in pieces) + line(0)
    wire += b"".join(f"{n}:{v}\r\n".encode("latin-1") for n, v in trailers) + b"\r\n"
    return Body(wire, b"".join(pieces), tuple((n, as_a_field(v)) for n, v in trailers))


def as_a_field(value: str) -> str:
    return value.encode("latin-1").strip(b" \t").decode("utf-8", "surrogateescape")


@pytest.mark.fuzz
@given(bodies(), st.lists(st.integers(0, 400), max_size=12), st.binary(max_size=9))
def test_a_body_is_the_same_however_it_is_spelled_and_cut(
    body: Body, places: list[int], behind: bytes
) -> None:
    """HTTP-CHUNKED, HTTP-TRAILER: content, trailers, and the first byte that is none of it."""
    expected = Read(body.content, list(body.trailers), behind)
    assert read(cut(body.wire + behind, places)) == expected
    assert read(one_by_one(body.wire + behind)) == expected


@pytest.mark.fuzz
@given(bodies(), st.data())
def test_a_body_that_breaks_off_is_not_at_its_end(body: Body, data: st.DataObject) -> None:
    """Nor is it refused: the rest may be on its way."""
    stop = data.draw(st.integers(0, len(body.wire) - 1))
    for segments in ([body.wire[:stop]], one_by_one(body.wire[:stop])):
        found = read(segments)
        assert (found.rest, found.is_refused, found.trailers) == (None, False, ())
        assert body.content.startswith(found.content)


def test_what_is_large_is_not_copied() -> None:
    chunked = ChunkedFilter()
    segment = b"x" * 100_000
    assert list(chunked.feed(b"30d40\r\n")) == []
    assert next(chunked.feed(segment)) is segment


def test_it_can_begin_within_a_segment() -> None:
    chunked = ChunkedFilter()
    assert list(chunked.feed(b"head3\r\nabc\r\n0\r\n\r\nnext", 4)) == [b"abc"]
    assert chunked.end == len(b"head3\r\nabc\r\n0\r\n\r\n")


def test_repeated_trailers_stay_apart() -> None:
    assert read([b"0\r\nA: 1\r\na:2\r\n\r\n"]).trailers == [("A", "1"), ("a", "2")]


# ------------------------------------------------------------------ what is not

BROKEN = {
    "no size": b"\r\n",
    "no hexadecimal size": b"g\r\n",
    "a negative size": b"-5\r\n12345\r\n",
    "a size with a plus": b"+5\r\n12345\r\n",
    "a size as programs write it": b"0x5\r\n12345\r\n",
    "a size with a separator": b"1_0\r\n",
    "a size in other digits": "\u0665\r\n".encode(),
    "a size of 17 digits": b"00000000000000005\r\n12345\r\n",
    "a space before the size": b" 5\r\n12345\r\n",
    "a space after the size": b"5 \r\n12345\r\n",
    "two sizes": b"5 5\r\n12345\r\n",
    "an extension without its semicolon": b"5 a=b\r\n12345\r\n",
    "LF behind the size": b"5\n12345\r\n",
    "CR behind the size": b"5\r12345\r\n",
    "two CRs behind the size": b"5\r\r\n12345\r\n",
    "LF in an extension": b"5;a\nb\r\n12345\r\n",
    "CR in an extension": b"5;a\rb\r\n12345\r\n",
    "NUL in an extension": b"5;a\0b\r\n12345\r\n",
    "VT in an extension": b"5;a\x0bb\r\n12345\r\n",
    "DEL in an extension": b"5;a\x7fb\r\n12345\r\n",
}
BROKEN_BEHIND = {
    "LF behind a chunk": b"5\r\n12345\n0\r\n\r\n",
    "CR behind a chunk": b"5\r\n12345\r0\r\n\r\n",
    "a chunk longer than its size": b"5\r\n123456\r\n0\r\n\r\n",
    "a chunk shorter than its size": b"5\r\n1234\r\n0\r\n\r\n",
    "an empty line behind a chunk": b"5\r\n12345\r\n\r\n0\r\n\r\n",
    "a folded trailer": b"5\r\n12345\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a trailer that begins folded": b"5\r\n12345\r\n0\r\n A: b\r\n\r\n",
    "a space before the colon": b"5\r\n12345\r\n0\r\nA : b\r\n\r\n",
    "a trailer without a colon": b"5\r\n12345\r\n0\r\nA\r\n\r\n",
    "a trailer without a name": b"5\r\n12345\r\n0\r\n: b\r\n\r\n",
    "a trailer with an odd name": b"5\r\n12345\r\n0\r\nA(b): c\r\n\r\n",
    "a trailer that is a request": b"5\r\n12345\r\n0\r\nDELETE / HTTP/1.1\r\n\r\n",
    "LF behind a trailer": b"5\r\n12345\r\n0\r\nA: b\n\r\n",
    "CR in a trailer": b"5\r\n12345\r\n0\r\nA: b\rc\r\n\r\n",
    "NUL in a trailer": b"5\r\n12345\r\n0\r\nA: b\0c\r\n\r\n",
    "a control character in a trailer": b"5\r\n12345\r\n0\r\nA: b\x1bc\r\n\r\n",
    "LF behind the trailers": b"5\r\n12345\r\n0\r\nA: b\r\n\n",
    "LF in place of the trailers": b"5\r\n12345\r\n0\r\n\n",
    "LF behind the last size": b"5\r\n12345\r\n0\n\r\n",
}


@pytest.mark.parametrize("cutting", [lambda data: [data], one_by_one], ids=["whole", "torn"])
@pytest.mark.parametrize("wire", BROKEN.values(), ids=BROKEN)
def test_what_is_malformed_is_refused(wire: bytes, cutting: Any) -> None:
    """HTTP-CHUNKED: as the first chunk, and as the second: what came before it is handed over."""
    assert read(cutting(wire)) == Read(b"", is_refused=True)
    assert read(cutting(b"3\r\nabc\r\n" + wire)) == Read(b"abc", is_refused=True)


@pytest.mark.parametrize("cutting", [lambda data: [data], one_by_one], ids=["whole", "torn"])
@pytest.mark.parametrize("wire", BROKEN_BEHIND.values(), ids=BROKEN_BEHIND)
def test_good_bytes_before_bad_ones_are_handed_over(wire: bytes, cutting: Any) -> None:
    assert read(cutting(wire)) in (
        Read(b"12345", is_refused=True),
        Read(b"1234\r", is_refused=True),
    )


@pytest.mark.parametrize("begun", [b"z", b"\n", b"5 x", b"5\n", b"5\r1", b"-", b"5;\0", b"0" * 17])
def test_nonsense_is_refused_before_its_line_ends(begun: bytes) -> None:
    """Or its sender would be waited for."""
    assert read([begun]).is_refused
    assert read([b"1\r\nx\r\n" + begun]).is_refused


@pytest.mark.fuzz
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=9))
def test_garbage_raises_nothing_else(data: bytes, places: list[int]) -> None:
    assert read(cut(data, places)) == read([data])


@pytest.mark.fuzz
@given(bodies(), st.data())
def test_a_body_with_a_wrong_byte_is_the_same_however_it_is_cut(
    body: Body, data: st.DataObject
) -> None:
    wire = mutated(body.wire, data)
    places = data.draw(st.lists(st.integers(0, 400), max_size=9))
    assert read(cut(wire, places)) == read([wire]) == read(one_by_one(wire))


SLIPS = st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"0", b"f", b";", b"\0", b"z"])


def mutated(wire: bytes, data: st.DataObject) -> bytes:
    """``wire`` with a byte changed, added or taken away, as line ends like to be."""
    at = data.draw(st.integers(0, len(wire) - 1))
    return wire[:at] + data.draw(SLIPS) + wire[at + data.draw(st.integers(0, 1)) :]


# ------------------------------------------------------------------ bounds


def test_a_line_has_a_longest() -> None:
    line = b"1;" + b"x" * (MAX_LINE_BYTES - 4) + b"\r\n"
    assert len(line) == MAX_LINE_BYTES
    assert read([line + b"a\r\n" + END]).content == b"a"
    too_long = line.replace(b";", b";x")
    for segments in ([too_long], one_by_one(too_long)):
        assert read(segments).is_refused


def test_extensions_have_a_bound_together() -> None:
    """CVE-2023-39326 of Go: a byte of content in four kilobytes of framing costs more than it
    brings. Many bytes of content make up for their own framing, and for no other."""
    line = b"1;" + b"x" * 2000 + b"\r\na\r\n"
    most = MAX_FRAMING_EXCESS_BYTES // 2000
    assert not read([line * most]).is_refused
    assert read([line * (most + 1)]).is_refused
    large = b"1000;" + b"x" * 2000 + b"\r\n" + b"a" * 4096 + b"\r\n"
    assert len(read([large * 100 + END]).content) == 409_600
    assert read([large * 100 + line * (most + 1)]).is_refused


def test_small_chunks_are_no_excess() -> None:
    assert read([b"1\r\na\r\n" * 50_000 + END]).content == b"a" * 50_000


def test_trailers_have_bounds() -> None:
    fields = b"A: b\r\n" * MAX_TRAILER_FIELDS
    assert len(read([b"0\r\n" + fields + b"\r\n"]).trailers) == MAX_TRAILER_FIELDS
    assert read([b"0\r\n" + fields + b"C: d\r\n\r\n"]).is_refused
    field = b"A: " + b"x" * (MAX_TRAILER_BYTES - 7) + b"\r\n\r\n"
    assert len(field) == MAX_TRAILER_BYTES
    assert not read([b"0\r\n" + field]).is_refused
    assert read([b"0\r\n" + field.replace(b":", b"b:")]).is_refused
    halves = (b"A: " + b"x" * (MAX_TRAILER_BYTES // 2) + b"\r\n") * 2
    assert read([b"0\r\n" + halves]).is_refused


@pytest.mark.parametrize(
    "endless",
    [b"1;" + b"x" * 100_000, b"0\r\nA:" + b"x" * 100_000, b"0\r\n" + b"A:b\r\n" * 20_000],
    ids=["an extension", "a trailer", "trailers"],
)
@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_what_is_held_is_bounded(endless: bytes, size: int) -> None:
    held = [0]
    assert read(cut(endless, range(0, len(endless), size)), held=held).is_refused
    assert max(held) < max(MAX_LINE_BYTES, MAX_TRAILER_BYTES)


# ------------------------------------------------------------------ against another parser


def read_by_llhttp(wire: bytes) -> Read:
    """What the C parser of aiohttp makes of it: for content only, it drops trailers."""

    class Reader:
        connected = True

        def pause_reading(self) -> None: ...
        def resume_reading(self, resume_parser: bool = True) -> None: ...

    reader: Any = Reader()
    loop: Any = object()  # nobody waits
    parser = HttpRequestParser(reader, loop, 1 << 20, auto_decompress=False)
    ((_, stream),), _, _ = parser.feed_data(HEAD)
    is_refused = False
    try:
        parser.feed_data(wire)
    except HttpProcessingError:
        is_refused = True
    content = b"".join(stream._buffer)
    return Read(content, (), b"" if stream.is_eof() else None, is_refused)


# It knows no white space before an extension, and wants names and values in extensions.
NOT_LLHTTP = re.compile(rb"[0-9A-Fa-f][ \t]*;")


@pytest.mark.fuzz
@given(bodies(NO_EXTENSION), st.data())
def test_what_is_taken_is_taken_the_same_way_by_another(body: Body, data: st.DataObject) -> None:
    """HTTP-SMUGGLE: nothing is read here that somebody in between could read differently."""
    wire = mutated(body.wire, data)
    assume(not NOT_LLHTTP.search(wire))
    ours, theirs = read([wire]), read_by_llhttp(wire)
    if ours.is_refused:
        assert theirs.content.startswith(ours.content)
    else:
        assert not theirs.is_refused or ours.rest
        assert (ours.content, ours.rest is None) == (theirs.content, theirs.rest is None)
