"""How long nobody gets a lease after a change of master, where machines are set differently."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.contract.redis_states import KeyClockState, ServerRig
from tests.contract.states import LEASE_SECONDS, an_upload, take
from tests.redis.records import make_rig
from tusd_py.core.upload import Boot
from tusd_py.state.base import LeaseBusy, StateStore

LONG_SECONDS: Final = 10 * LEASE_SECONDS
DAY_SECONDS: Final = 24 * 3600.0
UPLOAD: Final = an_upload()
OTHER: Final = an_upload(2)


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(KeyClockState) as made:
        yield made


async def open_with(rig: ServerRig, lease_seconds: float) -> StateStore:
    rig.lease_seconds = lease_seconds
    return await rig.open(Boot(f"host-{lease_seconds}", "boot"))


async def assert_grace(state: StateStore, rig: ServerRig, seconds: float) -> None:
    """For what has a record, and for what has none."""
    rig.clock.advance(seconds - 0.1)
    with pytest.raises(LeaseBusy):
        await take(state, UPLOAD)
    with pytest.raises(LeaseBusy):
        await state.adopt(OTHER)
    rig.clock.advance(0.2)
    await take(state, UPLOAD)
    await state.adopt(OTHER)


async def test_who_has_a_shorter_lease_waits_for_those_that_have_a_longer_one(
    rig: ServerRig,
) -> None:
    """The new master may not know a lease that was granted for long: its holder writes yet."""
    short = await open_with(rig, LEASE_SECONDS)
    await open_with(rig, LONG_SECONDS)
    await short.create(UPLOAD, [], with_lease=False)
    await rig.change_generation()
    await assert_grace(await open_with(rig, LEASE_SECONDS), rig, LONG_SECONDS)


async def test_a_lease_that_is_as_long_as_ever_is_not_forgotten(rig: ServerRig) -> None:
    """However long ago it was first heard of, as long as somebody has it."""
    await (await open_with(rig, LEASE_SECONDS)).create(UPLOAD, [], with_lease=False)
    for _ in range(3):
        await open_with(rig, LONG_SECONDS)
        rig.clock.advance(DAY_SECONDS / 2)
        await open_with(rig, LEASE_SECONDS)
    await rig.change_generation()
    await assert_grace(await open_with(rig, LEASE_SECONDS), rig, LONG_SECONDS)


async def test_a_lease_that_nobody_has_had_for_a_day_is_forgotten(rig: ServerRig) -> None:
    """A mistake in the settings does not last for ever."""
    await open_with(rig, LONG_SECONDS)
    await rig.close()
    rig.clock.advance(DAY_SECONDS + 1)
    await (await open_with(rig, LEASE_SECONDS)).create(UPLOAD, [], with_lease=False)
    await rig.change_generation()
    await assert_grace(await open_with(rig, LEASE_SECONDS), rig, LEASE_SECONDS)
