"""Concatenation in rare situations: states that were lost, full disks, requests that meet."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.test_deaths import KINDS, at_every_death, dies
from tests.service.test_joining import HOUR, sweep, until_joined
from tests.service.world import STRANGER, ScriptedGate, World, a_world, principal
from tusd_py.core.errors import GateRefused, PartUnusable, UploadUnknown
from tusd_py.core.events import EventKind
from tusd_py.core.identity import ANYBODY, Claims, Principal
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Kind, Status, Upload
from tusd_py.hooks.base import Refuse
from tusd_py.service.awaiting import Awaiting
from tusd_py.service.settings import UploadSettings
from tusd_py.service.settling import Held, Settler, let_go
from tusd_py.state.base import Due, Filter, LeaseBusy, Purpose, StateError, Visit
from tusd_py.stores.base import Appended, Appending, Part
from tusd_py.stores.disk_bytes import BytesWriter
from tusd_py.streams import StopReason


async def record_of(world: World, upload_id: UploadId) -> Upload:
    record = await world.state.find(upload_id)
    assert record is not None
    return record


async def is_free(world: World, upload_id: UploadId) -> bool:
    """Whether the lease can be had at once."""
    visit = Visit(upload_id=upload_id, purpose=Purpose.SWEEP, principal=ANYBODY)
    try:
        found = await Settler(world.parts).visit(visit)
    except LeaseBusy:
        return False
    assert isinstance(found, Held)
    await let_go(world.state, found.lease)
    return True


async def half_a_part(world: World) -> UploadId:
    return (await world.create(4, b"ha", kind=Kind.PARTIAL, concat="partial")).id


class SlowCopy:
    """One copy of a join that takes until it is told to end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go_on = threading.Event()


@contextmanager
def a_slow_copy(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[SlowCopy]:
    """Of the moves of one byte that joins are made of now, this one, from 1, is slow."""
    slow, loop, real = SlowCopy(), asyncio.get_running_loop(), BytesWriter.copy
    left = number

    def copy(self: BytesWriter, source: int, at: int, count: int) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            loop.call_soon_threadsafe(slow.began.set)
            slow.go_on.wait(30)
        return real(self, source, at, count)

    with monkeypatch.context() as patch:
        patch.setattr("tusd_py.stores.disk_join.JOIN_STEP_BYTES", 1)
        patch.setattr(BytesWriter, "copy", copy)
        try:
            yield slow
        finally:
            slow.go_on.set()


# ------------------------------------------------------------------ what was lost


@pytest.mark.parametrize("asks", ["the client", "the sweeper", "a repeated final"])
async def test_a_lost_state_ends_no_final_upload_that_waits(tmp_path: Path, asks: str) -> None:
    """Its parts have no record either, until somebody looks: they are adopted, not missed."""
    async with a_world(tmp_path) as world:
        half, one = await half_a_part(world), await world.part(b"one")
        final = await world.final(half, one)
        await world.lose_state()
        if asks == "the client":
            assert (await world.head(final.id)).status is Status.JOINING
        elif asks == "the sweeper":
            while await world.sweeper.walk() is not None:
                pass
        else:
            final = await world.final(half, one)
        await sweep(world)
        assert (await record_of(world, final.id)).status is Status.JOINING
        await world.append(half, 2, b"lf")
        assert (await until_joined(world, final.id)).status is Status.COMPLETE
        assert world.content(final.id) == b"halfone"


@pytest.mark.parametrize("options", KINDS[1:5])
async def test_a_join_that_died_is_found_also_where_the_state_is_lost(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Whatever died in it: the walk finds final upload and parts, and who asks again finds it."""
    parts: list[UploadId] = []

    async def prepare(world: World) -> UploadId:
        parts[:] = [await world.part(b"01234"), await world.part(b""), await world.part(b"56789")]
        return parts[0]

    async def act(world: World, _: UploadId) -> None:
        await world.final(*parts)
        await world.uploads.drain()

    async def check(world: World, _: UploadId) -> None:
        await world.deliver()
        await world.lose_state()
        while await world.sweeper.walk() is not None:
            pass
        final = await until_joined(world, (await world.final(*parts)).id)
        assert (final.status, final.offset, final.length) == (Status.COMPLETE, 10, 10)
        await world.deliver()
        completed = {e.upload_id for e in world.events if e.kind is EventKind.COMPLETED}
        assert completed == {final.id}, "the file was made twice"
        if world.destination is None:
            assert world.content(final.id) == b"0123456789"

    await at_every_death(tmp_path, options, prepare, act, check)


@pytest.mark.parametrize("options", KINDS[1:4])
async def test_a_death_while_the_last_part_ends_costs_no_final_upload(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Its completion, and the join behind it, die anywhere: the whole is made, and told once."""
    finals: list[UploadId] = []

    async def prepare(world: World) -> UploadId:
        half = await half_a_part(world)
        finals[:] = [(await world.final(half, await world.part(b"one"))).id]
        return half

    async def act(world: World, half: UploadId) -> None:
        await world.append(half, 2, b"lf")
        await world.uploads.drain()

    async def check(world: World, half: UploadId) -> None:
        part = await world.head(half)
        assert part.offset >= 2
        if not part.is_complete:
            await world.append(half, part.offset, b"half"[part.offset :])
        final = await until_joined(world, finals[0])
        assert final.is_complete and world.content(final.id) == b"halfone"
        await world.deliver()
        assert len(world.told(EventKind.COMPLETED, final.id)) == 1

    await at_every_death(tmp_path, options, prepare, act, check)


async def test_a_part_without_bytes_ends_its_whole(tmp_path: Path) -> None:
    """The record says complete and the medium has lost it: nothing is tried for ever."""
    async with a_world(tmp_path) as world:
        one, two = await world.part(b"one"), await world.part(b"two")
        for damage in (lambda: world.path(two).write_bytes(b"t"), world.path(two).unlink):
            await asyncio.to_thread(damage)
            with pytest.raises(PartUnusable):
                await world.final(one, two)
        statuses = {u.status for u in await world.state.page(Filter(), after=None, limit=9)}
        assert statuses == {Status.COMPLETE, Status.INVALID}


async def test_what_can_never_be_joined_ends_with_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk too small for it: parts are kept while it is tried, and trying in vain is no
    progress; some time after its end all of it is gone, and that is told."""
    settings = UploadSettings(expire_seconds=10 * HOUR, partial_keep_seconds=HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        part = await world.part(b"part")

        async def join(appending: Appending, parts: list[Part]) -> Appended:
            return Appended(appending.offset, StopReason.NO_SPACE)

        monkeypatch.setattr(world.store, "join", join)
        final = await world.final(part)
        for _ in range(21):
            world.pass_time(HOUR / 2)
            await sweep(world)
        assert (await record_of(world, part)).is_complete
        assert (await record_of(world, final.id)).status is Status.JOINING
        for _ in range(5):
            world.pass_time(HOUR / 2)
            await sweep(world)
        assert await world.state.page(Filter(), after=None, limit=9) == []
        await world.deliver()
        assert world.told(EventKind.EXPIRED, final.id)


async def test_what_became_possible_again_is_joined_however_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long past its end it is tried before it is given up: perhaps nobody could try earlier."""
    settings = UploadSettings(expire_seconds=HOUR, partial_keep_seconds=10 * HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        part = await world.part(b"part")

        async def join(appending: Appending, parts: list[Part]) -> Appended:
            return Appended(appending.offset, StopReason.NO_SPACE)

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "join", join)
            final = await world.final(part)
        world.pass_time(9 * HOUR)
        await world.sweeper.sweep(Due.EXPIRED)
        assert (await record_of(world, final.id)).status is Status.JOINING
        await world.sweeper.sweep(Due.UNJOINED)
        assert (await record_of(world, final.id)).is_complete


async def test_what_waits_ends_no_earlier_than_its_parts(tmp_path: Path) -> None:
    """Their progress is its own; with the end of the last of them it ends too, and that is told."""
    settings = UploadSettings(expire_seconds=HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        half = await half_a_part(world)
        final = await world.final(half)
        for _ in range(3):
            world.pass_time(HOUR / 2)
            await world.append(half, 2, b"")
            await sweep(world)
            assert (await record_of(world, final.id)).expires_at == world.now + HOUR
        world.pass_time(HOUR + 1)
        await sweep(world)
        await world.deliver()
        assert world.told(EventKind.EXPIRED, final.id)
        assert await world.state.page(Filter(), after=None, limit=9) == []


async def test_what_lost_a_part_and_is_past_its_end_has_expired(tmp_path: Path) -> None:
    """It is told as such, where nobody had looked before."""
    async with a_world(tmp_path) as world:
        half = await half_a_part(world)
        final = await world.final(half)
        await world.terminate(half)
        world.pass_time(3601)
        await world.sweeper.sweep(Due.EXPIRED)
        assert await world.state.find(final.id) is None
        await world.deliver()
        assert world.told(EventKind.EXPIRED, final.id)


async def test_a_state_that_is_away_ends_nothing_and_leaves_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the parts are there cannot be known: neither expired, nor invalid, nor held."""
    async with a_world(tmp_path) as world:
        part = await world.part(b"part")
        real, calls = world.state.find_many, itertools.count()

        async def find_many(ids: list[UploadId]) -> Any:
            if next(calls):
                raise StateError("away")
            return await real(ids)

        with monkeypatch.context() as patch:
            patch.setattr(world.state, "find_many", find_many)
            final = await world.final(part)
            assert final.status is Status.JOINING
            await world.uploads.drain()
            assert await is_free(world, final.id)
            world.pass_time(3601)
            await world.sweeper.judge(final.id)
        assert await world.sweeper.sweep(Due.UNJOINED) == 1
        assert (await record_of(world, final.id)).is_complete


async def test_what_was_refused_takes_nothing_from_what_is_complete(tmp_path: Path) -> None:
    """The same whole twice, the first time refused: after the loss of the state, which forgets
    the refusal, both are found, and nothing of the complete one goes."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        part = await world.part(b"part")
        gate.answers = [Refuse(status=422, sentence="no")]
        with pytest.raises(GateRefused):
            await world.final(part)
        final = await world.final(part)
        await world.lose_state()
        while await world.sweeper.walk() is not None:
            pass
        assert (await record_of(world, final.id)).is_complete
        assert world.content(final.id) == b"part"


# ------------------------------------------------------------------ requests that meet


async def test_parts_of_somebody_else_alone_cannot_be_used_either(tmp_path: Path) -> None:
    """All of one owner, who is not the one that asks."""
    async with a_world(tmp_path) as world:
        theirs = [await world.part(b"1", who=principal(STRANGER)) for _ in range(2)]
        with pytest.raises(PartUnusable):
            await world.final(*theirs)
        assert (await world.final(*theirs, who=principal(STRANGER))).is_complete


async def test_a_long_join_holds_up_no_question_to_a_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sweeper comes by for other reasons is judged while it joins for an hour, and the
    joins that died in the middle, or are past their end, are left to the one loop for joins."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        half, parts = await half_a_part(world), [await world.part(b"one"), await world.part(b"two")]
        waiting = await world.final(half, parts[0])
        world.fate.die_before = "join"
        assert await dies(world.final(*parts))
        await world.restart()
        gate.answers = [RuntimeError("away")]
        undecided = (await world.create(4, b"file")).id
        assert (await record_of(world, undecided)).status is Status.RECEIVED
        with a_slow_copy(monkeypatch, 3) as slow:
            joining = asyncio.create_task(world.sweeper.sweep(Due.UNJOINED))
            await slow.began.wait()
            for due in Due:
                if due is not Due.UNJOINED:
                    await world.sweeper.sweep(due)
            assert (await record_of(world, undecided)).is_complete
            done = await world.state.page(Filter(status=Status.COMPLETE), after=None, limit=9)
            assert not [u for u in done if u.kind is Kind.FINAL]
            slow.go_on.set()
            await joining
        assert (await record_of(world, waiting.id)).status is Status.JOINING
        done = await world.state.page(Filter(status=Status.COMPLETE), after=None, limit=9)
        assert [u.length for u in done if u.kind is Kind.FINAL] == [6]


async def test_many_wholes_past_their_end_are_not_judged_without_a_pause(tmp_path: Path) -> None:
    """Their parts are still being sent: each look is over, though all of them stay due."""
    settings = UploadSettings(expire_seconds=HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        half = await half_a_part(world)
        made = [await world.final(half, metadata={"n": b"%d" % n}) for n in range(3)]
        world.pass_time(HOUR / 2)
        await world.append(half, 2, b"")
        world.pass_time(HOUR / 2 + 1)
        assert await world.sweeper.sweep(Due.EXPIRED) == 0
        assert [(await record_of(world, one.id)).status for one in made] == [Status.JOINING] * 3


async def test_equal_finals_at_the_same_time_are_one(tmp_path: Path) -> None:
    """Ten requests, one upload, one file, told once."""
    async with a_world(tmp_path) as world:
        parts = [await world.part(b"one"), await world.part(b"two")]
        made = await asyncio.gather(*(world.final(*parts) for _ in range(10)))
        assert len({upload.id for upload in made}) == 1
        assert (await until_joined(world, made[0].id)).is_complete
        await world.deliver()
        assert len([e for e in world.events if e.kind is EventKind.COMPLETED]) == 1


async def test_wholes_that_share_parts_are_joined_side_by_side(tmp_path: Path) -> None:
    """Each is complete and has its own bytes; the parts are kept for the last of them."""
    async with a_world(tmp_path) as world:
        one, two = await world.part(b"one"), await world.part(b"two")
        orders = [(one, two), (two, one), (one, one), (two, one, two)]
        made = await asyncio.gather(*(world.final(*order) for order in orders))
        for order, final in zip(orders, made, strict=True):
            assert (await until_joined(world, final.id)).is_complete
            wanted = b"".join(b"one" if part == one else b"two" for part in order)
            assert world.content(final.id) == wanted


async def test_a_join_lets_go_for_a_termination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DELETE in the middle of the copy: it stops, everything of it goes, the parts stay."""
    async with a_world(tmp_path) as world:
        parts = [await world.part(b"one"), await world.part(b"two")]
        with a_slow_copy(monkeypatch, 3) as slow:
            joining = asyncio.create_task(world.final(*parts))
            await slow.began.wait()
            [final] = await world.state.page(Filter(status=Status.JOINING), after=None, limit=9)
            [brake] = world.uploads._receiver._brakes
            ending = asyncio.create_task(world.terminate(final.id))
            await brake.wait()
            slow.go_on.set()
            await asyncio.gather(joining, ending)
        await world.uploads.drain()
        await sweep(world)
        assert await world.state.find(final.id) is None
        assert world.files_of(final.id) == []
        assert world.content(parts[1]) == b"two"
        await world.deliver()
        assert not world.told(EventKind.COMPLETED, final.id)


async def test_a_stop_breaks_a_join_off_and_the_next_life_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has its address; what was copied is kept, and not copied again."""
    async with a_world(tmp_path) as world:
        parts = [await world.part(b"one"), await world.part(b"two")]
        with a_slow_copy(monkeypatch, 4) as slow:
            joining = asyncio.create_task(world.final(*parts))
            await slow.began.wait()
            world.uploads.stop()
            slow.go_on.set()
            final = await joining
            await world.uploads.drain()
        record = await record_of(world, final.id)
        assert (record.status, record.offset) == (Status.JOINING, 4)
        await world.restart()
        assert (await until_joined(world, final.id)).is_complete
        assert world.content(final.id) == b"onetwo"


async def test_a_part_that_goes_while_it_is_copied_ends_the_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own client removed it: the whole cannot be, and is never shown as complete."""
    async with a_world(tmp_path) as world:
        parts = [await world.part(b"one"), await world.part(b"two")]
        with a_slow_copy(monkeypatch, 2) as slow:
            joining = asyncio.create_task(world.final(*parts))
            await slow.began.wait()
            for part in parts:
                await world.terminate(part)
            slow.go_on.set()
            with pytest.raises(PartUnusable):
                await joining
        [final] = await world.state.page(Filter(), after=None, limit=9)
        assert final.status is Status.INVALID
        with pytest.raises(UploadUnknown):
            await world.head(final.id)


async def test_a_part_that_became_complete_during_the_look_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for its whole is told of it also while the whole is being looked at."""
    async with a_world(tmp_path) as world:
        half = await half_a_part(world)
        real = world.state.find_many

        async def find_many(ids: list[UploadId]) -> Any:
            found = await real(ids)
            if len(looks) == 1:
                await world.append(half, 2, b"lf")
            looks.append(1)
            return found

        looks: list[int] = []
        monkeypatch.setattr(world.state, "find_many", find_many)
        final = await world.final(half)
        assert final.status is Status.JOINING and len(looks) >= 2
        await world.uploads.drain()
        assert (await record_of(world, final.id)).is_complete, "it waits for the sweeper"


async def test_a_part_of_a_whole_that_ended_leaves_no_lease_behind(tmp_path: Path) -> None:
    """Its completion looks at the final upload, finds nothing to do, and lets go."""
    async with a_world(tmp_path) as world:
        gone, half = await half_a_part(world), await half_a_part(world)
        final = await world.final(gone, half)
        await world.terminate(gone)
        await sweep(world)
        assert (await record_of(world, final.id)).status is Status.INVALID
        await world.append(half, 2, b"lf")
        await world.uploads.drain()
        assert await is_free(world, final.id)


async def test_an_impossible_length_is_no_fault_of_who_asks(tmp_path: Path) -> None:
    """Parts that turned out too long for the token: HEAD answers until the sweeper ends it."""
    async with a_world(tmp_path) as world:
        narrow = Principal(Claims(principal().claims.owner, max_bytes=9))  # type: ignore[union-attr]
        parts = [(await world.create(None, b"ab", kind=Kind.PARTIAL)).id for _ in range(2)]
        final = await world.final(*parts, who=narrow)
        for part in parts:
            await world.append(part, 2, b"cd" * 2)
        assert (await world.head(final.id)).length is None
        await sweep(world)
        with pytest.raises(UploadUnknown):
            await world.head(final.id)


# ------------------------------------------------------------------ many parts, large joins


async def test_parts_are_kept_for_a_while_not_anew_with_every_look(tmp_path: Path) -> None:
    """A part that would expire soon is put off once, not each time the sweeper comes by."""
    settings = UploadSettings(expire_seconds=HOUR / 4, partial_keep_seconds=HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        early, half = await world.part(b"early"), await half_a_part(world)
        final = await world.final(early, half)
        put_off_to = (await record_of(world, early)).expires_at
        assert put_off_to == pytest.approx(world.now + HOUR, abs=1)
        world.pass_time(60)
        await sweep(world)
        assert (await record_of(world, early)).expires_at == put_off_to
        assert (await record_of(world, final.id)).status is Status.JOINING


async def test_a_part_is_never_retired_like_a_file(tmp_path: Path) -> None:
    """It has its expiry; who comes by for another reason leaves it alone too."""
    settings = UploadSettings(expire_seconds=HOUR, finished_keep_seconds=60)
    async with a_world(tmp_path, settings=settings) as world:
        part = await world.part(b"part")
        world.pass_time(61)
        assert await world.sweeper.judge(part)
        assert (await record_of(world, part)).is_complete


async def test_parts_outlive_a_join_of_many_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk it takes longer than parts are kept for."""
    settings = UploadSettings(expire_seconds=HOUR, partial_keep_seconds=HOUR)
    monkeypatch.setattr("tusd_py.service.joining.SLOWEST_JOIN_BYTES_PER_SECOND", 1 / HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        part = await world.part(b"part")
        seen: list[float | None] = []
        real = world.store.join

        async def join(appending: Appending, parts: list[Part]) -> Appended:
            seen.append((await record_of(world, part)).expires_at)
            return await real(appending, parts)

        monkeypatch.setattr(world.store, "join", join)
        await world.final(part)
        assert seen == [world.now + 5 * HOUR]


async def test_the_lease_is_kept_while_many_parts_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part has a lease of its own; all of them may take longer than one lasts."""
    settings = UploadSettings(
        expire_seconds=60, partial_keep_seconds=HOUR, lease_seconds=1, checkpoint_seconds=0.1
    )
    async with a_world(tmp_path, settings=settings) as world:
        parts = [await world.part(b"one"), await world.part(b"two")]
        load = world.store.load

        async def slow_load(upload_id: UploadId) -> Any:
            assert await world.renewed_after(0.8), "the final upload's lease was not renewed"
            return await load(upload_id)

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "load", slow_load)
            final = await world.final(*parts)
        assert (await until_joined(world, final.id)).is_complete


@pytest.mark.parametrize("joiner", ["its last part", "the sweeper"])
async def test_parts_are_let_go_by_whoever_joins_them(tmp_path: Path, joiner: str) -> None:
    """Not by the creation alone, which may be long over: they are kept for the grace period."""
    settings = UploadSettings(expire_seconds=10 * HOUR, partial_keep_seconds=HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        early, half = await world.part(b"early"), await half_a_part(world)
        final = await world.final(early, half)
        if joiner == "the sweeper":
            await world.restart()
        await world.append(half, 2, b"lf")
        await world.uploads.drain()
        if joiner == "the sweeper":
            await sweep(world)
        assert (await record_of(world, final.id)).is_complete
        for part in (early, half):
            assert (await record_of(world, part)).expires_at == world.now + HOUR


@pytest.mark.parametrize("asks", ["head", "sweep"])
async def test_parts_are_let_go_also_where_the_gate_was_away(tmp_path: Path, asks: str) -> None:
    """Whoever finishes the whole: its parts are kept for the grace period and no longer."""
    gate = ScriptedGate()
    settings = UploadSettings(expire_seconds=10 * HOUR, partial_keep_seconds=HOUR)
    async with a_world(tmp_path, gate=gate, settings=settings) as world:
        part = await world.part(b"part")
        gate.answers = [RuntimeError("away")]
        final = await world.final(part)
        assert (await record_of(world, final.id)).status is Status.RECEIVED
        if asks == "head":
            assert (await world.head(final.id)).is_complete
            await world.uploads.drain()
        else:
            await sweep(world)
        assert (await record_of(world, final.id)).is_complete
        assert (await record_of(world, part)).expires_at == world.now + HOUR


async def test_empty_parts_make_an_empty_whole(tmp_path: Path) -> None:
    """It has a file, for gates and receivers want one."""
    async with a_world(tmp_path) as world:
        parts = [await world.part(b""), await world.part(b"")]
        final = await world.final(*parts)
        assert (final.status, final.length) == (Status.COMPLETE, 0)
        assert world.path(final.id).exists()


def test_the_memory_of_who_waits_is_bounded() -> None:
    """The oldest go first; what was taken, or said anew, is not counted any more."""
    awaiting, ids = Awaiting(4), [UploadId(f"{n:032x}") for n in range(9)]
    a, b, c, p, q, r, *_ = ids
    awaiting.put(a, [p, q])
    awaiting.put(b, [p, p])
    assert awaiting.pairs == 3
    awaiting.put(c, [q, r])
    assert awaiting.take(q) == [c], "the oldest was not forgotten"
    assert awaiting.take(p) == [b]
    assert awaiting.pairs == 0
    awaiting.put(a, [p, q])
    awaiting.put(a, [q])
    assert awaiting.take(p) == [] and awaiting.pairs == 1
    awaiting.put(a, [])
    assert awaiting.pairs == 0 and awaiting.take(q) == []


async def test_what_is_over_is_not_remembered(tmp_path: Path) -> None:
    """Neither a joined final upload, nor one that cannot be, nor what the sweeper looked at."""
    async with a_world(tmp_path) as world:
        awaiting = world.uploads._joiner._awaiting
        half, one = await half_a_part(world), await world.part(b"one")
        await world.final(half, one)
        assert awaiting.pairs == 1, "complete parts are not waited for"
        await world.append(half, 2, b"lf")
        await world.uploads.drain()
        assert awaiting.pairs == 0
        gone = await half_a_part(world)
        await world.final(gone, one)
        await sweep(world)
        assert world.sweeper._joiner._awaiting.pairs == 0


async def test_a_final_upload_whose_creation_died_is_not_made_twice(tmp_path: Path) -> None:
    """Its facts lie there without a record; its client asked again and got another one."""
    async with a_world(tmp_path) as world:
        parts = [await world.part(b"one"), await world.part(b"two")]
        world.fate.calls.clear()
        world.fate.die_at = (1, "after")
        assert await dies(world.final(*parts))
        assert world.fate.calls == ["prepare"]
        await world.restart()
        world.pass_time(world.settings.lease_seconds + 1)  # [grace]
        final = await world.final(*parts)
        while await world.sweeper.walk() is not None:
            pass
        await sweep(world)
        await world.deliver()
        completed = {e.upload_id for e in world.events if e.kind is EventKind.COMPLETED}
        assert completed == {final.id}
