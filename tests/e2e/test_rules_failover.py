"""Rules about another master of Redis, which has forgotten the last writes. Each test has the name
of a rule, and fails where the server does not keep it."""

import asyncio
import time
from pathlib import Path

from tests.e2e.rig import stored_file, until_stored
from tests.e2e.rules import (
    DATA,
    LEASE_SECONDS,
    PART,
    SWEPT,
    answer_of,
    scene,
    sending,
)
from tests.support import tus
from tests.support.breakpoints import Point
from tests.support.wire import connected


async def test_commit_in_time(tmp_path: Path) -> None:
    """A failover brings back the row of a holder that had lost its lease: number and holder match,
    the time does not, so that its old offset is not committed over what came since."""
    async with scene(tmp_path) as stage:
        url = await stage.created()
        other = stage.at(stage.second, url)
        async with sending(url, 0, DATA[: PART - 1], announced=PART) as wire:
            await until_stored(stage.fleet, url, PART - 1)
            remembered = await stage.remember()
            stage.stop_at(Point.LAST_COMMIT)
            await wire.send(DATA[PART - 1 : PART])
            await stage.stopped()
            assert (await stage.head(other)).offset == PART
            more = await tus.patch(other, PART, DATA[PART : 2 * PART])
            assert (more.status, more.offset) == (204, 2 * PART)
            await stage.fail_over(remembered)
            stage.first.resume()
            answer = await answer_of(wire)
            assert answer is None or answer.status == 423, answer
        await stage.go_on(other, least=2 * PART)
        await stage.judge(other)


async def test_grace(tmp_path: Path) -> None:
    """A failover forgets a lease whose holder sleeps: nobody gets another one before the forgotten
    one is over by its holder's own clock."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        remembered = await stage.remember()
        async with sending(url, PART, DATA[PART : 2 * PART], announced=3 * PART) as wire:
            await until_stored(stage.fleet, url, 2 * PART)
            stage.first.pause()
            forgotten = time.monotonic()
            await stage.fail_over(remembered)
            other = stage.at(stage.second, url)
            put_off = await tus.head(other)
            assert put_off.status == 423
            assert 0 < float(put_off.headers["Retry-After"]) <= LEASE_SECONDS + 1
            found = await stage.head(other)
            assert time.monotonic() - forgotten >= LEASE_SECONDS
            assert found.offset == 2 * PART
            stage.first.resume()
            answer = await answer_of(wire)
            assert answer is None or answer.status in (423, 503)
        await stage.go_on(other, least=2 * PART)
        await stage.judge(other)


async def test_power_longer(tmp_path: Path) -> None:
    """With ``power`` too the file is believed where the row was forgotten: what was acknowledged is
    in it, synced."""
    async with scene(tmp_path, store={"durability": "power"}) as stage:
        url = await stage.begun()
        remembered = await stage.remember()
        assert (await tus.patch(url, PART, DATA[PART : 2 * PART])).offset == 2 * PART
        await stage.fail_over(remembered)
        other = stage.at(stage.second, url)
        assert (await stage.head(other)).offset == 2 * PART
        await stage.go_on(other, least=2 * PART)
        await stage.judge(other)


async def test_facts_rule(tmp_path: Path) -> None:
    """A failover brings back the row of an upload that was terminated: it has no facts, and is
    nothing."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        remembered = await stage.remember()
        assert (await tus.delete(url)).status == 204
        await stage.fail_over(remembered)
        for machine in (stage.second, stage.first):
            address = stage.at(machine, url)
            assert (await stage.head(address)).status == 404
            assert (await tus.patch(address, PART, DATA[PART:])).status == 404


async def test_mark_first(tmp_path: Path) -> None:
    """The hook takes the bytes as soon as it is told; then a failover forgets that the upload was
    complete: the mark says so. It was there before anybody could be told, for a machine that stops
    before it writes the mark has told nobody."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        remembered = await stage.remember()
        other = stage.at(stage.second, url)
        stage.stop_at(Point.MARK)
        async with sending(url, PART, DATA[PART:], announced=len(DATA) - PART):
            await stage.stopped()
            assert (await stage.head(other)).offset == len(DATA)
            await stage.judge(other)
            stored_file(stage.fleet, url).unlink()
            await stage.first.kill9()
        await stage.fail_over(remembered)
        found = await stage.head(other)
        assert (found.status, found.offset) == (200, len(DATA))


async def test_sweep_after_change(tmp_path: Path) -> None:
    """The client knows that its upload is complete and is gone; a failover forgets it, with the
    event that nobody had taken yet. The sweeper finds out, and it is told."""
    async with scene(tmp_path, upload=SWEPT) as stage:
        await stage.receiver.go_away()
        url = await stage.begun()
        remembered = await stage.remember()
        done = await tus.patch(url, PART, DATA[PART:])
        assert (done.status, done.offset) == (204, len(DATA))
        await stage.fail_over(remembered)
        await stage.receiver.come_back()
        await stage.judge(url)


async def test_finished_409(tmp_path: Path) -> None:
    """The connection broke when all bytes were sent, and what was abandoned finished the upload: a
    client that goes on where it was, at another machine, hears 409 and asks; from the end, 204."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        other = stage.at(stage.second, url)
        async with connected(url) as wire:
            await tus.begin_patch(wire, url, PART, len(DATA) - PART)
            await wire.send(DATA[PART:])
            await until_stored(stage.fleet, url, len(DATA))
            await wire.reset()
        async with asyncio.timeout(20):
            while (await stage.head(other)).offset < len(DATA):
                pass
        stale = await tus.patch(other, PART, DATA[PART:])
        assert (stale.status, stale.offset) == (409, len(DATA))
        again = await tus.patch(other, len(DATA), b"")
        assert (again.status, again.offset) == (204, len(DATA))
        await stage.judge(other)
