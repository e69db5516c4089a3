"""kill -9 at any moment of an upload: what was acknowledged is there, and is told once."""

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from tests.e2e.installations import serving
from tests.e2e.rig import KIB, MIB, assert_finished, content, created, hooked, upload_id
from tests.support import tus
from tests.support.receiver import HANGS, receiving
from tests.support.relay import Fault, Relay, relay_to
from tests.support.server import Server
from tests.support.wire import Hangup, connected

KILLS = 3


async def send(url: str, data: bytes, acknowledged: list[int]) -> None:
    """Ask and send the rest, in bodies of some hundred KiB, until all is there."""
    async with connected(url) as wire:
        found = await tus.head(url, wire=wire)
        if found.status == 423:
            return
        assert found.status == 200, (found.status, found.text)
        assert found.offset >= acknowledged[-1], "an acknowledged offset decreased"
        offset = found.offset
        while offset < len(data):
            done = await tus.patch(url, offset, data[offset : offset + 300 * KIB], wire=wire)
            if done.status != 204:
                assert done.status in (423, 503), (done.status, done.text)
                return
            offset = done.offset
            acknowledged.append(offset)


async def send_until_done(
    url: str, data: bytes, acknowledged: list[int], up: asyncio.Event
) -> None:
    while acknowledged[-1] < len(data):
        await up.wait()
        with contextlib.suppress(Hangup, ConnectionError):
            await send(url, data, acknowledged)


async def kill_again_and_again(
    server: Server, relay: Relay, dice: random.Random, up: asyncio.Event, size: int
) -> None:
    """Each time a random number of bytes more has come to it."""
    for _ in range(KILLS):
        await relay.passed(relay.bytes_up + dice.randrange(1, size // (KILLS + 1)))
        up.clear()
        await server.restart(kill=True)
        up.set()


@pytest.mark.parametrize("durability", ["process", "finish", "power"])
async def test_any_moment_may_be_the_last(tmp_path: Path, durability: str) -> None:
    """A seeded handful of kills in one upload: resumed each time, identical, told once."""
    data = content(4 * MIB)
    up = asyncio.Event()
    up.set()
    async with receiving() as receiver:
        settings = hooked(tmp_path, receiver, store={"durability": durability})
        async with serving(tmp_path, settings) as server, relay_to(server.endpoint) as relay:
            relay.default = Fault(bytes_per_second=16 * MIB)
            url = await created(server, len(data), endpoint=relay.url(server.endpoint))
            async with asyncio.TaskGroup() as group:
                group.create_task(send_until_done(url, data, [0], up))
                group.create_task(
                    kill_again_and_again(server, relay, random.Random(durability), up, len(data))
                )
            await assert_finished(server, receiver, url, data)


async def test_a_kill_right_after_the_last_answer_loses_no_completion(tmp_path: Path) -> None:
    """An upload that a client knows to be complete is complete, and told under one id."""
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        for number in range(3):
            data = content(64 * KIB, seed=number)
            url = await created(server, len(data))
            assert (await tus.patch(url, 0, data)).status == 204
            await server.restart(kill=True)
            found = await tus.head(url)
            assert (found.status, found.offset) == (200, len(data))
            await assert_finished(server, receiver, url, data)


async def test_a_kill_while_a_completion_is_told_repeats_its_id(tmp_path: Path) -> None:
    """The receiver has the event and has not answered yet: it gets it again, as the same one."""
    async with receiving() as receiver:
        settings = hooked(tmp_path, receiver)
        settings["hooks"][0]["events"] = ["upload.completed"]
        async with serving(tmp_path, settings) as server:
            data = content(64 * KIB)
            url = await created(server, len(data))
            receiver.answer(HANGS)
            assert (await tus.patch(url, 0, data)).status == 204
            before = await receiver.next()
            assert (before.upload_id, before.taken) == (upload_id(url), False)
            await server.restart(kill=True)
            again = await receiver.next()
            assert (again.event_id, again.taken) == (before.event_id, True)
            await assert_finished(server, receiver, url, data)


async def test_uploads_of_zero_bytes_are_complete_and_survive(tmp_path: Path) -> None:
    """Announced as empty, declared empty later, and both still so after a kill."""
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        announced = await created(server, 0)
        deferred = await created(server, None)
        declared = await tus.patch(deferred, 0, b"", headers={"Upload-Length": "0"})
        assert (declared.status, declared.offset) == (204, 0)
        await server.restart(kill=True)
        for url in (announced, deferred):
            found = await tus.head(url)
            assert (found.status, found.offset, found.length) == (200, 0, 0)
            await assert_finished(server, receiver, url, b"")


async def test_a_deferred_length_survives_a_kill(tmp_path: Path) -> None:
    """Declared in a body that breaks off, then asked for: it is either unknown or as declared,
    and the upload goes on to its end."""
    data = content(MIB)
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        url = await created(server, None)
        assert (await tus.patch(url, 0, data[: 100 * KIB])).offset == 100 * KIB
        async with connected(url) as wire:
            rest = len(data) - 100 * KIB
            declared = {"Upload-Length": str(len(data))}
            await tus.begin_patch(wire, url, 100 * KIB, rest, headers=declared)
            await wire.send(data[100 * KIB : 500 * KIB])
            await server.restart(kill=True)
        found = await tus.head(url)
        assert found.status == 200 and found.offset >= 100 * KIB
        assert found.length in (None, len(data))
        done = await tus.patch(url, found.offset, data[found.offset :], headers=declared)
        assert (done.status, done.offset) == (204, len(data)), done.text
        await assert_finished(server, receiver, url, data)
