"""One-shot uploads that are cut short: what came is kept, and gone on with by tus."""

import pytest

from tests.conformance.conftest import BODY_IDLE_SECONDS
from tests.conformance.oneshots import bearer, go_on, left_of, new_ids, put, refused
from tests.conformance.uploads import (
    Traced,
    some_bytes,
    stored_bytes,
    stored_files,
    until,
)
from tests.support import tus
from tests.support.relay import Cut, relay_to
from tests.support.server import Server
from tests.support.wire import Wire, connected, request

SIZE = 600_000
CUTS = [0, 1, 1000, 262_144, 599_999]


async def begin(wire: Wire, server: Server, framing: dict[str, str], **more: str) -> int:
    """The head of a PUT; how many bytes it has."""
    headers = bearer(server) | framing | more
    await wire.send_head("PUT", "/upload/a.mp4", headers)
    return len(wire.head("PUT", "/upload/a.mp4", headers))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("sent", CUTS)
@pytest.mark.parametrize("how", list(Cut))
async def test_a_cut_put_is_gone_on_with_by_tus(
    server: Server, how: Cut, sent: int, chunked: bool
) -> None:
    """HTTP-ONECUT, TUS-CORE-33: every byte that came is kept, and nothing is told as complete. The
    length is known where the request had one."""
    data = some_bytes(SIZE)
    before = stored_files(server)
    traced = Traced(server)
    async with relay_to(server.base) as relay, connected(relay.url(server.base)) as wire:
        connection = await relay.connection(0)
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(SIZE)}
        head_bytes = await begin(wire, server, framing, **traced.headers)
        line = b"%x\r\n" % SIZE if chunked else b""
        await wire.send(line + data[:sent])
        await connection.passed(head_bytes + len(line) + sent)
        connection.cut(how)
    assert (await traced.ended())["received_bytes"] == sent
    (upload_id,) = new_ids(server, before)
    url = server.endpoint + upload_id
    head = await tus.head(url)
    assert (head.offset, head.length) == (sent, None if chunked else SIZE)
    assert await go_on(url, data) == sent
    assert stored_bytes(server, url) == data


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_that_can_still_hear_is_told_where_to_go_on(
    server: Server, chunked: bool
) -> None:
    """HTTP-ONECUT, HTTP-HALFCLOSE: it closed its half before the end of its body: 400 with the
    address and the offset."""
    data = some_bytes(1000)
    async with connected(server.base) as wire:
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "1000"}
        await begin(wire, server, framing)
        await (wire.send_chunk(data[:300]) if chunked else wire.send(data[:300]))
        wire.half_close()
        answer = await wire.read_response()
    refused(answer, 400, "ERR_CLIENT_GONE")
    url = left_of(answer, 300)
    assert await go_on(url, data) == 300
    assert stored_bytes(server, url) == data


async def test_a_put_that_stalls_is_told_where_to_go_on(impatient_server: Server) -> None:
    """HTTP-ONECUT, TUS-CORE-31: 503 after the idle time."""
    data = some_bytes(SIZE)
    async with connected(impatient_server.base) as wire:
        await begin(wire, impatient_server, {"Content-Length": str(SIZE)})
        await wire.send(data[:400_000])
        answer = await wire.read_response(seconds=BODY_IDLE_SECONDS * 30)
    refused(answer, 503, "ERR_BODY_TOO_SLOW")
    url = left_of(answer, 400_000)
    assert await go_on(url, data) == 400_000
    assert stored_bytes(impatient_server, url) == data


async def test_a_broken_chunk_is_told_where_to_go_on(server: Server) -> None:
    """HTTP-ONECUT, HTTP-CHUNKED: 400, and what came before it is kept."""
    async with connected(server.base) as wire:
        await begin(wire, server, {"Transfer-Encoding": "chunked"})
        await wire.send_chunk(b"hello")
        await wire.send(b"zz\r\n")
        answer = await wire.read_response()
    refused(answer, 400, "ERR_BODY_MALFORMED")
    assert await go_on(left_of(answer, 5), b"hello world") == 5


async def test_a_put_lets_go_for_who_goes_on_with_it(server: Server) -> None:
    """HTTP-ONECUT: its client comes back by tus while the old connection still stands: the PUT is
    ended with what it has, and the PATCH goes on there."""
    data = some_bytes(SIZE)
    before = stored_files(server)
    async with connected(server.base) as wire:
        await begin(wire, server, {"Content-Length": str(SIZE)})
        await wire.send(data[:300_000])
        await until(lambda: bool(new_ids(server, before)))
        (upload_id,) = new_ids(server, before)
        url = server.endpoint + upload_id
        kept = await go_on(url, data)
        answer = await wire.read_response()
    refused(answer, 423, "ERR_UPLOAD_HANDED_OVER")
    assert left_of(answer, kept) == url
    assert stored_bytes(server, url) == data


async def test_a_file_that_was_begun_is_not_begun_again(server: Server) -> None:
    """HTTP-ONECUT, HTTP-ONETOKEN: a token for one file comes again after a cut: 409 says where its
    upload stands."""
    token = {"Authorization": f"Bearer {server.mint(jti='oneshot-2', once=True)}"}
    async with connected(server.base) as wire:
        await wire.send_head("PUT", "/upload/a.mp4", token | {"Content-Length": "10"})
        await wire.send(b"12345")
        wire.half_close()
        url = left_of(await wire.read_response(), 5)
    again = await put(server, b"1234567890", "a.mp4", token)
    refused(again, 409, "ERR_OFFSET_MISMATCH")
    assert left_of(again, 5) == url
    assert await go_on(url, b"1234567890") == 5


async def test_every_request_needs_a_token_where_that_is_the_mode(strict_server: Server) -> None:
    """HTTP-ONETOKEN, HTTP-ONECUT: for the upload and for going on with it."""
    server = strict_server
    refused(await request("PUT", server.endpoint + "a", {}, b"1"), 401, "ERR_TOKEN_INVALID")
    async with connected(server.base) as wire:
        await begin(wire, server, {"Content-Length": "10"})
        await wire.send(b"12345")
        wire.half_close()
        url = left_of(await wire.read_response(), 5)
    assert (await tus.head(url)).status == 401
    assert await go_on(url, b"1234567890", bearer(server)) == 5
