"""A state store that is away for a moment: what was received is committed while the lease lasts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.world import OWNER, Body, ScriptedGate, World
from tusd_py.core.errors import GateRefused, StateUnavailable, StorageFull
from tusd_py.core.events import EventKind
from tusd_py.core.identity import Claims, Principal
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Status, Upload
from tusd_py.hooks.base import Refuse
from tusd_py.service.settings import UploadSettings
from tusd_py.state.base import Created, Lease, LeaseGone, StateError, StateFull

pytestmark = pytest.mark.usefixtures("each_state")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, settings=UploadSettings(lease_seconds=2, checkpoint_seconds=0.2))
    await made.start()
    yield made
    await made.kill()


class Away:
    """A state store whose commits fail as often as it is told to."""

    def __init__(self, real: Any, error: StateError | None = None) -> None:
        self._real = real
        self._error = error or StateError("away")
        self.failures = 0
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def commit(self, lease: Lease, *args: Any, **kwargs: Any) -> None:
        if self.failed < self.failures:
            self.failed += 1
            raise self._error
        await self._real.commit(lease, *args, **kwargs)


def take_away(world: World, times: int, error: StateError | None = None) -> Away:
    away = Away(world.parts.state, error)
    away.failures = times
    world.rewire(state=away)
    return away


async def test_a_part_is_committed_once_the_state_is_back(world: World) -> None:
    upload = await world.create(100)
    away = take_away(world, 3)
    got = await world.append(upload.id, 0, b"x" * 40)
    assert (got.offset, away.failed) == (40, 3)
    assert (await world.head(upload.id)).offset == 40


async def test_a_completion_is_committed_once_the_state_is_back(world: World) -> None:
    upload = await world.create(3)
    take_away(world, 3)
    assert (await world.append(upload.id, 0, b"abc")).is_complete
    assert [event.kind for event in await world.deliver()] == [
        EventKind.CREATED,
        EventKind.COMPLETED,
    ]


async def test_a_gates_verdict_is_committed_once_the_state_is_back(tmp_path: Path) -> None:
    gate = ScriptedGate()
    world = World(tmp_path, gate=gate)
    await world.start()
    try:
        upload = await world.create(3)
        away = take_away(world, 2)
        assert (await world.append(upload.id, 0, b"abc")).is_complete
        assert away.failed == 2
        second = await world.create(3)
        gate.answers.append(Refuse("not this one", 415))
        away.failures += 2
        with pytest.raises(GateRefused):
            await world.append(second.id, 0, b"abc")
        found = await world.state.find(second.id)
        assert found is not None and found.status is Status.REJECTED
    finally:
        await world.kill()


async def test_it_is_given_up_with_the_lease_and_nothing_is_lost(world: World) -> None:
    upload = await world.create(100)
    away = take_away(world, 10**6)
    body = Body(b"y" * 30)
    with pytest.raises(StateUnavailable):
        await world.append(upload.id, 0, body)
    assert away.failed < 40, "tried without a pause"
    away.failures = 0
    world.pass_time(world.settings.lease_seconds + 1)
    assert (await world.head(upload.id)).offset == 30


async def test_a_body_whose_lease_ran_out_while_the_state_was_away_is_not_told_of_another(
    world: World,
) -> None:
    """It is asked to try again (503), as if nobody knew; not that somebody else took its lease
    (423)."""
    upload = await world.create(100)
    away = RanOut(world)
    body = Body(b"y" * 30, b"z" * 30, hold_before=1)
    appending = asyncio.create_task(world.append(upload.id, 0, body))
    await body.reached_hold.wait()
    with pytest.raises(StateUnavailable):
        await appending
    assert away.failed > 0
    world.rewire(state=away.real)
    world.pass_time(world.settings.lease_seconds + 1)
    assert (await world.head(upload.id)).offset == 30


async def test_a_state_that_is_full_is_not_asked_again(world: World) -> None:
    upload = await world.create(100)
    away = take_away(world, 10**6, StateFull("full"))
    with pytest.raises(StorageFull):
        await world.append(upload.id, 0, b"z")
    assert away.failed == 1


async def test_a_creation_that_failed_after_all_is_not_found_by_the_next_one(world: World) -> None:
    """Its record was made and its answer lost, so its facts went: the token for one file makes a
    new upload, not one without facts that nobody could write."""
    once = Principal(Claims(OWNER, once_id="token-1"))
    state = Forgetful(world.parts.state)
    world.rewire(state=state)
    with pytest.raises(StateUnavailable):
        await world.create(3, who=once)
    made = await world.create(3, who=once)
    assert state.made is not None and made.id != state.made
    assert (await world.append(made.id, 0, b"abc")).is_complete
    assert await world.state.find(state.made) is None
    assert (await world.create(3, who=once)).id == made.id


class RanOut(Away):
    """A state store that is away until the lease of who commits is over."""

    def __init__(self, world: World) -> None:
        super().__init__(world.parts.state)
        self.real = world.parts.state
        world.rewire(state=self)

    async def commit(self, lease: Lease, *args: Any, **kwargs: Any) -> None:
        self.failed += 1
        if lease.is_over:
            raise LeaseGone
        if self.failed > 1:
            lease.deadline = float("-inf")
        raise self._error


class Forgetful(Away):
    """A state store that makes one record and cannot say so."""

    made: UploadId | None = None

    async def create(self, upload: Upload, *args: Any, **kwargs: Any) -> Created:
        created: Created = await self._real.create(upload, *args, **kwargs)
        if self.made is None:
            self.made = upload.id
            raise self._error
        return created
