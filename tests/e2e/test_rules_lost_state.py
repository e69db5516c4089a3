"""Rules about a state that is lost as a whole. Each test has the name of a rule, and fails where
the server does not keep it."""

import asyncio
import base64
import hashlib
from pathlib import Path

from tests.e2e.rig import stored_size
from tests.e2e.rules import DATA, PART, answer_of, scene
from tests.support import tus
from tests.support.breakpoints import Point
from tests.support.relay import relay_to
from tests.support.wire import connected

WRITTEN_SECONDS = 1.0
"""What has come is written by then, if it is written; nothing tells that it is not."""


async def test_adopt_leased(tmp_path: Path) -> None:
    """A machine looks at the facts of an upload without a record and stops; another one adopts and
    terminates it. The first one makes the record, looks again, and finds nothing."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        other = stage.at(stage.second, url)
        await stage.lose_state()
        stage.stop_at(Point.ADOPT)
        async with connected(url) as wire:
            await wire.send_head("HEAD", url, tus.TUS)
            await stage.stopped()
            async with asyncio.timeout(20):
                while (gone := await tus.delete(other)).status == 423:
                    pass
            assert gone.status == 204
            stage.first.resume()
            answer = await answer_of(wire)
            assert answer is not None and answer.status == 404
        for address in (url, other):
            assert (await stage.head(address)).status == 404


async def test_adopt_boot(tmp_path: Path) -> None:
    """State and power are lost: an adopter believes no byte of a boot that is over, whose pages may
    be holes."""
    async with scene(tmp_path) as stage:
        url = await stage.begun(parts=2)
        await stage.lose_power(0, url)
        await stage.lose_state()
        await stage.first.start()  # says beside the bytes what the machine runs
        other = stage.at(stage.second, url)
        assert (await stage.head(other)).offset == 0
        await stage.go_on(other, least=0)
        await stage.judge(other)


async def test_adopt_boot_believes_hosts_that_live(tmp_path: Path) -> None:
    """The state alone is lost: every acknowledged byte counts, whichever machine adopts it."""
    async with scene(tmp_path) as stage:
        url = await stage.begun(parts=2)
        await stage.lose_state()
        other = stage.at(stage.second, url)
        assert (await stage.head(other)).offset == 2 * PART
        await stage.go_on(other, least=2 * PART)
        await stage.judge(other)


async def test_hold_back(tmp_path: Path) -> None:
    """Bytes under a digest that has not come to its end are nowhere where the loss of the state
    could make them count."""
    async with scene(tmp_path) as stage:
        url = await stage.begun()
        other = stage.at(stage.second, url)
        digest = base64.b64encode(hashlib.sha1(DATA[PART : 3 * PART]).digest()).decode()
        wrong = b"\xff" * (PART + PART // 2)
        async with relay_to(url) as relay, connected(relay.url(url)) as wire:
            checksum = {"Upload-Checksum": f"sha1 {digest}"}
            await tus.begin_patch(wire, url, PART, 2 * PART, headers=checksum)
            await wire.send(wrong)
            await relay.passed(len(wrong))
            await asyncio.sleep(WRITTEN_SECONDS)
            assert stored_size(stage.fleet, url) == PART
            await stage.first.kill9()
        await stage.lose_state()
        assert (await stage.head(other)).offset == PART
        await stage.go_on(other, least=PART)
        await stage.judge(other)
