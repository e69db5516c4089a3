"""Concatenation: parts become a file, once, whatever dies, and nobody else's."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.service.test_deaths import KINDS, at_every_death
from tests.service.world import STRANGER, Body, ScriptedGate, World, a_world, principal
from tusd_py.core.errors import (
    GateRefused,
    LengthConflict,
    PartUnusable,
    TokenTooNarrow,
    UploadIsFinal,
    UploadLocked,
    UploadTooLarge,
    UploadUnknown,
)
from tusd_py.core.events import EventKind
from tusd_py.core.identity import Claims, Principal
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Kind, Status, Upload
from tusd_py.hooks.base import Allow, Refuse
from tusd_py.service.settings import UploadSettings
from tusd_py.state.base import Due, Filter
from tusd_py.streams import SourceEnd

HOUR = 3600.0


async def sweep(world: World) -> None:
    for due in Due:
        await world.sweeper.sweep(due)


async def until_joined(world: World, upload_id: UploadId) -> Upload:
    await world.uploads.drain()
    await sweep(world)
    return await world.head(upload_id)


async def test_parts_become_one_file_in_their_order(tmp_path: Path) -> None:
    """The bytes of all parts, one behind the other, one of them twice; the parts tell no events,
    the whole does."""
    async with a_world(tmp_path) as world:
        one, two = await world.part(b"one-"), await world.part(b"two-")
        final = await world.final(two, one, two, metadata={"filename": b"f.mp4"})
        assert (final.status, final.length, final.offset) == (Status.COMPLETE, 12, 12)
        assert world.content(final.id) == b"two-one-two-"
        told = await world.deliver()
        assert [(e.kind, e.upload_id) for e in told] == [
            (EventKind.CREATED, final.id),
            (EventKind.COMPLETED, final.id),
        ]
        assert (await world.head(final.id)).metadata.text("filename") == "f.mp4"


@pytest.mark.parametrize("options", KINDS)
async def test_a_join_that_dies_anywhere_is_gone_on_with(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Whoever asked for the final upload asks again, or the sweeper finds it: one file, whole,
    told once."""
    parts: list[UploadId] = []

    async def prepare(world: World) -> UploadId:
        parts[:] = [await world.part(b"01234"), await world.part(b""), await world.part(b"56789")]
        return parts[0]

    async def act(world: World, _: UploadId) -> None:
        await world.final(*parts)
        await world.uploads.drain()

    async def check(world: World, _: UploadId) -> None:
        final = await world.final(*parts)
        final = await until_joined(world, final.id)
        assert (final.status, final.offset, final.length) == (Status.COMPLETE, 10, 10)
        await world.deliver()
        assert len(world.told(EventKind.COMPLETED, final.id)) == 1
        completed = {e.upload_id for e in world.events if e.kind is EventKind.COMPLETED}
        assert completed == {final.id}, "the file was made twice"
        if world.destination is None:
            assert world.content(final.id) == b"0123456789"
        else:
            [place] = [p for p in (world.folder / "library").rglob("*") if p.is_file()]
            assert place.read_bytes() == b"0123456789"

    await at_every_death(tmp_path, options, prepare, act, check)


@pytest.mark.parametrize("options", KINDS[1:4])
async def test_a_power_loss_in_a_join_costs_nothing(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """What was copied and not synced is copied again; the parts have been synced."""
    parts: list[UploadId] = []

    async def prepare(world: World) -> UploadId:
        parts[:] = [await world.part(b"01234"), await world.part(b"56789")]
        return parts[0]

    async def act(world: World, _: UploadId) -> None:
        await world.final(*parts)

    async def check(world: World, _: UploadId) -> None:
        kept = {part: 5 for part in parts}
        for record in await _all(world):
            remains = await world.store.load(record.id)
            is_marked = remains is not None and remains.mark is not None
            kept[record.id] = 10 if is_marked else max(record.synced_offset, kept.get(record.id, 0))
        await world.lose_power(synced=kept)
        final = await until_joined(world, (await world.final(*parts)).id)
        assert final.status is Status.COMPLETE
        assert world.content(final.id) == b"0123456789"

    await at_every_death(tmp_path, options, prepare, act, check)


async def test_a_final_upload_waits_for_its_parts(tmp_path: Path) -> None:
    """concatenation-unfinished: accepted, not joined before the last part is complete, and then
    without anybody asking."""
    async with a_world(tmp_path) as world:
        done = await world.part(b"done")
        half = (await world.create(4, b"ha", kind=Kind.PARTIAL)).id
        final = await world.final(done, half)
        assert (final.status, final.length) == (Status.JOINING, 8)
        await sweep(world)
        assert (await world.head(final.id)).status is Status.JOINING
        await world.append(half, 2, b"lf")
        await world.uploads.drain()
        record = await world.state.find(final.id)
        assert record is not None and record.status is Status.COMPLETE
        assert world.content(final.id) == b"donehalf"


async def test_the_length_is_told_once_it_can_be_calculated(tmp_path: Path) -> None:
    """A part without a length leaves the final upload's open; HEAD knows it as soon as that is
    declared."""
    async with a_world(tmp_path) as world:
        open_part = (await world.create(None, b"ab", kind=Kind.PARTIAL)).id
        final = await world.final(open_part, await world.part(b"cd"))
        assert (await world.head(final.id)).length is None
        await world.append(open_part, 2, b"x", declared_length=4)
        assert (await world.head(final.id)).length == 6


async def test_a_restart_forgets_no_final_upload_that_waits(tmp_path: Path) -> None:
    """The memory of who waits for whom is only a short cut: the sweeper finds it in the state."""
    async with a_world(tmp_path) as world:
        half = (await world.create(4, b"ha", kind=Kind.PARTIAL)).id
        final = await world.final(half)
        await world.restart()
        await world.append(half, 2, b"lf")
        assert (await until_joined(world, final.id)).status is Status.COMPLETE
        assert world.content(final.id) == b"half"


async def test_a_repeated_final_is_the_same_upload(tmp_path: Path) -> None:
    """The same parts, owner and metadata: the first one's address. Others are another file."""
    async with a_world(tmp_path) as world:
        one, two = await world.part(b"1"), await world.part(b"2")
        final = await world.final(one, two)
        assert (await world.final(one, two)).id == final.id
        assert (await world.final(two, one)).id != final.id
        assert (await world.final(one, two, metadata={"filename": b"x"})).id != final.id


async def test_a_token_for_one_file_makes_parts_and_one_whole(tmp_path: Path) -> None:
    """``once``: its parts and their whole count as one file; a second whole is refused."""
    async with a_world(tmp_path) as world:
        who = Principal(Claims(principal().claims.owner, once_id="j1"))  # type: ignore[union-attr]
        one, two = await world.part(b"1", who=who), await world.part(b"2", who=who)
        final = await world.final(one, two, who=who)
        assert (await world.final(one, two, who=who)).id == final.id
        with pytest.raises(TokenTooNarrow):
            await world.final(two, one, who=who)
        with pytest.raises(TokenTooNarrow):
            await world.create(3, who=who)


async def test_only_ones_own_parts_can_be_used(tmp_path: Path) -> None:
    """Unknown, foreign, whole and removed uploads are all refused alike, and nothing is made."""
    async with a_world(tmp_path) as world:
        mine, other = await world.part(b"1"), await world.part(b"2", who=principal(STRANGER))
        whole = (await world.create(1, b"w")).id
        gone = await world.part(b"3")
        await world.terminate(gone)
        for bad in (other, whole, gone, UploadId("f" * 32)):
            with pytest.raises(PartUnusable):
                await world.final(mine, bad)
        with pytest.raises(PartUnusable):
            await world.final(mine, other, who=Principal())
        assert {u.kind for u in await _all(world)} == {Kind.PARTIAL, Kind.SINGLE}


async def _all(world: World) -> list[Upload]:
    return list(await world.state.page(Filter(), after=None, limit=100))


async def test_a_final_upload_has_the_bounds_of_any_other(tmp_path: Path) -> None:
    """Longer than the token allows, or of another length than was said: refused."""
    async with a_world(tmp_path) as world:
        one, two = await world.part(b"12345"), await world.part(b"67890")
        narrow = Principal(Claims(principal().claims.owner, max_bytes=9))  # type: ignore[union-attr]
        with pytest.raises(UploadTooLarge):
            await world.final(one, two, who=narrow)
        with pytest.raises(LengthConflict):
            await world.create(11, kind=Kind.FINAL, parts=(one, two), concat="final;…")
        assert (await world.create(10, kind=Kind.FINAL, parts=(one, two))).is_complete


async def test_a_final_upload_takes_no_bytes(tmp_path: Path) -> None:
    """Neither while it waits nor when it is joined; it and its parts stay as they are."""
    async with a_world(tmp_path) as world:
        done = await world.part(b"done")
        half = (await world.create(4, b"ha", kind=Kind.PARTIAL)).id
        for final in (await world.final(done), await world.final(done, half)):
            for offset in (0, 4):
                with pytest.raises(UploadIsFinal):
                    await world.append(final.id, offset, b"more")
        assert world.content(done) == b"done"


async def test_a_joining_upload_can_be_terminated(tmp_path: Path) -> None:
    """While it waits: gone at once; its parts stay."""
    async with a_world(tmp_path) as world:
        half = (await world.create(4, b"ha", kind=Kind.PARTIAL)).id
        final = await world.final(half)
        await world.terminate(final.id)
        with pytest.raises(UploadUnknown):
            await world.head(final.id)
        await world.append(half, 2, b"lf")
        await sweep(world)
        assert await world.state.find(final.id) is None


async def test_a_part_that_is_removed_makes_its_whole_impossible(tmp_path: Path) -> None:
    """The final upload is invalid then, which clients see as unknown."""
    async with a_world(tmp_path) as world:
        half = (await world.create(4, b"ha", kind=Kind.PARTIAL)).id
        final = await world.final(half)
        await world.terminate(half)
        await sweep(world)
        with pytest.raises(UploadUnknown):
            await world.head(final.id)


async def test_parts_outlive_the_join_for_a_while(tmp_path: Path) -> None:
    """They are kept for ``partial_keep_seconds`` and expire then; the whole stays."""
    settings = UploadSettings(expire_seconds=10 * HOUR, partial_keep_seconds=HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        part = await world.part(b"part")
        final = await world.final(part)
        await world.uploads.drain()
        world.pass_time(HOUR - 1)
        await sweep(world)
        assert await world.state.find(part) is not None
        world.pass_time(2)
        await sweep(world)
        assert await world.state.find(part) is None
        assert not world.files_of(part)
        assert (await world.head(final.id)).is_complete
        assert world.content(final.id) == b"part"


async def test_complete_parts_that_nobody_joins_expire(tmp_path: Path) -> None:
    """A complete partial upload is unfinished as far as expiry goes, and is not retired."""
    settings = UploadSettings(expire_seconds=HOUR, finished_keep_seconds=60)
    async with a_world(tmp_path, settings=settings) as world:
        part = await world.part(b"part")
        world.pass_time(HOUR - 1)
        await sweep(world)
        assert await world.state.find(part) is not None
        world.pass_time(2)
        await sweep(world)
        assert await world.state.find(part) is None
        assert await world.deliver() == []


async def test_parts_that_a_whole_waits_for_do_not_expire_under_it(tmp_path: Path) -> None:
    """A part that was complete early is kept for as long as its sibling takes."""
    settings = UploadSettings(expire_seconds=HOUR, partial_keep_seconds=HOUR)
    async with a_world(tmp_path, settings=settings) as world:
        early = await world.part(b"early")
        late = (await world.create(4, b"la", kind=Kind.PARTIAL)).id
        final = await world.final(early, late)
        for _ in range(3):
            world.pass_time(HOUR / 2)
            await world.append(late, (await world.head(late)).offset, b"")
            record = await world.state.find(final.id)
            assert record is not None
            await sweep(world)
        assert await world.state.find(early) is not None


async def test_a_gate_is_asked_of_the_whole_only(tmp_path: Path) -> None:
    """Parts are not processed; a refusal of the whole is told by its creation."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        one, two = await world.part(b"1"), await world.part(b"2")
        assert not gate.asked
        gate.answers = [Refuse(status=422, sentence="no")]
        with pytest.raises(GateRefused):
            await world.final(one, two)
        assert len(gate.asked) == 1
        gate.answers = [Allow()]
        assert (await world.final(one, two)).is_complete, "what was refused is no earlier file"


async def test_a_gate_that_fails_at_the_join_is_asked_again(tmp_path: Path) -> None:
    """The address is told all the same; HEAD does not show the upload as complete before."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        part = await world.part(b"1")
        gate.answers = [RuntimeError("away"), asyncio.Event()]
        final = await world.final(part)
        assert not final.is_complete
        with pytest.raises(UploadLocked):
            await world.head(final.id)


async def test_a_part_is_never_told_by_its_body_alone(tmp_path: Path) -> None:
    """A partial upload whose connection died before its address was told is removed."""
    async with a_world(tmp_path) as world:
        with pytest.raises(Exception, match="hung up"):
            await world.create(
                4, Body(b"ab", end=SourceEnd.HUNG_UP), kind=Kind.PARTIAL, concat="partial"
            )
        assert await _all(world) == []
