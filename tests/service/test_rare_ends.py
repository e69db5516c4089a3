"""What seldom happens between a request's checks and its answer: stops, lost leases, slow gates,
media that fail, and a sweeper that meets uploads it can do nothing for."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.service.world import OWNER, STRANGER, Body, ScriptedGate, World, a_world
from tusd_py.core.commands import CreateUpload
from tusd_py.core.errors import TokenTooNarrow
from tusd_py.core.events import EventKind
from tusd_py.core.facts import Remains
from tusd_py.core.identity import Claims, Owner, Principal
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Status
from tusd_py.hooks.base import Allow, Moment, Question, Refuse
from tusd_py.protocol import tus1
from tusd_py.service import sweeper as sweeping
from tusd_py.service.gates import Gates
from tusd_py.service.observer import SilentObserver
from tusd_py.service.settings import UploadSettings
from tusd_py.service.settling import AlreadyTerminated
from tusd_py.state.base import Due, Filter
from tusd_py.stores.base import StoreError

pytestmark = pytest.mark.usefixtures("each_state")

CONTENT = b"0123456789"
DAY = 86400.0


async def test_a_creation_that_waited_for_its_gate_stops_with_the_server(tmp_path: Path) -> None:
    """Its body begins after the stop: it ends at once, and the client learns the address."""
    gate, decision = ScriptedGate(), asyncio.Event()
    gate.answers = [decision]
    async with a_world(tmp_path) as world:
        ask(world, Moment.CREATE, gate)
        body = Body(CONTENT[:4], CONTENT[4:], hold_before=1)
        creation = asyncio.create_task(
            world.uploads.create(
                CreateUpload(length=len(CONTENT), announced_bytes=len(CONTENT)),
                Principal(Claims(OWNER)),
                body,
            )
        )
        await gate.was_asked.wait()
        world.uploads.stop()
        decision.set()
        async with asyncio.timeout(10):
            upload = await creation
        assert upload.offset == 0
        assert not body.reached_hold.is_set()


async def test_a_creation_whose_lease_is_lost_at_the_gate_does_not_look_complete(
    tmp_path: Path,
) -> None:
    """A client takes offset = length for success, and the gate may yet refuse."""
    gate, decision = ScriptedGate(), asyncio.Event()
    gate.answers = [decision, Refuse("not this one")]
    async with a_world(tmp_path, gate=gate) as world:
        creation = asyncio.create_task(world.create(len(CONTENT), CONTENT))
        await gate.was_asked.wait()
        world.pass_time(20)  # the process stood still: its lease is over
        upload = await creation
        assert upload.offset < len(CONTENT)


@pytest.mark.parametrize("failing", ["complete", "sync"])
async def test_a_creation_whose_file_cannot_be_finished_tells_its_address(
    tmp_path: Path, failing: str
) -> None:
    """Without it the client would create another upload, and receivers be told of both."""
    gate = ScriptedGate() if failing == "sync" else None
    async with a_world(tmp_path, gate=gate) as world:
        works = fail_once(world, failing)
        upload = await world.create(len(CONTENT), CONTENT)
        assert upload.offset < len(CONTENT)
        world.pass_time(world.settings.lease_seconds + 1)
        assert works == [False]
        assert (await world.head(upload.id)).status is Status.COMPLETE
        await world.deliver()
        assert len(world.told(EventKind.COMPLETED, upload.id)) == 1


async def test_an_empty_creation_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    """No offset is below its length, so it has to fail; then nobody knows the upload."""
    async with a_world(tmp_path) as world:
        fail_once(world, "complete")
        with pytest.raises(Exception, match="could not be stored"):
            await world.create(0)
        assert await world.state.page(Filter(), after=None, limit=10) == []
        assert not (await world.store.walk(None, orphan_age_seconds=0)).upload_ids


async def test_a_gate_slower_than_a_lease_may_decide_on_a_termination(tmp_path: Path) -> None:
    gate, decision = ScriptedGate(), asyncio.Event()
    gate.answers = [decision]
    async with a_world(tmp_path) as world:
        ask(world, Moment.TERMINATE, gate)
        upload = await world.create(len(CONTENT))
        removal = asyncio.create_task(world.terminate(upload.id))
        await gate.was_asked.wait()
        for _ in range(3):
            renewed = await world.renewed_after(3)
            assert renewed, "the lease ran out while the gate was asked"
        decision.set()
        await removal
        assert await world.state.find(upload.id) is None


async def test_a_token_for_one_file_opens_no_other_clients_upload(tmp_path: Path) -> None:
    """An issuer that gives two clients the same jti must not hand one the other's address."""
    async with a_world(tmp_path) as world:
        command = CreateUpload(length=4)

        def bearer(owner: Owner) -> Principal:
            return Principal(Claims(owner, once_id="same"))

        first = await world.uploads.create(command, bearer(OWNER), Body())
        with pytest.raises(TokenTooNarrow):
            await world.uploads.create(command, bearer(STRANGER), Body())
        again = await world.uploads.create(command, bearer(OWNER), Body())
        assert again.id == first.id


async def test_a_record_without_facts_is_told_as_unknown(tmp_path: Path) -> None:
    """[facts-rule] as the wire tells it: what has no status of its own has its parent's."""
    async with a_world(tmp_path) as world:
        upload = await world.create(len(CONTENT))
        await world.store.remove(upload.id)
        world.boot_number += 1
        await world.restart()
        with pytest.raises(AlreadyTerminated) as caught:
            await world.head(upload.id)
        assert tus1.build_error(caught.value, method="HEAD", request_id="r").status == 404


@pytest.mark.parametrize("ending", ["retired", "terminated"])
async def test_the_end_of_a_finished_upload_does_not_tell_its_completion_again(
    tmp_path: Path, ending: str
) -> None:
    """Receivers forget ids sooner than files: they would process it anew as it is removed."""
    settings = UploadSettings(
        lease_seconds=5, checkpoint_seconds=0.2, finished_keep_seconds=30 * DAY
    )
    async with a_world(tmp_path, settings=settings) as world:
        upload = await world.create(len(CONTENT), CONTENT)
        told = [event.kind for event in await world.deliver()]
        assert told == [EventKind.CREATED, EventKind.COMPLETED]
        world.pass_time(31 * DAY)
        await world.state.purge(before=world.now - 7 * DAY)
        if ending == "retired":
            assert await world.sweeper.sweep(Due.RETIRED) == 1
        else:
            world.boot_number += 1  # then it is reconciled first
            await world.restart()
            await world.terminate(upload.id)
        again = [event.kind for event in await world.deliver()]
        assert EventKind.COMPLETED not in again


async def test_uploads_that_cannot_be_judged_do_not_keep_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a batch of files that break a gate come before one whose client is gone."""
    monkeypatch.setattr(sweeping, "BATCH", 3)
    gate = PickyGate()
    async with a_world(tmp_path, gate=gate) as world:
        for _ in range(7):
            await world.create(1, b"x")
            world.pass_time(1)
        last = await world.create(1, b"x")
        gate.allowed = last.id
        for _ in range(4):
            await world.sweeper.sweep(Due.UNDECIDED)
        found = await world.state.find(last.id)
        assert found is not None and found.status is Status.COMPLETE
        # And the others are not forgotten: each is asked for again in turn.
        gate.asked.clear()
        for _ in range(3):
            await world.sweeper.sweep(Due.UNDECIDED)
        assert len({q.upload["upload_id"] for q in gate.asked}) == 7


async def test_one_upload_that_brings_out_a_fault_does_not_end_the_care_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor make it slow: what else is due goes in one tick, though no batch is ever done in full."""
    monkeypatch.setattr(sweeping, "BATCH", 3)
    settings = UploadSettings(expire_seconds=3600, sweep_seconds=3600, walk_seconds=3600)
    async with a_world(tmp_path, settings=settings) as world:
        observer = Sweeps(wanted=7)
        world.rewire(observer=observer)
        bad, *_ = [await world.create(len(CONTENT)) for _ in range(8)]
        real = world.store.load

        async def load(upload_id: UploadId) -> Remains | None:
            if upload_id == bad.id:
                raise TypeError("nobody thought of this")
            return await real(upload_id)

        monkeypatch.setattr(world.store, "load", load)
        world.pass_time(4000)
        running = asyncio.create_task(world.sweeper.run())
        async with asyncio.timeout(10):
            await observer.has_come.wait()
        running.cancel()
        await asyncio.wait([running])
        left = await world.state.page(Filter(), after=None, limit=10)
        assert [upload.id for upload in left] == [bad.id]


class Sweeps(SilentObserver):
    """Waits for so many expirations."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.has_come = asyncio.Event()

    def swept(self, what: str) -> None:
        self._wanted -= what == "expired"
        if not self._wanted:
            self.has_come.set()


class PickyGate(ScriptedGate):
    """Breaks on all uploads but one."""

    allowed = ""

    async def decide(self, question: Question) -> Allow | Refuse:
        self.asked.append(question)
        if question.upload["upload_id"] != self.allowed:
            raise RuntimeError("this file breaks the gate")
        return Allow()


def ask(world: World, moment: Moment, gate: ScriptedGate) -> None:
    """Have the gate asked before that moment."""
    gates = Gates({moment: [("gate", gate)]}, 60.0, SilentObserver())
    world.rewire(gates=gates)


def fail_once(world: World, name: str) -> Sequence[bool]:
    """The store's next call of this name fails as a bad medium does; which calls worked."""
    calls: list[bool] = []
    real = getattr(world.store, name)

    async def call(*args: Any) -> Any:
        if not calls:
            calls.append(False)
            raise StoreError("the medium failed")
        return await real(*args)

    setattr(world.store, name, call)
    return calls


async def test_the_sweeper_looks_for_every_reason_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[sweep-after-change] and all others: a reason nobody looks for is an upload forgotten."""
    async with a_world(tmp_path) as world:
        looked: set[Due] = set()
        all_looked = asyncio.Event()
        list_due = world.state.list_due

        async def noted(due: Due, **wanted: Any) -> Sequence[Any]:
            looked.add(due)
            if looked == set(Due) - {Due.RETIRED}:  # finished uploads are kept for ever here
                all_looked.set()
            return await list_due(due, **wanted)

        monkeypatch.setattr(world.state, "list_due", noted)
        sweeping_on = asyncio.create_task(world.sweeper.run())
        async with asyncio.timeout(20):
            await all_looked.wait()
        sweeping_on.cancel()
        await asyncio.wait({sweeping_on})
