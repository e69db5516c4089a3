"""Leases where masters change, clocks differ, and answers are lost, all at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.contract.redis_states import ServerRig
from tests.contract.states import (
    LEASE_SECONDS,
    a_visit,
    an_upload,
    create_held,
    take,
    upload_id,
)
from tests.redis.links import LIFE, answers_again, link_to, settings_for
from tests.redis.records import HeldState, link_of, lost_answers, make_rig
from tests.support.redis_servers import RedisServer, eventually, redis_server
from tusd_py.core.upload import Boot
from tusd_py.state.base import (
    LeaseBusy,
    Purpose,
    RecordUnknown,
    Seen,
    StateError,
    StateStore,
    Taken,
)
from tusd_py.state.redis.store import RedisState

SECONDS: Final = 20.0
"""For what takes a moment."""
OTHER: Final = Boot("host-b", "boot-7")


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(HeldState) as made:
        yield made


async def deafen(state: StateStore) -> None:
    """It neither hears of others nor beats any more, nor looks after the buckets."""
    assert isinstance(state, RedisState)
    await state._open_parts.peers._stop()


async def test_a_renewal_that_is_made_again_ends_no_later_for_its_holder_than_for_others(
    rig: ServerRig,
) -> None:
    """The first one was done, and nobody heard of it: who goes by the second one's time must find
    that the store does so too."""
    state, other = await rig.open(), await rig.open(OTHER)
    lease = await create_held(state, an_upload())
    with pytest.raises(StateError), lost_answers(link_of(state)):
        await state.commit(lease, an_upload(offset=10), release=False)
    rig.clock.advance(LEASE_SECONDS - 1)
    await state.commit(lease, an_upload(offset=10), release=False)
    rig.clock.advance(2)
    assert not lease.is_over
    with pytest.raises(LeaseBusy):
        await take(other, an_upload())


async def test_a_lease_holds_in_a_bucket_that_had_not_heard_of_its_host(rig: ServerRig) -> None:
    """The state was lost, another host was the first to find that out: whoever is granted a lease
    lives, and nobody may take it for dead."""
    state, other = await rig.open(), await rig.open(OTHER)
    await deafen(state)
    await deafen(other)
    await rig.server.call("FLUSHALL")
    rig.show_time()
    with pytest.raises(RecordUnknown):
        await take(other, an_upload())
    lease = await create_held(state, an_upload())
    with pytest.raises(LeaseBusy):
        await take(other, an_upload(), Purpose.TERMINATE)
    await state.commit(lease, an_upload(offset=10), release=True)
    assert isinstance(await other.take(a_visit(an_upload(), Purpose.READ)), Seen)


async def test_a_master_that_comes_back_with_what_another_one_had_is_another_master(
    tmp_path: Path,
) -> None:
    """It was demoted, copied its successor, and took over again, and nobody asked meanwhile: its
    process is the same, its data are not."""
    async with (
        redis_server(tmp_path / "one") as one,
        redis_server(tmp_path / "other") as other,
        link_to(settings_for(one)) as link,
    ):
        before, *_ = await link.call(LIFE, 0)
        await follow(other, one)
        await other.call("REPLICAOF", "NO", "ONE")
        await follow(one, other)
        await one.call("REPLICAOF", "NO", "ONE")
        await answers_again(link, within_seconds=SECONDS)
        after, *_ = await link.call(LIFE, 0)
        assert after != before
        assert (await link.call(LIFE, 0))[0] == after


async def follow(replica: RedisServer, master: RedisServer) -> None:
    """It has the master's data instead of its own."""
    await replica.call("REPLICAOF", master.host, master.port)

    async def has_copied() -> bool:
        return bool((await replica.info("replication"))["master_link_status"] == "up")

    await eventually(has_copied, "nothing was copied", seconds=SECONDS)


async def test_commit_in_time_what_waits_for_a_master_is_not_sent_after_its_deadline(
    rig: ServerRig,
) -> None:
    """[commit-in-time] The clock of a new master may be behind: there the lease seems to last
    still, while another holder may have been and gone."""
    rig.settings = rig.settings.model_copy(update={"call_seconds": SECONDS})
    state = await rig.open()
    assert isinstance(state, RedisState)
    state._clock, state._lease_seconds, state._link._lease_ms = time.monotonic, 1.0, 1000
    lease = await create_held(state, an_upload())
    await rig.server.call("SAVE")
    await rig.server.kill9()
    late = asyncio.create_task(state.commit(lease, an_upload(offset=10), release=True))
    await asyncio.sleep(lease.remaining_seconds + 0.01)
    assert lease.is_over
    await rig.server.start()
    with pytest.raises(StateError):
        await late
    found = await state.find(upload_id(1))
    assert found is not None and found.offset == 0


async def test_a_commit_that_is_made_again_behind_a_change_of_master_is_not_believed_alone(
    rig: ServerRig,
) -> None:
    """The former master did it, others wrote after it, and the new master has forgotten both: what
    comes again lets go of a record that is to be compared with its bytes."""
    state, other = await rig.open(), await rig.open(OTHER)
    await state.create(an_upload(), [], with_lease=False)
    lease = (await take(state, an_upload())).lease
    await rig.server.call("SAVE")
    with pytest.raises(StateError), lost_answers(link_of(state)):
        await state.commit(lease, an_upload(offset=10), release=True)
    later = (await take(other, an_upload())).lease
    await other.commit(later, an_upload(offset=50), release=True)
    await rig.server.restart(kill=True)
    await answers_again(link_of(state), within_seconds=SECONDS)
    await state.commit(lease, an_upload(offset=10), release=True)
    found = await other.take(a_visit(an_upload(), Purpose.READ))
    assert isinstance(found, Taken) and not found.is_settled
    await other.commit(found.lease, an_upload(offset=50), release=True)
    assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)


async def test_what_a_lease_writes_through_a_change_of_master_needs_no_look_at_the_bytes_twice(
    rig: ServerRig,
) -> None:
    """Once its holder has renewed it there, its record is true when it lets go."""
    state = await rig.open()
    await state.create(an_upload(), [], with_lease=False)
    lease = (await take(state, an_upload())).lease
    await rig.server.call("SAVE")
    await rig.server.restart(kill=True)
    await answers_again(link_of(state), within_seconds=SECONDS)
    await state.commit(lease, an_upload(offset=10), release=False)
    await state.commit(lease, an_upload(offset=20), release=True)
    assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)
