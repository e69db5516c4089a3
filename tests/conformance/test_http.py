"""HTTP as such: what is malformed, framing, versions, connections."""

import contextlib

import pytest

from tests.conformance.uploads import (
    METADATA,
    TUS,
    new_upload,
    offset_of,
    raw,
    refusal,
    send_raw,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import connected, path_of

TYPE = {"Content-Type": tus.OFFSET_STREAM}
OPTIONS = "OPTIONS /upload/ HTTP/1.1"
BAD = "ERR_BAD_REQUEST"
LARGE = "ERR_HEADERS_TOO_LARGE"
UNKNOWN_METHOD = "ERR_METHOD_UNKNOWN"

MALFORMED = {
    "no version": (["DELETE /upload/"], 400, BAD),
    "another version": (["OPTIONS /upload/ HTTP/9.9", "Host: x"], 400, BAD),
    "another protocol": (["OPTIONS /upload/ GOPHER/1.1", "Host: x"], 400, BAD),
    "words too many": (["OPTIONS /upload/ /two HTTP/1.1", "Host: x"], 400, BAD),
    "no target": (["OPTIONS  HTTP/1.1", "Host: x"], 400, BAD),
    "a method with odd characters": (["GE(T / HTTP/1.1", "Host: x"], 400, BAD),
    "an unknown method": (["BREW /upload/ HTTP/1.1", "Host: x"], 501, UNKNOWN_METHOD),
    "no Host": ([OPTIONS], 400, BAD),
    "two Hosts": ([OPTIONS, "Host: x", "Host: y"], 400, BAD),
    "a line without a colon": ([OPTIONS, "Host: x", "nonsense"], 400, BAD),
    "a space before the colon": ([OPTIONS, "Host: x", "Upload-Offset : 5"], 400, BAD),
    "an empty name": ([OPTIONS, "Host: x", ": 5"], 400, BAD),
    "a name with odd characters": ([OPTIONS, "Host: x", "A(b): 5"], 400, BAD),
    "a folded line": ([OPTIONS, "Host: x", "A: b", " c"], 400, BAD),
    "NUL in a value": ([OPTIONS, "Host: x", "A: b\0c"], 400, BAD),
    "CR in a value": ([OPTIONS, "Host: x", "A: b\rc"], 400, BAD),
    "control characters in a value": ([OPTIONS, "Host: x", "A: b\x01c"], 400, BAD),
    "a length in words": ([OPTIONS, "Host: x", "Content-Length: five"], 400, BAD),
    "a negative length": ([OPTIONS, "Host: x", "Content-Length: -5"], 400, BAD),
    "a length with a plus": ([OPTIONS, "Host: x", "Content-Length: +5"], 400, BAD),
    "a length with a sign inside": ([OPTIONS, "Host: x", "Content-Length: 1_0"], 400, BAD),
    "an endless length": ([OPTIONS, "Host: x", "Content-Length: " + "9" * 40], 400, BAD),
    "two lengths": ([OPTIONS, "Host: x", "Content-Length: 5", "Content-Length: 6"], 400, BAD),
    "a list of lengths": ([OPTIONS, "Host: x", "Content-Length: 5, 6"], 400, BAD),
    "an empty length": ([OPTIONS, "Host: x", "Content-Length: "], 400, BAD),
    "length and coding": (
        [OPTIONS, "Host: x", "Content-Length: 5", "Transfer-Encoding: chunked"],
        400,
        BAD,
    ),
    "coding and length": (
        [OPTIONS, "Host: x", "Transfer-Encoding: chunked", "Content-Length: 5"],
        400,
        BAD,
    ),
    "a coding before chunked": ([OPTIONS, "Host: x", "Transfer-Encoding: gzip, chunked"], 400, BAD),
    "a coding in HTTP/1.0": (["OPTIONS /upload/ HTTP/1.0", "Transfer-Encoding: chunked"], 400, BAD),
    "an unknown coding": ([OPTIONS, "Host: x", "Transfer-Encoding: cocoon"], 400, BAD),
    "chunked and then more": ([OPTIONS, "Host: x", "Transfer-Encoding: chunked, gzip"], 400, BAD),
    "chunked twice": ([OPTIONS, "Host: x", "Transfer-Encoding: chunked, chunked"], 400, BAD),
    "a hidden coding": ([OPTIONS, "Host: x", "Transfer-Encoding: \x0bchunked"], 400, BAD),
    "a long target": (["OPTIONS /" + "x" * 20_000 + " HTTP/1.1", "Host: x"], 431, LARGE),
    "a long value": ([OPTIONS, "Host: x", "A: " + "x" * 40_000], 431, LARGE),
    "a long name": ([OPTIONS, "Host: x", "A" * 40_000 + ": x"], 431, LARGE),
    "a megabyte": ([OPTIONS, "Host: x", "A: " + "x" * 1_000_000], 431, LARGE),
    "many fields": ([OPTIONS, "Host: x", *(f"A{n}: x" for n in range(2000))], 431, LARGE),
}


@pytest.mark.parametrize(("lines", "status", "code"), MALFORMED.values(), ids=MALFORMED)
async def test_what_is_malformed_is_refused(
    server: Server, lines: list[str], status: int, code: str
) -> None:
    """HTTP-HOST, HTTP-FIELDS, HTTP-CONTENTLENGTH, HTTP-SMUGGLE, HTTP-METHOD, TUS-CORE-06,
    CORS-ANSWER: in our own words, with all headers of an answer, and as the connection's last."""
    async with connected(server.base) as wire:
        answer = await raw(wire, *lines, method="OPTIONS")
        refusal(answer, status, code)
        assert answer.closes
        assert await wire.is_closed()


@pytest.mark.parametrize("first", ["length", "coding"])
async def test_length_and_coding_smuggle_nothing(server: Server, first: str) -> None:
    """HTTP-SMUGGLE, HTTP-FRAMING: a PATCH with both, as tusc sends it, is refused, and neither
    reading of its body is carried out."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=100)
    smuggled = f"0\r\n\r\nDELETE {path_of(victim)} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0"
    framing = ["Content-Length: 100", "Transfer-Encoding: chunked"]
    async with connected(url) as wire:
        answer = await raw(
            wire,
            f"PATCH {path_of(url)} HTTP/1.1",
            *("Host: x", "Tus-Resumable: 1.0.0", "Upload-Offset: 0"),
            f"Content-Type: {tus.OFFSET_STREAM}",
            *(framing if first == "length" else framing[::-1]),
            method="PATCH",
            body=smuggled.encode() + b"\r\n\r\n",
        )
        refusal(answer, 400, BAD)
        assert answer.closes and await wire.is_closed()
    assert (await offset_of(victim), await offset_of(url)) == (1, 0)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500, id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="SSH"),
        pytest.param(bytes(range(256)) * 40, id="all bytes"),
        pytest.param(b"\0" * 100_000, id="NULs"),
        pytest.param(b"A" * 300_000, id="one endless line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, id="endless fields"),
        pytest.param("POST /ü HTTP/1.1\r\nHost: ü\r\n\r\n".encode(), id="not ASCII"),
    ],
)
async def test_garbage_does_no_harm(server: Server, garbage: bytes) -> None:
    """HTTP-GARBAGE, HTTP-FIELDS, SEC-ALIVE: it is refused or hung up on, nothing is made, and the
    next client is served."""
    before = stored_files(server)
    async with connected(server.base) as wire:
        rest = b""
        with contextlib.suppress(ConnectionError):
            await wire.send(garbage)
            wire.half_close()
        with contextlib.suppress(ConnectionError):
            rest = await wire.read_rest(seconds=15)
    assert rest == b"" or rest.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert not rest.startswith(b"HTTP/1.1 500")
    assert stored_files(server) == before
    assert (await tus.options(server.endpoint)).status == 204


# ------------------------------------------------------------------ good HTTP, less usual


@pytest.mark.parametrize("host", ["", "other.example", "a:1"])
async def test_the_target_may_be_a_whole_url(server: Server, host: str) -> None:
    """HTTP-ABSOLUTE: a request through a proxy's eyes is a request like any other."""
    url = await new_upload(server, length=5)
    netloc = host or server.base.removeprefix("http://")
    head = [f"Host: {netloc}", "Tus-Resumable: 1.0.0"]
    async with connected(url) as wire:
        target = f"http://{netloc}{path_of(url)}"
        patch = [f"PATCH {target} HTTP/1.1", *head, "Upload-Offset: 0", "Content-Length: 5"]
        patch.append(f"Content-Type: {tus.OFFSET_STREAM}")
        answer = await raw(wire, *patch, method="PATCH", body=b"hello")
        assert (answer.status, answer.offset) == (204, 5)
        answer = await raw(wire, f"HEAD {target} HTTP/1.1", *head, method="HEAD")
        assert (answer.status, answer.offset) == (200, 5)
        create = [f"POST http://{netloc}/upload/ HTTP/1.1", *head, "Upload-Length: 3"]
        answer = await raw(wire, *create, f"Authorization: Bearer {server.mint()}")
        assert answer.status == 201
        assert answer.location.startswith(f"http://{netloc}/upload/")


async def test_a_query_does_not_matter(server: Server) -> None:
    """HTTP-ABSOLUTE, TUS-CORE-38: behind the question mark nothing is the server's."""
    url = await new_upload(server, length=5)
    answer = await tus.patch(url + "?x=/upload/../y&z", 0, b"hello")
    assert (answer.status, answer.offset) == (204, 5)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("with_host", [False, True])
async def test_an_old_client_is_served(server: Server, keep: bool, with_host: bool) -> None:
    """HTTP-10, HTTP-HOST, HTTP-KEEPALIVE: HTTP/1.0 needs no Host, gets HTTP/1.0 without chunks,
    and keeps its connection only if it asks for that."""
    url = await new_upload(server, length=5)
    head = ["Tus-Resumable: 1.0.0", *(["Host: x"] if with_host else [])]
    head += ["Connection: keep-alive"] if keep else []
    async with connected(url) as wire:
        patch = [f"PATCH {path_of(url)} HTTP/1.0", *head, "Upload-Offset: 0", "Content-Length: 5"]
        patch.append(f"Content-Type: {tus.OFFSET_STREAM}")
        answer = await raw(wire, *patch, method="PATCH", body=b"hello")
        assert (answer.status, answer.offset, answer.version) == (204, 5, (1, 0))
        assert answer.closes is not keep
        if not keep:
            assert await wire.is_closed()
            return
        answer = await raw(wire, "GET /upload/ HTTP/1.0", *head, method="GET")
        refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
        assert answer.version == (1, 0)


async def test_an_old_creation_gets_an_address(server: Server) -> None:
    """HTTP-10, TUS-CRE-13: without a Host it is relative, and it works."""
    async with connected(server.base) as wire:
        create = ["POST /upload/ HTTP/1.0", "Tus-Resumable: 1.0.0", "Upload-Length: 3"]
        answer = await raw(wire, *create, f"Authorization: Bearer {server.mint()}")
    assert answer.status == 201
    assert answer.location.startswith("/upload/")
    assert await offset_of(server.base.rstrip("/") + answer.location) == 0


async def test_one_connection_serves_a_whole_upload(server: Server) -> None:
    """HTTP-KEEPALIVE: creation, PATCHes, refusals, HEADs, DELETE."""
    async with connected(server.base) as wire:
        url = await new_upload(server, length=6, wire=wire)
        statuses = []
        for offset, data in [(0, b"abc"), (0, b"abc"), (3, b"defg"), (3, b"def")]:
            statuses.append((await tus.patch(url, offset, data, wire=wire)).status)
        statuses.append((await tus.head(url, wire=wire)).status)
        statuses.append((await tus.delete(url, wire=wire)).status)
        statuses.append((await tus.head(url, wire=wire)).status)
        assert statuses == [204, 409, 413, 204, 200, 204, 404]


async def test_a_client_may_end_the_connection(server: Server) -> None:
    """HTTP-KEEPALIVE: Connection: close is obeyed, and said in the answer."""
    async with connected(server.base) as wire:
        answer = await wire.request("OPTIONS", "/upload/", {"Connection": "close"})
        assert (answer.status, answer.closes) == (204, True)
        assert await wire.is_closed()


@pytest.mark.parametrize("piece", [1, 7, 100_000])
async def test_a_pipeline_is_answered_in_order(server: Server, piece: int) -> None:
    """HTTP-PIPELINE, HTTP-NOBODY: twenty requests at once, or torn into pieces; each offset tells
    which answer it is."""
    url = await new_upload(server, length=20)
    async with connected(url) as wire:
        sent = b""
        for offset in range(10):
            headers = TUS | TYPE | {"Upload-Offset": str(offset), "Content-Length": "1"}
            sent += wire.head("PATCH", url, headers) + b"%d" % offset
            sent += wire.head("HEAD", url, TUS)
            wire.expect_answer("PATCH")
            wire.expect_answer("HEAD")
        for start in range(0, len(sent), piece):
            await wire.send(sent[start : start + piece])
        for offset in range(1, 11):
            first, second = await wire.read_response(), await wire.read_response()
            assert (first.status, first.offset) == (204, offset)
            assert (second.status, second.offset) == (200, offset)
    assert stored_bytes(server, url) == b"0123456789"


@pytest.mark.parametrize("torn", [False, True])
async def test_a_pipeline_ends_where_it_breaks(server: Server, torn: bool) -> None:
    """HTTP-PIPELINE, HTTP-GARBAGE, HTTP-FRAMING: the error is the last answer, and what stands
    behind it is not read. What came before is answered, also where it came in the same segment."""
    victim = await new_upload(server, data=b"1")
    netloc = server.base.removeprefix("http://").encode()
    behind = b"DELETE " + path_of(victim).encode() + b" HTTP/1.1\r\nHost: " + netloc
    broken = b"\x01\x02\r\n\r\n" + behind + b"\r\nTus-Resumable: 1.0.0\r\n\r\n"
    async with connected(server.base) as wire:
        head = wire.head("HEAD", victim, TUS) * 3
        for _ in range(3):
            wire.expect_answer("HEAD")
        await wire.send(head if torn else head + broken)
        for _ in range(3):
            assert (await wire.read_response()).offset == 1
        if torn:
            await wire.send(broken)
        wire.expect_answer("OPTIONS")
        refusal(await wire.read_response(), 400, BAD)
        assert await wire.is_closed()
    assert await offset_of(victim) == 1


async def test_a_creation_in_a_pipeline(server: Server) -> None:
    """HTTP-PIPELINE, TUS-CRE-12, TUS-CWU-04: five creations with bytes in one piece make five
    uploads."""
    async with connected(server.base) as wire:
        headers = TUS | TYPE | {"Upload-Length": "5", "Content-Length": "5"}
        headers |= {"Authorization": f"Bearer {server.mint()}"}
        headers |= {"Upload-Metadata": tus.encode_metadata(METADATA)}
        for _ in range(5):
            wire.expect_answer("POST")
        await wire.send((wire.head("POST", "/upload/", headers) + b"hello") * 5)
        answers = [await wire.read_response() for _ in range(5)]
    assert [(answer.status, answer.offset) for answer in answers] == [(201, 5)] * 5
    assert len({answer.location for answer in answers}) == 5


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"])
async def test_empty_lines_before_a_request_are_skipped(server: Server, before: bytes) -> None:
    """HTTP-KEEPALIVE, HTTP-GARBAGE: old clients send a line end too many behind a body."""
    url = await new_upload(server, length=5)
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, 5)
        await wire.send(b"hello" + before + wire.head("HEAD", url, TUS))
        wire.expect_answer("HEAD")
        assert (await wire.read_response()).offset == 5
        assert (await wire.read_response()).offset == 5


async def test_a_wish_for_another_protocol_is_ignored(server: Server) -> None:
    """HTTP-KEEPALIVE, HTTP-FRAMING: Upgrade gets an answer in HTTP/1.1."""
    url = await new_upload(server, length=5)
    for protocol in ("websocket", "h2c"):
        async with connected(url) as wire:
            headers = TUS | {"Connection": "Upgrade", "Upgrade": protocol}
            answer = await wire.request("HEAD", url, headers)
            assert (answer.status, answer.offset) == (200, 0)


async def test_connect_is_refused(server: Server) -> None:
    """HTTP-METHOD, HTTP-FRAMING: no tunnel is made, and what follows is not read as HTTP."""
    async with connected(server.base) as wire:
        await send_raw(wire, "CONNECT example.com:443 HTTP/1.1", "Host: example.com", method="GET")
        answer = await wire.read_response()
        assert answer.status in (400, 404, 405)
        assert answer.closes and await wire.is_closed()
