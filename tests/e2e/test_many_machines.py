"""Machines that share a state in Redis: an upload goes from one to the other, whatever becomes of
the one that had it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.installations import figure, many
from tests.e2e.rig import (
    KIB,
    MIB,
    assert_finished,
    content,
    created,
    head_until_200,
    hooked,
    stored_bytes,
    stored_file,
    until,
    until_stored,
)
from tests.support import breakpoints, tus
from tests.support.breakpoints import Point, order_stop, size_of_stopped
from tests.support.fleet import LEASE, Fleet
from tests.support.receiver import Receiver, receiving
from tests.support.server import Server
from tests.support.wire import Hangup, Response, Wire, connected

DATA = content(4 * MIB)
WRONG = b"\xff" * MIB
LEASE_SECONDS = LEASE["lease_seconds"]


@dataclass(frozen=True, slots=True)
class Machines:
    """A fleet, of which ``first`` gets the bodies."""

    fleet: Fleet
    receiver: Receiver

    @property
    def first(self) -> Server:
        return self.fleet.machines[0]

    @property
    def second(self) -> Server:
        return self.fleet.machines[1]

    async def created(self, length: int = len(DATA)) -> tuple[str, str]:
        """An upload: its addresses at both."""
        url = await created(self.first, length)
        return url, self.fleet.through(self.second, url)

    async def judge(self, url: str, data: bytes = DATA) -> None:
        await assert_finished(self.fleet, self.receiver, url, data)


@asynccontextmanager
async def machines(
    directory: Path, *, count: int = 2, upload: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Machines]:
    async with receiving() as receiver:
        settings = hooked(directory, receiver, upload=upload or LEASE)
        async with many(directory, settings, machines=count, **options) as fleet:
            yield Machines(fleet, receiver)


@asynccontextmanager
async def writing(url: str, server: Server, *, sent: int = MIB) -> AsyncIterator[Wire]:
    """A PATCH of all of ``DATA`` that stands still after ``sent`` bytes, all of them stored."""
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, len(DATA))
        await wire.send(DATA[:sent])
        await until_stored(server, url, sent)
        yield wire


async def rest(url: str, offset: int) -> None:
    done = await tus.patch(url, offset, DATA[offset:])
    assert (done.status, done.offset) == (204, len(DATA)), done.text


async def answer_of(wire: Wire) -> Response | None:
    """None where the connection ended without one."""
    with contextlib.suppress(Hangup, ConnectionError):
        return await wire.read_response()
    return None


# ------------------------------------------------------------------ alive, killed, stopped


async def test_a_live_holder_lets_go_at_once_because_it_is_told(tmp_path: Path) -> None:
    """Its checkpoint is a long way off and its lease longer: only a message explains that HEAD at
    the other machine is answered within a second, with all that has come."""
    slow = {"lease_seconds": 60, "checkpoint_seconds": 20}
    async with machines(tmp_path, upload=slow) as both:
        for _ in range(3):
            url, other = await both.created()
            async with writing(url, both.first) as wire:
                began = time.monotonic()
                found = await tus.head(other)
                assert time.monotonic() - began < 5
                assert (found.status, found.offset) == (200, MIB)
                assert (await wire.read_response()).status == 423
            await rest(other, MIB)
            await both.judge(url)


@pytest.mark.parametrize("way", ["HEAD", "PATCH"])
async def test_a_killed_holder_is_succeeded_within_its_lease(tmp_path: Path, way: str) -> None:
    """SIGKILL: what lay in the file counts, and nobody waits longer than the lease lasts."""
    async with machines(tmp_path) as both:
        url, other = await both.created()
        async with writing(url, both.first):
            await both.first.kill9()
        began = time.monotonic()
        if way == "HEAD":
            found = await tus.head(other)
            assert (found.status, found.offset) == (200, MIB)
        await rest(other, MIB)
        assert time.monotonic() - began < LEASE_SECONDS + 3, "longer than the lease was waited for"
        await both.judge(other)


async def test_clients_go_on_while_machines_are_stopped_one_after_the_other(
    tmp_path: Path,
) -> None:
    """Each machine ends by SIGTERM with a body running on it and starts again; whoever asks the
    proxy is served by the others, and the body goes on there at once."""
    async with machines(tmp_path, count=3, upload={"lease_seconds": 60}) as all_three:
        fleet = all_three.fleet
        for machine in fleet.machines:
            url = await created(fleet, len(DATA))
            own = fleet.through(machine, url)
            async with writing(own, machine) as wire:
                stopping = asyncio.create_task(machine.stop())
                answer = await wire.read_response()
                assert (answer.status, bool(answer.headers["Retry-After"])) == (503, True)
            assert await stopping == 0
            found = await tus.head(url)
            assert (found.status, found.offset) == (200, MIB)
            await rest(url, MIB)
            await all_three.judge(url)
            await machine.start()


# ------------------------------------------------------------------ stopped beyond the lease


async def test_a_sleeper_finds_its_commit_refused(tmp_path: Path) -> None:
    """SIGSTOP with all bytes sent but the last: another machine finishes the upload; the sleeper
    wakes up, gets its last byte (a wrong one) and may neither write nor commit it."""
    async with machines(tmp_path) as both:
        url, other = await both.created()
        async with writing(url, both.first, sent=len(DATA) - 1) as wire:
            both.first.pause()
            await wire.send(b"\xff")
            found = await head_until_200(other)
            assert found.offset == len(DATA) - 1
            await rest(other, found.offset)
            both.first.resume()
            answer = await answer_of(wire)
            assert answer is None or answer.status == 423
        refused = 'tusd_py_requests_total{code="ERR_LEASE_LOST",method="PATCH",status="423"}'
        await until_figure(both.first, refused, 1)
        assert (await tus.head(url)).offset == len(DATA)
        await both.judge(url)


@asynccontextmanager
async def stoppable(tmp_path: Path) -> AsyncIterator[tuple[Machines, Path]]:
    """Machines of which the first stops at the write for which the file is made."""
    order = tmp_path / "order"
    async with machines(tmp_path) as both:
        await both.first.kill9()
        both.first.command = breakpoints.COMMAND
        both.first.environment = {breakpoints.VARIABLE: str(order)}
        await both.first.start()
        yield both, order


@asynccontextmanager
async def caught(
    both: Machines, order: Path, url: str, where: Point, data: bytes
) -> AsyncIterator[Wire]:
    """A PATCH whose writer is stopped at the first write of ``data``, behind the first MiB."""
    async with writing(url, both.first) as wire:
        order_stop(order, where)
        sending = asyncio.create_task(send_quietly(wire, data))
        process = psutil.Process(both.first.pid)
        await until(lambda: process.status() == psutil.STATUS_STOPPED)
        yield wire
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("where", [Point.WRITE, Point.WITHIN_WRITE])
async def test_a_write_that_lands_late_changes_nothing(tmp_path: Path, where: Point) -> None:
    """The writer looked at its lease, was stopped before (or within) the system call and wakes up
    when another machine has completed the upload: the same client's bytes land where they lie."""
    async with stoppable(tmp_path) as (both, order):
        url, other = await both.created()
        async with caught(both, order, url, where, DATA[MIB:]) as wire:
            found = await head_until_200(other)
            assert found.offset == MIB if where is Point.WRITE else MIB < found.offset < 2 * MIB
            await rest(other, found.offset)
            await both.judge(other)
            written_at = stored_file(both.fleet, url).stat().st_mtime_ns
            both.first.resume()
            answer = await answer_of(wire)
            assert answer is None or answer.status == 423
        await until(lambda: stored_file(both.fleet, url).stat().st_mtime_ns > written_at)
        await both.judge(other)
        assert (await tus.head(url)).offset == len(DATA)


async def test_only_one_write_can_be_late(tmp_path: Path) -> None:
    """Shown with bytes that no client sends, others than before: of three MiB that wait in the
    sleeper's socket one write's worth lands, and not a byte behind it; nothing of it counts."""
    async with stoppable(tmp_path) as (both, order):
        url, other = await both.created()
        async with caught(both, order, url, Point.WRITE, WRONG * 3) as wire:
            found = await head_until_200(other)
            await rest(other, found.offset)
            both.first.resume()
            answer = await answer_of(wire)
            assert answer is None or answer.status == 423
        lost = 'tusd_py_requests_total{code="ERR_LEASE_LOST",method="PATCH",status="423"}'
        await until_figure(both.first, lost, 1)
        stored = stored_bytes(both.fleet, url)
        late = next(n for n in range(len(DATA), 0, -1) if stored[n - 1] != DATA[n - 1]) - MIB
        assert late == size_of_stopped(order) <= MIB + 64 * KIB
        assert len(stored) == len(DATA)
        assert stored[:MIB] + stored[MIB + late :] == DATA[:MIB] + DATA[MIB + late :]


async def test_a_late_write_to_an_upload_that_was_removed_revives_nothing(tmp_path: Path) -> None:
    """DELETE through the other machine while the first one sleeps before its very first write."""
    async with stoppable(tmp_path) as (both, order):
        url, other = await both.created()
        order_stop(order, Point.WRITE)
        async with connected(url) as wire:
            await tus.begin_patch(wire, url, 0, len(DATA))
            await wire.send(DATA[:MIB])
            process = psutil.Process(both.first.pid)
            await until(lambda: process.status() == psutil.STATUS_STOPPED)
            async with asyncio.timeout(20):
                while (gone := await tus.delete(other)).status == 423:
                    pass
            assert gone.status == 204
            both.first.resume()
            answer = await answer_of(wire)
            assert answer is None or answer.status in (404, 423)
        for address in (url, other):
            assert (await tus.head(address)).status == 404
            assert (await tus.patch(address, MIB, DATA[MIB:])).status == 404


async def send_quietly(wire: Wire, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        await wire.send(data)


async def until_figure(server: Server, name: str, least: float) -> None:
    async with asyncio.timeout(20):
        while await figure(server, name) < least:
            pass
