"""Deliveries of many servers that share a Redis: one is killed, one is stopped, one is slow."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.contract.states import an_upload
from tests.redis.deliverer import CLAIM_SECONDS, LEASE_SECONDS, delivering, make_state
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.server import REPOSITORY
from tusd_py.core.events import Event, EventKind, event_of
from tusd_py.hooks.base import EventSink
from tusd_py.service.deliveries import Subscription
from tusd_py.state.base import Delivery
from tusd_py.state.redis.claiming import Wish, hand_out
from tusd_py.state.redis.heads import Heads
from tusd_py.state.redis.peers import Peers
from tusd_py.state.redis.store import RedisState

LONG_SECONDS: Final = 30.0
SECONDS: Final = 20.0
"""What a claim of the dead is free within is a few; this is for a machine under load."""
assert SECONDS < LONG_SECONDS < CLAIM_SECONDS

PROGRAM: Final = ("-m", "tests.redis.deliverer")


class Sink(EventSink):
    """Takes events; those of some uploads only when it is told to."""

    def __init__(self, *, slow: Sequence[str] = ()) -> None:
        self.taken: list[Event] = []
        self.is_free = asyncio.Event()
        self._slow = set(slow)
        self._told = asyncio.Condition()

    async def deliver(self, event: Event) -> None:
        if event.upload_id in self._slow or "*" in self._slow:
            await self.is_free.wait()
        self.taken.append(event)
        async with self._told:
            self._told.notify_all()

    async def took(self, count: int) -> list[str]:
        """The ids, once there are so many."""
        async with asyncio.timeout(SECONDS), self._told:
            await self._told.wait_for(lambda: len(self.taken) >= count)
        return [event.id for event in self.taken]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path / "redis") as started:
        yield started


@pytest.fixture
async def state(server: RedisServer) -> AsyncIterator[RedisState]:
    made = make_state(RedisState, server.url, "this one")
    await made.open()
    try:
        await made.register(["h"])
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def another_server(server: RedisServer) -> AsyncIterator[Process]:
    """A process that has deliveries under way and ends none."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *PROGRAM, server.url, cwd=REPOSITORY, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


async def heard(process: Process, count: int = 1) -> list[str]:
    """The next lines it says."""
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        lines = [await process.stdout.readline() for _ in range(count)]
    return [line.decode().strip() for line in lines]


async def tell(state: RedisState, numbers: Sequence[int], *kinds: EventKind) -> list[str]:
    """Ids of events that happened just now."""
    ids: list[str] = []
    for number in numbers:
        upload = an_upload(number)
        events = [event_of(upload, kind, occurred_at=time.time()) for kind in kinds]
        await state.create(upload, events, with_lease=False)
        ids += [event.id for event in events]
    return ids


async def claimed_at_last(state: RedisState) -> Delivery:
    """The first delivery that is handed out; its claim lasts."""
    async with asyncio.timeout(SECONDS):
        async for _ in state.wakeups():
            for delivery in await state.claim(
                "h", now=time.time(), claim_seconds=CLAIM_SECONDS, limit=1
            ):
                return delivery
    raise AssertionError("nobody wakes")


async def test_what_a_killed_server_was_delivering_another_one_delivers_within_seconds(
    server: RedisServer, state: RedisState
) -> None:
    """In order per upload. Nobody waits for claims to run out, which takes more than a minute."""
    ids = await tell(state, range(0, 80, 20), EventKind.CREATED, EventKind.COMPLETED)
    async with another_server(server) as other:
        assert set(await heard(other, 4)) == set(ids[::2])
        sink = Sink()
        async with delivering(state, {"h": Subscription(sink=sink)}):
            (late,) = await tell(state, [100], EventKind.CREATED)
            assert await sink.took(1) == [late], "what has a living deliverer is left to it"
            other.kill()
            taken = await sink.took(9)
    assert sorted(taken) == sorted([late, *ids])
    for first, second in zip(ids[::2], ids[1::2], strict=True):
        assert taken.index(first) < taken.index(second)
    assert await state.backlog() == {"h": 0}


async def test_what_a_stopped_server_says_late_takes_nothing_from_the_one_that_took_over(
    server: RedisServer, state: RedisState
) -> None:
    """Stopped beyond its heartbeat and continued: its delivery failed, and that is no news."""
    (event_id,) = await tell(state, [1], EventKind.CREATED)
    async with another_server(server) as other:
        assert await heard(other) == [event_id]
        other.send_signal(signal.SIGSTOP)
        delivery = await claimed_at_last(state)
        assert delivery.event.id == event_id
        other.send_signal(signal.SIGCONT)
        assert other.stdin is not None
        other.stdin.write(b"fail\n")
        assert await heard(other) == ["failed"]
        again = await state.claim("h", now=time.time() + 9e9, claim_seconds=60, limit=1)
        assert again == [] and await state.next_due("h") is None
        await state.settle([delivery])
    assert await state.backlog() == {"h": 0}


async def test_a_list_of_the_dead_does_not_judge_what_was_claimed_after_it_was_read(
    server: RedisServer, state: RedisState
) -> None:
    """A process that was silent and speaks again has new claims, while others still think it
    dead."""
    link, informed = state._link, Peers(state._link, lease_seconds=LEASE_SECONDS)

    async def claim() -> int:
        wish = Wish(hook="h", now=9e9, claim_seconds=CLAIM_SECONDS, limit=1)
        return len(await hand_out(link, Heads(link, informed), wish))

    await tell(state, [1], EventKind.CREATED)
    before = await now_of(server)
    assert len(await state.claim("h", now=9e9, claim_seconds=60, limit=1)) == 1
    assert await claim() == 0
    informed.dead = (frozenset({state._process}), before - 1.0)
    assert await claim() == 0
    informed.dead = (frozenset({state._process}), await now_of(server) + 1.0)
    assert await claim() == 1


async def now_of(server: RedisServer) -> float:
    """The server's clock, in ms."""
    seconds, micros = await server.call("TIME")
    return float(seconds) * 1000 + float(micros) // 1000


async def test_what_a_server_was_delivering_when_it_left_is_free_at_once(
    server: RedisServer, state: RedisState
) -> None:
    """It says goodbye: nobody waits for its heartbeat to grow old."""
    patient = [make_state(RedisState, server.url, host, LONG_SECONDS) for host in "ab"]
    for each in patient:
        await each.open()
    (event_id,) = await tell(state, [1], EventKind.CREATED)
    assert len(await patient[0].claim("h", now=9e9, claim_seconds=60, limit=1)) == 1
    await patient[0].close()
    assert (await claimed_at_last(patient[1])).event.id == event_id
    await patient[1].close()


async def test_a_slow_receiver_holds_up_only_its_own_events(state: RedisState) -> None:
    """Another hook's do not wait for it; nor, with places left, those of other uploads."""
    slow, fast, half = Sink(slow=["*"]), Sink(), Sink(slow=[an_upload(3).id])
    sinks = {"slow": slow, "fast": fast, "half": half}
    async with delivering(state, {hook: Subscription(sink=sink) for hook, sink in sinks.items()}):
        ids = await tell(state, range(20), EventKind.CREATED, EventKind.COMPLETED)
        assert sorted(await fast.took(40)) == sorted(ids)
        assert sorted(await half.took(38)) == sorted(set(ids) - set(ids[6:8]))
        assert slow.taken == []
        assert (await state.backlog())["slow"] == 40
        slow.is_free.set()
        half.is_free.set()
        assert sorted(await slow.took(40)) == sorted(ids)
        assert (await half.took(40))[-2:] == ids[6:8]


async def test_servers_that_deliver_together_deliver_each_event_once(
    server: RedisServer, state: RedisState
) -> None:
    """Where nobody dies. Each upload's events come in order, whichever server they come from."""
    other = make_state(RedisState, server.url, "the other")
    await other.open()
    try:
        sink = Sink()
        subscription = Subscription(sink=sink, concurrency=4)
        async with delivering(state, {"h": subscription}), delivering(other, {"h": subscription}):
            ids = await tell(state, range(0, 40), EventKind.CREATED, EventKind.COMPLETED)
            ids += await tell(other, range(40, 80), EventKind.CREATED, EventKind.COMPLETED)
            taken = await sink.took(len(ids))
    finally:
        await other.close()
    assert sorted(taken) == sorted(ids)
    for first, second in zip(ids[::2], ids[1::2], strict=True):
        assert taken.index(first) < taken.index(second)
