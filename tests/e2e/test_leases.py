"""Two servers on one store and state: at most one writes an upload, and nobody waits in vain."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.installations import serving_twice
from tests.e2e.rig import (
    KIB,
    MIB,
    assert_finished,
    content,
    created,
    head_until_200,
    hooked,
    stored_bytes,
    until_stored,
)
from tests.support import tus
from tests.support.receiver import Receiver, receiving
from tests.support.server import Server
from tests.support.wire import Hangup, Response, Wire, connected, request


@dataclass(frozen=True, slots=True)
class Pair:
    """Two servers that share store and state."""

    first: Server
    second: Server
    receiver: Receiver

    def through_second(self, url: str) -> str:
        return url.replace(self.first.base.rstrip("/"), self.second.base.rstrip("/"))


@asynccontextmanager
async def pair(directory: Path, **sections: Any) -> AsyncIterator[Pair]:
    async with receiving() as receiver:
        settings = hooked(directory, receiver, **sections)
        async with serving_twice(directory, settings) as (first, second):
            yield Pair(first, second, receiver)


@asynccontextmanager
async def writing(server: Server, url: str, data: bytes, *, sent: int) -> AsyncIterator[Wire]:
    """A PATCH of all of ``data`` that stands still after ``sent`` bytes, all of them stored."""
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, len(data))
        await wire.send(data[:sent])
        await until_stored(server, url, sent)
        yield wire


async def rest_through(url: str, data: bytes, offset: int) -> None:
    done = await tus.patch(url, offset, data[offset:])
    assert (done.status, done.offset) == (204, len(data)), done.text


@pytest.mark.parametrize("way", ["HEAD", "PATCH"])
async def test_a_newcomer_takes_over_from_a_live_holder(tmp_path: Path, way: str) -> None:
    """The holder keeps what it has, answers 423, and the newcomer goes on through the other."""
    data = content(2 * MIB)
    async with pair(tmp_path, upload={"lease_seconds": 60}) as servers:
        url = await created(servers.first, len(data))
        other = servers.through_second(url)
        async with writing(servers.first, url, data, sent=MIB) as wire:
            if way == "HEAD":
                found = await tus.head(other)
                assert (found.status, found.offset) == (200, MIB)
            else:
                # A stale offset is told at once, not after the holder's lease.
                stale = await tus.patch(other, 0, data[: 64 * KIB])
                assert (stale.status, stale.offset) == (409, MIB)
            assert (await wire.read_response()).status == 423
        await rest_through(other, data, MIB)
        await assert_finished(servers.first, servers.receiver, url, data)


async def test_terminating_through_the_other_server_ends_a_body(tmp_path: Path) -> None:
    """DELETE does not wait until the sender is done."""
    data = content(2 * MIB)
    async with pair(tmp_path, upload={"lease_seconds": 60}) as servers:
        url = await created(servers.first, len(data))
        async with writing(servers.first, url, data, sent=MIB) as wire:
            assert (await tus.delete(servers.through_second(url))).status == 204
            assert (await wire.read_response()).status in (404, 423)
        assert (await tus.head(url)).status == 404


async def test_many_heads_of_one_upload_do_not_fight(tmp_path: Path) -> None:
    """Hundreds at once, through both servers, while nobody writes: each one is answered 200, and
    a body that comes afterwards is not ended by them."""
    data = content(2 * MIB)
    async with pair(tmp_path, upload={"lease_seconds": 60}) as servers:
        url = await created(servers.first, len(data))
        assert (await tus.patch(url, 0, data[:MIB])).status == 204
        both = (url, servers.through_second(url))
        answers = await asyncio.gather(*(tus.head(both[n % 2]) for n in range(300)))
        assert {(one.status, one.offset) for one in answers} == {(200, MIB)}
        for server in (servers.first, servers.second):
            page = (await request("GET", f"{server.base}/metrics")).text
            assert 'tusd_py_lease_wait_seconds_count{granted="no"}' not in page
        await rest_through(url, data, MIB)
        await assert_finished(servers.first, servers.receiver, url, data)


@pytest.mark.parametrize("way", ["HEAD", "PATCH"])
async def test_a_killed_holder_is_succeeded_at_once(tmp_path: Path, way: str) -> None:
    """Its lease would last for a minute more; the test would not."""
    data = content(2 * MIB)
    async with pair(tmp_path, upload={"lease_seconds": 60}) as servers:
        url = await created(servers.first, len(data))
        other = servers.through_second(url)
        async with writing(servers.first, url, data, sent=MIB):
            await servers.first.kill9()
        began = time.monotonic()
        if way == "HEAD":
            found = await tus.head(other)
            assert (found.status, found.offset) == (200, MIB)
        await rest_through(other, data, MIB)
        assert time.monotonic() - began < 10, "a deadline was waited for"
        await assert_finished(servers.second, servers.receiver, url, data)


async def test_a_holder_that_sleeps_through_its_lease_harms_nothing(tmp_path: Path) -> None:
    """SIGSTOP in mid-body beyond the lease: another writes on; SIGCONT: the sleeper may not."""
    data = content(3 * MIB)
    short = {"lease_seconds": 1, "checkpoint_seconds": 0.2}
    async with pair(tmp_path, upload=short) as servers:
        url = await created(servers.first, len(data))
        other = servers.through_second(url)
        async with writing(servers.first, url, data, sent=MIB) as wire:
            servers.first.pause()
            # Wrong bytes lie in its socket already when it wakes up.
            poison = asyncio.create_task(_send_some(wire, b"\xff" * MIB))
            found = await head_until_200(other)
            assert found.offset == MIB
            done = await tus.patch(other, MIB, data[MIB : 2 * MIB])
            assert (done.status, done.offset) == (204, 2 * MIB)
            servers.first.resume()
            with contextlib.suppress(Hangup, ConnectionError):
                assert (await wire.read_response()).status == 423
            poison.cancel()
            await asyncio.gather(poison, return_exceptions=True)
        assert stored_bytes(servers.first, url)[: 2 * MIB] == data[: 2 * MIB]
        found = await tus.head(url)
        assert (found.status, found.offset) == (200, 2 * MIB)
        await rest_through(url, data, 2 * MIB)
        await assert_finished(servers.first, servers.receiver, url, data)


async def test_interleaved_writers_never_corrupt_uploads(tmp_path: Path) -> None:
    """Three uploads, each written by four clients at once through both servers, in hundreds of
    short bodies of which some are cut: every acknowledged offset stays, every byte is right."""
    dice = random.Random(20)
    async with pair(tmp_path, upload={"lease_seconds": 3, "checkpoint_seconds": 0.2}) as servers:
        works, stories = [], []
        for number in range(3):
            data = content(600 * KIB, seed=number)
            url = await created(servers.first, len(data), video_id=str(number))
            story = _Story(url, data)
            stories.append(story)
            for writer in range(4):
                own = servers.through_second(url) if writer % 2 else url
                works.append(_write_in_turns(story, own, random.Random(dice.random())))
        patches = sum(await asyncio.gather(*works))
        assert patches >= 200
        for story in stories:
            await assert_finished(servers.first, servers.receiver, story.url, story.data)


@dataclass(slots=True)
class _Story:
    """What all writers of one upload know together."""

    url: str
    data: bytes
    acknowledged: int = 0


async def _write_in_turns(story: _Story, url: str, dice: random.Random) -> int:
    """One of several clients of an upload: asks, sends a little, is thrown out, asks again."""
    patches = 0
    while True:
        floor = story.acknowledged
        found = await tus.head(url)
        if found.status == 423:
            continue
        assert found.status == 200, (found.status, found.text)
        offset = found.offset
        assert offset >= floor, "an acknowledged offset decreased"
        if offset == len(story.data):
            return patches
        piece = story.data[offset : offset + dice.randrange(1, 12 * KIB)]
        patches += 1
        with contextlib.suppress(Hangup, ConnectionError):
            answer = await _send_piece(url, offset, piece, cut=dice.random() < 0.2, dice=dice)
            if answer is not None and answer.status == 204:
                story.acknowledged = max(story.acknowledged, answer.offset)
            else:
                assert answer is None or answer.status in (409, 423), answer.text


async def _send_piece(
    url: str, offset: int, piece: bytes, *, cut: bool, dice: random.Random
) -> Response | None:
    """One PATCH; ``cut``: its line breaks off at any byte. None without an answer."""
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, offset, len(piece))
        if cut:
            await wire.send(piece[: dice.randrange(len(piece))])
            await wire.reset()
            return None
        await wire.send(piece)
        return await wire.read_response()


async def _send_some(wire: Wire, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        await wire.send(data)
