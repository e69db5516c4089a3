"""Old and odd behaviour on the wire: what is legal is served, what is not does no harm.

What stands elsewhere already: a pipeline's order, torn or whole, creations in it, garbage in it,
and empty lines before a request (``test_http``); refusals in it (``test_no_request_in_a_body``); a
FIN behind it (``test_bodies``). HTTP/1.0 with and without keep-alive and Host, whole URLs as
targets, malformed heads with odd and doubled Content-Lengths and Hosts (``test_http``). The
override on every method on the wire, in every case, unknown or in two lines (``test_methods``). Two
offsets (``test_core``), metadata in several lines (``test_metadata``). What odd values of all these
may contain is in ``test_odd_values``.
"""

import asyncio

import pytest

from tests.conformance.uploads import (
    METADATA,
    PATCH,
    TUS,
    id_of,
    new_upload,
    offset_of,
    raw,
    refusal,
    some_bytes,
    spelled_delete,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response, connected, path_of, request

OVERRIDE = "X-HTTP-Method-Override"


def creation(server: Server) -> dict[str, str]:
    metadata = {"Upload-Metadata": tus.encode_metadata(METADATA)}
    return TUS | metadata | {"Authorization": f"Bearer {server.mint()}"}


# ------------------------------------------------------------------ pipelines


async def test_a_pipeline_may_be_longer_than_what_is_parsed_ahead(server: Server) -> None:
    """HTTP-PIPELINE, TUS-CORE-41: three hundred requests in one piece, each with its answer."""
    url = await new_upload(server, length=150)
    sent = b""
    async with connected(url) as wire:
        for offset in range(150):
            headers = PATCH | {"Upload-Offset": str(offset), "Content-Length": "1"}
            sent += wire.head("PATCH", url, headers) + b"x" + wire.head("HEAD", url, TUS)
            wire.expect_answer("PATCH")
            wire.expect_answer("HEAD")
        await wire.send(sent)
        answers = [await wire.read_response() for _ in range(300)]
    assert [answer.offset for answer in answers] == [n // 2 + 1 for n in range(300)]


async def test_chunked_bodies_in_a_pipeline(server: Server) -> None:
    """HTTP-PIPELINE, HTTP-CHUNKED, HTTP-TRAILER: where each ends is where the next request begins,
    also where a trailer spells one."""
    url = await new_upload(server, length=30)
    trailers = b"X: DELETE / HTTP/1.1\r\nY: \r\n\r\n"
    async with connected(url) as wire:
        sent = b""
        for offset in (0, 10, 20):
            headers = PATCH | {"Upload-Offset": str(offset), "Transfer-Encoding": "chunked"}
            sent += (
                wire.head("PATCH", url, headers)
                + b"4;a=b\r\nabcd\r\n6\r\nefghij\r\n0\r\n"
                + trailers
            )
            wire.expect_answer("PATCH")
        wire.expect_answer("HEAD")
        await wire.send(sent + wire.head("HEAD", url, TUS))
        answers = [await wire.read_response() for _ in range(4)]
    assert [(answer.status, answer.offset) for answer in answers] == [
        *((204, 10), (204, 20), (204, 30), (200, 30))
    ]
    assert stored_bytes(server, url) == b"abcdefghij" * 3


async def test_a_whole_life_in_one_piece(server: Server) -> None:
    """HTTP-PIPELINE, TUS-TRM-03, TUS-TRM-04, TUS-CORE-25: each request finds what the one before it
    left."""
    url = await new_upload(server, length=5)
    headers = PATCH | {"Upload-Offset": "0", "Content-Length": "5"}
    async with connected(url) as wire:
        patch = wire.head("PATCH", url, headers) + b"hello"
        head, delete = wire.head("HEAD", url, TUS), wire.head("DELETE", url, TUS)
        for method in ("PATCH", "PATCH", "HEAD", "DELETE", "HEAD", "DELETE"):
            wire.expect_answer(method)
        await wire.send(patch + patch + head + delete + head + delete)
        answers = [await wire.read_response() for _ in range(6)]
    assert [answer.status for answer in answers] == [204, 409, 200, 204, 404, 404]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_nothing_is_carried_out_behind_a_last_request(server: Server, version: str) -> None:
    """HTTP-PIPELINE, HTTP-KEEPALIVE, HTTP-10: who says that a request is the last one gets its
    answer, and what stands behind it, in the same piece, is nothing."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=5)
    headers = PATCH | {"Upload-Offset": "0", "Content-Length": "5"}
    headers |= {"Connection": "close"} if version == "HTTP/1.1" else {}
    async with connected(url) as wire:
        wire.expect_answer("PATCH")
        patch = wire.head("PATCH", url, headers, version=version) + b"hello"
        await wire.send(patch + spelled_delete(victim, wire.netloc))
        answer = await wire.read_response()
        assert (answer.status, answer.offset, answer.closes) == (204, 5, True)
        assert await wire.is_closed()
    assert await offset_of(victim) == 1


# ------------------------------------------------------------------ HTTP/1.0


@pytest.mark.parametrize("keep_alive", ["keep-alive", "Keep-Alive"])
async def test_an_old_client_uploads_over_one_connection(server: Server, keep_alive: str) -> None:
    """HTTP-10, HTTP-KEEPALIVE, TUS-CORE-22: creation, PATCHes small and large, HEAD, DELETE."""
    data = some_bytes(700_000)
    kept = {"Connection": keep_alive}
    async with connected(server.base) as wire:

        async def ask(method: str, target: str, headers: dict[str, str], body: bytes) -> Response:
            sent = headers | kept | {"Content-Length": str(len(body))}
            await wire.send_head(method, target, sent, version="HTTP/1.0")
            await wire.send(body)
            answer = await wire.read_response()
            assert (answer.version, answer.closes) == ((1, 0), False)
            return answer

        made = await ask("POST", "/upload/", creation(server) | {"Upload-Length": "700000"}, b"")
        assert made.status == 201
        url = made.location
        for at, end in ((0, 3), (3, 600_000), (600_000, 700_000)):
            done = await ask("PATCH", url, PATCH | {"Upload-Offset": str(at)}, data[at:end])
            assert (done.status, done.offset) == (204, end)
        assert (await ask("HEAD", url, TUS, b"")).offset == 700_000
        assert stored_bytes(server, url) == data
        assert (await ask("DELETE", url, TUS, b"")).status == 204


async def test_an_old_client_does_not_know_chunks(server: Server) -> None:
    """HTTP-10, HTTP-SMUGGLE, HTTP-CHUNKED: RFC 9112, 6.1: a transfer coding in HTTP/1.0 is faulty
    framing, for what passed the request on may have seen another end of it. Nothing is stored, and
    nothing behind it carried out."""
    victim, url = await new_upload(server, data=b"1"), await new_upload(server, length=100)
    headers = PATCH | {"Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    headers |= {"Connection": "keep-alive"}
    async with connected(url) as wire:
        wire.expect_answer("PATCH")
        head = wire.head("PATCH", url, headers, version="HTTP/1.0")
        body = b"5\r\nhello\r\n0\r\n\r\n" + spelled_delete(victim, wire.netloc)
        await wire.send(head + body)
        answer = await wire.read_response()
        refusal(answer, 400, "ERR_BAD_REQUEST")
        assert answer.closes and await wire.is_closed()
    assert (await offset_of(victim), await offset_of(url)) == (1, 0)


async def test_an_old_client_that_ends_too_early(server: Server) -> None:
    """HTTP-10, HTTP-HALFCLOSE, TUS-CORE-33: the end of a connection is no end of a body: it says
    how long it is; what came is kept."""
    url = await new_upload(server, length=10)
    async with connected(url) as wire:
        headers = PATCH | {"Upload-Offset": "0", "Content-Length": "10"}
        await wire.send_head("PATCH", url, headers, version="HTTP/1.0")
        await wire.send(b"hello")
        wire.half_close()
        refusal(await wire.read_response(), 400, "ERR_CLIENT_GONE")
        assert await wire.is_closed()
    assert await offset_of(url) == 5


async def test_an_old_body_without_a_length_is_none(server: Server) -> None:
    """HTTP-10, HTTP-NOBODY: what follows such a PATCH is neither content nor a request."""
    url = await new_upload(server, length=10)
    async with connected(url) as wire:
        wire.expect_answer("PATCH")
        head = wire.head("PATCH", url, PATCH | {"Upload-Offset": "0"}, version="HTTP/1.0")
        await wire.send(head + b"hello")
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (204, 0)
        wire.half_close()
        assert await wire.is_closed()
    assert stored_bytes(server, url) == b""


# ------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    "authority",
    ["HTTP://x", "https://x", "http://x:8", "http://[::1]:80", "http://u:p@x", "hTTp://X.Example."],
)
async def test_whole_urls_of_any_kind_are_targets(server: Server, authority: str) -> None:
    """HTTP-ABSOLUTE: whatever host it names, the path is the path."""
    url = await new_upload(server, data=b"1")
    async with connected(url) as wire:
        lines = [f"HEAD {authority}{path_of(url)}?q HTTP/1.1", "Host: x", "Tus-Resumable: 1.0.0"]
        answer = await raw(wire, *lines, method="HEAD")
        assert (answer.status, answer.offset) == (200, 1)
        assert await wire.is_usable()


@pytest.mark.parametrize(
    "target",
    [
        *(
            "http://",
            "http:///upload/ID",
            "http:/upload/ID",
            "http:upload/ID",
            "http://x:99999/upload/ID",
        ),
        *("//x/upload/ID", "upload/ID", "?ID", "#ID", "/", "//", "/upload//ID", "x:80", "*"),
        *("http://x", "http://x/", "http://x?/upload/ID", "http://x#/upload/ID", "/upload#/ID"),
        *("mailto:/upload/ID", "http://x y/upload/ID", "http://[::1/upload/ID", "/UPLOAD/ID"),
    ],
)
async def test_targets_that_are_none_reach_nothing(server: Server, target: str) -> None:
    """HTTP-ABSOLUTE, HTTP-GARBAGE, SEC-PATH: DELETE of them is refused, the upload stays."""
    url = await new_upload(server, data=b"1")
    async with connected(url) as wire:
        line = f"DELETE {target.replace('ID', id_of(url))} HTTP/1.1"
        answer = await raw(wire, line, "Host: x", "Tus-Resumable: 1.0.0", method="DELETE")
        assert answer.status in (400, 404, 405)
    assert await offset_of(url) == 1


# ------------------------------------------------------------------ the override


@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE", "TRACE", "PROPFIND"])
async def test_any_method_may_carry_a_chunked_patch(server: Server, method: str) -> None:
    """TUS-CORE-14, TUS-CORE-15, HTTP-CHUNKED, HTTP-HEADBODY: also those that usually have no body;
    what follows it is the next request, and the answer to a HEAD has no content."""
    url = await new_upload(server, length=10)
    headers = PATCH | {"Transfer-Encoding": "chunked", OVERRIDE: "pAtCh"}
    async with connected(url) as wire:
        for offset, status in (("7", 409), ("0", 204)):
            begun = wire.head(method, url, headers | {"Upload-Offset": offset})
            wire.expect_answer(method)
            await wire.send(begun + b"5\r\nhello\r\n0\r\n\r\n")
            assert (await wire.read_response()).status == status
        assert (await tus.head(url, wire=wire)).offset == 5
    assert stored_bytes(server, url) == b"hello"


async def test_overrides_in_a_pipeline(server: Server) -> None:
    """TUS-CORE-14, HTTP-PIPELINE, HTTP-HEADBODY: each request has its own, and each answer is
    framed for the method on the wire."""
    url = await new_upload(server, length=10)
    sent = b""
    async with connected(url) as wire:
        for number, method in enumerate(("GET", "HEAD", "PUT", "POST", "DELETE")):
            headers = PATCH | {"Upload-Offset": str(number), "Content-Length": "1"}
            sent += wire.head(method, url, headers | {OVERRIDE: "PATCH"}) + b"x"
            sent += wire.head(method, url, TUS | {OVERRIDE: "HEAD"})
            wire.expect_answer(method)
            wire.expect_answer(method)
        await wire.send(sent)
        answers = [await wire.read_response() for _ in range(10)]
    assert [answer.offset for answer in answers] == [n // 2 + 1 for n in range(10)]


# ------------------------------------------------------------------ fields in several lines


async def patched(
    server: Server, *more: tuple[str, str], without: str = ""
) -> tuple[Response, int]:
    """The answer to a PATCH of "67890" at 5 with these lines besides, and the offset after it."""
    url = await new_upload(server, length=10, data=b"12345")
    pairs = [*PATCH.items(), ("Upload-Offset", "5"), ("Content-Length", "5")]
    pairs = [pair for pair in pairs if pair[0] != without]
    async with connected(url) as wire:
        await wire.send_head("PATCH", url, [*pairs, *more])
        await wire.send(b"67890")
        answer = await wire.read_response()
    return answer, await offset_of(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Upload-Offset", "5"), ("Tus-Resumable", "1.0.0"), ("X-HTTP-Method-Override", "PATCH")),
        *(("Upload-Length", "10"), ("X-Request-ID", "a"), ("Origin", "https://a.example")),
        *(("Upload-Metadata", "a"), ("Expect", "100-continue"), ("Authorization", "Bearer x")),
    ],
)
async def test_a_line_that_a_proxy_doubled_is_one_line(
    server: Server, name: str, value: str
) -> None:
    """HTTP-FIELDCASE, TUS-CORE-40, TUS-DEF-02: the same value again, names in another case."""
    more = [] if name in ("Upload-Offset", "Tus-Resumable") else [(name, value)]
    answer, offset = await patched(server, *more, (name.lower(), value))
    if name == "Authorization":
        assert answer.status in (204, 400, 401)
        return
    assert (answer.status, offset) == (204, 10), answer.text


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([("Upload-Offset", "6")], "ERR_INVALID_HEADER"),
        ([("upload-offset", "0")], "ERR_INVALID_HEADER"),
        ([("Upload-Offset", "05")], "ERR_INVALID_HEADER"),
        ([("Upload-Offset", "")], "ERR_INVALID_HEADER"),
        ([("Upload-Length", "10"), ("Upload-Length", "11")], "ERR_INVALID_HEADER"),
        ([("Upload-Length", "10, 10")], "ERR_INVALID_HEADER"),
        ([("Content-Length", "5")], "ERR_BAD_REQUEST"),
        ([("Content-Length", "4")], "ERR_BAD_REQUEST"),
        ([("content-length", "0")], "ERR_BAD_REQUEST"),
        ([("Content-Type", "text/plain")], "ERR_BAD_REQUEST"),
        ([("Host", "x")], "ERR_BAD_REQUEST"),
        ([("Transfer-Encoding", "chunked")], "ERR_BAD_REQUEST"),
        ([(OVERRIDE, "PATCH"), (OVERRIDE, "DELETE")], "ERR_INVALID_HEADER"),
    ],
)
async def test_lines_that_differ_have_no_meaning(
    server: Server, lines: list[tuple[str, str]], code: str
) -> None:
    """TUS-CORE-40, HTTP-SMUGGLE, HTTP-CONTENTLENGTH, HTTP-HOST: 400, and nothing is stored; what
    parsers could count in two ways ends the connection."""
    answer, offset = await patched(server, *lines)
    refusal(answer, 400, code)
    assert answer.closes or code != "ERR_BAD_REQUEST"
    assert offset == 5


@pytest.mark.parametrize("other", ["0.2.2", "1.0.1", ""])
@pytest.mark.parametrize("first", [True, False])
async def test_two_versions_are_none(server: Server, other: str, first: bool) -> None:
    """TUS-CORE-07, TUS-CORE-09: whichever line is first."""
    lines = [("Tus-Resumable", "1.0.0"), ("Tus-Resumable", other)]
    answer, offset = await patched(
        server, *(lines if first else reversed(lines)), without="Tus-Resumable"
    )
    assert answer.status in (400, 412)
    assert offset == 5


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([("Upload-Length", "5"), ("Upload-Length", "5")], 201),
        ([("Upload-Length", "5"), ("upload-length", "6")], 400),
        ([("Upload-Length", "5, 5")], 400),
        ([("Upload-Defer-Length", "1"), ("Upload-Defer-Length", "1")], 201),
        ([("Upload-Defer-Length", "1"), ("Upload-Defer-Length", "0")], 400),
        ([("Upload-Length", "5"), ("Upload-Metadata", "a,a")], 400),
        (
            [("Upload-Length", "5"), ("Upload-Metadata", "new YQ=="), ("Upload-Metadata", "new")],
            201,
        ),
    ],
)
async def test_creations_with_lines_twice(
    server: Server, lines: list[tuple[str, str]], status: int
) -> None:
    """TUS-CORE-03, TUS-DEF-01, TUS-CRE-05, TUS-CRE-07: as for a PATCH; metadata may come in several
    lines, of a key in two of them the first counts."""
    before = stored_files(server)
    answer = await request("POST", server.endpoint, [*creation(server).items(), *lines])
    assert answer.status == status, answer.text
    if status != 201:
        assert stored_files(server) == before


# ------------------------------------------------------------------ all of them


async def test_odd_clients_all_at_once(server: Server) -> None:
    """SEC-ALIVE: none of the above in a crowd keeps an ordinary client from its upload."""
    odd = [
        b"PATCH /upload/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /upload/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 9999,
        b"POST /upload/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 9999,
        b"POST /upload/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        + b"A:b\r\n" * 9999,
        b"\r\n" * 50_000,
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
    ]

    async def bother(data: bytes) -> None:
        async with connected(server.base) as wire:
            try:
                await wire.send(data)
                wire.half_close()
                assert b" 500 " not in await wire.read_rest()
            except ConnectionError:
                return

    data = some_bytes(300_000)
    *_, url = await asyncio.gather(
        *(bother(one) for one in odd * 5),
        tus.upload(server.endpoint, data, metadata=METADATA, bearer=server.mint()),
    )
    assert url is not None
    assert stored_bytes(server, url) == data
