"""Redis is away: every call of the contract ends in time, with an error that says so; and when it
is back, all goes on as if nothing had been."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.redis_states import ACL, ServerRig, rig_settings
from tests.contract.states import a_visit, an_event, an_upload, create_held
from tests.redis.records import until_it_works
from tests.support import redis_troubles
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.redis_troubles import a_replica, configured, paused
from tusd_py.core.ids import HolderId
from tusd_py.core.rates import Rate
from tusd_py.state.base import (
    Delivery,
    Due,
    Filter,
    Lease,
    StateError,
    StateStore,
)
from tusd_py.state.moving import Piece

CALL_SECONDS: Final = 0.5
ENDS_SECONDS: Final = CALL_SECONDS + 2.5
"""All calls at once, on a busy machine."""
NOW: Final = 5000.0
HOOK: Final = "h"
RATE: Final = Rate(count=1, seconds=1.0, burst=1)
BODY: Final = HolderId("body")
NO_CALLS: Final = frozenset({"boot", "open", "close", "wakeups"})
"""What asks nothing, or is about a store that is not open."""


class Hands:
    """What a caller has in hand when Redis goes away."""

    def __init__(self, state: StateStore, lease: Lease, delivery: Delivery) -> None:
        self.state = state
        self.lease = lease
        self.delivery = delivery


async def take_in_hand(state: StateStore) -> Hands:
    await state.register([HOOK])
    lease = await create_held(state, an_upload(1))
    await state.create(an_upload(2), [an_event(an_upload(2))], with_lease=False)
    (delivery,) = await state.claim(HOOK, now=NOW, claim_seconds=60.0, limit=1)
    return Hands(state, lease, delivery)


async def _dump(state: StateStore) -> None:
    async for _ in state.dump():
        pass


async def _restore(state: StateStore) -> None:
    async def nothing() -> AsyncIterator[Piece]:
        return
        yield

    await state.restore(nothing())


Call = Callable[[Hands], Awaitable[object]]
CALLS: Final[Mapping[str, Call]] = {
    "create": lambda its: its.state.create(an_upload(3), [], with_lease=True),
    "create once": lambda its: its.state.create(an_upload(4), [], with_lease=True, once="key"),
    "take": lambda its: its.state.take(a_visit(an_upload(2))),
    "take and wait": lambda its: its.state.take(a_visit(an_upload(1), wait_seconds=60.0)),
    "adopt": lambda its: its.state.adopt(an_upload(5)),
    "find": lambda its: its.state.find(an_upload(1).id),
    "find_many": lambda its: its.state.find_many([an_upload(1).id]),
    "commit": lambda its: its.state.commit(its.lease, an_upload(1, offset=7), release=True),
    "release": lambda its: its.state.release(its.lease),
    "remove": lambda its: its.state.remove(its.lease),
    "list_due": lambda its: its.state.list_due(Due.EXPIRED, now=NOW),
    "page": lambda its: its.state.page(Filter(), after=None, limit=10),
    "counts": lambda its: its.state.counts(),
    "register": lambda its: its.state.register([HOOK, "another"]),
    "claim": lambda its: its.state.claim(HOOK, now=NOW, claim_seconds=60.0, limit=1),
    "settle": lambda its: its.state.settle([its.delivery]),
    "postpone": lambda its: its.state.postpone(its.delivery, until=NOW),
    "bury": lambda its: its.state.bury(its.delivery, reason="", now=NOW),
    "dead_letters": lambda its: its.state.dead_letters(hook=None, limit=10),
    "replay": lambda its: its.state.replay(hook=None, event_id=None, now=NOW),
    "next_due": lambda its: its.state.next_due(HOOK),
    "backlog": lambda its: its.state.backlog(),
    "purge": lambda its: its.state.purge(before=NOW),
    "admit": lambda its: its.state.admit("client", RATE),
    "enter": lambda its: its.state.enter("client", BODY, limit=1, seconds=10.0),
    "leave": lambda its: its.state.leave("client", BODY),
    "dump": lambda its: _dump(its.state),
    "restore": lambda its: _restore(its.state),
    "ping": lambda its: its.state.ping(),
}
FROM_MEMORY: Final = frozenset({"next_due"})
"""A look at the buckets that is younger than a second is believed."""
ALL_ASK: Final = frozenset(CALLS) - FROM_MEMORY
GROW: Final = frozenset({"create", "create once", "take", "commit", "admit", "ping"})
READS: Final = frozenset({"find", "find_many", "page", "counts", "backlog", "dead_letters"})


def test_every_call_of_the_contract_is_here() -> None:
    named = {name.split(" ")[0] for name in CALLS}
    assert named == StateStore.__abstractmethods__ - NO_CALLS


@asynccontextmanager
async def killed(server: RedisServer) -> AsyncIterator[None]:
    await server.call("SAVE")
    async with redis_troubles.killed(server):
        yield


def full(server: RedisServer) -> AbstractAsyncContextManager[None]:
    return configured(server, "maxmemory", 1)


def without_replicas(server: RedisServer) -> AbstractAsyncContextManager[None]:
    """It wants some before it takes a write."""
    return configured(server, "min-replicas-to-write", 1)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[ServerRig]:
    async with redis_server(tmp_path, acl=[ACL]) as server:
        made = ServerRig(server, 4)
        made.settings = rig_settings(
            4, url=server.url, call_seconds=CALL_SECONDS, connect_seconds=CALL_SECONDS / 2
        )
        made.show_time()
        try:
            yield made
        finally:
            await made.close()


async def outcomes(its: Hands, names: Collection[str]) -> dict[str, Any]:
    """What came of these calls, all at once; each ended in time."""
    ordered = sorted(names)
    async with asyncio.timeout(ENDS_SECONDS):
        came = await asyncio.gather(*(CALLS[name](its) for name in ordered), return_exceptions=True)
    return dict(zip(ordered, came, strict=True))


async def fail(its: Hands, names: Collection[str]) -> None:
    kinds = {name: type(each) for name, each in (await outcomes(its, names)).items()}
    assert kinds == dict.fromkeys(names, StateError)


@pytest.mark.parametrize("trouble", [killed, paused, a_replica, without_replicas])
async def test_every_call_ends_in_time_and_says_that_it_failed(
    rig: ServerRig, trouble: Callable[[RedisServer], Any]
) -> None:
    """A master that may have a successor is not even read from."""
    its = await take_in_hand(await rig.open())
    async with trouble(rig.server):
        await fail(its, ALL_ASK)
        for came in (await outcomes(its, FROM_MEMORY)).values():
            assert came is None or type(came) is StateError


async def test_a_redis_that_is_full_takes_nothing_new_and_lets_go(rig: ServerRig) -> None:
    """It is read as before, and what frees memory is done."""
    its = await take_in_hand(await rig.open())
    before = await outcomes(its, READS)
    async with full(rig.server):
        await fail(its, GROW)
        assert await outcomes(its, READS) == before
        await its.state.settle([its.delivery])
        assert await its.state.backlog() == {HOOK: 0}


@pytest.mark.parametrize("trouble", [killed, paused, a_replica, full, without_replicas])
async def test_when_it_is_back_the_same_store_goes_on(
    rig: ServerRig, trouble: Callable[[RedisServer], Any]
) -> None:
    """The lease that was held before is good, as long as it has not run out; so is the claim."""
    its = await take_in_hand(await rig.open())
    async with trouble(rig.server):
        await outcomes(its, {"create", "find"})
    await until_it_works(its.state, seconds=20)
    await its.state.commit(its.lease, an_upload(1, offset=9), release=True)
    await its.state.settle([its.delivery])
    found = await its.state.find(an_upload(1).id)
    assert found is not None and found.offset == 9
    assert await its.state.backlog() == {HOOK: 0}
