"""Behind nginx and Caddy with our configuration: addresses, long headers, restarts, outages, the
second protocol, downloads, events."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.rig import MIB, content, stored_bytes, until_stored
from tests.support import tus
from tests.support.clients import JsOptions, running_js
from tests.support.events import parse_event
from tests.support.proxies import Proxy, proxying
from tests.support.relay import Fault, relay_to
from tests.support.rufh import Rufh
from tests.support.server import Server, serving
from tests.support.wire import Wire

FILE = content(12 * MIB)
PATIENT = (0, 100, 200, 400, 800, 1600, 3200)
ENOUGH = 3 * MIB
SLOW = Fault(bytes_per_second=6 * MIB)


INTERIM = {"nginx": "direct", "caddy": "always"}
"""What each file of ours says of ``http.interim_answers``."""
HOOK = {"name": "trouble", "kind": "python", "target": "trouble:gate", "gates": ["create"]}
GATE = """
from tusd_py.hooks.base import Allow

def gate(question):
    return None if question.upload["metadata"].get("trouble") else Allow()
"""
"""Fails, which is no refusal, where the metadata has the key trouble."""


@dataclass(frozen=True, slots=True)
class Site:
    """A server behind a proxy."""

    server: Server
    proxy: Proxy
    session: aiohttp.ClientSession

    def metadata(self, **more: str) -> str:
        pairs = tus.video_metadata(self.server.mint(), "1001", "7")
        return tus.encode_metadata(pairs | more)

    async def ask(
        self, method: str, url: str, body: bytes | io.BytesIO | None = None, **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, url, headers={"Tus-Resumable": "1.0.0"} | named, data=body
        ) as answer:
            return answer.status, answer.headers, await answer.read()

    async def create(self, length: int, **headers: str) -> str:
        """A new upload; its address as the client is told."""
        own = {"Upload_Metadata": self.metadata(), "Upload_Length": str(length)}
        status, answer, text = await self.ask("POST", self.proxy.endpoint, None, **(own | headers))
        assert status == 201, text
        return answer["Location"]


@pytest.fixture(params=["nginx", "caddy"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    (tmp_path / "trouble.py").write_text(GATE)
    settings = {
        "http": {
            "trusted_proxies": ["127.0.0.1"],
            "interim_answers": INTERIM[request.param],
        },
        # Each checkpoint is progress to be told.
        "store": {"durability": "process"},
        "upload": {"lease_seconds": 3.0, "checkpoint_seconds": 0.1},
        "watch": {"poll_seconds": 0.1},
        "hooks": [HOOK | {"import_from": str(tmp_path)}],
    }
    async with serving(tmp_path / "site", settings) as server:
        upstream = server.base.removeprefix("http://")
        async with proxying(request.param, tmp_path / "proxy", upstream) as proxy:
            connector = aiohttp.TCPConnector(ssl=proxy.trust)
            async with aiohttp.ClientSession(connector=connector, max_field_size=32_768) as session:
                yield Site(server, proxy, session)


async def test_addresses_are_what_the_client_sees_and_nothing_a_client_says(site: Site) -> None:
    """Location has https and the proxy's own name, whatever forwarded headers a client sends."""
    liar = {"Forwarded": "proto=http;host=evil.example", "X_Forwarded_Host": "evil.example"}
    for headers in ({}, liar, {"X_Forwarded_Proto": "http"}):
        assert (await site.create(5, **headers)).startswith(site.proxy.endpoint)


async def test_a_whole_upload_passes_with_the_longest_metadata(site: Site) -> None:
    """12 KiB of metadata reach the server; PATCH, HEAD and DELETE answer as without a proxy."""
    url = await site.create(5, Upload_Metadata=site.metadata(note="n" * 9_000))
    sent = {"Upload_Offset": "0", "Content_Type": tus.OFFSET_STREAM}
    status, headers, _ = await site.ask("PATCH", url, b"hello", **sent)
    assert (status, headers["Upload-Offset"]) == (204, "5")
    status, headers, _ = await site.ask("HEAD", url)
    assert (status, headers["Upload-Offset"], headers["Upload-Length"]) == (200, "5", "5")
    assert (await site.ask("DELETE", url))[0] == 204
    assert (await site.ask("HEAD", url))[0] == 404


async def test_the_endpoint_needs_no_slash_and_the_rest_is_not_for_the_world(site: Site) -> None:
    """/upload serves as /upload/ does; /metrics and /health do not pass."""
    status, headers, _ = await site.ask("OPTIONS", f"{site.proxy.base}/upload")
    assert (status, headers["Tus-Version"]) == (204, "1.0.0")
    for path in ("/metrics", "/health/ready", "/uploads"):
        assert (await site.ask("GET", site.proxy.base + path))[0] == 404


async def test_bodies_arrive_while_they_are_sent(site: Site) -> None:
    """No request buffering: what a client has sent is stored while its request goes on."""
    url = await site.create(10)
    first_is_stored = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"01234"
        await first_is_stored.wait()
        yield b"56789"

    headers = {"Upload-Offset": "0", "Content-Type": tus.OFFSET_STREAM, "Tus-Resumable": "1.0.0"}
    sending = asyncio.create_task(_status(site.session.patch(url, data=body(), headers=headers)))
    await until_stored(site.server, url, 5)
    first_is_stored.set()
    assert await sending == 204
    assert stored_bytes(site.server, url) == b"0123456789"


async def test_an_outage_tells_clients_to_try_again(site: Site) -> None:
    """HEAD 423, everything else 503, all with Retry-After and headers that pages may read."""
    url = await site.create(5)
    await site.server.stop()
    patch = {"Upload_Offset": "0", "Content_Type": tus.OFFSET_STREAM}
    answers = {
        "HEAD": await site.ask("HEAD", url, Origin="https://www.example.com"),
        "PATCH": await site.ask("PATCH", url, b"hello", **patch),
        "POST": await site.ask("POST", site.proxy.endpoint, Upload_Length="5"),
        "DELETE": await site.ask("DELETE", url),
    }
    assert {method: answer[0] for method, answer in answers.items()} == {
        "HEAD": 423,
        "PATCH": 503,
        "POST": 503,
        "DELETE": 503,
    }
    for _, headers, _ in answers.values():
        assert headers["Retry-After"] == "2"
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Retry-After" in headers["Access-Control-Expose-Headers"]
    await site.server.start()
    assert (await site.ask("HEAD", url))[0] == 200


async def test_the_servers_own_answers_pass_as_they_are(site: Site) -> None:
    """Refusals keep status, body and CORS headers; its own 503 is not taken for an outage."""
    status, headers, text = await site.ask("POST", site.proxy.endpoint, Upload_Length="5")
    assert (status, headers["Access-Control-Allow-Origin"]) == (401, "*")
    assert b"token invalid (null)" in text
    trouble = site.metadata(trouble="1")
    status, headers, text = await site.ask(
        "POST", site.proxy.endpoint, Upload_Length="5", Upload_Metadata=trouble
    )
    assert (status, json.loads(text)["code"]) == (503, "ERR_GATE_FAILED")
    assert headers["X-Request-ID"] == json.loads(text)["request_id"]


@pytest.mark.parametrize("rufh", [Rufh(None), Rufh(3), Rufh(6), Rufh(8)], ids=repr)
async def test_the_second_protocol_passes(site: Site, rufh: Rufh) -> None:
    """A phone's way: the file with the first request, then a question on the same connection. The
    address comes early where the proxy passes that on, and nothing breaks where it does not."""
    wire = await connected(site.proxy)
    head = rufh.creation(is_end=False, bearer=site.server.mint()) | {"Content-Length": "40"}
    await wire.send_head("POST", site.proxy.endpoint, head)
    early = None
    if site.proxy.kind == "caddy" and rufh.version is not None:
        early = await wire.read_any()
        assert early.status == 104 and early.location.startswith(site.proxy.endpoint)
    async with site.session.get(
        f"{site.server.endpoint}events", headers={"Authorization": f"Bearer {site.server.mint()}"}
    ) as committed:
        for sent in range(5, 40, 5):
            await wire.send(b"x" * 5)
            while (await event_of(committed))[1] != sent:
                pass  # each commit might be told
    await wire.send(b"x" * 5)
    answer = await wire.read_response()
    assert (answer.status, answer.offset, rufh.is_complete(answer)) == (201, 40, False)
    assert len(answer.interim) <= (0 if early is None else 3)
    assert early is None or early.location == answer.location
    done = await rufh.append(answer.location, 40, b"y" * 5, is_end=True, wire=wire)
    assert rufh.is_complete(done)
    head_answer = await rufh.head(answer.location, wire=wire)
    assert (head_answer.offset, rufh.is_complete(head_answer)) == (45, True)
    await wire.close()
    assert stored_bytes(site.server, answer.location) == b"x" * 40 + b"y" * 5


async def test_a_file_is_downloaded_whole_and_in_part(site: Site) -> None:
    """Range and If-None-Match reach the server, and its answers come back as they are."""
    url = await site.create(len(FILE))
    sent = {"Upload_Offset": "0", "Content_Type": tus.OFFSET_STREAM}
    assert (await site.ask("PATCH", url, io.BytesIO(FILE), **sent))[0] == 204
    async with site.session.get(url) as whole:
        tag = whole.headers["ETag"]
        assert await whole.read() == FILE
    async with site.session.get(url, headers={"Range": "bytes=1000000-1999999"}) as part:
        assert part.status == 206
        assert part.headers["Content-Range"] == f"bytes 1000000-1999999/{len(FILE)}"
        assert await part.read() == FILE[1_000_000:2_000_000]
    async with site.session.get(url, headers={"If-None-Match": tag}) as known:
        assert known.status == 304


async def test_events_are_told_when_they_happen(site: Site) -> None:
    """Nothing is held back: each is read before the next one is caused."""
    url = await site.create(10)
    sent = {"Content_Type": tus.OFFSET_STREAM}
    async with asyncio.timeout(20), site.session.get(f"{url}/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert (await event_of(stream))[0] == "retry"
        assert await event_of(stream) == ("status", 0)
        await site.ask("PATCH", url, b"hello", Upload_Offset="0", **sent)
        while (told := await event_of(stream)) != ("status", 5):
            assert told == ("status", 0)
        await site.ask("PATCH", url, b"world", Upload_Offset="5", **sent)
        while (told := await event_of(stream)) != ("status", 10):
            assert told == ("status", 5)
        assert await event_of(stream) == ("end", None)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_a_client_goes_on_through_a_restart(
    site: Site, kill: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tus-js-client over TLS: the server goes in mid-body and comes back, nothing starts anew."""
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(site.proxy.authority))
    file = tmp_path / "film.mp4"
    file.write_bytes(FILE)
    async with relay_to(site.proxy.base) as relay:
        # Slow enough for the server to go in the middle of a body.
        relay.default = SLOW
        options = JsOptions(
            endpoint=relay.url(site.proxy.endpoint).replace("127.0.0.1", "localhost"),
            file=file,
            metadata=tus.video_metadata(site.server.mint(), "1001", "7"),
            retry_delays=PATIENT,
        )
        async with running_js(options) as run:
            created = await run.saw("created")
            await until_stored(site.server, created["uploadUrl"], ENOUGH)
            await (site.server.kill9() if kill else site.server.stop())
            # The client asks for the offset while nobody is there, and is put off.
            put_off = await run.saw(
                lambda event: event["event"] == "response" and event["status"] == 423
            )
            assert put_off["headers"]["retry-after"] == "2"
            await site.server.start()
            await run.wait()
    assert run.succeeded and run.url is not None, run.story()
    assert len(run.of("POST")) == 1, run.story()
    assert [sent.offset for sent in run.of("PATCH")].count(0) == 1, run.story()
    assert stored_bytes(site.server, run.url) == FILE


async def connected(proxy: Proxy) -> Wire:
    """A connection to it on which every answer is seen, interim ones too."""
    reader, writer = await asyncio.open_connection("localhost", proxy.port, ssl=proxy.trust)
    return Wire(reader, writer, f"localhost:{proxy.port}")


async def event_of(stream: aiohttp.ClientResponse) -> tuple[str, int | None]:
    """The next event's kind, and the offset it tells."""
    block = await stream.content.readuntil(b"\n\n")
    found = parse_event(block.decode().removesuffix("\n\n"))
    return found.kind, (found.data or {}).get("offset")


async def _status(request: aiohttp.client._RequestContextManager) -> int:
    async with request as answer:
        return answer.status
