"""A body can spell a request. It is never carried out, whatever became of the body's own."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import faults_of
from tests.conformance.uploads import (
    TUS,
    new_upload,
    offset_of,
    spelled_delete,
    stored_bytes,
    until,
)
from tests.support import tus
from tests.support.server import Server, serving
from tests.support.wire import Response, Wire, connected, path_of

MIB = 1024 * 1024
UNKNOWN = "/upload/" + "0" * 32


@dataclass(frozen=True)
class Refused:
    """A request that is refused while its body is still to come."""

    status: int
    method: str = "PATCH"
    headers: tuple[tuple[str, str], ...] = ()
    path: str = ""


PATCH_HEADERS = {**TUS, "Upload-Offset": "0", "Content-Type": tus.OFFSET_STREAM}
REFUSALS = {
    "offset": Refused(409, headers=(("Upload-Offset", "7"),)),
    "type": Refused(415, headers=(("Content-Type", "text/plain"),)),
    "version": Refused(412, headers=(("Tus-Resumable", "0.2.2"),)),
    "unknown upload": Refused(404, path=UNKNOWN),
    "unknown place": Refused(404, path="/elsewhere"),
    "method": Refused(405, method="PUT"),
    "override": Refused(405, headers=(("X-HTTP-Method-Override", "PUT"),)),
    "token": Refused(401, headers=(("Authorization", "Bearer wrong"),)),
    "creation without token": Refused(401, "POST", (("Upload-Length", "99999999"),), "/upload/"),
    "creation too large": Refused(413, "POST", (("Upload-Length", "9" * 18),), "/upload/"),
    "expectation": Refused(417, headers=(("Expect", "a miracle"),)),
    "bad override": Refused(501, headers=(("X-HTTP-Method-Override", "BREW"),)),
}


def headers_of(refused: Refused, server: Server) -> dict[str, str]:
    headers = PATCH_HEADERS | dict(refused.headers)
    if refused.status == 413 and refused.method == "POST":
        headers["Authorization"] = f"Bearer {server.mint()}"
    return headers


def requests_spelled(server: Server, victim: str, size: int) -> bytes:
    one = spelled_delete(victim, server.base.removeprefix("http://"))
    return one * (size // len(one) + 1)


async def expect_one_answer(wire: Wire, status: int) -> Response:
    """Exactly one answer; then the connection ends, or takes a request of ours and no other."""
    answer = await wire.read_response()
    assert answer.status == status, (answer.status, answer.text)
    if answer.closes:
        assert await wire.is_closed(seconds=15)
    else:
        mine = await wire.request("OPTIONS", "*", {"X-Request-ID": "mine"})
        assert (mine.status, mine.headers["X-Request-ID"]) == (204, "mine")
    return answer


@pytest.mark.parametrize("size", [100, 300_000, 3 * MIB])
@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
async def test_not_after_a_refusal(server: Server, refused: Refused, size: int) -> None:
    """HTTP-FRAMING, HTTP-KEEPALIVE, TUS-CORE-25, SEC-ALIVE: small and large bodies of requests
    that are refused; what is read for another request's sake is no request."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=10 * MIB)
    body = requests_spelled(server, victim, size)
    headers = headers_of(refused, server) | {"Content-Length": str(len(body))}
    async with connected(server.base) as wire:
        await wire.send_head(refused.method, refused.path or url, headers)
        sending = asyncio.create_task(_send(wire, body))
        await expect_one_answer(wire, refused.status)
        await sending
    assert (await offset_of(victim), await offset_of(url)) == (1, 0)


async def _send(wire: Wire, body: bytes) -> None:
    try:
        for start in range(0, len(body), 65_536):
            await wire.send(body[start : start + 65_536])
    except ConnectionError:
        return


@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
async def test_not_after_the_refusal_of_a_chunked_body(server: Server, refused: Refused) -> None:
    """HTTP-FRAMING, HTTP-CHUNKED: the chunks spell requests, and so do their extensions."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=10 * MIB)
    body = requests_spelled(server, victim, 5000)
    headers = headers_of(refused, server) | {"Transfer-Encoding": "chunked"}
    async with connected(server.base) as wire:
        await wire.send_head(refused.method, refused.path or url, headers)
        sending = asyncio.create_task(_send(wire, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)))
        await expect_one_answer(wire, refused.status)
        await sending
    assert (await offset_of(victim), await offset_of(url)) == (1, 0)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
async def test_not_after_an_expectation(server: Server, refused: Refused, chunked: bool) -> None:
    """HTTP-FRAMING, HTTP-EXPECT: a client that is refused instead of invited may send its body all
    the same."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=10 * MIB)
    body = requests_spelled(server, victim, 5000)
    headers = {"Expect": "100-continue"} | headers_of(refused, server)
    headers |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    async with connected(server.base) as wire:
        await wire.send_head(refused.method, refused.path or url, headers)
        answer = await wire.read_any()
        assert answer.status == refused.status
        await _send(wire, body)
        if answer.closes:
            assert await wire.is_closed(seconds=15)
    assert (await offset_of(victim), await offset_of(url)) == (1, 0)


async def test_not_from_a_body_that_is_stored(server: Server) -> None:
    """HTTP-FRAMING, HTTP-PIPELINE, HTTP-KEEPALIVE: it is content to the last byte, and what stands
    behind it is the next request."""
    victim = await new_upload(server, data=b"1")
    body = requests_spelled(server, victim, 400_000)
    url = await new_upload(server, length=len(body))
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, len(body))
        await wire.send(body + wire.head("HEAD", victim, TUS))
        wire.expect_answer("HEAD")
        stored, head = await wire.read_response(), await wire.read_response()
    assert (stored.status, stored.offset) == (204, len(body))
    assert (head.status, head.offset) == (200, 1)
    assert stored_bytes(server, url) == body


async def test_not_after_a_handover(server: Server) -> None:
    """HTTP-FRAMING, TUS-CORE-33: a writer that had to let go in mid-body goes on sending."""
    victim = await new_upload(server, data=b"1")
    body = requests_spelled(server, victim, 6 * MIB)
    url = await new_upload(server, length=len(body))
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, len(body))
        await wire.send(body[:300_000])
        await until(lambda: bool(stored_bytes(server, url)))
        kept = await offset_of(url)
        sending = asyncio.create_task(_send(wire, body[300_000:]))
        await expect_one_answer(wire, 423)
        await sending
    assert kept <= 300_000
    assert (await offset_of(victim), await offset_of(url)) == (1, kept)
    assert stored_bytes(server, url)[:kept] == body[:kept]


async def test_not_after_a_chunked_body_that_is_too_long(server: Server) -> None:
    """HTTP-FRAMING, TUS-CORE-42: the chunk that passes the end spells requests."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=1000)
    body = requests_spelled(server, victim, 2 * MIB)
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0)
        await wire.send(b"%x\r\n" % len(body))
        sending = asyncio.create_task(_send(wire, body + b"\r\n0\r\n\r\n"))
        await expect_one_answer(wire, 413)
        await sending
    assert await offset_of(victim) == 1
    assert stored_bytes(server, url) == body[:1000]


async def test_not_after_a_broken_chunk(server: Server) -> None:
    """HTTP-FRAMING, HTTP-CHUNKED: behind the place where a parser lost its way nothing is read as
    HTTP."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=1000)
    body = requests_spelled(server, victim, 1000)
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 0)
        await wire.send(b"5\r\nhello\r\nnonsense\r\n" + body)
        answer = await expect_one_answer(wire, 400)
        assert answer.closes
    assert (await offset_of(victim), await offset_of(url)) == (1, 5)


async def test_not_after_a_body_that_stalled(impatient_server: Server) -> None:
    """HTTP-FRAMING, TUS-CORE-32: the rest of a body that comes when its time is up."""
    server = impatient_server
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=10_000)
    body = requests_spelled(server, victim, 5000)
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, len(body))
        await wire.send(b"12345")
        answer = await wire.read_response()
        assert answer.status == 503
        await _send(wire, body[5:])
        if answer.closes:
            assert await wire.is_closed(seconds=15)
    assert (await offset_of(victim), await offset_of(url)) == (1, 5)


@pytest.mark.parametrize("expects", [False, True])
async def test_not_after_a_stop(tmp_path: Path, expects: bool) -> None:
    """HTTP-FRAMING, TUS-CORE-33, SEC-ALIVE: the server is told to stop in mid-body and answers
    503; what the client goes on sending harms nothing."""
    async with serving(tmp_path) as server:
        victim = await new_upload(server, data=b"1")
        body = requests_spelled(server, victim, MIB)
        url = await new_upload(server, length=len(body))
        async with connected(url) as wire:
            expectation = {"Expect": "100-continue"} if expects else {}
            await tus.begin_patch(wire, url, 0, len(body), headers=expectation)
            if expects:
                assert await wire.read_continue() is None
            await wire.send(body[:300_000])
            await until(lambda: bool(stored_bytes(server, url)))
            server.terminate()
            answer = await wire.read_response()
            assert (answer.status, answer.closes) == (503, True)
            assert "Retry-After" in answer.headers
            sending = asyncio.create_task(_send(wire, body[300_000:]))
            assert await wire.is_closed()
            await sending
        assert await server.ended() == 0
        await server.start()
        assert await offset_of(victim) == 1
        kept = await offset_of(url)
        assert 0 < kept <= len(body)
        assert stored_bytes(server, url)[:kept] == body[:kept]
        assert faults_of(server) == []


async def test_a_refused_request_in_a_pipeline(server: Server) -> None:
    """HTTP-PIPELINE, HTTP-FRAMING, HTTP-KEEPALIVE: a refused PATCH with its body, then a HEAD, a
    good PATCH and a HEAD, in one piece: four answers, in order."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=5)
    evil = requests_spelled(server, victim, 1000)
    async with connected(url) as wire:
        bad = PATCH_HEADERS | {"Upload-Offset": "3", "Content-Length": str(len(evil))}
        good = PATCH_HEADERS | {"Content-Length": "5"}
        await wire.send(
            wire.head("PATCH", url, bad)
            + evil
            + wire.head("HEAD", path_of(victim), TUS)
            + wire.head("PATCH", url, good)
            + b"hello"
            + wire.head("HEAD", url, TUS)
        )
        for method in ("PATCH", "HEAD", "PATCH", "HEAD"):
            wire.expect_answer(method)
        answers = [await wire.read_response() for _ in range(4)]
    assert [answer.status for answer in answers] == [409, 200, 204, 200]
    assert [answer.offset for answer in answers[1:]] == [1, 5, 5]
