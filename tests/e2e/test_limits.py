"""Limits of a client over several servers, and what a real client makes of them."""

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.e2e.installations import figure, serving, serving_twice, several_processes
from tests.e2e.rig import KIB, content, stored_bytes, upload_id
from tests.support import tus
from tests.support.clients import ClientRun, JsOptions, upload_js
from tests.support.server import Server
from tests.support.tus import video_metadata
from tests.support.wire import Response, Wire

REFUSE = {"creations": 6, "creation_seconds": 600, "answer": "refuse"}
DROP_SECONDS = 0.1


async def create(server: Server, client: str = "c1") -> Response:
    return await tus.create(server.endpoint, length=10, bearer=server.mint(client_id=client))


async def test_all_processes_count_together(tmp_path: Path) -> None:
    """Many at once, whoever gets them: as many are made as one server would make."""
    settings = several_processes() | {"limits": REFUSE}
    async with serving(tmp_path, settings) as server:
        answers = await asyncio.gather(*(create(server) for _ in range(24)))
        assert Counter(answer.status for answer in answers) == {201: 6, 429: 18}
        assert (await create(server, "c2")).status == 201
        counted = 'tusd_py_creations_limited_total{outcome="refused"}'
        assert await figure(server, counted) == 18


async def test_two_servers_count_together_also_after_a_restart(tmp_path: Path) -> None:
    async with serving_twice(tmp_path, {"limits": REFUSE}) as (first, second):
        made = [await create(server) for server in (first, second, first, second, second)]
        assert [answer.status for answer in made] == [201] * 5
        await first.restart(kill=True)
        assert [(await create(server)).status for server in (first, second, first)] == [
            201,
            429,
            429,
        ]
        for answer in made:
            assert (await tus.head(answer.location)).status == 200


class Drops:
    """A PATCH that comes in drops until it is told to go on."""

    def __init__(self, wire: Wire, url: str, data: bytes) -> None:
        self.wire = wire
        self.url = url
        self.data = data
        self.go_on = asyncio.Event()

    @classmethod
    async def at(cls, server: Server, data: bytes) -> "Drops":
        made = await tus.create(server.endpoint, length=len(data), bearer=server.mint())
        assert made.status == 201, made.text
        wire = await Wire.to(made.location)
        await tus.begin_patch(wire, made.location, 0, len(data))
        return cls(wire, made.location, data)

    async def drip(self) -> None:
        for start in range(0, len(self.data), 256):
            if self.go_on.is_set():
                await self.wire.send(self.data[start:])
                return
            await self.wire.send(self.data[start : start + 256])
            with suppress(TimeoutError):
                async with asyncio.timeout(DROP_SECONDS):
                    await self.go_on.wait()


async def test_bodies_at_once_are_counted_over_servers(tmp_path: Path) -> None:
    """One of two is slowed, wherever they are. When the server of the other one is killed its place
    is free, and the slowed one goes on at full speed."""
    data = content(600 * KIB)
    settings = {"limits": {"bodies": 1, "slowed_bytes_per_second": 64 * KIB}}
    async with serving_twice(tmp_path, settings) as (first, second):
        drops = [await Drops.at(first, data), await Drops.at(second, data)]
        dripping = [asyncio.create_task(one.drip()) for one in drops]
        server, slowed = await _first_slowed((first, second), drops)
        other = drops[1 - drops.index(slowed)]
        await (second if server is first else first).kill9()
        freed = await server.logged(lambda one: one.get("event") == "body_freed", seconds=30)
        assert freed["upload_id"] == upload_id(slowed.url)
        for one in drops:
            one.go_on.set()
        answer = await slowed.wire.read_response(seconds=20)
        assert (answer.status, answer.offset) == (204, len(data))
        assert stored_bytes(server, slowed.url) == data
        await asyncio.gather(*dripping, return_exceptions=True)
        for one in (slowed, other):
            await one.wire.close()


async def _first_slowed(servers: tuple[Server, Server], drops: list[Drops]) -> tuple[Server, Drops]:
    """The body that was slowed, and its server."""

    def is_slowed(record: dict[str, Any]) -> bool:
        return record.get("event") == "body_slowed"

    waiting = {asyncio.create_task(one.logged(is_slowed)): one for one in servers}
    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    told = done.pop()
    slowed = next(one for one in drops if upload_id(one.url) == told.result()["upload_id"])
    return waiting[told], slowed


async def _upload(server: Server, folder: Path, count: int, **options: Any) -> list[ClientRun]:
    """So many files of one client at once, by tus-js-client."""
    runs = []
    for number in range(count):
        file = folder / f"film{number}.mp4"
        file.write_bytes(content(200 * KIB, number))
        metadata = video_metadata(server.mint(video_id="1001", client_id="7"), "1001", "7")
        runs.append(
            upload_js(JsOptions(endpoint=server.endpoint, file=file, metadata=metadata, **options))
        )
    return await asyncio.gather(*runs)


async def test_a_browser_client_in_a_hurry_succeeds_without_noticing(tmp_path: Path) -> None:
    """Held back until its turn: one POST for each file."""
    settings = {"limits": {"creations": 1, "creation_seconds": 1.0}}
    async with serving(tmp_path / "server", settings) as server:
        for number, run in enumerate(await _upload(server, tmp_path, 3)):
            assert run.succeeded and len(run.of("POST")) == 1, run.story()
            assert run.url is not None
            assert stored_bytes(server, run.url) == content(200 * KIB, number)


async def test_a_browser_client_comes_again_where_its_turn_is_far_off(tmp_path: Path) -> None:
    """503 to its first tries; one of the next has its turn."""
    settings = {"limits": {"creations": 1, "creation_seconds": 6, "max_wait_seconds": 1.0}}
    async with serving(tmp_path / "server", settings) as server:
        assert (await create(server, "7")).status == 201
        (run,) = await _upload(server, tmp_path, 1, retry_delays=(0, 1000, 2000, 3000, 3000))
        assert run.succeeded and run.url is not None, run.story()
        assert stored_bytes(server, run.url) == content(200 * KIB, 0)
        statuses = [one.status for one in run.of("POST")]
        assert statuses == [503] * (len(statuses) - 1) + [201] and len(statuses) > 1, run.story()


async def test_a_browser_client_gives_up_where_the_operator_refuses(tmp_path: Path) -> None:
    """Which is why that is not the default: 429 is the end of an upload."""
    settings = {"limits": {"creations": 1, "creation_seconds": 600, "answer": "refuse"}}
    async with serving(tmp_path / "server", settings) as server:
        runs = await _upload(server, tmp_path, 3, retry_delays=(0, 100))
        assert [run.succeeded for run in runs].count(True) == 1
        assert [len(run.of("POST")) for run in runs] == [1, 1, 1]
