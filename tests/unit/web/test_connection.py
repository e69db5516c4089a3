"""What happens on the wire beside well-formed exchanges: refusals in mid-body, cuts, bad HTTP."""

import asyncio
import json
import socket

import pytest

from tests.support.wire import Hangup, Wire
from tests.unit.web.rig import PATCH, TUS, Rig, running, until
from tusd_py.core.errors import UploadLocked
from tusd_py.streams import SourceEnd

MIB = 1024 * 1024
HIDDEN = b"DELETE %s HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n"


# ------------------------------------------------------------------ Expect


async def test_100_continue_comes_after_the_checks_and_before_the_body(
    rig: Rig, wire: Wire
) -> None:
    path = await rig.an_upload(wire)
    headers = {**PATCH, "Upload-Offset": "0", "Expect": "100-continue", "Content-Length": "3"}
    await wire.send_head("PATCH", path, headers)
    assert await wire.read_continue() is None
    await wire.send(b"abc")
    assert (await wire.read_response()).offset == 3
    assert await wire.is_usable()


@pytest.mark.parametrize("header", [("Content-Length", "3"), ("Transfer-Encoding", "chunked")])
async def test_a_refusal_replaces_the_100_and_ends_the_connection(
    rig: Rig, wire: Wire, header: tuple[str, str]
) -> None:
    """The client may send its body or not, so nothing can follow."""
    path = await rig.an_upload(wire)
    headers = [*PATCH.items(), ("Upload-Offset", "7"), ("Expect", "100-continue"), header]
    await wire.send_head("PATCH", path, headers)
    refused = await wire.read_continue()
    assert refused is not None
    assert (refused.status, refused.closes) == (409, True)
    assert await wire.is_closed()


async def test_an_invitation_is_sent_though_the_body_is_not_read(rig: Rig, wire: Wire) -> None:
    """A PATCH that succeeds without a look at its body: a 204 alone reads like a refusal."""
    path = await rig.an_upload(wire)
    rig.uploads.reads_bodies = False
    headers = {**PATCH, "Upload-Offset": "0", "Expect": "100-continue", "Content-Length": "3"}
    await wire.send_head("PATCH", path, headers)
    assert await wire.read_continue() is None
    await wire.send(b"abc")
    assert (await wire.read_response()).status == 204
    assert await wire.is_usable()


# ------------------------------------------------------------------ refused bodies


async def test_a_refused_large_body_is_answered_readably(rig: Rig, wire: Wire) -> None:
    """HTTP-FRAMING: ten mebibytes are on their way; the answer arrives, then an orderly end."""
    path = await rig.an_upload(wire)
    body = b"x" * (10 * MIB)
    answer = await wire.request("PATCH", path, {**PATCH, "Upload-Offset": "5"}, body)
    assert (answer.status, answer.closes) == (409, True)
    assert rig.bytes_of(path) == b""


async def test_a_client_that_sends_everything_before_it_reads_gets_its_answer() -> None:
    """Its body is within the bound, so the kernel has no reason for a RST."""
    async with running(refusal_drain_bytes=4 * MIB) as rig:
        wire = await rig.wire()
        path = await rig.an_upload(wire)
        await wire.send_head(
            "PATCH", path, {**PATCH, "Upload-Offset": "5", "Transfer-Encoding": "chunked"}
        )
        for _ in range(3):
            await wire.send_chunk(b"x" * MIB)
        await wire.end_chunks()
        answer = await wire.read_response()
        assert (answer.status, answer.closes) == (409, True)
        assert await wire.is_closed()


async def test_a_small_refused_body_leaves_the_connection_usable(rig: Rig, wire: Wire) -> None:
    path = await rig.an_upload(wire)
    await wire.send_head("PATCH", path, {**PATCH, "Upload-Offset": "5", "Content-Length": "6"})
    answer = await wire.read_response()
    assert (answer.status, answer.closes) == (409, False)
    await wire.send(b"abcdef")
    assert await wire.is_usable()


@pytest.mark.parametrize("filler", [0, 1000, 200_000])
async def test_no_byte_of_a_refused_body_is_taken_for_a_request(
    rig: Rig, wire: Wire, filler: int
) -> None:
    path = await rig.an_upload(wire)
    body = b"x" * filler + HIDDEN % path.encode() * 3
    answer = await wire.request("PATCH", path, {**PATCH, "Upload-Offset": "5"}, body)
    assert answer.status == 409
    if answer.closes:
        assert await wire.is_closed()
    else:
        assert await wire.is_usable()
    assert rig.uploads.terminated == []


async def test_no_byte_behind_an_unread_chunked_body_is_taken_for_a_request(
    rig: Rig, wire: Wire
) -> None:
    path = await rig.an_upload(wire)
    await wire.send_head(
        "PATCH", path, {**PATCH, "Upload-Offset": "5", "Transfer-Encoding": "chunked"}
    )
    assert (await wire.read_response()).closes
    await wire.send(b"0\r\n\r\n" + HIDDEN % path.encode())
    assert await wire.is_closed()
    assert rig.uploads.terminated == []


# ------------------------------------------------------------------ cut and broken bodies


async def test_what_came_before_a_cut_is_kept(rig: Rig, wire: Wire) -> None:
    """HTTP-HALFCLOSE, TUS-CORE-33: also what aiohttp had received and not handed over."""
    path = await rig.an_upload(wire, 1 * MIB)
    rig.uploads.pause.clear()
    await wire.send_head("PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": str(MIB)})
    await rig.uploads.began.wait()
    await wire.send(b"x" * 300_000)
    wire.half_close()
    rig.uploads.pause.set()
    answer = await wire.read_response()
    assert (answer.status, answer.closes) == (400, True)
    assert rig.uploads.ends.get_nowait() is SourceEnd.HUNG_UP
    assert len(rig.bytes_of(path)) == 300_000


async def test_what_came_before_a_reset_is_kept(rig: Rig, wire: Wire) -> None:
    path = await rig.an_upload(wire, 1000)
    await wire.send_head("PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": "1000"})
    await wire.send(b"x" * 400)
    await rig.uploads.reaches(400)
    await wire.reset()
    assert await rig.uploads.ends.get() is SourceEnd.HUNG_UP
    assert len(rig.bytes_of(path)) == 400


async def test_a_client_that_half_closes_after_its_requests_gets_all_answers(
    rig: Rig, wire: Wire
) -> None:
    """HTTP-HALFCLOSE, HTTP-PIPELINE."""
    path = await rig.an_upload(wire)
    first = wire.head("PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": "3"})
    second = wire.head("HEAD", path, TUS)
    await wire.send(first + b"abc" + second)
    wire.expect_answer("PATCH")
    wire.expect_answer("HEAD")
    wire.half_close()
    assert (await wire.read_response()).offset == 3
    answer = await wire.read_response()
    assert (answer.offset, answer.closes) == (3, True)
    assert await wire.is_closed()


async def test_an_idle_client_that_half_closes_is_let_go(rig: Rig, wire: Wire) -> None:
    await rig.an_upload(wire)
    wire.half_close()
    assert await wire.is_closed()


async def test_a_broken_chunk_ends_the_body_and_the_connection(rig: Rig, wire: Wire) -> None:
    """HTTP-CHUNKED: an error, not an end, and one answer only."""
    path = await rig.an_upload(wire)
    headers = {**PATCH, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    begun = wire.head("PATCH", path, headers) + b"3\r\nabc\r\n"
    wire.expect_answer("PATCH")
    await wire.send(begun + b"zzz\r\n" + HIDDEN % path.encode())
    answer = await wire.read_response()
    assert (answer.status, answer.closes) == (400, True)
    assert json.loads(answer.body)["code"] == "ERR_BODY_MALFORMED"
    assert await wire.is_closed()
    assert rig.bytes_of(path) == b"abc"
    assert rig.uploads.terminated == []


async def test_trailers_and_chunk_extensions_are_no_content(rig: Rig, wire: Wire) -> None:
    path = await rig.an_upload(wire)
    await wire.send_head(
        "PATCH", path, {**PATCH, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    )
    await wire.send_chunk(b"abc", extension=";x=y")
    await wire.end_chunks({"Upload-Checksum": "sha1 x"})
    assert (await wire.read_response()).offset == 3
    assert await wire.is_usable()


async def test_a_silent_body_is_ended_with_what_came() -> None:
    async with running(body_idle_seconds=0.2, refusal_drain_seconds=0.2) as rig:
        wire = await rig.wire()
        path = await rig.an_upload(wire)
        await wire.send_head("PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": "9"})
        await wire.send(b"abc")
        answer = await wire.read_response()
        assert (answer.status, answer.closes) == (503, True)
        assert "Retry-After" not in answer.headers or answer.headers["Retry-After"] >= "1"
        assert rig.bytes_of(path) == b"abc"
        assert await wire.is_closed()


async def test_a_trickling_body_is_ended_with_what_came() -> None:
    """Never silent for long enough, and still below the rate."""
    async with running(
        body_idle_seconds=0.4, min_bytes_per_second=1000, refusal_drain_seconds=0.2
    ) as rig:
        wire = await rig.wire()
        path = await rig.an_upload(wire)
        await wire.send_head("PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": "90"})

        async def trickle() -> None:
            timer = asyncio.Event()
            while True:
                await wire.send(b"x")
                with_timeout = asyncio.wait_for(timer.wait(), 0.05)
                await asyncio.gather(with_timeout, return_exceptions=True)

        trickling = asyncio.create_task(trickle())
        answer = await wire.read_response()
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
        assert answer.status == 503
        assert 0 < len(rig.bytes_of(path)) < 90


async def test_a_slow_store_does_not_make_a_client_too_slow() -> None:
    async with running(body_idle_seconds=0.1, min_bytes_per_second=1e9) as rig:
        wire = await rig.wire()
        path = await rig.an_upload(wire)
        rig.uploads.pause.clear()
        await wire.send_head("PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": "6"})
        await wire.send(b"abcdef")
        await rig.uploads.began.wait()
        asyncio.get_running_loop().call_later(0.35, rig.uploads.pause.set)
        assert (await wire.read_response()).offset == 6


# ------------------------------------------------------------------ bad HTTP


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"BREW /upload/ HTTP/1.1\r\nHost: x\r\n\r\n", 501, "ERR_METHOD_UNKNOWN"),
        (b"patch /upload/ HTTP/1.1\r\nHost: x\r\n\r\n", 501, "ERR_METHOD_UNKNOWN"),
        (b"GET /upload/ HTTP/1.1\r\n\r\n", 400, "ERR_BAD_REQUEST"),
        (b"GET /upload/ HTTP/9.7\r\nHost: x\r\n\r\n", 400, "ERR_BAD_REQUEST"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "ERR_BAD_REQUEST"),
        (b"\x00\xff\xfe\r\n\r\n", 400, "ERR_BAD_REQUEST"),
        (
            b"POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            400,
            "ERR_BAD_REQUEST",
        ),
        (
            b"POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            400,
            "ERR_BAD_REQUEST",
        ),
        (b"GET /upload/ HTTP/1.1\r\nHost : x\r\n\r\n", 400, "ERR_BAD_REQUEST"),
        (b"GET /upload/ HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400, "ERR_BAD_REQUEST"),
        (
            b"GET /upload/ HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 40_000 + b"\r\n\r\n",
            431,
            "ERR_HEADERS_TOO_LARGE",
        ),
        (
            b"GET /upload/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
            431,
            "ERR_HEADERS_TOO_LARGE",
        ),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "ERR_HEADERS_TOO_LARGE"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else None,
)
async def test_bad_http_is_answered_in_our_words(
    rig: Rig, wire: Wire, data: bytes, status: int, code: str
) -> None:
    """HTTP-SMUGGLE, HTTP-CONTENTLENGTH, HTTP-HOST, HTTP-METHOD, HTTP-FIELDS, HTTP-GARBAGE."""
    await wire.send(data)
    wire.expect_answer("GET")
    answer = await wire.read_response()
    assert (answer.status, answer.closes, answer.version) == (status, True, (1, 1))
    assert json.loads(answer.body)["code"] == code
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Request-ID"] == json.loads(answer.body)["request_id"]
    assert await wire.is_closed()


async def test_a_request_that_never_ends_its_head_is_let_go() -> None:
    async with running(keepalive_seconds=1.0) as rig:
        wire = await rig.wire()
        await wire.send(b"POST /upload/ HTTP/1.1\r\nHost: x\r\n")
        assert await wire.is_closed(seconds=5.0)


async def test_an_http_1_0_client_is_answered_in_its_version(rig: Rig, wire: Wire) -> None:
    path = await rig.an_upload(wire)
    await wire.send_head("HEAD", path, TUS, host=None, version="HTTP/1.0")
    answer = await wire.read_response()
    assert (answer.status, answer.version, answer.closes) == (200, (1, 0), True)
    assert "Transfer-Encoding" not in answer.headers
    assert await wire.is_closed()


async def test_an_absolute_target_is_served(rig: Rig, wire: Wire) -> None:
    """HTTP-ABSOLUTE."""
    path = await rig.an_upload(wire)
    head = f"HEAD http://{wire.netloc}{path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n"
    await wire.send(head.encode())
    wire.expect_answer("HEAD")
    assert (await wire.read_response()).status == 200


async def test_connect_and_upgrades_are_declined(rig: Rig, wire: Wire) -> None:
    await wire.send(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n")
    wire.expect_answer("GET")
    assert (await wire.read_response()).status in (404, 405)
    assert await wire.is_closed()
    other = await rig.wire()
    answer = await other.request(
        "OPTIONS", "/upload/", {"Connection": "Upgrade", "Upgrade": "websocket"}
    )
    assert (answer.status, answer.closes) == (204, True)


async def test_pipelined_requests_are_answered_in_order(rig: Rig, wire: Wire) -> None:
    path = await rig.an_upload(wire)
    await wire.send(wire.head("HEAD", path, TUS) * 50 + wire.head("OPTIONS", path))
    for _ in range(50):
        wire.expect_answer("HEAD")
    wire.expect_answer("OPTIONS")
    assert [(await wire.read_response()).status for _ in range(51)] == [200] * 50 + [204]


# ------------------------------------------------------------------ creations nobody heard of


async def test_a_creation_whose_client_left_before_the_answer_is_forgotten(
    rig: Rig, wire: Wire
) -> None:
    rig.uploads.before_answer.clear()
    await wire.send_head("POST", "/upload/", {**PATCH, "Upload-Length": "3", "Content-Length": "3"})
    await wire.send(b"abc")
    await rig.uploads.ends.get()
    await wire.reset()
    await rig.lost()
    rig.uploads.before_answer.set()
    await rig.idle()
    assert rig.uploads.forgotten == [f"{1:032x}"]


async def test_a_final_upload_whose_client_left_before_the_answer_stays(
    rig: Rig, wire: Wire
) -> None:
    """Its client finds it by asking for the same once more, and receivers may have been told."""
    part = await rig.an_upload(wire)
    rig.uploads.before_answer.clear()
    await wire.send_head("POST", "/upload/", {**TUS, "Upload-Concat": f"final;{part}"})
    await rig.uploads.made_final.wait()
    await wire.reset()
    await rig.lost()
    rig.uploads.before_answer.set()
    await rig.idle()
    assert rig.uploads.forgotten == []


# ------------------------------------------------------------------ stopping


async def test_a_stop_ends_running_bodies_and_idle_connections(rig: Rig) -> None:
    running_one, idle = await rig.wire(), await rig.wire()
    path = await rig.an_upload(running_one)
    await rig.an_upload(idle)
    await running_one.send_head(
        "PATCH", path, {**PATCH, "Upload-Offset": "0", "Content-Length": "9"}
    )
    await running_one.send(b"abc")
    await rig.uploads.reaches(3)
    stopping = asyncio.create_task(rig.site.stop(5.0))
    answer = await running_one.read_response()
    assert (answer.status, answer.closes) == (503, True)
    assert int(answer.headers["Retry-After"]) >= 1
    assert await idle.is_closed()
    await stopping
    with pytest.raises(ConnectionError):
        await rig.wire()


@pytest.mark.parametrize("turns", range(1, 5))
async def test_who_was_accepted_right_before_a_stop_is_answered(rig: Rig, turns: int) -> None:
    """However far its connection has come: the loop takes several turns for it."""
    sock = socket.create_connection(("127.0.0.1", rig.site.port))
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(rig.site.stop(5.0))
    wire = Wire(*await asyncio.open_connection(sock=sock), "test")
    rig.wires.append(wire)
    assert (await wire.request("GET", "/health/live")).status == 200
    await stopping


async def test_requests_behind_a_stop_are_told_to_come_again(rig: Rig, wire: Wire) -> None:
    """HEAD 423, others 503: pipelined behind a request that was running."""
    path = await rig.an_upload(wire)
    rig.uploads.before_answer.clear()
    await wire.send_head("POST", "/upload/", {**PATCH, "Upload-Length": "1", "Content-Length": "1"})
    await wire.send(b"x" + wire.head("HEAD", path, TUS) + wire.head("DELETE", path, TUS))
    wire.expect_answer("HEAD")
    wire.expect_answer("DELETE")
    await rig.uploads.ends.get()
    stopping = asyncio.create_task(rig.site.stop(5.0))
    await until(lambda: rig.site.edge.is_stopping)
    rig.uploads.before_answer.set()
    assert (await wire.read_response()).status == 201
    head, last = await wire.read_response(), await wire.read_response()
    assert (head.status, last.status) == (423, 503)
    assert (head.closes, last.closes) == (False, True)
    assert "Retry-After" in head.headers and "Retry-After" in last.headers
    await stopping


async def test_a_stop_cancels_what_does_not_end(rig: Rig, wire: Wire) -> None:
    rig.uploads.before_answer.clear()
    await wire.send_head("POST", "/upload/", {**PATCH, "Upload-Length": "1", "Content-Length": "1"})
    await wire.send(b"x")
    await rig.uploads.ends.get()
    async with asyncio.timeout(10):
        await rig.site.stop(0.1)
    with pytest.raises((Hangup, ConnectionError)):
        await wire.read_response()


async def test_a_locked_upload_says_when_to_come_again(rig: Rig, wire: Wire) -> None:
    path = await rig.an_upload(wire)
    rig.uploads.fails_with.append(UploadLocked(2.5))
    answer = await wire.request("PATCH", path, {**PATCH, "Upload-Offset": "0"}, b"a")
    assert (answer.status, answer.headers["Retry-After"]) == (423, "3")
