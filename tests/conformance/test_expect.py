"""Expect: 100-continue: a yes after all checks, a no in its place."""

import asyncio
import contextlib
import socket

import pytest

from tests.conformance.conftest import MAX_BYTES
from tests.conformance.uploads import (
    METADATA,
    TUS,
    new_upload,
    offset_of,
    refusal,
    some_bytes,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response, Wire, connected, path_of

EXPECT = {"Expect": "100-continue"}
TYPE = {"Content-Type": tus.OFFSET_STREAM}


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_patch_is_invited(server: Server, chunked: bool) -> None:
    """HTTP-EXPECT, TUS-CORE-26: 100 before the first byte of the body, 204 after its last."""
    url = await new_upload(server, length=5)
    async with connected(url) as wire:
        if chunked:
            await tus.begin_chunked_patch(wire, url, 0, expect=True)
        else:
            await tus.begin_patch(wire, url, 0, 5, headers=EXPECT)
        assert await wire.read_continue() is None
        await (wire.send_chunk(b"hello") if chunked else wire.send(b"hello"))
        if chunked:
            await wire.end_chunks()
        answer = await wire.read_response()
        assert (answer.status, answer.offset, answer.interim) == (204, 5, ())
        assert await wire.is_usable()
    assert stored_bytes(server, url) == b"hello"


@pytest.mark.parametrize("value", ["100-Continue", "100-CONTINUE", " 100-continue "])
async def test_the_expectation_has_no_case(server: Server, value: str) -> None:
    """HTTP-EXPECT, HTTP-OWS: nor does white space around it matter."""
    url = await new_upload(server, length=5)
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, 5, headers={"Expect": value})
        assert await wire.read_continue() is None
        await wire.send(b"hello")
        assert (await wire.read_response()).offset == 5


async def test_a_finished_upload_invites_as_well(server: Server) -> None:
    """HTTP-EXPECT, TUS-CORE-26: Android's client takes a 204 without a 100 for a rejection; it
    comes after a last answer that was lost."""
    url = await new_upload(server, length=5, data=b"hello")
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 5, expect=True)
        assert await wire.read_continue() is None
        await wire.end_chunks()
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (204, 5)


async def test_the_end_of_an_empty_body_is_waited_for(server: Server) -> None:
    """HTTP-EXPECT, TUS-CORE-42: the JDK's client loses an answer that comes in one packet with the
    100 it waits for; and bytes that come behind the end are 413."""
    url = await new_upload(server, length=5, data=b"hello")
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 5, expect=True)
        assert await wire.read_continue() is None
        with pytest.raises(TimeoutError):
            await wire.read_response(seconds=0.3)
    async with connected(url) as wire:
        await tus.begin_chunked_patch(wire, url, 5, expect=True)
        assert await wire.read_continue() is None
        await wire.send_chunk(b"!")
        await wire.end_chunks()
        refusal(await wire.read_response(), 413, "ERR_BODY_TOO_LONG")


async def test_an_override_is_invited(server: Server) -> None:
    """HTTP-EXPECT, TUS-CORE-14: the JDK's client sends each PATCH as a chunked POST."""
    url = await new_upload(server, length=5)
    headers = TUS | TYPE | EXPECT | {"Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    async with connected(url) as wire:
        await wire.send_head("POST", url, headers | {"X-HTTP-Method-Override": "PATCH"})
        assert await wire.read_continue() is None
        await wire.send_chunk(b"hello")
        await wire.end_chunks()
        assert (await wire.read_response()).offset == 5


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Offset": "3"}, 409, "ERR_OFFSET_MISMATCH"),
        ({"Upload-Offset": "x"}, 400, "ERR_INVALID_HEADER"),
        ({"Content-Type": "text/plain"}, 415, "ERR_UNSUPPORTED_MEDIA_TYPE"),
        ({"Tus-Resumable": "0.2.2"}, 412, "ERR_UNSUPPORTED_VERSION"),
        ({"Content-Length": "11"}, 413, "ERR_BODY_TOO_LONG"),
        ({"Upload-Length": "11"}, 400, "ERR_LENGTH_CONFLICT"),
        ({"Authorization": "Bearer wrong"}, 401, "ERR_TOKEN_INVALID"),
        ({"X-HTTP-Method-Override": "PUT"}, 405, "ERR_METHOD_NOT_ALLOWED"),
    ],
)
async def test_a_refused_patch_is_not_invited(
    server: Server, headers: dict[str, str], status: int, code: str
) -> None:
    """HTTP-EXPECT, TUS-CORE-25: the refusal comes in place of the 100, at once."""
    url = await new_upload(server, length=10)
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, 10, headers=EXPECT | headers)
        refusal(await wire.read_any(seconds=5), status, code)
    assert await offset_of(url) == 0


async def begin_creation(wire: Wire, headers: dict[str, str], length: int = 10) -> Response | None:
    """A creation with ten bytes to come; None: they are invited."""
    sent = TUS | TYPE | EXPECT | {"Upload-Length": str(length), "Content-Length": "10"} | headers
    await wire.send_head("POST", "/upload/", sent)
    return await wire.read_continue(seconds=5)


async def test_a_creation_is_invited(server: Server) -> None:
    """TUS-CWU-06, TUS-CWU-04, HTTP-EXPECT: 100 once it is sure that the upload can be made."""
    async with connected(server.base) as wire:
        assert await begin_creation(wire, {"Authorization": f"Bearer {server.mint()}"}) is None
        await wire.send(b"1234567890")
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (201, 10)
    assert stored_bytes(server, answer.location) == b"1234567890"


@pytest.mark.parametrize(
    ("extra", "status", "code"),
    [
        ({"Authorization": ""}, 401, "ERR_TOKEN_INVALID"),
        ({"Authorization": "Bearer a.b.c"}, 401, "ERR_TOKEN_INVALID"),
        ({"Upload-Length": str(MAX_BYTES + 1)}, 413, "ERR_UPLOAD_TOO_LARGE"),
        ({"Upload-Length": "9"}, 413, "ERR_BODY_TOO_LONG"),
        ({"Upload-Metadata": "a b c"}, 400, "ERR_INVALID_METADATA"),
        ({"Upload-Metadata": "video_id Mg=="}, 403, "ERR_TOKEN_VIDEO"),
        ({"Content-Type": "text/plain"}, 415, "ERR_UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_a_refused_creation_is_not_invited(
    server: Server, extra: dict[str, str], status: int, code: str
) -> None:
    """TUS-CWU-06, HTTP-EXPECT: not before the token, the metadata and the length are judged; and
    nothing is made."""
    before = stored_files(server)
    async with connected(server.base) as wire:
        headers = {"Authorization": f"Bearer {server.mint()}"} | extra
        answer = await begin_creation(wire, {k: v for k, v in headers.items() if v})
        assert answer is not None
        refusal(answer, status, code)
    assert stored_files(server) == before


@pytest.mark.parametrize("sent", [0, 5])
async def test_a_body_that_does_not_wait_is_read(server: Server, sent: int) -> None:
    """HTTP-EXPECT: a client may send its body without waiting for the 100."""
    url = await new_upload(server, length=5)
    async with connected(url) as wire:
        head = TUS | TYPE | EXPECT | {"Upload-Offset": "0", "Content-Length": "5"}
        wire.expect_answer("PATCH")
        await wire.send(wire.head("PATCH", url, head) + b"hello"[:sent])
        await wire.send(b"hello"[sent:])
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (204, 5)
        assert await wire.is_usable()


async def test_without_a_body_nobody_is_invited(server: Server) -> None:
    """HTTP-EXPECT, HTTP-10: no 100 for a request that has no body, nor for HTTP/1.0, which does
    not know it."""
    url = await new_upload(server, length=5)
    async with connected(url) as wire:
        await wire.send_head("HEAD", url, TUS | EXPECT)
        assert (await wire.read_any()).status == 200
        head = TUS | TYPE | EXPECT | {"Upload-Offset": "0", "Content-Length": "5"}
        wire.expect_answer("PATCH")
        await wire.send(wire.head("PATCH", url, head, version="HTTP/1.0") + b"hello")
        assert (await wire.read_any()).status == 204


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "", "100"])
async def test_another_expectation_is_not_met(server: Server, value: str) -> None:
    """HTTP-EXPECT: 417 in our own words, and nothing is stored."""
    url = await new_upload(server, length=5)
    async with connected(url) as wire:
        pairs = [*TUS.items(), *TYPE.items(), ("Upload-Offset", "0"), ("Expect", value)]
        refusal(await wire.request("PATCH", url, pairs, b"hello"), 417, "ERR_EXPECTATION_FAILED")
    assert await offset_of(url) == 0


async def test_a_refusal_can_be_read_while_sending(server: Server) -> None:
    """HTTP-FRAMING, HTTP-EXPECT, CORS-ANSWER: a client that is in the middle of 10 MiB when it is
    refused reads why, whether it reads on the way or only when it can send no more."""
    url = await new_upload(server, length=MAX_BYTES)
    size = 10 * 1024 * 1024
    async with connected(url) as wire:
        headers = {"Authorization": "Bearer wrong"}
        answer = await tus.patch(url, 0, some_bytes(size), headers=headers, wire=wire)
        refusal(answer, 401, "ERR_TOKEN_INVALID")
        await wire.reset()
    assert await asyncio.to_thread(send_all_then_read, server, url, size) == 401
    assert await offset_of(url) == 0


def send_all_then_read(server: Server, url: str, size: int) -> int:
    """A client of the plainest kind: it looks at the answer when sending has ended or failed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        head = f"PATCH {path_of(url)} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
        head += f"Authorization: Bearer wrong\r\nUpload-Offset: 0\r\nContent-Length: {size}\r\n"
        head += f"Content-Type: {tus.OFFSET_STREAM}\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            sock.sendall(head.encode() + bytes(size))
        answer = sock.recv(65536)
    return int(answer.split()[1])


async def test_metadata_are_judged_before_an_invitation(server: Server) -> None:
    """TUS-CWU-06, HTTP-EXPECT: a foreign client id is told in place of the 100, too."""
    async with connected(server.base) as wire:
        line = tus.encode_metadata(METADATA | {"client_id": "8"})
        headers = {"Authorization": f"Bearer {server.mint()}", "Upload-Metadata": line}
        answer = await begin_creation(wire, headers)
        assert answer is not None
        assert "token client (7) does not match this client (8)" in answer.text
