"""Calls about records that arrive twice, or late: nobody notices."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.contract.redis_states import ServerRig
from tests.contract.states import (
    LEASE_SECONDS,
    a_visit,
    an_event,
    an_upload,
    create_held,
    take,
    upload_id,
)
from tests.contract.test_upload_state import (
    TestAdoption,
    TestCommit,
    TestCreation,
    TestHandOver,
    TestRelease,
    TestRestartsAndGenerations,
    TestSeen,
    TestTaking,
)
from tests.redis.records import (
    HeldState,
    TwiceState,
    check_fits,
    link_of,
    lost_answers,
    make_rig,
)
from tusd_py.core.events import EventKind
from tusd_py.core.upload import Status
from tusd_py.state.base import LeaseGone, Purpose, RecordUnknown, Seen, StateError, StateStore

__all__ = [
    "TestAdoption",
    "TestCommit",
    "TestCreation",
    "TestHandOver",
    "TestRelease",
    "TestRestartsAndGenerations",
    "TestSeen",
    "TestTaking",
]
"""The suites of the contract, on a way to Redis on which every call arrives twice."""


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(TwiceState) as made:
        yield made


@pytest.fixture
async def state(rig: ServerRig) -> StateStore:
    return await rig.open()


@pytest.fixture
async def held() -> AsyncIterator[ServerRig]:
    async with make_rig(HeldState) as made:
        yield made


async def test_every_call_that_arrives_twice_leaves_what_one_leaves(rig: ServerRig) -> None:
    """Numbers of leases, events, counts and sets: as if it had arrived once."""
    state = await rig.open()
    await state.register(["hook"])
    upload = an_upload(expires_at=9000.0)
    created = await state.create(upload, [an_event(upload)], with_lease=True, once="key")
    assert created.is_new and created.lease is not None and created.lease.number == 1
    await state.commit(created.lease, replace(upload, offset=10), release=False)
    done = replace(upload, offset=100, status=Status.COMPLETE, finished_at=1.0)
    await state.commit(created.lease, done, [an_event(done, EventKind.COMPLETED)], release=True)
    assert await state.backlog() == {"hook": 2}
    got = await take(state, upload, Purpose.TERMINATE)
    assert got.lease.number == 2 and got.is_settled
    assert (await state.counts())[Status.COMPLETE] == 1
    await check_fits(rig)
    await state.remove(got.lease, [an_event(done, EventKind.TERMINATED)])
    assert await state.backlog() == {"hook": 3}
    assert await check_fits(rig) == {}
    assert (await state.create(an_upload(2), [], with_lease=False, once="key")).is_new


async def test_a_late_copy_of_a_checkpoint_takes_no_bytes_back(held: ServerRig) -> None:
    """It arrives after a later one of the same lease: the offset stays."""
    state = await held.open()
    link = link_of(state)
    lease = await create_held(state, an_upload())
    for offset in (10, 20):
        await state.commit(lease, an_upload(offset=offset), release=False)
    assert (await link.send_again(-2))[0] == b"done"
    found = await state.find(upload_id(1))
    assert found is not None and found.offset == 20
    await state.commit(lease, an_upload(offset=30), release=True)
    for number in (-3, -2, -1):
        await link.send_again(number)
    found = await state.find(upload_id(1))
    assert found is not None and found.offset == 30
    assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)


async def test_late_copies_of_an_earlier_lease_harm_no_later_one(held: ServerRig) -> None:
    """Of its commits, of its release, and of the call that took it."""
    state = await held.open()
    link = link_of(state)
    await state.create(an_upload(), [], with_lease=False)
    first = (await take(state, an_upload())).lease
    await state.commit(first, an_upload(offset=10), release=False)
    await state.commit(first, an_upload(offset=20), release=True)
    second = (await take(state, an_upload())).lease
    await state.commit(second, an_upload(offset=30), release=False)
    for number in range(1, 4):
        await link.send_again(number)
    await state.commit(second, an_upload(offset=40), release=True)
    assert (await check_fits(held))[upload_id(1)].offset == 40


async def test_a_late_copy_of_a_creation_makes_nothing_anew(held: ServerRig) -> None:
    """Where the record is there, and where it had a key of one file and was removed."""
    state = await held.open()
    link = link_of(state)
    created = await state.create(an_upload(), [], with_lease=True, once="key")
    creation = len(link.sent) - 1
    assert created.lease is not None
    await state.commit(created.lease, an_upload(offset=5), release=True)
    assert await link.send_again(creation) == [b"exists"]
    await state.remove((await take(state, an_upload(), Purpose.TERMINATE)).lease)
    assert await link.send_again(creation) == [b"void"]
    assert await state.find(upload_id(1)) is None


async def test_a_removal_whose_answer_was_lost_has_happened(held: ServerRig) -> None:
    """Told again it is no refusal, unlike that of somebody who never had the lease."""
    state = await held.open()
    link = link_of(state)
    lease = await create_held(state, an_upload())
    await state.remove(lease)
    assert (await link.send_again(-1))[0] == b"done"
    with pytest.raises(RecordUnknown):
        await take(state, an_upload())
    with pytest.raises(LeaseGone):
        await state.remove(lease)


async def test_a_commit_that_is_made_again_after_its_answer_was_lost_is_no_other(
    held: ServerRig,
) -> None:
    """Its caller was told that nobody knows, tries again, and hears that it is done; another
    commit under that lease is refused."""
    state = await held.open()
    await state.register(["hook"])
    link = link_of(state)
    done = an_upload(offset=100, status=Status.COMPLETE, finished_at=1.0)
    events = [an_event(done, EventKind.COMPLETED)]
    lease = await create_held(state, an_upload())
    with pytest.raises(StateError), lost_answers(link):
        await state.commit(lease, done, events, release=True)
    await state.commit(lease, done, events, release=True)
    assert await state.backlog() == {"hook": 1}
    with pytest.raises(LeaseGone):
        await state.commit(lease, done, events, release=True)


async def test_a_lease_whose_answer_was_lost_runs_out(held: ServerRig) -> None:
    """Nobody knows of it, so that nobody gives it back; and nobody believes the record then."""
    state = await held.open()
    await state.create(an_upload(), [], with_lease=False)
    with pytest.raises(StateError), lost_answers(link_of(state)):
        await take(state, an_upload())
    held.clock.advance(LEASE_SECONDS)
    assert not (await take(state, an_upload())).is_settled
