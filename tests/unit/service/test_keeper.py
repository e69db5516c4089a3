"""What becomes of the work of a lease whose store is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from tests.contract.states import an_upload
from tusd_py.core.ids import HolderId
from tusd_py.service.keeper import Keeper
from tusd_py.service.patience import PAUSE_SECONDS, commit_in_time
from tusd_py.state.base import Lease, LeaseGone, StateError, StateFull, UploadState
from tusd_py.streams import StopReason

UPLOAD = an_upload()
STEP_SECONDS = 0.01
LEASE_SECONDS = 20 * STEP_SECONDS
PATIENCE_SECONDS = 30.0


class Case:
    """A lease by a clock that stands, and a store that does what it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lease = Lease(UPLOAD.id, 1, HolderId("h"), LEASE_SECONDS, lambda: self.now)
        self.commits = 0
        self.answer: Callable[[], Awaitable[None]] = self.take_it
        self.stops: asyncio.Queue[StopReason] = asyncio.Queue()

    @property
    def state(self) -> UploadState:
        return cast(UploadState, self)

    async def commit(self, *_: Any, **__: Any) -> None:
        self.commits += 1
        await self.answer()

    async def take_it(self) -> None:
        self.lease.deadline = self.now + LEASE_SECONDS

    async def be_away(self) -> None:
        raise StateError("away")

    async def refuse(self) -> None:
        raise LeaseGone

    def keeper(self) -> Keeper:
        def snapshot() -> Any:
            return UPLOAD

        return Keeper(self.state, self.lease, snapshot, self.stops.put_nowait, STEP_SECONDS)

    async def stopped(self) -> StopReason:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.stops.get()


@pytest.fixture
def case() -> Case:
    return Case()


async def test_work_stops_before_the_lease_is_over_though_a_renewal_is_not_answered(
    case: Case,
) -> None:
    """The clock of the lease stands: what stops it is not its end."""
    answered = asyncio.Event()

    async def be_slow() -> None:
        await answered.wait()
        await case.take_it()

    case.answer = be_slow
    async with case.keeper() as keeper:
        assert await case.stopped() is StopReason.STATE_AWAY
        assert keeper.is_away
        answered.set()
    assert not keeper.is_away, "it was renewed after all"


async def test_who_slept_through_its_lease_has_lost_it(case: Case) -> None:
    """The process was stopped with a renewal on its way: the store was there all the time."""
    answered = asyncio.Event()

    async def be_slow() -> None:
        case.now = LEASE_SECONDS
        await answered.wait()
        raise LeaseGone

    case.answer = be_slow
    async with case.keeper() as keeper:
        asyncio.get_running_loop().call_later(LEASE_SECONDS, answered.set)
        assert await case.stopped() is StopReason.LEASE_LOST
        assert not keeper.is_away


async def test_who_could_not_renew_goes_on_while_there_is_time(case: Case) -> None:
    is_back = asyncio.Event()

    async def be_away_once() -> None:
        case.answer = be_back
        raise StateError("away")

    async def be_back() -> None:
        await case.take_it()
        if case.commits > 2:
            is_back.set()

    case.answer = be_away_once
    async with asyncio.timeout(PATIENCE_SECONDS), case.keeper() as keeper:
        await is_back.wait()
        assert case.stops.empty() and not keeper.is_away


async def test_work_stops_when_there_is_no_time_for_another_renewal(case: Case) -> None:
    case.answer = case.be_away
    case.now = LEASE_SECONDS - 2 * STEP_SECONDS
    async with case.keeper() as keeper:
        assert await case.stopped() is StopReason.STATE_AWAY
        assert keeper.is_away


async def test_a_lease_that_somebody_else_has_is_lost(case: Case) -> None:
    case.answer = case.refuse
    async with case.keeper() as keeper:
        assert await case.stopped() is StopReason.LEASE_LOST
        assert not keeper.is_away


async def test_a_lease_that_ran_out_because_the_store_was_away_was_not_lost_to_anybody(
    case: Case,
) -> None:
    """Such a process was slow: it did not stop in time by itself."""

    async def be_away_and_slow() -> None:
        case.answer = run_out
        raise StateError("away")

    async def run_out() -> None:
        case.now = LEASE_SECONDS
        raise LeaseGone

    case.answer = be_away_and_slow
    async with case.keeper():
        assert await case.stopped() is StopReason.STATE_AWAY


async def commit(case: Case) -> None:
    await commit_in_time(case.state, case.lease, UPLOAD, release=True)


async def test_a_commit_that_ran_out_of_time_in_its_pause_was_away(case: Case) -> None:
    case.lease.deadline = 2 * PAUSE_SECONDS

    async def be_away_then_late() -> None:
        case.answer = run_out
        raise StateError("away")

    async def run_out() -> None:
        case.now = case.lease.deadline
        raise LeaseGone

    case.answer = be_away_then_late
    with pytest.raises(StateError, match="away"):
        await commit(case)
    assert case.commits == 2


async def test_a_commit_that_is_refused_in_time_lost_its_lease(case: Case) -> None:
    """Somebody else has it, or the try whose answer was lost let it go."""
    case.lease.deadline = 2 * PAUSE_SECONDS

    async def be_away_then_refuse() -> None:
        case.answer = case.refuse
        raise StateError("away")

    case.answer = be_away_then_refuse
    with pytest.raises(LeaseGone):
        await commit(case)


async def test_a_lease_that_was_lost_at_the_first_try_is_lost(case: Case) -> None:
    case.answer = case.refuse
    case.now = LEASE_SECONDS
    with pytest.raises(LeaseGone):
        await commit(case)


async def test_what_there_is_no_room_for_is_not_tried_again(case: Case) -> None:
    async def be_full() -> None:
        raise StateFull("full")

    case.answer = be_full
    with pytest.raises(StateFull):
        await commit(case)
    assert case.commits == 1
