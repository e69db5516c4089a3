"""Calls about events that overtake one another on several connections."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.redis_states import KeyClockLink, KeyClockState, ServerRig
from tests.contract.test_outbox import claim, events_of, tell
from tests.redis.records import make_rig
from tusd_py.core.events import EventKind
from tusd_py.state.redis.heads import LOOK
from tusd_py.state.redis.link import Arg
from tusd_py.state.redis.scripts import Script

CREATED, COMPLETED = EventKind.CREATED, EventKind.COMPLETED


class OvertakenLink(KeyClockLink):
    """A look that another connection brings there before a claim, though it was sent after it."""

    state: "OvertakenState"

    async def call(self, script: Script, bucket: int, *args: Arg, **more: Any) -> Any:
        if script.name != "claim":
            return await super().call(script, bucket, *args, **more)
        heads = self.state._heads
        ((told,),) = await self.call_all(LOOK, *heads.args(), "h", buckets=[bucket])
        granted = await super().call(script, bucket, *args, **more)
        heads.saw("h", bucket, heads.next_number(), told)
        return granted


class OvertakenState(KeyClockState):
    link_type = OvertakenLink


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(OvertakenState) as made:
        yield made


async def test_a_claim_that_was_overtaken_by_a_look_hands_out_each_event_once(
    rig: ServerRig,
) -> None:
    state = await rig.open()
    assert isinstance(state, OvertakenState) and isinstance(state._link, OvertakenLink)
    state._link.state = state
    await state.register(["h"])
    event, _ = await tell(state, 1, CREATED, COMPLETED)
    assert events_of(await claim(state)) == [event]
