"""Bodies in every shape: what arrived is kept, and offsets say exactly how much that was."""

import asyncio
import random

import pytest

from tests.conformance.conftest import BODY_IDLE_SECONDS
from tests.conformance.uploads import (
    METADATA,
    TUS,
    Traced,
    new_upload,
    offset_of,
    refusal,
    some_bytes,
    stored_bytes,
    stored_files,
    until,
)
from tests.support import tus
from tests.support.relay import Cut, Fault, relay_to
from tests.support.server import Server
from tests.support.wire import Wire, connected

SIZE = 600_000
_TYPE = {"Content-Type": tus.OFFSET_STREAM}
CUTS = [0, 1, 1000, 262_144, 599_999]


# ------------------------------------------------------------------ chunked


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [4096, 70_000, 1, 300_000]])
async def test_chunked_bodies_are_read(server: Server, sizes: list[int]) -> None:
    """HTTP-CHUNKED, TUS-CORE-22, TUS-CORE-28, HTTP-KEEPALIVE: Android's client sends no
    Content-Length."""
    data = some_bytes(sum(sizes))
    url = await new_upload(server, length=len(data))
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0)
        at = 0
        for size in sizes:
            await wire.send_chunk(data[at : at + size])
            at += size
        await wire.end_chunks()
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (204, len(data))
        assert await wire.is_usable()
    assert stored_bytes(server, url) == data


async def test_chunk_extensions_and_trailers_are_no_content(server: Server) -> None:
    """HTTP-CHUNKED, HTTP-TRAILER: neither gets into the file, a trailer that spells a request is
    no request, and one that is named like a header field is none."""
    victim = await new_upload(server)
    url = await new_upload(server, length=10)
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0, headers={"Trailer": "Upload-Offset, X"})
        await wire.send_chunk(b"12345", extension=';name="value";other')
        await wire.send_chunk(b"67890", extension=";a=b")
        await wire.end_chunks({"Upload-Offset": "3", "X": "DELETE / HTTP/1.1"})
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (204, 10)
        assert (await tus.head(victim, wire=wire)).status == 200
    assert stored_bytes(server, url) == b"1234567890"


@pytest.mark.parametrize("seed", range(8))
async def test_a_chunked_body_may_be_spelled_in_any_way(server: Server, seed: int) -> None:
    """HTTP-CHUNKED, HTTP-TRAILER, HTTP-PIPELINE: sizes, extensions, trailers and segments as chance
    has them; the request behind it is the next."""
    dice = random.Random(seed)
    data = some_bytes(dice.choice([1, 100, 5_000, 700_000]))
    body, at = b"", 0
    while at < len(data):
        size = dice.randint(1, len(data) // 3 + 1)
        piece = data[at : at + size]
        body += dice.choice([b"%x", b"%X", b"%012x"]) % len(piece) + dice.choice(
            [b"", b" ;a", b";b=c"]
        )
        body += b"\r\n" + piece + b"\r\n"
        at += size
    body += b"000;z\r\n" + b"X-Trailer: v\r\n" * dice.randint(0, 5) + b"\r\n"
    url = await new_upload(server, length=len(data))
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0)
        wire.expect_answer("HEAD")
        sent = body + wire.head("HEAD", url, TUS)
        while sent:
            size = dice.choice([1, 5, 1000, 100_000])
            await wire.send(sent[:size])
            sent = sent[size:]
        first, second = await wire.read_response(), await wire.read_response()
    assert (first.status, first.offset, second.status, second.offset) == (
        *(204, len(data)),
        *(200, len(data)),
    )
    assert stored_bytes(server, url) == data


@pytest.mark.parametrize("piece", [1, 3])
async def test_a_chunked_body_may_come_byte_by_byte(server: Server, piece: int) -> None:
    """HTTP-CHUNKED: chunk sizes, line ends and content may be torn apart anywhere."""
    url = await new_upload(server, length=20)
    body = b"5;x=y\r\n12345\r\n00a\r\n67890abcde\r\n5\r\nfghij\r\n0\r\nT: v\r\n\r\n"
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0)
        for start in range(0, len(body), piece):
            await wire.send(body[start : start + piece])
            await asyncio.sleep(0)
        assert (await wire.read_response()).offset == 20
        assert await wire.is_usable()
    assert stored_bytes(server, url) == b"1234567890abcdefghij"


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize(
    "broken",
    [
        b"zz\r\n",
        b"-5\r\n12345\r\n",
        b"5\r\n12345XX",
        b"ffffffffffffffffff\r\n",
        b"5 5\r\n",
        b"\r\n",
        b"0\r\nUpload-Checksum : x\r\n\r\n",
    ],
)
async def test_a_broken_chunk_is_an_error(server: Server, broken: bytes, torn: bool) -> None:
    """HTTP-CHUNKED, TUS-CORE-33, HTTP-FRAMING, HTTP-TRAILER: 400 and the end of the connection;
    what came before it is kept, also where it came in one piece with it."""
    url = await new_upload(server, length=100)
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0)
        if torn:
            await wire.send_chunk(b"hello")
            # HEAD would make the writer let go, so the file is looked at.
            await until(lambda: len(stored_bytes(server, url)) == 5)
            await wire.send(broken)
        else:
            await wire.send(b"5\r\nhello\r\n" + broken)
        answer = await wire.read_response()
        refusal(answer, 400, "ERR_BODY_MALFORMED")
        assert answer.closes and await wire.is_closed()
    kept = await offset_of(url)
    assert kept == (10 if broken == b"5\r\n12345XX" else 5)
    assert stored_bytes(server, url)[:kept] == b"hello12345"[:kept]


async def test_a_chunked_body_that_is_too_long(server: Server) -> None:
    """TUS-CORE-42, TUS-CORE-33, HTTP-CHUNKED: 413 once it passes the end; what fits is kept, and
    the offset never passes the length."""
    url = await new_upload(server, length=10, data=b"12345")
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 5)
        await wire.send_chunk(b"678")
        await wire.send_chunk(b"90XYZ")
        await wire.end_chunks()
        refusal(await wire.read_response(), 413, "ERR_BODY_TOO_LONG")
    head = await tus.head(url)
    assert (head.offset, head.length) == (10, 10)
    assert stored_bytes(server, url) == b"1234567890"


async def test_a_chunked_body_may_be_empty(server: Server) -> None:
    """HTTP-CHUNKED, TUS-CORE-28: no bytes, the same offset."""
    url = await new_upload(server, length=10, data=b"12345")
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 5)
        await wire.end_chunks()
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (204, 5)
        assert await wire.is_usable()


async def test_no_length_and_no_coding_is_no_body(server: Server) -> None:
    """HTTP-NOBODY: PATCH without either changes nothing; what follows is another request."""
    url = await new_upload(server, length=10, data=b"12345")
    async with connected(url) as wire:
        await wire.send_head("PATCH", url, TUS | {"Upload-Offset": "5", **_TYPE})
        await wire.send_head("HEAD", url, TUS)
        first, second = await wire.read_response(), await wire.read_response()
    assert (first.status, first.offset, second.status, second.offset) == (204, 5, 200, 5)


# ------------------------------------------------------------------ cut off


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("sent", CUTS)
@pytest.mark.parametrize("how", list(Cut))
async def test_what_arrived_before_a_cut_is_kept(
    server: Server, how: Cut, sent: int, chunked: bool
) -> None:
    """TUS-CORE-30, TUS-CORE-31, TUS-CORE-33, TUS-CORE-28: every byte that went through before FIN
    or RST, and the upload is gone on with from there."""
    data = some_bytes(SIZE)
    url = await new_upload(server, length=SIZE)
    traced = Traced(server)
    async with relay_to(server.base) as relay, connected(relay.url(url)) as wire:
        connection = await relay.connection(0)
        if chunked:
            await tus.begin_chunked_patch(wire, url, 0, headers=traced.headers)
            await wire.send(b"%x\r\n" % SIZE)
        else:
            await tus.begin_patch(wire, url, 0, SIZE, headers=traced.headers)
        await wire.send(data[:sent])
        await connection.passed(_head_bytes(wire, url, traced, chunked) + sent)
        connection.cut(how)
    assert (await traced.ended())["received_bytes"] == sent
    assert await offset_of(url) == sent
    done = await tus.patch(url, sent, data[sent:])
    assert (done.status, done.offset) == (204, SIZE)
    assert stored_bytes(server, url) == data


def _head_bytes(wire: Wire, url: str, traced: Traced, chunked: bool) -> int:
    """How many bytes the head of the request has, and the first chunk's line."""
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(SIZE)}
    sent = TUS | {"Upload-Offset": "0"} | _TYPE | framing | traced.headers
    return len(wire.head("PATCH", url, sent)) + (len(b"%x\r\n" % SIZE) if chunked else 0)


async def test_a_body_that_is_too_short(server: Server) -> None:
    """HTTP-HALFCLOSE, TUS-CORE-33, TUS-CORE-28: a client that closes its half before the end of
    its body is told so, and keeps what it sent."""
    url = await new_upload(server, length=100)
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, 100)
        await wire.send(b"12345")
        wire.half_close()
        answer = await wire.read_response()
        refusal(answer, 400, "ERR_CLIENT_GONE")
        assert answer.closes and await wire.is_closed()
    assert (await offset_of(url), stored_bytes(server, url)) == (5, b"12345")


async def test_a_chunked_body_without_its_end(server: Server) -> None:
    """HTTP-HALFCLOSE, HTTP-CHUNKED, TUS-CORE-33: FIN is no last chunk, so the upload is not
    complete even where all its bytes came with no end."""
    url = await new_upload(server, length=100)
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0)
        await wire.send_chunk(b"12345")
        wire.half_close()
        refusal(await wire.read_response(), 400, "ERR_CLIENT_GONE")
    assert await offset_of(url) == 5


async def test_a_client_that_closed_its_half_gets_its_answers(server: Server) -> None:
    """HTTP-HALFCLOSE, HTTP-PIPELINE: a PATCH and a HEAD, then FIN: both are answered in full."""
    url = await new_upload(server, length=SIZE)
    data = some_bytes(SIZE)
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, SIZE)
        await wire.send(data)
        await wire.send_head("HEAD", url, TUS)
        wire.half_close()
        first, second = await wire.read_response(), await wire.read_response()
        assert (first.status, first.offset, second.status, second.offset) == (204, SIZE, 200, SIZE)
        assert await wire.is_closed()
    assert stored_bytes(server, url) == data


@pytest.mark.parametrize("how", list(Cut))
async def test_a_creation_whose_answer_nobody_heard_is_undone(server: Server, how: Cut) -> None:
    """TUS-CORE-30, TUS-CWU-03: cut within its body nobody knows its address, so nothing is left
    of it."""
    before = stored_files(server)
    traced = Traced(server)
    async with relay_to(server.base) as relay, connected(relay.url(server.base)) as wire:
        headers = TUS | _TYPE | traced.headers
        headers |= {"Upload-Length": "500000", "Content-Length": "500000"}
        headers |= {"Authorization": f"Bearer {server.mint()}"}
        await wire.send_head("POST", "/upload/", headers)
        await wire.send(some_bytes(300_000))
        connection = await relay.connection(0)
        await connection.passed(300_000)
        connection.cut(how)
    assert (await traced.ended())["status"] == 400
    assert stored_files(server) == before


# ------------------------------------------------------------------ slow


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("sent", [0, 5, 400_000])
async def test_a_body_that_stalls_is_ended(
    impatient_server: Server, sent: int, chunked: bool
) -> None:
    """TUS-CORE-30, TUS-CORE-31, TUS-CORE-32, TUS-CORE-33: silence ends the request and the
    connection; what came is kept."""
    url = await new_upload(impatient_server, length=SIZE)
    data = some_bytes(SIZE)
    loop = asyncio.get_running_loop()
    async with connected(url) as wire:
        if chunked:
            await tus.begin_chunked_patch(wire, url, 0)
            await wire.send(b"%x\r\n" % SIZE)
        else:
            await tus.begin_patch(wire, url, 0, SIZE)
        await wire.send(data[:sent])
        began = loop.time()
        answer = await wire.read_response()
        assert loop.time() - began > BODY_IDLE_SECONDS * 0.8
        refusal(answer, 503, "ERR_BODY_TOO_SLOW")
        assert await wire.is_closed(seconds=10)
    assert await offset_of(url) == sent
    assert (await tus.patch(url, sent, data[sent:])).offset == SIZE
    assert stored_bytes(impatient_server, url) == data


async def test_a_body_that_trickles_is_ended(impatient_server: Server) -> None:
    """TUS-CORE-31, TUS-CORE-32, TUS-CORE-33: bytes that never stop, but come below the minimum
    rate, are ended like silence; what came is kept."""
    url = await new_upload(impatient_server, length=SIZE)
    data = some_bytes(SIZE)
    async with relay_to(url) as relay, connected(relay.url(url)) as wire:
        await tus.begin_patch(wire, url, 0, SIZE)
        connection = await relay.connection(0)
        connection.throttle(500)
        await wire.send(data[:20_000])
        refusal(await wire.read_response(), 503, "ERR_BODY_TOO_SLOW")
    kept = await offset_of(url)
    assert 0 < kept < 20_000
    assert (await tus.patch(url, kept, data[kept:])).offset == SIZE
    assert stored_bytes(impatient_server, url) == data


async def test_a_slow_body_above_the_rate_is_let_through(impatient_server: Server) -> None:
    """TUS-CORE-33, TUS-CORE-30: four times the minimum is fast enough, for longer than any
    limit of time."""
    size = 16_000
    url = await new_upload(impatient_server, length=size)
    async with relay_to(url, Fault(bytes_per_second=8_000)) as relay:
        answer = await tus.patch(relay.url(url), 0, some_bytes(size))
    assert (answer.status, answer.offset) == (204, size)


@pytest.mark.parametrize("begun", [b"", b"PATCH /upload/x HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_a_request_that_never_gets_complete_is_dropped(
    impatient_server: Server, begun: bytes
) -> None:
    """TUS-CORE-31, TUS-CORE-32, HTTP-KEEPALIVE: an idle connection, and one whose head does not
    end, are closed."""
    async with connected(impatient_server.base) as wire:
        assert await wire.is_usable()
        await wire.send(begun)
        rest = await wire.read_rest(seconds=10)
    assert not rest or rest.startswith(b"HTTP/1.1 4")


async def test_a_stalled_creation_tells_its_address(impatient_server: Server) -> None:
    """TUS-CWU-03, TUS-CWU-04, TUS-CORE-33: a body that stalls is the client's trouble, the upload
    is made all the same, and its offset is what came."""
    async with connected(impatient_server.base) as wire:
        headers = TUS | _TYPE | {"Upload-Length": "100", "Content-Length": "100"}
        headers |= {"Authorization": f"Bearer {impatient_server.mint()}"}
        headers |= {"Upload-Metadata": tus.encode_metadata(METADATA)}
        await wire.send_head("POST", "/upload/", headers)
        await wire.send(b"12345")
        answer = await wire.read_response()
    assert (answer.status, answer.offset) == (201, 5)
    assert (await tus.patch(answer.location, 5, some_bytes(95))).offset == 100
