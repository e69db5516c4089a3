"""What one client may take: who is told so, who is held back, and who never notices."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import pytest

from tests.conformance.conftest import SLOWED_BYTES_PER_SECOND, TURN_SECONDS
from tests.conformance.uploads import some_bytes, stored_bytes, stored_files
from tests.support import tus
from tests.support.forms import file, form, form_type
from tests.support.rufh import VERSIONS, Rufh
from tests.support.server import Server
from tests.support.wire import Response, Wire, connected, request

DATA = some_bytes(100)
PAGE = {"Origin": "https://studio.example"}


def a_client(server: Server) -> str:
    """The token of a client that nobody has heard of."""
    return server.mint(client_id=uuid4().hex)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def create(server: Server, token: str, **more: Any) -> Response:
    return await tus.create(server.endpoint, length=100, bearer=token, headers=PAGE, **more)


async def create_with_body(server: Server, token: str) -> Response:
    return await create(server, token, body=DATA)


async def create_deferred(server: Server, token: str) -> Response:
    return await tus.create(server.endpoint, bearer=token, headers=PAGE)


async def create_part(server: Server, token: str) -> Response:
    headers = PAGE | {"Upload-Concat": "partial"}
    return await tus.create(server.endpoint, length=100, bearer=token, headers=headers)


async def create_rufh(server: Server, token: str) -> Response:
    return await Rufh().create(server.endpoint, DATA, is_end=True, bearer=token, headers=PAGE)


async def create_rufh_empty(server: Server, token: str) -> Response:
    return await Rufh().create(server.endpoint, None, is_end=False, bearer=token, headers=PAGE)


async def put(server: Server, token: str) -> Response:
    headers = bearer(token) | PAGE | {"Content-Type": "video/mp4"}
    return await request("PUT", server.endpoint + "film.mp4", headers, DATA)


async def post_form(server: Server, token: str) -> Response:
    headers = bearer(token) | PAGE | form_type()
    return await request("POST", server.endpoint, headers, form(file(DATA)))


Creation = Callable[[Server, str], Awaitable[Response]]
CREATIONS: list[Creation] = [
    create,
    create_with_body,
    create_deferred,
    create_part,
    create_rufh,
    create_rufh_empty,
    put,
    post_form,
]


@pytest.mark.parametrize("creation", CREATIONS, ids=lambda one: one.__name__)
async def test_a_creation_too_many_is_refused_where_so_wished(
    refusing_server: Server, creation: Creation
) -> None:
    """HTTP-429, CORS-EXPOSE: whatever the protocol; when to come again can be read by scripts;
    nothing is stored, and the next client is served."""
    server, token = refusing_server, a_client(refusing_server)
    first = await create(server, token)
    assert first.status == 201, first.text
    before = stored_files(server)
    refused = await creation(server, token)
    assert refused.status == 429, (refused.status, refused.text)
    assert json.loads(refused.body)["code"] == "ERR_TOO_MANY_REQUESTS"
    assert 1 <= int(refused.headers["Retry-After"]) <= 600
    exposed = refused.headers["Access-Control-Expose-Headers"].lower()
    assert "retry-after" in exposed
    assert "Location" not in refused.headers
    assert stored_files(server) == before
    assert (await creation(server, a_client(server))).status in (200, 201)


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_of_the_successor_is_told(
    refusing_server: Server, version: int
) -> None:
    """HTTP-429: as a problem, with the same code."""
    server, token = refusing_server, a_client(refusing_server)
    speaks = Rufh(version)
    made = await speaks.create(server.endpoint, None, is_end=False, bearer=token)
    assert made.status == 201, made.text
    refused = await speaks.create(server.endpoint, DATA, is_end=True, bearer=token)
    assert (refused.status, json.loads(refused.body)["code"]) == (429, "ERR_TOO_MANY_REQUESTS")
    assert int(refused.headers["Retry-After"]) >= 1
    url = urljoin(server.endpoint, made.location)
    assert (await speaks.append(url, 0, DATA, is_end=True)).status in (200, 201, 204)


async def test_nothing_but_a_creation_is_limited(refusing_server: Server) -> None:
    """HTTP-429, TUS-CORE-20: of a client that may create nothing more, HEAD, PATCH, GET, DELETE,
    OPTIONS and what is dressed as a POST are answered as ever, however many they are."""
    server, token = refusing_server, a_client(refusing_server)
    url = urljoin(server.endpoint, (await create(server, token)).location)
    async with connected(url) as wire:
        for offset in range(30):
            assert (await tus.head(url, wire=wire, headers=bearer(token))).status == 200
            sent = tus.TUS | {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": str(offset)}
            sent |= {"Content-Type": tus.OFFSET_STREAM} | bearer(token)
            override = await wire.request("POST", url, sent, DATA[offset : offset + 1])
            assert override.status == 204, override.text
            assert (await tus.options(server.endpoint, wire=wire)).status == 204
        assert (await create(server, token)).status == 429
        assert (await tus.patch(url, 30, DATA[30:], wire=wire)).status == 204
        assert (await request("GET", url, bearer(token))).body == DATA
        assert (await tus.delete(url, wire=wire, headers=bearer(token))).status == 204


async def test_a_refused_creation_is_not_invited_to_send(refusing_server: Server) -> None:
    """HTTP-429, HTTP-EXPECT: the refusal comes in place of the 100, and a body that is sent all the
    same does no harm."""
    server, token = refusing_server, a_client(refusing_server)
    assert (await create(server, token)).status == 201
    sent = tus.TUS | {"Upload-Length": "100", "Content-Type": tus.OFFSET_STREAM} | bearer(token)
    sent |= {"Expect": "100-continue", "Content-Length": "100"}
    async with connected(server.endpoint) as wire:
        await wire.send_head("POST", server.endpoint, sent)
        answer = await wire.read_response()
        assert (answer.status, answer.interim) == (429, ())
    big = await tus.create(server.endpoint, length=2**20, bearer=token, body=b"x" * 2**20)
    assert big.status == 429


async def test_a_creation_that_breaks_a_rule_costs_no_turn(refusing_server: Server) -> None:
    """HTTP-429, TUS-CRE-07: what is refused for what it is, is not counted."""
    server, token = refusing_server, a_client(refusing_server)
    for _ in range(3):
        assert (await create(server, "not a token")).status == 401
        too_long = await tus.create(server.endpoint, length=10**12, bearer=token)
        assert too_long.status == 413
    assert (await create(server, token)).status == 201


async def test_a_creation_too_many_waits_for_its_turn(slowing_server: Server) -> None:
    """HTTP-TURN, TUS-CORE-20: the second is answered a turn later, the third is told to come again;
    neither holds up HEADs, nor another client."""
    server, client = slowing_server, uuid4().hex
    token = server.mint(client_id=client)
    url = urljoin(server.endpoint, (await create(server, token)).location)
    began = time.monotonic()
    held = asyncio.create_task(create_with_body(server, token))
    await server.logged(lambda one: _limited(one, client) == "held")
    far_off = asyncio.create_task(create(server, token))
    await server.logged(lambda one: _limited(one, client) == "delayed")
    assert (await tus.head(url)).status == 200
    assert (await create(server, a_client(server))).status == 201
    made, refused = await held, await far_off
    assert (made.status, made.offset) == (201, 100)
    assert time.monotonic() - began >= 0.5 * TURN_SECONDS
    assert (refused.status, json.loads(refused.body)["code"]) == (503, "ERR_CREATION_DELAYED")
    assert int(refused.headers["Retry-After"]) >= 1


def _limited(record: dict[str, Any], client: str) -> str | None:
    is_his = record.get("event") == "creation_limited" and record.get("client_id") == client
    return record["outcome"] if is_his else None


@pytest.mark.parametrize("protocol", ["tus", "rufh"])
async def test_a_body_too_many_is_read_slowly_and_arrives_whole(
    slowing_server: Server, protocol: str
) -> None:
    """HTTP-PACE: at the pace that is set; the pauses, longer than a client may be silent, are not
    its own. Nobody else is slowed."""
    server, client = slowing_server, uuid4().hex
    data = some_bytes(4 * SLOWED_BYTES_PER_SECOND)
    urls = [await _create(server, client, protocol, len(data)) for _ in range(2)]
    bodies = [await _begin(url, protocol, len(data)) for url in urls]
    async with bodies[0].wire, bodies[1].wire, asyncio.TaskGroup() as tasks:
        for body in bodies:
            tasks.create_task(body.drip(data))
        told = await server.logged(lambda one: _slowed(one, client))
        slowed, other = sorted(bodies, key=lambda one: one.id != told["upload_id"])
        slowed.go_on.set()
        began = time.monotonic()
        answer = asyncio.create_task(slowed.wire.read_response(seconds=30))
        await _send_at_once(server, data)
        assert not answer.done(), "slowed, and faster than who is not"
        assert (await answer).status in (201, 204)
        assert time.monotonic() - began >= 2.0
        other.go_on.set()
        assert (await other.wire.read_response()).status in (201, 204)
    assert [stored_bytes(server, body.url) for body in bodies] == [data] * 2


def _slowed(record: dict[str, Any], client: str) -> bool:
    return record.get("event") == "body_slowed" and record.get("client_id") == client


async def _send_at_once(server: Server, data: bytes) -> None:
    """Another client's upload."""
    url = await tus.upload(server.endpoint, data, metadata={}, bearer=a_client(server))
    assert stored_bytes(server, url) == data


class Dripping:
    """A PATCH whose body comes in drops until it is told to go on."""

    def __init__(self, wire: Wire, url: str) -> None:
        self.wire = wire
        self.url = url
        self.id = url.rpartition("/")[2]
        self.go_on = asyncio.Event()

    async def drip(self, data: bytes) -> None:
        for start in range(0, len(data), 256):
            if self.go_on.is_set():
                await self.wire.send(data[start:])
                return
            await self.wire.send(data[start : start + 256])
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self.go_on.wait()


async def _create(server: Server, client: str, protocol: str, length: int) -> str:
    token = server.mint(client_id=client)
    if protocol == "tus":
        made = await tus.create(server.endpoint, length=length, bearer=token)
    else:
        made = await Rufh().create(server.endpoint, None, is_end=False, bearer=token)
    assert made.status == 201, made.text
    return urljoin(server.endpoint, made.location)


async def _begin(url: str, protocol: str, length: int) -> Dripping:
    wire = await Wire.to(url)
    if protocol == "tus":
        await tus.begin_patch(wire, url, 0, length)
    else:
        head = Rufh().appending(0, is_end=True) | {"Content-Length": str(length)}
        await wire.send_head("PATCH", url, head)
    return Dripping(wire, url)
