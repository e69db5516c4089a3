"""Where requests end, over a connection without a socket: whatever comes, however it is cut up."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.unit.web.rig import until
from tests.unit.web.test_chunked import TEXT, TOKEN, as_a_field, cut
from tests.unit.web.unwired import BUFFER, Seen, Unwired, a_head, saw, sized
from tusd_py.streams import SourceEnd

CHUNKED = "Transfer-Encoding: chunked"


def chunked(target: str, *pieces: bytes, trailers: bytes = b"") -> bytes:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return a_head(target, CHUNKED) + wire + b"0\r\n" + trailers + b"\r\n"


HIDDEN = a_head("/hidden", method="DELETE")


# ------------------------------------------------------------------ any pipeline, cut anywhere


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[bytes, list[Seen]]:
    wire, expected = b"", []
    contents = st.one_of(
        st.binary(max_size=40),
        st.integers(0, 4 * BUFFER).map(lambda size: b"\r\n\r\nGET / HTTP/1.1" * (size // 18)),
    )
    names = st.lists(
        st.tuples(st.text(TOKEN, min_size=1, max_size=6), st.text(TEXT, max_size=6)), max_size=2
    )
    for number in range(draw(st.integers(1, 6))):
        target = f"/{number}"
        wire += draw(st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b"\n"]))
        spelling = draw(st.sampled_from(["none", "sized", "chunked"]))
        if spelling == "none":
            wire += a_head(target, method="HEAD")
            expected.append(Seen(target))
        elif spelling == "sized":
            content = draw(contents)
            wire += sized(target, content)
            expected.append(Seen(target, content))
        else:
            pieces = [piece for piece in draw(st.lists(contents, max_size=3)) if piece]
            fields = draw(names)
            lines = "".join(f"{n}: {v}\r\n" for n, v in fields).encode("latin-1")
            wire += chunked(target, *pieces, trailers=lines)
            trailers = tuple((n, as_a_field(v)) for n, v in fields)
            expected.append(Seen(target, b"".join(pieces), trailers))
    return wire, expected


@pytest.mark.fuzz
@given(pipelines(), st.lists(st.integers(0, 5000), max_size=12))
def test_a_pipeline_is_the_same_however_it_is_cut(
    pipeline: tuple[bytes, list[Seen]], places: list[int]
) -> None:
    """HTTP-PIPELINE, HTTP-CHUNKED, HTTP-TRAILER: every request, its content, its trailers."""
    wire, expected = pipeline
    assert asyncio.run(saw(*cut(wire, places))) == expected


@pytest.mark.fuzz
@given(pipelines(), st.lists(st.integers(0, 5000), max_size=6), st.booleans())
def test_what_came_before_garbage_is_served(
    pipeline: tuple[bytes, list[Seen]], places: list[int], torn: bool
) -> None:
    """HTTP-GARBAGE, HTTP-PIPELINE: also where it came in the same segment."""
    wire, expected = pipeline
    segments = cut(wire + b"\x01\x02\r\n\r\n" + HIDDEN, places if torn else [])
    assert asyncio.run(saw(*segments)) == [*expected, "ERR_BAD_REQUEST"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10_000])
async def test_small_segments_change_nothing(size: int) -> None:
    wire = sized("/a", b"12345") + chunked("/b", b"678", b"90", trailers=b"A: b\r\n") + HIDDEN
    expected = [Seen("/a", b"12345"), Seen("/b", b"67890", (("A", "b"),)), Seen("/hidden")]
    assert await saw(*cut(wire * 2, range(0, len(wire) * 2, size))) == expected * 2


# ------------------------------------------------------------------ flow control


@pytest.mark.parametrize("spell", [sized, chunked])
async def test_a_body_that_is_not_read_stops_the_connection(spell: Any) -> None:
    """Until it is read; nothing of it is lost, nor of what came behind it in the same segment."""
    unwired = Unwired()
    unwired.pause.clear()
    content = b"x" * (10 * BUFFER)
    await unwired.feed(spell("/a", content) + spell("/b", b"12345"))
    assert unwired.is_held_back()
    unwired.pause.set()
    assert await unwired.settled() == [Seen("/a", content), Seen("/b", b"12345")]
    assert not unwired.is_held_back()
    unwired.end()


async def test_what_waits_for_its_turn_is_bounded() -> None:
    """Hundreds of requests in one segment: as many are parsed as aiohttp's queue takes. What comes
    all the same, from a transport that cannot be paused at once, comes behind them."""
    unwired = Unwired()
    unwired.pause.clear()
    await unwired.feed(b"".join(a_head(f"/{number}") for number in range(300)))
    await asyncio.sleep(0)
    assert unwired.is_held_back()
    unwired.connection.data_received(a_head("/300") + a_head("/301"))
    assert len(unwired.connection._messages) <= unwired.connection._max_msg_queue_size
    unwired.pause.set()
    assert await unwired.settled() == [Seen(f"/{number}") for number in range(302)]
    unwired.end()


# ------------------------------------------------------------------ broken framing


@pytest.mark.parametrize(
    "broken", [b"zz\r\n", b"\r\n", b"-1\r\n", b"5\n", b"1;\n", b"0\r\nA\r\n\r\n"]
)
@pytest.mark.parametrize("torn", [False, True])
async def test_good_bytes_before_a_broken_chunk_are_kept(broken: bytes, torn: bool) -> None:
    """HTTP-CHUNKED: an error, not an end, and what stands behind it is not read."""
    begun = a_head("/a", CHUNKED) + b"5\r\n12345\r\n"
    segments = [begun, broken + HIDDEN] if torn else [sized("/0", b"x") + begun + broken + HIDDEN]
    seen = await saw(*segments)
    assert seen[-1] == Seen("/a", b"12345", end=SourceEnd.MALFORMED)
    assert len(seen) == (1 if torn else 2)


async def test_an_end_changes_no_other_end() -> None:
    """HTTP-HALFCLOSE: a FIN behind a body that came whole, and behind one that is broken, before
    either was read."""
    for wire, end in (
        (sized("/a", b"12345"), SourceEnd.COMPLETE),
        (chunked("/a", b"12345"), SourceEnd.COMPLETE),
        (a_head("/a", CHUNKED) + b"5\r\n12345\r\nz", SourceEnd.MALFORMED),
        (a_head("/a", CHUNKED) + b"5\r\n12345\r\n", SourceEnd.HUNG_UP),
    ):
        unwired = Unwired()
        unwired.pause.clear()
        await unwired.feed(wire)
        unwired.connection.eof_received()
        unwired.pause.set()
        assert await unwired.settled() == [Seen("/a", b"12345", end=end)]
        unwired.end()


FAULTY = {
    "a coding in HTTP/1.0": a_head("/a", CHUNKED, version="HTTP/1.0") + b"0\r\n\r\n",
    "two codings": a_head("/a", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "a coding in two lines": a_head("/a", "Transfer-Encoding: gzip", CHUNKED) + b"0\r\n\r\n",
    "another coding": a_head("/a", "Transfer-Encoding: gzip") + b"abc",
    "no coding": a_head("/a", "Transfer-Encoding: ") + b"abc",
    "a coding and a length": a_head("/a", CHUNKED, "Content-Length: 5") + b"0\r\n\r\n",
    "a length and a coding": a_head("/a", "Content-Length: 5", CHUNKED) + b"0\r\n\r\n",
    "two lengths": a_head("/a", "Content-Length: 5", "Content-Length: 5") + b"12345",
    "no length": a_head("/a", "Content-Length: x") + b"12345",
    "a length beyond all": a_head("/a", "Content-Length: " + "9" * 30) + b"12345",
    "LF for CRLF": b"PATCH /a HTTP/1.1\nHost: x\n\n",
    "LF at the end": b"PATCH /a HTTP/1.1\r\nHost: x\r\n\n",
    "CR at the end": b"PATCH /a HTTP/1.1\r\nHost: x\r\n\rx",
}


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY)
async def test_faulty_framing_is_refused(faulty: bytes, size: int) -> None:
    """HTTP-SMUGGLE, HTTP-CONTENTLENGTH, HTTP-10: once, and nothing behind it is read."""
    wire = sized("/0", b"x") + faulty + HIDDEN
    seen = await saw(*cut(wire, range(0, len(wire), size)))
    assert seen == [Seen("/0", b"x"), "ERR_BAD_REQUEST"]


@pytest.mark.parametrize("ends", ["Connection: close", "Connection: Upgrade\r\nUpgrade: h2c"])
async def test_nothing_is_read_behind_a_last_request(ends: str) -> None:
    """HTTP-KEEPALIVE: it is answered, whatever stands behind it; the connection knows of bytes
    that make its kernel send a RST, once there are any."""
    unwired = Unwired()
    unwired.pause.clear()
    await unwired.feed(a_head("/a", ends, "Content-Length: 3") + b"abc\r\n")
    await until(lambda: not unwired.connection.has_more)
    assert not unwired.ends_after_this()
    await unwired.feed(HIDDEN)
    assert unwired.ends_after_this()
    unwired.pause.set()
    assert await unwired.settled() == [Seen("/a", b"abc")]
    unwired.end()


# ------------------------------------------------------------------ the parser sees it otherwise


class OtherParser:
    """Finds messages where it is told to, not where they are."""

    def __init__(self, *found: list[Any]) -> None:
        self._found = deque(found)
        self.fed: list[bytes] = []

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        self.fed.append(data)
        return (self._found.popleft() if self._found else []), False, b""

    def message_consumed(self) -> None: ...


def a_message(*fields: tuple[str, str], is_chunked: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        should_close=False,
        upgrade=False,
        chunked=is_chunked,
        method="GET",
        headers=CIMultiDict(fields),
        version=(1, 1),
    )


def found(content: StreamReader = EMPTY_PAYLOAD, length: str | None = None) -> list[Any]:
    fields = [] if length is None else [("Content-Length", length)]
    return [(a_message(*fields), content)]


A_STREAM: Any = SimpleNamespace(is_eof=lambda: False, exception=lambda: None)
GET = b"GET / HTTP/1.1\r\n\r\n"
DISPUTES = {
    "a request before the end of its head": (b"GET / HTTP/1.1\r\n", [found()]),
    "no request at the end of its head": (GET, []),
    "a body that was not announced": (GET, [found(A_STREAM)]),
    "no body that was announced": (GET, [found(length="5")]),
}


@pytest.mark.parametrize(("data", "finds"), DISPUTES.values(), ids=DISPUTES)
async def test_where_two_parsers_differ_nothing_is_guessed(
    data: bytes, finds: Iterable[list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """HTTP-SMUGGLE: the connection ends with a 400, and nothing more is parsed."""
    unwired = Unwired()
    parser = OtherParser(*finds)
    unwired.connection._parser = parser  # type: ignore[assignment]
    await unwired.feed(data, HIDDEN)
    assert await unwired.settled() == ["ERR_BAD_REQUEST"]
    assert parser.fed == [data]
    assert "framing_disputed" in caplog.messages
    unwired.end()


@pytest.mark.parametrize(
    "message",
    [
        a_message(("Transfer-Encoding", "chunked"), ("Content-Length", "5"), is_chunked=True),
        a_message(("Transfer-Encoding", "chunked"), is_chunked=False),
        a_message(is_chunked=True),
        a_message(("Content-Length", "+5")),
        a_message(("Content-Length", "5 ")),
        a_message(("Content-Length", "\u0665")),
        a_message(("Content-Length", "")),
        a_message(("Content-Length", "5"), ("content-length", "5")),
    ],
    ids=lambda message: f"{message.chunked} {list(message.headers.items())}",
)
async def test_what_a_lenient_parser_might_take_is_refused(message: Any) -> None:
    """HTTP-SMUGGLE, HTTP-CONTENTLENGTH: the one of today is strict; it is not relied upon."""
    unwired = Unwired()
    parser = OtherParser([(message, A_STREAM)])
    unwired.connection._parser = parser  # type: ignore[assignment]
    await unwired.feed(GET + b"12345" + HIDDEN)
    assert await unwired.settled() == ["ERR_BAD_REQUEST"]
    assert parser.fed == [GET]
    unwired.end()


@pytest.mark.parametrize(
    ("finds", "pieces"),
    [([found()], [b"345", b"67"]), ([found()], [b"34567890"]), ([], [b"34567890"])],
    ids=["a request within it", "a request at its end", "no end of it"],
)
async def test_a_body_that_two_parsers_differ_about_is_malformed(
    finds: list[list[Any]], pieces: list[bytes]
) -> None:
    """HTTP-SMUGGLE: nothing more is parsed, neither as content nor as a request."""
    unwired = Unwired()
    await unwired.feed(a_head("/a", "Content-Length: 10") + b"12")
    await until(lambda: not unwired.connection._messages)
    parser = OtherParser(*finds)
    unwired.connection._parser = parser  # type: ignore[assignment]
    await unwired.feed(*pieces, HIDDEN)
    assert await unwired.settled() == [Seen("/a", b"12", end=SourceEnd.MALFORMED)]
    assert b"".join(parser.fed) == pieces[0]
    unwired.end()


# ------------------------------------------------------------------ trailers


async def test_trailers_are_kept_as_long_as_their_request() -> None:
    """HTTP-TRAILER: for every request its own; none of them stays when all are answered."""
    unwired = Unwired()
    unwired.pause.clear()
    for number in range(5):
        line = f"Upload-Checksum: sha1 {number}\r\n".encode()
        await unwired.feed(chunked(f"/{number}", b"abc", trailers=line))
    assert len(unwired.connection._trailers) == 5
    unwired.pause.set()
    assert await unwired.settled() == [
        Seen(f"/{number}", b"abc", (("Upload-Checksum", f"sha1 {number}"),)) for number in range(5)
    ]
    assert unwired.connection._trailers == {}
    unwired.end()


async def test_a_body_without_trailers_has_none() -> None:
    unwired = Unwired()
    await unwired.feed(chunked("/a", b"abc"))
    assert await unwired.settled() == [Seen("/a", b"abc")]
    assert unwired.connection.trailers_of(EMPTY_PAYLOAD).getall("A", []) == []
    unwired.end()
