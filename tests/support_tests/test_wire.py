"""The raw client: it reads what is right, and says so of what is wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.wire import Hangup, Wire, WireError


@asynccontextmanager
async def answering(answer: bytes, *, reset: bool = False) -> AsyncIterator[Wire]:
    """A connection to a server that says ``answer`` byte by byte, whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for start in range(len(answer)):
            writer.write(answer[start : start + 1])
            await writer.drain()
        if reset:
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with await Wire.to(f"http://127.0.0.1:{port}/") as wire:
            yield wire


@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        pytest.param(
            "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", id="length"
        ),
        pytest.param(
            "GET",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
            200,
            b"abc0123456789",
            id="chunked",
        ),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, b"", id="head"),
        pytest.param("PATCH", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", id="no content"),
        pytest.param(
            "GET", b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end", id="1.0"
        ),
        pytest.param(
            "GET", b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, b"", id="no reason"
        ),
    ],
)
async def test_answers_are_framed_by_the_standard(
    method: str, answer: bytes, status: int, body: bytes
) -> None:
    async with answering(answer) as wire:
        response = await wire.request(method, "/")
        assert (response.status, response.body) == (status, body)
        assert await wire.is_closed()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTP/1.1 200 OK\r\n\r\n", id="no status line"),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", id="bare line feeds"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n", id="space before the colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n", id="folded line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", id="odd length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            id="two lengths",
        ),
        pytest.param(b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", id="204 with length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            id="long chunk",
        ),
    ],
)
async def test_wrong_answers_are_told(answer: bytes) -> None:
    async with answering(answer) as wire:
        with pytest.raises(WireError):
            await wire.request("GET", "/")


async def test_content_after_an_answer_without_content_is_told() -> None:
    async with answering(b"HTTP/1.1 204 No Content\r\n\r\noops") as wire:
        await wire.request("PATCH", "/")
        with pytest.raises(WireError):
            await wire.is_closed()


@pytest.mark.parametrize("reset", [False, True])
async def test_an_answer_that_breaks_off_is_a_hangup(reset: bool) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", reset=reset) as wire:
        with pytest.raises(Hangup):
            await wire.request("GET", "/")


async def test_interim_answers_come_one_by_one_and_headers_keep_their_case() -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 104 Upload Resumption Supported\r\nLocation: /1\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nX-a: 1\r\nx-A: 2\r\n"
        b"Content-Length: 0\r\nConnection: Close\r\n\r\n"
    )
    async with answering(answer) as wire:
        await wire.send_head("POST", "/")
        assert await wire.read_continue() is None
        response = await wire.read_response()
        assert [interim.status for interim in response.interim] == [104]
        assert [name for name, _ in response.headers.items() if name.lower() == "x-a"] == [
            "X-a",
            "x-A",
        ]
        assert response.headers.getall("X-A") == ["1", "2"]
        assert response.closes


async def test_pipelined_answers_are_framed_by_their_own_methods() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    async with answering(head + head + b"ok") as wire:
        await wire.send(wire.head("HEAD", "/") + wire.head("GET", "/"))
        wire.expect_answer("HEAD")
        wire.expect_answer("GET")
        assert (await wire.read_response()).body == b""
        assert (await wire.read_response()).body == b"ok"
