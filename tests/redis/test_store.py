"""The state in Redis as a whole: how it opens and closes, and what it tells of faults."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from tests.contract.redis_states import ServerRig
from tests.contract.states import BOOT, LEASE_SECONDS, a_visit, an_upload, create_held, take
from tests.redis.records import HeldState, link_of, make_rig, until_it_works
from tests.support.redis_servers import RedisServer, eventually, redis_server
from tests.support.sockets import quiet_port
from tusd_py.core.upload import Status
from tusd_py.state.base import Purpose, Seen, StateError, StateFault
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.store import RedisState

CALL_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 20.0


def a_state(url: str, *, lease_seconds: float = LEASE_SECONDS) -> RedisState:
    settings = RedisSettings(
        url=SecretStr(url), buckets=4, call_seconds=CALL_SECONDS, connect_seconds=CALL_SECONDS
    )
    return RedisState(settings, boot=BOOT, lease_seconds=lease_seconds, clock=time.monotonic)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path / "redis", engine="7", persistent=True) as running:
        yield running


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(HeldState) as made:
        yield made


async def test_where_nobody_listens_it_does_not_open_and_can_be_opened_later(
    server: RedisServer,
) -> None:
    await server.kill9()
    state = a_state(server.url)
    with pytest.raises(StateError):
        await state.open()
    with pytest.raises(StateError, match="not open"):
        await state.ping()
    await server.start()
    await state.open()
    await state.ping()
    with pytest.raises(StateError, match="open already"):
        await state.open()
    await state.close()


async def test_opening_what_is_not_there_takes_no_longer_than_a_call() -> None:
    state = a_state(f"redis://127.0.0.1:{quiet_port()}")
    began = time.monotonic()
    with pytest.raises(StateError):
        await state.open()
    assert time.monotonic() - began < CALL_SECONDS + PATIENCE_SECONDS / 10


async def test_a_store_whose_redis_died_closes_all_the_same(server: RedisServer) -> None:
    """Also while calls wait for an answer; they end in errors."""
    state = a_state(server.url)
    await state.open()
    await create_held(state, an_upload())
    await server.kill9()
    waiting = [
        asyncio.create_task(take(state, an_upload(), wait_seconds=PATIENCE_SECONDS)),
        asyncio.create_task(take(state, an_upload(2))),
    ]
    began = time.monotonic()
    await state.close()
    for call in waiting:
        with pytest.raises(StateError):
            await call
    assert time.monotonic() - began < PATIENCE_SECONDS / 2


async def test_a_call_that_is_still_out_when_the_store_closes_ends_in_an_error(
    rig: ServerRig,
) -> None:
    """Not as if its caller had been cancelled."""
    rig.settings = rig.settings.model_copy(update={"call_seconds": 10 * CALL_SECONDS})
    state = await rig.open()
    lease = await create_held(state, an_upload())
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    link_of(state).gate = lambda _: never
    commit = asyncio.create_task(state.commit(lease, an_upload(), release=True))
    await asyncio.sleep(0)
    await state.close()
    with pytest.raises(StateError, match="closed"):
        await commit


async def test_a_lease_of_a_caller_that_is_gone_is_given_back_before_the_store_closes(
    rig: ServerRig,
) -> None:
    state, other = await rig.open(), await rig.open()
    await state.create(an_upload(), [], with_lease=False)
    taking = asyncio.create_task(take(state, an_upload()))
    for _ in range(3):
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    await state.close()
    assert isinstance(await other.take(a_visit(an_upload(), Purpose.READ)), Seen)


async def test_faults_are_told_and_a_change_of_master_once(server: RedisServer) -> None:
    """However many buckets it has; and it goes on by itself."""
    state = a_state(server.url, lease_seconds=1.0)
    faults: Counter[StateFault] = Counter()
    state.on_fault = lambda fault: faults.update([fault])
    await state.open()
    try:
        upload = an_upload(status=Status.COMPLETE)
        created = await state.create(upload, [], with_lease=False)
        assert not faults
        await server.restart(kill=True)

        async def is_told() -> bool:
            return bool(faults[StateFault.CHANGED] and faults[StateFault.AWAY])

        await eventually(is_told, "no change is told of", seconds=PATIENCE_SECONDS)

        await until_it_works(state, seconds=PATIENCE_SECONDS)
        assert await state.find(upload.id) == created.upload
        assert faults[StateFault.CHANGED] == 1
    finally:
        await state.close()
