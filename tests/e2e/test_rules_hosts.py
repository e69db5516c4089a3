"""Rules about another host, and about hosts that are started anew. Each test has the name of a
rule, and fails where the server does not keep it."""

from pathlib import Path

import pytest

from tests.e2e.rig import stored_bytes, stored_size, until, until_stored
from tests.e2e.rules import DATA, PART, SWEPT, answer_of, scene, sending
from tests.support import tus
from tests.support.breakpoints import Point
from tests.support.wire import connected

TAIL = 10 * 1024


async def test_host_boot(tmp_path: Path) -> None:
    """A machine dies in mid-body and another one, under another boot, goes on: the writer's host
    was not started anew, so that every byte in the file counts."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        async with sending(url, PART, DATA[PART : 2 * PART], announced=3 * PART):
            await until_stored(stage.fleet, url, 2 * PART)
            await stage.first.kill9()
        other = stage.at(stage.second, url)
        assert (await stage.head(other)).offset == 2 * PART
        await stage.go_on(other, least=2 * PART)
        await stage.judge(other)


@pytest.mark.parametrize("way", ["HEAD", "PATCH"])
async def test_restart_is_unclean(tmp_path: Path, way: str) -> None:
    """The row was let go cleanly, then its writer's host lost its power, and pages: no other
    machine believes it, whether it is asked or written to."""
    async with scene(tmp_path) as stage:
        url = await stage.begun(parts=2)
        other = stage.at(stage.second, url)
        assert (await tus.head(other)).offset == 2 * PART
        await stage.lose_power(0, url)
        if way == "HEAD":
            assert (await stage.head(other)).offset == 0
        else:
            stale = await tus.patch(other, 2 * PART, DATA[2 * PART :])
            assert (stale.status, stale.offset) == (409, 0)
        await stage.go_on(other, least=0)
        await stage.judge(other)


async def test_synced_number(tmp_path: Path) -> None:
    """The writer's host loses its power in mid-body: the row is newer than the pages, and says
    itself how many of them had reached the medium."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        async with sending(url, PART, DATA[PART : 2 * PART], announced=3 * PART):
            await until_stored(stage.fleet, url, 2 * PART)
            await stage.lose_power(0, url)
        other = stage.at(stage.second, url)
        assert (await stage.head(other)).offset == 0
        await stage.go_on(other, least=0)
        await stage.judge(other)


async def test_lease_only(tmp_path: Path) -> None:
    """Who takes the lease of such a row and dies before it has reconciled has changed nothing that
    the next one needs: whose boot the bytes are of."""
    async with scene(tmp_path, machines=3) as stage:
        url = await stage.created()
        written = await tus.patch(stage.at(stage.second, url), 0, DATA[: 2 * PART])
        assert written.offset == 2 * PART
        await stage.lose_power(1, url)
        stage.stop_at(Point.COMMIT)
        async with connected(url) as wire:
            await wire.send_head("HEAD", url, tus.TUS)
            await stage.stopped()
            await stage.first.kill9()
        other = stage.at(stage.third, url)
        assert (await stage.head(other)).offset == 0
        await stage.go_on(other, least=0)
        await stage.judge(other)


async def test_no_cut(tmp_path: Path) -> None:
    """What a power loss made doubtful stays in the file and is not believed, also not by its length
    when a machine that writes over it dies."""
    async with scene(tmp_path, machines=3) as stage:
        url = await stage.created()
        written = await tus.patch(stage.at(stage.second, url), 0, DATA[: 3 * PART])
        assert written.offset == 3 * PART
        await stage.lose_power(1, url)
        assert (await stage.head(url)).offset == 0
        assert stored_size(stage.fleet, url) == 3 * PART
        async with sending(url, 0, DATA[:PART], announced=2 * PART):
            await until(lambda: stored_bytes(stage.fleet, url)[:PART] == DATA[:PART])
            await stage.first.kill9()
        other = stage.at(stage.third, url)
        assert (await stage.head(other)).offset <= PART
        assert stored_size(stage.fleet, url) == 3 * PART
        await stage.go_on(other, least=0)
        await stage.judge(other)


async def test_sweep_reconciles(tmp_path: Path) -> None:
    """A write that lands late fills the file of an upload whose row was let go cleanly before. When
    it expires it is finished, for all its bytes are there."""
    upload = SWEPT | {"expire_seconds": 4.0}
    async with scene(tmp_path, upload=upload) as stage:
        url = await stage.created()
        other = stage.at(stage.second, url)
        async with sending(url, 0, DATA[:-TAIL], announced=len(DATA)) as wire:
            await until_stored(stage.fleet, url, len(DATA) - TAIL)
            stage.stop_at(Point.WRITE)
            await wire.send(DATA[-TAIL:])
            await stage.stopped()
            assert (await stage.head(other)).offset == len(DATA) - TAIL
            stage.first.resume()
            answer = await answer_of(wire)
            assert answer is None or answer.status == 423
        await until_stored(stage.fleet, url, len(DATA))
        await stage.judge(other)
        found = await stage.head(other)
        assert (found.status, found.offset) == (200, len(DATA))
        assert stage.receiver.of(url.rpartition("/")[2], "upload.expired") == []
