"""Whatever the process was doing, and wherever in it it died: what was acknowledged is there.

Each test lets the process die before, and after, every single call to store and state that one
request makes, one after the other, and then does what a client does: ask for the offset, go on.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.service.world import Body, Killed, ScriptedGate, World, a_world
from tusd_py.core.errors import GateFailed, UploadHandedOver, UploadLocked, UploadUnknown
from tusd_py.core.events import EventKind
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Status, Upload
from tusd_py.state.base import Due, Taken

pytestmark = pytest.mark.usefixtures("each_state")

CONTENT = b"0123456789"
Prepare = Callable[[World], Awaitable[UploadId]]
Act = Callable[[World, UploadId], Awaitable[object]]
Check = Callable[[World, UploadId], Awaitable[None]]


async def at_every_death(
    folder: Path, options: dict[str, Any], prepare: Prepare, act: Act, check: Check
) -> None:
    """Run ``act`` again and again, dying one call later each time; ``check`` after each."""
    for when in ("before", "after"):
        for number in itertools.count(1):
            gate = ScriptedGate() if options.get("gate") else None
            world_folder = folder / f"{when}-{number}"
            async with a_world(world_folder, **{**options, "gate": gate}) as world:
                subject = await prepare(world)
                world.fate.calls.clear()
                world.fate.die_at = (number, when)
                died = await dies(act(world, subject))
                await world.restart()
                await check(world, subject)
            if not died:
                assert number > 2, "the request made no calls: nothing was shown"
                break


async def dies(acting: Awaitable[object]) -> bool:
    try:
        await acting
    except Killed:
        return True
    return False


async def half_an_upload(world: World) -> UploadId:
    upload = await world.create(len(CONTENT))
    await world.append(upload.id, 0, CONTENT[:4])
    return upload.id


async def go_on_to_the_end(world: World, upload_id: UploadId, *, at_least: int = 0) -> None:
    """What a client does after a request without an answer, and what must come of it."""
    upload = await world.head(upload_id)
    assert upload.offset >= at_least
    if upload.offset < len(CONTENT):
        upload = await world.append(upload_id, upload.offset, CONTENT[upload.offset :])
    assert upload.status is Status.COMPLETE
    assert (await world.head(upload_id)).offset == len(CONTENT)
    await world.deliver()
    assert len(world.told(EventKind.COMPLETED, upload_id)) == 1
    assert place_of(world, upload_id).read_bytes() == CONTENT
    if world.destination is not None:
        assert not world.path(upload_id).exists(), "a moved file kept its old name"


def place_of(world: World, upload_id: UploadId) -> Path:
    if world.destination is None:
        return world.path(upload_id)
    [place] = [p for p in (world.folder / "library").rglob("*") if p.is_file()]
    return place


KINDS = [
    pytest.param({"durability": Durability.PROCESS}, id="process"),
    pytest.param({"durability": Durability.FINISH}, id="finish"),
    pytest.param({"durability": Durability.POWER}, id="power"),
    pytest.param({"gate": True}, id="a finish gate"),
    pytest.param({"destination": "{client_id}/{filename}"}, id="a destination"),
    pytest.param({"destination": "{client_id}/{filename}", "gate": True}, id="both"),
]


@pytest.mark.parametrize("options", KINDS)
async def test_a_last_patch_that_dies_anywhere_is_gone_on_with(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """The offset never falls below what was acknowledged, the file is whole, told under one id."""

    async def act(world: World, upload_id: UploadId) -> None:
        await world.append(upload_id, 4, CONTENT[4:])

    async def check(world: World, upload_id: UploadId) -> None:
        await go_on_to_the_end(world, upload_id, at_least=4)

    await at_every_death(tmp_path, options, half_an_upload, act, check)


@pytest.mark.parametrize("options", KINDS)
async def test_a_state_that_is_lost_after_a_death_costs_no_acknowledged_byte(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Facts and bytes alone bring the upload back, where the machine did not restart."""

    async def act(world: World, upload_id: UploadId) -> None:
        await world.append(upload_id, 4, CONTENT[4:])

    async def check(world: World, upload_id: UploadId) -> None:
        await world.deliver()
        await world.lose_state()
        await go_on_to_the_end(world, upload_id, at_least=4)

    await at_every_death(tmp_path, options, half_an_upload, act, check)


@pytest.mark.parametrize("options", KINDS)
async def test_without_the_client_the_sweeper_finishes_what_has_all_its_bytes(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """A client that took a lost last answer for granted is not needed for the completion."""

    async def act(world: World, upload_id: UploadId) -> None:
        await world.append(upload_id, 4, CONTENT[4:])

    async def check(world: World, upload_id: UploadId) -> None:
        was_full = len(world.content(upload_id)) == len(CONTENT)
        for due in Due:
            await world.sweeper.sweep(due)
        record = await world.state.find(upload_id)
        assert record is not None
        if was_full:
            assert record.status is Status.COMPLETE
        await go_on_to_the_end(world, upload_id, at_least=4)

    await at_every_death(tmp_path, options, half_an_upload, act, check)


@pytest.mark.parametrize("options", KINDS[:4])
async def test_a_head_that_dies_while_it_reconciles_leaves_the_truth_to_be_found(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """[lease-only] What a dead reader began to note misleads nobody."""

    async def prepare(world: World) -> UploadId:
        upload_id = await half_an_upload(world)
        world.fate.die_at = (len(world.fate.calls) + 3, "before")
        assert await dies(world.append(upload_id, 4, CONTENT[4:7]))
        await world.restart()
        return upload_id

    async def act(world: World, upload_id: UploadId) -> None:
        await world.head(upload_id)

    async def check(world: World, upload_id: UploadId) -> None:
        await go_on_to_the_end(world, upload_id, at_least=4)

    await at_every_death(tmp_path, options, prepare, act, check)


@pytest.mark.parametrize("loses_state", [False, True], ids=["state kept", "state lost"])
async def test_a_termination_that_dies_anywhere_ends_in_one(
    tmp_path: Path, loses_state: bool
) -> None:
    """Asked again, or swept, the upload is gone, told once; and what is gone stays gone."""

    async def act(world: World, upload_id: UploadId) -> None:
        await world.terminate(upload_id)

    async def check(world: World, upload_id: UploadId) -> None:
        was_answered = not world.files_of(upload_id)
        if loses_state:
            await world.lose_state()
        if was_answered:
            with pytest.raises(UploadUnknown):
                await world.head(upload_id)
        with suppress(UploadUnknown):
            await world.terminate(upload_id)
        await world.sweeper.sweep(Due.TERMINATING)
        with pytest.raises(UploadUnknown):
            await world.head(upload_id)
        assert world.files_of(upload_id) == []
        assert await world.state.find(upload_id) is None
        await world.deliver()
        if not loses_state:
            assert len(world.told(EventKind.TERMINATED, upload_id)) == 1

    await at_every_death(tmp_path, {}, half_an_upload, act, check)


async def test_a_creation_that_dies_anywhere_leaves_nothing_for_ever(tmp_path: Path) -> None:
    """Nobody knows the address: record, facts and bytes are gone once it has expired."""

    async def nothing(world: World) -> UploadId:
        return UploadId("0" * 31 + "1")

    async def act(world: World, _: UploadId) -> None:
        await world.create(len(CONTENT), CONTENT[:6])

    async def check(world: World, upload_id: UploadId) -> None:
        world.pass_time(world.settings.lease_seconds + 1)  # [grace] the database is new
        while await world.sweeper.walk() is not None:
            pass
        world.pass_time(world.settings.expire_seconds or 0.0)
        for due in (Due.ABANDONED, Due.EXPIRED, Due.TERMINATING):
            await world.sweeper.sweep(due)
        assert await world.state.find(upload_id) is None
        assert [name for name in world.files_of(upload_id) if name.endswith(".facts")] == []

    await at_every_death(tmp_path, {}, nothing, act, check)


async def test_an_expiry_that_dies_anywhere_is_completed_by_the_next_sweep(tmp_path: Path) -> None:
    """The upload is removed and told as expired once."""

    async def act(world: World, upload_id: UploadId) -> None:
        world.pass_time(world.settings.expire_seconds or 0.0)
        await world.sweeper.sweep(Due.EXPIRED)

    async def check(world: World, upload_id: UploadId) -> None:
        for due in (Due.ABANDONED, Due.EXPIRED, Due.TERMINATING):
            await world.sweeper.sweep(due)
        with pytest.raises(UploadUnknown):
            await world.head(upload_id)
        await world.deliver()
        assert len(world.told(EventKind.EXPIRED, upload_id)) == 1
        assert world.told(EventKind.COMPLETED, upload_id) == set()

    await at_every_death(tmp_path, {}, half_an_upload, act, check)


@pytest.mark.parametrize("durability", list(Durability))
async def test_synced_number_no_byte_that_power_took_is_counted(
    tmp_path: Path, durability: Durability
) -> None:
    """[synced-number] After a loss of power the upload goes on from what is really there."""

    async def act(world: World, upload_id: UploadId) -> None:
        await world.append(upload_id, 4, CONTENT[4:])

    async def check(world: World, upload_id: UploadId) -> None:
        record = await world.state.find(upload_id)
        assert record is not None
        remains = await world.store.load(upload_id)
        assert remains is not None
        if durability is Durability.PROCESS and remains.mark is not None:
            return  # this mode promises nothing about what power takes from finished uploads
        # [sync-at-finish] the mark is written after the bytes reached the medium
        kept = len(CONTENT) if remains.mark is not None else record.synced_offset
        if durability is Durability.POWER:
            assert kept >= 4
        await world.lose_power(synced={upload_id: kept})
        await go_on_to_the_end(world, upload_id)

    await at_every_death(tmp_path, {"durability": durability}, half_an_upload, act, check)


async def test_restart_is_unclean_a_clean_record_of_an_earlier_boot_is_not_believed(
    tmp_path: Path,
) -> None:
    """[restart-is-unclean] Let go cleanly, then power was lost: the offset is the synced one."""
    async with a_world(tmp_path, durability=Durability.FINISH) as world:
        upload_id = await half_an_upload(world)
        assert (await world.head(upload_id)).offset == 4
        await world.lose_power(synced={})
        assert (await world.head(upload_id)).offset == 0
        await go_on_to_the_end(world, upload_id)


async def test_adopt_boot_an_adopter_of_a_later_boot_believes_no_unmarked_byte(
    tmp_path: Path,
) -> None:
    """[adopt-boot] State and power lost: the file's length says nothing."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        await world.lose_power(synced={})
        await world.lose_state()
        assert (await world.head(upload_id)).offset == 0
        await go_on_to_the_end(world, upload_id)


async def test_adopt_leased_facts_that_went_before_the_lease_came_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[adopt-leased] Between an adopter's first look and its lease a DELETE runs through: what
    counts is what lies there afterwards, and the upload stays terminated."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        await world.lose_state()
        adopt = world.state.adopt

        async def adopt_too_late(upload: Upload) -> Taken:
            await world.store.remove(upload_id)
            return await adopt(upload)

        monkeypatch.setattr(world.state, "adopt", adopt_too_late)
        with pytest.raises(UploadUnknown):
            await world.head(upload_id)
        assert await world.state.find(upload_id) is None
        with pytest.raises(UploadUnknown):
            await world.head(upload_id)


async def test_sweep_after_change_a_forgotten_completion_is_told_without_a_client(
    tmp_path: Path,
) -> None:
    """[sweep-after-change] The mark lies beside the bytes, the commit was lost with the state."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        await world.append(upload_id, 4, CONTENT[4:])
        await world.lose_state()
        while await world.sweeper.walk() is not None:
            pass
        await world.deliver()
        assert len(world.told(EventKind.COMPLETED, upload_id)) == 1


async def test_sweep_after_change_commits_that_power_took_are_made_up_for(tmp_path: Path) -> None:
    """[sweep-after-change] A record let go cleanly is of an earlier boot and says less than the
    mark beside the bytes: nobody asks for it, and the completion is told all the same."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        kept = await world.keep_record()
        await world.append(upload_id, 4, CONTENT[4:])
        await world.forget_commits_since(kept)
        assert world.told(EventKind.COMPLETED, upload_id) == set()
        for due in Due:
            await world.sweeper.sweep(due)
        await world.deliver()
        assert len(world.told(EventKind.COMPLETED, upload_id)) == 1


async def test_bytes_are_synced_before_a_gate_is_asked_about_them(tmp_path: Path) -> None:
    """A received upload's record claims no byte that power could take while the gate decides."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        upload_id = await half_an_upload(world)
        gate.answers = [RuntimeError("away")]
        with pytest.raises(GateFailed):
            await world.append(upload_id, 4, CONTENT[4:])
        record = await world.state.find(upload_id)
        assert record is not None and record.synced_offset == len(CONTENT)
        await world.lose_power(synced={upload_id: record.synced_offset})
        await go_on_to_the_end(world, upload_id, at_least=len(CONTENT))


async def test_no_cut_bytes_past_a_reconciled_offset_are_never_believed_later(
    tmp_path: Path,
) -> None:
    """[no-cut] They stay in the file, and neither a crash nor a HEAD counts them again."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        await world.lose_power(synced={upload_id: 0})
        assert (await world.head(upload_id)).offset == 0
        world.fate.die_at = (len(world.fate.calls) + 2, "after")
        assert await dies(world.append(upload_id, 0, CONTENT[:2]))
        await world.restart()
        assert (await world.head(upload_id)).offset <= 2
        await go_on_to_the_end(world, upload_id)


async def test_a_gate_that_fails_leaves_the_upload_received_and_is_asked_again(
    tmp_path: Path,
) -> None:
    """PATCH says 503, HEAD never shows offset = length before the gate has decided."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        upload_id = await half_an_upload(world)
        gate.answers = [RuntimeError("away"), RuntimeError("still away")]
        with pytest.raises(GateFailed):
            await world.append(upload_id, 4, CONTENT[4:])
        with pytest.raises(GateFailed):
            await world.head(upload_id)
        record = await world.state.find(upload_id)
        assert record is not None and record.status is Status.RECEIVED
        await go_on_to_the_end(world, upload_id)


async def test_a_head_does_not_wait_for_a_slow_gate_and_the_answer_is_not_lost(
    tmp_path: Path,
) -> None:
    """Undecided in the bounded time: locked; decided meanwhile: complete."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        upload_id = await half_an_upload(world)
        slow = asyncio.Event()
        gate.answers = [RuntimeError("away"), slow]
        with pytest.raises(GateFailed):
            await world.append(upload_id, 4, CONTENT[4:])
        with pytest.raises(UploadLocked):
            await world.head(upload_id)
        slow.set()
        await world.uploads.drain()
        assert (await world.head(upload_id)).status is Status.COMPLETE


async def test_a_body_that_is_asked_to_let_go_keeps_what_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A HEAD takes over from a running PATCH, which is told so; nothing that came is lost, and
    the wait is counted, once, where others had nobody in their way."""
    waits: list[bool] = []

    def count(seconds: float, granted: bool) -> None:
        assert seconds > 0
        waits.append(granted)

    async with a_world(tmp_path) as world:
        monkeypatch.setattr(world.parts.observer, "lease_waited", count)
        upload_id = await half_an_upload(world)
        body = Body(CONTENT[4:6], CONTENT[6:], hold_before=1)
        patch = asyncio.create_task(world.append(upload_id, 4, body))
        await body.reached_hold.wait()
        assert (await world.head(upload_id)).offset == 6
        with pytest.raises(UploadHandedOver):
            await patch
        assert waits == [True]
        await go_on_to_the_end(world, upload_id, at_least=6)
