"""Redis is away in every way there is: answers in time that clients try again after, nothing lost,
and all of it goes on by itself once Redis is back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.e2e.installations import figure
from tests.e2e.rig import (
    MIB,
    assert_finished,
    content,
    created,
    hooked,
    stored_bytes,
    stored_size,
    until_stored,
)
from tests.support import redis_troubles, tus
from tests.support.fleet import Fleet, fleet
from tests.support.receiver import Receiver, receiving
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.relay import Fault, Relay, relay_to
from tests.support.server import Server
from tests.support.wire import Response, Wire, connected, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE = {"lease_seconds": 3.0, "checkpoint_seconds": 0.5}
CALL_SECONDS = 1.0
ANSWER_SECONDS = CALL_SECONDS + 5
"""A call's own bound, and what a busy machine adds."""
NEWCOMERS = 20
DATA = content(2 * MIB)
DRIP = 16 * 1024
AT_ONCE = 15
PER_SECOND = 6
"""Connections of one process to a Redis that does not take them, at most. Two try again (calls and
messages), soon at first and then once in half a second on average."""


@dataclass(frozen=True, slots=True)
class Place:
    """Two machines, and their line to a Redis that writes down what it says."""

    fleet: Fleet
    redis: RedisServer
    relay: Relay
    receiver: Receiver

    @property
    def first(self) -> Server:
        return self.fleet.machines[0]

    async def ready(self) -> set[int]:
        pages = [await request("GET", f"{one.base}/health/ready") for one in self.fleet.machines]
        return {page.status for page in pages}

    async def until_ready(self, status: int = 200) -> None:
        async with asyncio.timeout(15):
            while await self.ready() != {status}:
                pass

    async def faults(self) -> float:
        kinds = ("away", "refused")
        names = [f'tusd_py_state_faults_total{{kind="{kind}"}}' for kind in kinds]
        return sum([await figure(self.fleet, name) for name in names])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One for all: whatever was done to Redis, the servers survive it, as they should."""
    directory = tmp_path_factory.mktemp("away")
    async with (
        receiving() as receiver,
        redis_server(directory / "redis", persistent=True) as redis,
        relay_to(redis.url) as relay,
    ):
        state = {"kind": "redis", "url": relay.url(redis.url), "call_seconds": CALL_SECONDS}
        settings = hooked(directory / "site", receiver, upload=LEASE)
        async with fleet(directory / "site", settings, state=state, machines=2) as machines:
            yield Place(machines, redis, relay, receiver)


@pytest.fixture
def place(shared_place: Place) -> Place:
    return shared_place


# ------------------------------------------------------------------ what happens to Redis


def killed(place: Place) -> AbstractAsyncContextManager[None]:
    return redis_troubles.killed(place.redis)


def frozen(place: Place) -> AbstractAsyncContextManager[None]:
    return redis_troubles.paused(place.redis)


@asynccontextmanager
async def cut_off(place: Place) -> AsyncIterator[None]:
    """Every connection is reset, the old ones and new ones."""
    place.relay.default = Fault(refuse=True)
    place.relay.cut_all()
    try:
        yield
    finally:
        place.relay.default = Fault()


@asynccontextmanager
async def black_hole(place: Place) -> AsyncIterator[None]:
    """The network takes everything and brings nothing."""
    place.relay.default = Fault(stall_after=0, stall_answer_after=0)
    place.relay.stall_all()
    try:
        yield
    finally:
        place.relay.default = Fault()
        place.relay.resume_all()


def without_memory(place: Place) -> AbstractAsyncContextManager[None]:
    return redis_troubles.configured(place.redis, "maxmemory", 1)


def read_only(place: Place) -> AbstractAsyncContextManager[None]:
    return redis_troubles.a_replica(place.redis)


Trouble = Callable[[Place], AbstractAsyncContextManager[None]]
TROUBLES: list[Trouble] = [killed, frozen, cut_off, black_hole, without_memory, read_only]
SHORT: list[Trouble] = [killed, frozen, cut_off, black_hole]


# ------------------------------------------------------------------ what becomes of uploads


@dataclass(slots=True)
class Dripping:
    """A PATCH on its way, a little at a time, until it is answered."""

    url: str
    answer: asyncio.Task[Response]
    sent: int


@asynccontextmanager
async def dripping(server: Server) -> AsyncIterator[Dripping]:
    url = await created(server, len(DATA))
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, len(DATA))
        await wire.send(DATA[:MIB])
        await until_stored(server, url, MIB)
        body = Dripping(url, asyncio.create_task(wire.read_response()), MIB)
        sending = asyncio.create_task(drip(wire, body))
        try:
            yield body
        finally:
            sending.cancel()
            body.answer.cancel()
            await asyncio.gather(sending, body.answer, return_exceptions=True)


async def drip(wire: Wire, body: Dripping) -> None:
    with contextlib.suppress(ConnectionError):
        while not body.answer.done():
            await wire.send(DATA[body.sent : body.sent + DRIP])
            body.sent += DRIP
            await asyncio.wait({body.answer}, timeout=0.1)


async def timed(asking: asyncio.Task[Response]) -> tuple[Response, float]:
    began = time.monotonic()
    answer = await asking
    return answer, time.monotonic() - began


async def ask_everything(place: Place, url: str) -> None:
    """Many at once, at both machines: each is answered in time, as its client needs it."""
    metadata = tus.video_metadata(place.first.mint(), "1001", "7")
    asking: dict[asyncio.Task[Response], str] = {}
    for number in range(NEWCOMERS):
        machine = place.fleet.machines[number % 2]
        own = place.fleet.through(machine, url)
        for method, request_ in (
            ("HEAD", tus.head(own)),
            ("POST", tus.create(machine.endpoint, length=5, metadata=metadata)),
            ("PATCH", tus.patch(own, MIB, b"1")),
        ):
            asking[asyncio.create_task(request_)] = method
    for answer, method in [(await timed(task), asking[task]) for task in asking]:
        found, seconds = answer
        assert seconds < ANSWER_SECONDS, (method, seconds)
        if method == "HEAD" and found.status == 200:
            assert found.offset == MIB, "what Redis can still tell is true"
            continue
        assert found.status == (423 if method == "HEAD" else 503), (method, found.status)
        assert float(found.headers["Retry-After"]) > 0
        assert "Upload-Offset" not in found.headers


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_clients_are_put_off_and_nothing_is_lost(place: Place, trouble: Trouble) -> None:
    """HEAD 423, creation and PATCH 503, all in time; a body goes on no longer than its lease and
    keeps what came; the servers say that they are not ready, knock seldom, and recover alone."""
    await place.until_ready()
    paused = await created(place.first, len(DATA))
    assert (await tus.patch(paused, 0, DATA[:MIB])).status == 204
    faults, knocked = await place.faults(), place.relay.accepted
    async with dripping(place.first) as body:
        began = time.monotonic()
        async with trouble(place):
            await ask_everything(place, paused)
            answer = await body.answer
            lasted = time.monotonic() - began
            assert answer.status == 503 and answer.headers["Retry-After"]
            assert lasted < LEASE["lease_seconds"] + ANSWER_SECONDS, "it outlived its lease"
            kept = stored_size(place.fleet, body.url)
            assert MIB < kept <= body.sent
            await place.until_ready(503)
            assert await place.faults() > faults
            away = time.monotonic() - began
        machines = len(place.fleet.machines)
        assert place.relay.accepted - knocked < machines * (AT_ONCE + PER_SECOND * away)
    await place.until_ready()
    found = await head_within(body.url, 10)
    assert (found.status, found.offset) == (200, kept)
    assert stored_bytes(place.fleet, body.url) == DATA[:kept]
    for url, offset in ((body.url, kept), (paused, MIB)):
        # Each bucket notices by itself that Redis is another one, and waits a lease's time.
        assert (await head_within(url, 10)).offset == offset
        done = await tus.patch(url, offset, DATA[offset:])
        assert (done.status, done.offset) == (204, len(DATA)), done.text
        await assert_finished(place.fleet, place.receiver, url, DATA)
    assert all(machine.runs for machine in place.fleet.machines)


@pytest.mark.parametrize("trouble", SHORT)
async def test_a_body_outlasts_a_short_absence(place: Place, trouble: Trouble) -> None:
    """All of it comes while Redis is away; back before the lease is over, it is a success."""
    await place.until_ready()
    url = await created(place.first, len(DATA))
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, len(DATA))
        await wire.send(DATA[:MIB])
        await until_stored(place.first, url, MIB)
        async with trouble(place):
            await wire.send(DATA[MIB:])
            await until_stored(place.first, url, len(DATA))
            with contextlib.suppress(TimeoutError):
                assert await wire.read_response(seconds=0.5) is None, "nobody can have committed it"
        done = await wire.read_response()
    assert (done.status, done.offset) == (204, len(DATA)), done.text
    await assert_finished(place.fleet, place.receiver, url, DATA)


async def head_within(url: str, seconds: float) -> Response:
    async with asyncio.timeout(seconds):
        while (found := await tus.head(url)).status == 423:
            pass
    return found
