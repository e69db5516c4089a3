"""What is moved into Redis comes in batches: nothing gets lost between two of them, and none counts
twice that arrives twice."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.contract.redis_states import KeyClockLink, KeyClockState
from tests.contract.states import an_event, an_upload
from tests.contract.test_moving import dumped, restore, tally
from tests.redis.records import make_rig
from tusd_py.core.events import EventKind
from tusd_py.state.moving import Piece
from tusd_py.state.redis import moving
from tusd_py.state.redis.link import Arg
from tusd_py.state.redis.scripts import Script


class TwiceLink(KeyClockLink):
    """What is put in arrives twice, as where a connection was cut before the first answer."""

    async def call(self, script: Script, bucket: int, *args: Arg, **more: Any) -> Any:
        reply = await super().call(script, bucket, *args, **more)
        if script.name.startswith("restore_"):
            await super().call(script, bucket, *args, **more)
        return reply


class TwiceState(KeyClockState):
    link_type = TwiceLink


async def some_pieces() -> Sequence[Piece]:
    """Of three uploads with two events each, for three hooks; the first of one is buried."""
    async with make_rig() as rig:
        source = await rig.open()
        await source.register(["g", "h", "i"])
        for number in range(3):
            upload = an_upload(number)
            events = [an_event(upload, EventKind.CREATED), an_event(upload, EventKind.COMPLETED, 1)]
            await source.create(upload, events, with_lease=False, once=f"key {number}")
        (delivery,) = await source.claim("g", now=5000.0, claim_seconds=30.0, limit=1)
        await source.bury(delivery, reason="no", now=5000.0)
        return await dumped(source)


@pytest.mark.parametrize("taken_at_once", [1, 2, 3, 5])
async def test_deliveries_of_one_event_come_whole_wherever_a_batch_ends(
    taken_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the next batch has of an event that is there already would be taken for a repetition."""
    pieces = await some_pieces()
    monkeypatch.setattr(moving, "TAKEN_AT_ONCE", taken_at_once)
    async with make_rig() as rig:
        target = await rig.open()
        await restore(target, pieces)
        assert tally(await dumped(target)).differences(tally(pieces)) == []
        assert await target.backlog() == {"g": 5, "h": 6, "i": 6}


async def test_what_arrives_twice_is_put_in_once() -> None:
    pieces = await some_pieces()
    async with make_rig(TwiceState) as rig:
        target = await rig.open()
        await restore(target, pieces)
        assert tally(await dumped(target)).differences(tally(pieces)) == []
        assert await target.backlog() == {"g": 5, "h": 6, "i": 6}
        assert sum((await target.counts()).values()) == 3
