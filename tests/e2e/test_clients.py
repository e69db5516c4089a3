"""Clients that come back after a restart, and what phones do on the wire, on a bad line.

What each real client library does by each of its options is in ``tests/interop``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.rig import (
    MIB,
    assert_finished,
    content,
    until_stored,
)
from tests.e2e.stage import Stage, staged
from tests.support.clients import (
    ClientRun,
    JsOptions,
    TuspyOptions,
    running_tuspy,
    upload_js,
    upload_tuspy,
)
from tests.support.java_client import JavaClient
from tests.support.receiver import Receiver
from tests.support.relay import Cut, Fault, Relay, relay_to
from tests.support.server import Server
from tests.support.tus import video_metadata
from tests.support.tuskit import TusKit, TusKitFailure
from tests.support.wire import Hangup

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("clients")]

SIZE = 3 * MIB + 12_345
PATIENT = (0, 100, 200, 400, 800, 1600, 3200, 3200)
VERSIONS = (2, 4)


@dataclass(frozen=True, slots=True)
class Place:
    """A server, a bad line to it, a receiver of its events, and a file to upload."""

    server: Server
    relay: Relay
    receiver: Receiver
    file: Path
    data: bytes

    @property
    def endpoint(self) -> str:
        return self.relay.url(self.server.endpoint)

    @property
    def metadata(self) -> dict[str, str]:
        return video_metadata(self.server.mint(video_id="1001", client_id="7"), "1001", "7")

    def js(self, version: int, **options: Any) -> JsOptions:
        plain = JsOptions(endpoint=self.endpoint, file=self.file, version=version)
        return replace(plain, metadata=self.metadata, **options)

    def tuspy(self, **options: Any) -> TuspyOptions:
        plain = TuspyOptions(endpoint=self.endpoint, file=self.file, metadata=self.metadata)
        return replace(plain, **options)

    async def judge(self, run: ClientRun) -> None:
        """It succeeded, once, with one POST, and the file is as it was."""
        assert run.succeeded and run.successes == 1, run.story()
        assert len(run.of("POST")) == 1, run.story()
        assert run.url is not None
        await assert_finished(self.server, self.receiver, run.url, self.data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One server for all: it survives every test, as it should."""
    async with staged(tmp_path_factory.mktemp("clients")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def place(stage: Stage, tmp_path: Path) -> AsyncIterator[Place]:
    """With a line and a file of its own."""
    file = tmp_path / "film.mp4"
    data = content(SIZE)
    file.write_bytes(data)
    async with relay_to(stage.server.endpoint) as relay:
        yield Place(stage.server, relay, stage.receiver, file, data)


# ------------------------------------------------------------------ tus-js-client


async def kill(server: Server) -> None:
    await server.restart(kill=True)


async def stop(server: Server) -> None:
    await server.restart()


RESTARTS = pytest.mark.parametrize("restart", [kill, stop], ids=["killed", "stopped"])


async def test_tus_js_client_goes_on_in_another_run(place: Place, tmp_path: Path) -> None:
    """The browser was closed, the server restarted: the stored address still leads to the bytes."""
    storage = tmp_path / "urls.json"
    place.relay.default = Fault(bytes_per_second=4 * MIB)
    first = await upload_js(place.js(4, url_storage=storage, abort_after_bytes=MIB))
    assert first.url is not None, first.story()
    await kill(place.server)
    place.relay.default = Fault()
    second = await upload_js(place.js(4, url_storage=storage))
    assert second.succeeded, second.story()
    assert (second.of("POST"), second.url) == ([], first.url)
    await assert_finished(place.server, place.receiver, first.url, place.data)


async def test_six_uploads_survive_a_kill_together(place: Place) -> None:
    """Uploads of both versions run at once when the server dies."""
    place.relay.default = Fault(bytes_per_second=2 * MIB)
    runs = [
        asyncio.create_task(upload_js(place.js(version, retry_delays=PATIENT)))
        for version in VERSIONS
        for _ in range(3)
    ]
    await place.relay.passed(6 * MIB)
    await kill(place.server)
    place.relay.default = Fault()
    for run in await asyncio.gather(*runs):
        await place.judge(run)


# ------------------------------------------------------------------ tuspy


@RESTARTS
async def test_tuspy_goes_on_after_a_restart(
    place: Place, tmp_path: Path, restart: Callable[[Server], Awaitable[None]]
) -> None:
    """It stopped after a chunk; a later run finds its upload in its storage."""
    storage = tmp_path / "urls.json"
    options = place.tuspy(chunk_size=MIB, url_storage=storage)
    async with running_tuspy(replace(options, stop_at=MIB)) as run:
        await run.wait()
        first_url = run.url
    assert first_url is not None, run.story()
    await restart(place.server)
    again = await upload_tuspy(options)
    assert again.succeeded and again.of("POST") == [], again.story()
    assert all(sent.offset for sent in again.of("PATCH")), again.story()
    await assert_finished(place.server, place.receiver, first_url, place.data)


# ------------------------------------------------------------------ phones


def java(place: Place, **options: Any) -> JavaClient:
    return JavaClient(place.endpoint, place.metadata, **options)


async def test_the_java_client_uploads(place: Place) -> None:
    """Chunked bodies without Content-Length, an Expect on each, and an empty last PATCH."""
    client = java(place, request_bytes=2 * MIB)
    url = await client.upload(place.data)
    assert all(one.continued for one in client.log if one.method == "PATCH")
    await assert_finished(place.server, place.receiver, url, place.data)


@pytest.mark.parametrize("how", Cut)
async def test_the_java_client_resumes_after_a_cut(place: Place, how: Cut) -> None:
    """A PATCH that breaks off is an I/O error to it; it asks and goes on."""
    place.relay.add(Fault(), Fault(cut_after=2 * MIB + 5_000, how=how))
    client = java(place)
    url = await client.upload(place.data)
    methods = [one.method for one in client.log]
    offsets = [one.offset for one in client.log if one.method == "PATCH"]
    assert methods.count("POST") == 1
    assert offsets[0] == 0 and all(offsets[1:]) and len(offsets) > 1
    await assert_finished(place.server, place.receiver, url, place.data)


async def test_the_java_client_recovers_a_lost_last_answer(place: Place) -> None:
    """The PATCH on what is finished gets its 100 too, without which this client gives up."""
    place.relay.add(Fault(), Fault(lose_answer_after=SIZE))
    client = java(place)
    url = await client.upload(place.data)
    assert [one.offset for one in client.log if one.method == "PATCH"] == [0, SIZE]
    assert client.log[-1].continued
    await assert_finished(place.server, place.receiver, url, place.data)


@RESTARTS
async def test_the_java_client_survives_a_restart(
    place: Place, restart: Callable[[Server], Awaitable[None]]
) -> None:
    """Refused connections and 503 are tried again; bytes that arrived are not sent again."""
    place.relay.add(Fault(), Fault(stall_after=2 * MIB))
    # Its own delays, and one more for a busy machine.
    client = java(place, delays=(0.5, 1.0, 2.0, 3.0, 3.0))
    uploading = asyncio.create_task(client.upload(place.data))
    connection = await place.relay.connection(1)
    await connection.stalled.wait()
    assert client.url is not None
    await until_stored(place.server, client.url, MIB)
    await restart(place.server)
    url = await uploading
    offsets = [one.offset for one in client.log if one.method == "PATCH"]
    assert offsets[0] == 0 and all(offsets[1:])
    await assert_finished(place.server, place.receiver, url, place.data)


def ios(place: Place) -> TusKit:
    return TusKit(place.endpoint, place.metadata)


async def test_tuskit_uploads(place: Place) -> None:
    """The address has no slash, each piece repeats the metadata, the statuses are exact."""
    client = ios(place)
    url = await client.upload(place.data)
    assert {status for _, _, status in client.log} == {201, 204}
    await assert_finished(place.server, place.receiver, url, place.data)


async def test_tuskit_goes_on_after_kill_and_closed_app(place: Place) -> None:
    """The app is closed, the server killed; the next run asks once and sends the rest."""
    client = ios(place)
    await client.upload(place.data, stop_after_chunks=2)
    await kill(place.server)
    url = await client.upload(place.data)
    assert [entry for entry in client.log if entry[0] == "HEAD"] == [("HEAD", None, 200)]
    offsets = [offset for method, offset, _ in client.log if method == "PATCH"]
    assert offsets == sorted(set(offsets), key=lambda offset: offset or 0)
    await assert_finished(place.server, place.receiver, url, place.data)


async def test_tuskit_recovers_a_lost_last_answer(place: Place) -> None:
    """It asks, and the offset is the length."""
    client = ios(place)
    await client.upload(place.data, stop_after_chunks=6)
    place.relay.add(Fault(), Fault(cut_answer_after=0))
    with pytest.raises((Hangup, ConnectionError, TusKitFailure)):
        await client.upload(place.data)
    url = await client.upload(place.data)
    await assert_finished(place.server, place.receiver, url, place.data)
