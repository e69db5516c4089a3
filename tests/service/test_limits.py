"""What one client may take: turns for its creations, places for its bodies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize

from tests.service.world import NOBODY, OWNER, Body, World, principal
from tests.support.counting import Counter
from tusd_py.core.errors import (
    ClientGone,
    CreationDelayed,
    ServerStopping,
    StateUnavailable,
    TooManyRequests,
    UploadTooLarge,
)
from tusd_py.core.identity import Claims, Owner, Principal
from tusd_py.core.ids import ClientId, HolderId, VideoId
from tusd_py.core.rates import Rate, Turn
from tusd_py.core.upload import Status
from tusd_py.service import limits, pacing
from tusd_py.service.observer import SilentObserver
from tusd_py.service.settings import LimitSettings, UploadSettings
from tusd_py.state.base import Filter, StateError
from tusd_py.state.quotas import Quotas
from tusd_py.streams import SourceEnd

pytestmark = pytest.mark.usefixtures("each_state")

OTHER = Owner(VideoId("7"), ClientId("another"))
PIECE = 64 * 1024


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    yield made
    await made.kill()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies take their places, and renew them, many times a second."""
    monkeypatch.setattr(pacing, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(pacing, "RENEW_SECONDS", 0.02)


class Seen(SilentObserver):
    """What was limited."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.limited = Counter()
        self.slowed = 0
        self.changes: asyncio.Queue[int] = asyncio.Queue()

    def creation_limited(self, outcome: str) -> None:
        self.outcomes.append(outcome)
        self.limited.add()

    def bodies_slowed(self, change: int) -> None:
        self.slowed += change
        self.changes.put_nowait(change)


class Asked(Quotas):
    """Passes every question on, and counts it; raises where it is told to."""

    def __init__(self, real: Quotas) -> None:
        self._real = real
        self.calls: list[str] = []
        self.renewals = Counter()
        self.is_away = False

    async def admit(self, key: str, rate: Rate, *, patience_seconds: float = 0.0) -> Turn:
        self._ask("admit")
        return await self._real.admit(key, rate, patience_seconds=patience_seconds)

    async def enter(self, key: str, body: HolderId, *, limit: int, seconds: float) -> bool:
        try:
            self._ask("enter")
            return await self._real.enter(key, body, limit=limit, seconds=seconds)
        finally:
            self.renewals.add()

    async def leave(self, key: str, body: HolderId) -> None:
        self._ask("leave")
        await self._real.leave(key, body)

    def _ask(self, name: str) -> None:
        self.calls.append(name)
        if self.is_away:
            raise StateError("away")


def limit(world: World, **settings: Any) -> tuple[Seen, Asked]:
    seen, asked = Seen(), Asked(world.state)
    world.rewire(limits=LimitSettings(**settings), quotas=asked, observer=seen)
    return seen, asked


async def uploads_in(world: World) -> int:
    return len(await world.state.page(Filter(), after=None, limit=100))


def files_in(world: World) -> int:
    folder = world.folder / "uploads"
    return sum(path.is_file() for path in folder.rglob("*"))


# ------------------------------------------------------------------ creations


async def test_without_a_limit_nobody_is_asked(world: World) -> None:
    """No round trip more."""
    seen, asked = limit(world)
    await world.create(3, b"abc")
    assert (asked.calls, seen.outcomes) == ([], [])


async def test_a_creation_that_is_admitted_costs_one_question(world: World) -> None:
    seen, asked = limit(world, creations=2)
    await world.create(3, b"abc")
    await world.create(3)
    assert (asked.calls, seen.outcomes) == (["admit"] * 2, [])


async def test_a_creation_is_held_back_until_its_turn_and_is_nothing_before(world: World) -> None:
    """No record, no file; its body is not invited; its time begins with its turn."""
    seen, asked = limit(world, creations=1, creation_seconds=0.5)
    await world.create(3)
    records, files = await uploads_in(world), files_in(world)
    body = Body(b"abc")
    held = asyncio.create_task(world.create(3, body))
    await seen.limited.reached(1)
    assert (await uploads_in(world), files_in(world), body.invited) == (records, files, False)
    world.now += 1000
    made = await held
    assert (made.status, made.created_at) == (Status.COMPLETE, world.now)
    assert (seen.outcomes, asked.calls) == (["held"], ["admit"] * 2)


async def test_a_turn_too_far_off_ends_in_come_again_and_leaves_nothing(world: World) -> None:
    """Held back all the same: it would come again at once. What it waited counts."""
    seen, _ = limit(world, creations=1, creation_seconds=30, max_wait_seconds=0.2)
    await world.create(3)
    files = files_in(world)
    began = asyncio.get_running_loop().time()
    with pytest.raises(CreationDelayed) as refused:
        await world.create(3)
    assert asyncio.get_running_loop().time() - began >= 0.19
    assert 15 < (refused.value.retry_after_seconds or 0) <= 29.8
    assert (await uploads_in(world), files_in(world), seen.outcomes) == (1, files, ["delayed"])


async def test_where_the_operator_asks_for_it_a_creation_is_refused_at_once(world: World) -> None:
    seen, _ = limit(world, creations=2, creation_seconds=60, answer="refuse")
    await world.create(3)
    await world.create(3)
    with pytest.raises(TooManyRequests) as refused:
        await world.create(3)
    assert 15 < (refused.value.retry_after_seconds or 0) <= 30
    assert (await uploads_in(world), seen.outcomes) == (2, ["refused"])
    world.pass_time(30)
    await world.create(3)


async def test_every_kind_of_creation_counts(world: World) -> None:
    """Parts, finals, and one that finds the upload of an earlier creation."""
    limit(world, creations=5, creation_seconds=600, answer="refuse")
    first, second = await world.part(b"ab"), await world.part(b"c")
    await world.final(first, second)
    once = Principal(Claims(OWNER, once_id="token-1"))
    made = await world.create(9, who=once)
    assert (await world.create(9, who=once)).id == made.id
    with pytest.raises(TooManyRequests):
        await world.create(9, who=once)


async def test_a_final_upload_is_held_back_even_where_others_are_refused(world: World) -> None:
    """All its bytes have come: 429 would be their end."""
    seen, _ = limit(world, creations=2, creation_seconds=0.4, answer="refuse")
    parts = await world.part(b"ab"), await world.part(b"c")
    with pytest.raises(TooManyRequests):
        await world.create(3)
    final = await world.final(*parts)
    assert (final.status, world.content(final.id)) == (Status.COMPLETE, b"abc")
    assert seen.outcomes == ["refused", "held"]


async def test_a_creation_that_is_refused_by_its_own_length_spends_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, settings=UploadSettings(max_bytes=ByteSize(10)))
    await world.start()
    try:
        limit(world, creations=1, creation_seconds=600, answer="refuse")
        for _ in range(3):
            with pytest.raises(UploadTooLarge):
                await world.create(11)
        await world.create(10)
    finally:
        await world.kill()


async def test_clients_have_turns_of_their_own(world: World) -> None:
    """By the token; without tokens by the metadata, and who names nobody shares with his like."""
    limit(world, creations=1, creation_seconds=600, answer="refuse")
    await world.create(3, who=principal())
    await world.create(3, who=principal(OTHER))
    await world.create(3, who=NOBODY, metadata={"client_id": b"third"})
    await world.create(3, who=NOBODY)
    for who, metadata in (
        (principal(), {"client_id": b"unheard"}),
        (NOBODY, {"client_id": b"third"}),
        (NOBODY, {"client_id": OWNER.client_id.encode()}),
        (NOBODY, None),
    ):
        with pytest.raises(TooManyRequests):
            await world.create(3, who=who, metadata=metadata)


async def test_servers_that_share_the_state_share_the_turns(world: World) -> None:
    limit(world, creations=4, creation_seconds=600, answer="refuse")
    here = world.uploads
    limit(world, creations=4, creation_seconds=600, answer="refuse")
    there, made = world.uploads, 0
    for server in (here, there) * 3:
        world.uploads = server
        try:
            await world.create(3)
            made += 1
        except TooManyRequests:
            continue
    assert made == 4


async def test_who_is_held_back_is_told_at_once_when_the_server_stops(world: World) -> None:
    seen, _ = limit(world, creations=1, creation_seconds=600, max_wait_seconds=60)
    await world.create(3)
    held = [asyncio.create_task(world.create(3)) for _ in range(3)]
    await seen.limited.reached(3)
    world.uploads.stop()
    async with asyncio.timeout(5):
        ended = await asyncio.gather(*held, return_exceptions=True)
    assert [type(error) for error in ended] == [ServerStopping] * 3
    assert await uploads_in(world) == 1


async def test_no_more_are_held_back_than_a_server_bears(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_HELD", 2)
    seen, _ = limit(world, creations=1, creation_seconds=600, max_wait_seconds=60)
    await world.create(3)
    held = [asyncio.create_task(world.create(3)) for _ in range(2)]
    await seen.limited.reached(2)
    with pytest.raises(CreationDelayed):
        await world.create(3)
    assert seen.outcomes == ["delayed", "delayed", "refused"]
    world.uploads.stop()
    await asyncio.gather(*held, return_exceptions=True)


async def test_a_state_that_is_away_admits_nothing(world: World) -> None:
    _, asked = limit(world, creations=5)
    asked.is_away = True
    files = files_in(world)
    with pytest.raises(StateUnavailable):
        await world.create(3)
    assert (await uploads_in(world), files_in(world)) == (0, files)


def test_a_limit_without_anything_that_keeps_it_is_a_fault_of_ours(world: World) -> None:
    for settings in (LimitSettings(creations=1), LimitSettings(bodies=1)):
        with pytest.raises(ValueError, match="nothing that keeps quotas"):
            world.rewire(limits=settings, quotas=None)


# ------------------------------------------------------------------ bodies


class LongBody(Body):
    """Waits before its last piece until it is told to go on."""

    def __init__(self, pieces: int = 4, **more: Any) -> None:
        self.content = [bytes([65 + n]) * PIECE for n in range(pieces)]
        super().__init__(*self.content, hold_before=pieces - 1, **more)


async def test_a_body_that_is_over_within_a_moment_takes_no_place(world: World) -> None:
    seen, asked = limit(world, bodies=1)
    upload = await world.create(3)
    await world.append(upload.id, 0, b"abc")
    await world.create(PIECE, b"x" * PIECE)
    assert (asked.calls, seen.slowed) == ([], 0)


async def test_a_body_too_many_is_read_slowly_until_another_one_is_over(
    world: World, soon: None
) -> None:
    """None is refused, and every byte arrives."""
    seen, asked = limit(world, bodies=1)
    first, second = LongBody(), LongBody(pieces=3)
    one = await world.create(4 * PIECE)
    two = await world.create(3 * PIECE)
    first_done = asyncio.create_task(world.append(one.id, 0, first))
    await asked.renewals.reached(1)
    second_done = asyncio.create_task(world.append(two.id, 0, second))
    assert await seen.changes.get() == 1
    first.go_on.set()
    assert (await first_done).is_complete
    assert await seen.changes.get() == -1
    second.go_on.set()
    assert (await second_done).is_complete
    assert world.content(one.id) == b"".join(first.content)
    assert world.content(two.id) == b"".join(second.content)
    assert seen.slowed == 0
    await world.uploads.drain()
    assert asked.calls.count("leave") == 2


async def test_a_slowed_body_comes_at_the_pace_that_is_set(world: World, soon: None) -> None:
    """Not faster: 64 KiB a second, 96 KiB that come when it is slowed already."""
    seen, asked = limit(world, bodies=1, slowed_bytes_per_second=PIECE)
    first = LongBody()
    one, two = await world.create(4 * PIECE), await world.create(None)
    first_done = asyncio.create_task(world.append(one.id, 0, first))
    await asked.renewals.reached(1)
    second = Body(*[b"y" * (PIECE // 4)] * 6, hold_before=0, announced=False)
    second_done = asyncio.create_task(
        world.append(two.id, 0, second, declared_length=PIECE * 6 // 4)
    )
    assert await seen.changes.get() == 1
    began = asyncio.get_running_loop().time()
    second.go_on.set()
    assert (await second_done).is_complete
    assert asyncio.get_running_loop().time() - began >= 1.4
    assert world.content(two.id) == b"y" * (PIECE * 6 // 4)
    first.go_on.set()
    await first_done
    assert seen.slowed == 0


async def test_another_client_is_not_slowed(world: World, soon: None) -> None:
    seen, asked = limit(world, bodies=1)
    mine, theirs = LongBody(), LongBody()
    one = await world.create(4 * PIECE)
    two = await world.create(4 * PIECE, who=principal(OTHER))
    running = [
        asyncio.create_task(world.append(one.id, 0, mine)),
        asyncio.create_task(world.append(two.id, 0, theirs)),
    ]
    await asked.renewals.reached(6)
    assert seen.slowed == 0
    mine.go_on.set()
    theirs.go_on.set()
    assert [upload.is_complete for upload in await asyncio.gather(*running)] == [True, True]


async def test_bodies_that_come_with_their_creation_count_as_well(world: World, soon: None) -> None:
    seen, asked = limit(world, bodies=1)
    first, second = LongBody(), LongBody()
    running = [asyncio.create_task(world.create(4 * PIECE, first))]
    await asked.renewals.reached(1)
    running.append(asyncio.create_task(world.create(4 * PIECE, second)))
    assert await seen.changes.get() == 1
    first.go_on.set()
    second.go_on.set()
    done = await asyncio.gather(*running)
    assert [world.content(upload.id) for upload in done] == [b"".join(first.content)] * 2


async def test_where_the_state_is_away_nobody_is_slowed(world: World, soon: None) -> None:
    """Who was slowed goes on at full speed, and is slowed again when the state is back."""
    seen, asked = limit(world, bodies=1)
    first, second = LongBody(), LongBody()
    one, two = await world.create(4 * PIECE), await world.create(4 * PIECE)
    running = [asyncio.create_task(world.append(one.id, 0, first))]
    await asked.renewals.reached(1)
    running.append(asyncio.create_task(world.append(two.id, 0, second)))
    assert await seen.changes.get() == 1
    asked.is_away = True
    assert await seen.changes.get() == -1
    asked.is_away = False
    assert await seen.changes.get() == 1
    first.go_on.set()
    second.go_on.set()
    assert [upload.is_complete for upload in await asyncio.gather(*running)] == [True, True]
    assert seen.slowed == 0


async def test_a_slowed_body_whose_client_hangs_up_keeps_what_came_and_leaves(
    world: World, soon: None
) -> None:
    seen, asked = limit(world, bodies=1)
    first, second = LongBody(), LongBody(end=SourceEnd.HUNG_UP)
    one, two = await world.create(4 * PIECE), await world.create(5 * PIECE)
    running = asyncio.create_task(world.append(one.id, 0, first))
    await asked.renewals.reached(1)
    cut = asyncio.create_task(world.append(two.id, 0, second))
    assert await seen.changes.get() == 1
    second.go_on.set()
    with pytest.raises(ClientGone):
        await cut
    assert seen.slowed == 0
    assert (await world.head(two.id)).offset == 4 * PIECE
    first.go_on.set()
    await running
    await world.uploads.drain()
    assert asked.calls.count("leave") == 2


async def test_a_slowed_body_lets_go_at_once_for_whoever_asks(world: World, soon: None) -> None:
    """It is not waited for until it may read on."""
    seen, asked = limit(world, bodies=1, slowed_bytes_per_second=PIECE)
    first = LongBody()
    one, two = await world.create(4 * PIECE), await world.create(100 * PIECE)
    running = asyncio.create_task(world.append(one.id, 0, first))
    await asked.renewals.reached(1)
    big = Body(b"z" * 20 * PIECE, b"!", hold_before=0, announced=False)
    slowed = asyncio.create_task(world.append(two.id, 0, big))
    assert await seen.changes.get() == 1
    big.go_on.set()
    async with asyncio.timeout(5):
        while len(world.content(two.id)) < 20 * PIECE:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        assert (await world.head(two.id)).offset == 20 * PIECE
    with pytest.raises(Exception, match="newer request"):
        await slowed
    first.go_on.set()
    await running


async def test_places_of_two_servers_are_the_same(world: World, soon: None) -> None:
    seen, asked = limit(world, bodies=1)
    here = world.uploads
    first = LongBody()
    one, two = await world.create(4 * PIECE), await world.create(4 * PIECE)
    running = asyncio.create_task(world.append(one.id, 0, first))
    await asked.renewals.reached(1)
    seen, asked = limit(world, bodies=1)
    assert world.uploads is not here
    second = LongBody()
    other = asyncio.create_task(world.append(two.id, 0, second))
    assert await seen.changes.get() == 1
    for body in (first, second):
        body.go_on.set()
    await asyncio.gather(running, other)
