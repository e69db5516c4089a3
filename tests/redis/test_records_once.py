"""Keys of one file: never two uploads of one, whoever dies, dawdles or comes late."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.redis_states import ServerRig
from tests.contract.states import an_upload, take, upload_id
from tests.redis.records import (
    HeldLink,
    HeldState,
    check_fits,
    link_of,
    lost_answers,
    make_rig,
)
from tests.support.redis_servers import eventually
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import GONE, Status, Upload
from tusd_py.state.base import Created, LeaseBusy, OnceTaken, Purpose, StateError, StateStore
from tusd_py.state.redis import once
from tusd_py.state.redis.scripts import Script

CREATORS: Final = 4
PAUSES: Final = ("FIRST_PAUSE_SECONDS", "PAUSE_CAP_SECONDS", "PENDING_SECONDS")


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(HeldState) as made:
        yield made


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for another one's creation."""
    monkeypatch.setattr(once, "PENDING_SECONDS", 0.05)


class Hold:
    """Keeps the calls of one script back."""

    def __init__(self, link: HeldLink, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self.held: list[asyncio.Future[None]] = []
        self.has_come = asyncio.Event()
        link.gate = self.gate

    def gate(self, script: Script) -> asyncio.Future[None] | None:
        if script.name != self._name:
            return None
        turn: asyncio.Future[None] = self._loop.create_future()
        self.held.append(turn)
        self.has_come.set()
        return turn

    def let_pass(self) -> None:
        for turn in self.held:
            turn.set_result(None)


async def test_who_dawdles_between_reserving_and_creating_is_too_late(rig: ServerRig) -> None:
    """Its reservation ran out and was taken over: its own creation is refused when it comes."""
    slow, quick = await rig.open(), await rig.open()
    hold = Hold(link_of(slow), "create")
    late = asyncio.create_task(slow.create(an_upload(1), [], with_lease=True, once="key"))
    await hold.has_come.wait()
    with pytest.raises(LeaseBusy) as busy:
        await quick.create(an_upload(2), [], with_lease=True, once="key")
    assert 0 < busy.value.retry_after_seconds <= once.RESERVED_SECONDS
    rig.clock.advance(once.RESERVED_SECONDS)
    assert (await quick.create(an_upload(2), [], with_lease=True, once="key")).is_new
    hold.let_pass()
    with pytest.raises(StateError):
        await late
    assert (await check_fits(rig)).keys() == {upload_id(2)}
    again = await slow.create(an_upload(3), [], with_lease=True, once="key")
    assert (again.is_new, again.upload.id) == (False, upload_id(2))


async def test_who_waits_for_a_creation_under_way_gets_what_it_makes(
    rig: ServerRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "PENDING_SECONDS", 30.0)
    slow, quick = await rig.open(), await rig.open()
    hold, link = Hold(link_of(slow), "create"), link_of(quick)
    first = asyncio.create_task(slow.create(an_upload(1), [], with_lease=True, once="key"))
    await hold.has_come.wait()
    second = asyncio.create_task(quick.create(an_upload(2), [], with_lease=True, once="key"))

    async def has_looked() -> bool:
        return any(script.name == "look_once" for script, *_ in link.sent)

    await eventually(has_looked, "nobody looks", seconds=10.0)
    hold.let_pass()
    assert (await first).is_new
    assert (await second).upload.id == upload_id(1)


async def test_an_adoption_that_dawdles_is_too_late_as_well(rig: ServerRig) -> None:
    slow, quick = await rig.open(), await rig.open()
    await rig.let_grace_pass()
    hold = Hold(link_of(slow), "adopt")
    late = asyncio.create_task(slow.adopt(an_upload(1), once="key"))
    await hold.has_come.wait()
    rig.clock.advance(once.RESERVED_SECONDS)
    await quick.adopt(an_upload(2), once="key")
    hold.let_pass()
    with pytest.raises(StateError):
        await late
    with pytest.raises(OnceTaken):
        await slow.adopt(an_upload(1), once="key")
    assert (await check_fits(rig)).keys() == {upload_id(2)}


async def test_an_adoption_that_is_refused_leaves_its_key_free(rig: ServerRig) -> None:
    """[grace] Whoever may make a record meanwhile need not wait for it."""
    state = await rig.open()
    with pytest.raises(LeaseBusy):
        await state.adopt(an_upload(1), once="key")
    assert (await state.create(an_upload(2), [], with_lease=False, once="key")).is_new


async def test_a_creator_whose_answers_are_lost_keeps_its_key_for_a_moment_only(
    rig: ServerRig,
) -> None:
    state = await rig.open()
    with pytest.raises(StateError), lost_answers(link_of(state)):
        await state.create(an_upload(1), [], with_lease=True, once="key")
    assert await state.find(upload_id(1)) is None
    rig.clock.advance(once.RESERVED_SECONDS)
    assert (await state.create(an_upload(2), [], with_lease=True, once="key")).is_new


async def test_keys_of_which_no_upload_has_come_are_forgotten(rig: ServerRig) -> None:
    """Reserved by creators that died, or left over where a removal died; those in use stay."""
    state = await rig.open()
    link = link_of(state)
    used = await state.create(an_upload(1), [], with_lease=False, once="used")
    with pytest.raises(StateError), lost_answers(link):
        await state.create(an_upload(2), [], with_lease=False, once="died")
    gone = await state.create(an_upload(3), [], with_lease=True, once="left over")
    assert gone.lease is not None
    link.gate = lambda script: refused() if script.name == "unreserve" else None
    await state.remove(gone.lease)
    link.gate = lambda _: None
    await state.purge(before=0.0)
    assert await kept_keys(rig) == 3  # they could be somebody's who is only slow
    rig.clock.advance(once.RESERVED_SECONDS + 1)
    await state.purge(before=0.0)
    assert await kept_keys(rig) == 1
    found = await state.create(an_upload(4), [], with_lease=False, once="used")
    assert found.upload == used.upload


def refused() -> asyncio.Future[None]:
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    turn.set_exception(StateError("not now"))
    return turn


async def kept_keys(rig: ServerRig) -> int:
    names = await rig.server.call("KEYS", "*:once")
    return sum([int(await rig.server.call("HLEN", name)) for name in names])


class Schedule:
    """Creators of one key that go on a call at a time, in whatever order."""

    def __init__(self, rig: ServerRig, states: list[StateStore]) -> None:
        self.rig = rig
        self.links = [link_of(state) for state in states]
        self.states = states
        self.turns: list[asyncio.Future[None]] = []
        self.number = 0
        self.creations: list[asyncio.Task[Created]] = []
        for link in self.links:
            link.gate = self.gate

    def gate(self, script: Script) -> asyncio.Future[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.turns.append(turn)
        return turn

    async def rest(self) -> None:
        """Until everybody waits for a turn, or is done."""
        for _ in range(2):
            for link in self.links:
                await link.idle.wait()
            for _ in range(20):
                await asyncio.sleep(0)

    async def begin(self) -> None:
        self.number += 1
        state = self.states[self.number % len(self.states)]
        creating = state.create(an_upload(self.number), [], with_lease=False, once="key")
        self.creations.append(asyncio.create_task(creating))

    async def step(self, choice: int, *, dies: bool) -> None:
        if self.turns:
            turn = self.turns.pop(choice % len(self.turns))
            if dies:
                turn.set_exception(StateError("it died"))
            else:
                turn.set_result(None)

    async def send_again(self, choice: int) -> None:
        link = self.links[choice % len(self.links)]
        if link.sent:
            await link.send_again(choice % len(link.sent))

    async def reject(self) -> None:
        """The upload of the key is refused by its gate: the key is free again."""
        gates, self.links[0].gate = self.links[0].gate, lambda _: None
        for upload in (await self.living()).values():
            lease = (await take(self.states[0], upload, Purpose.TERMINATE)).lease
            rejected = an_upload(int(upload.id[2:], 16), status=Status.REJECTED)
            await self.states[0].commit(lease, rejected, release=True)
        self.links[0].gate = gates

    async def living(self) -> dict[UploadId, Upload]:
        found = await check_fits(self.rig)
        return {i: upload for i, upload in found.items() if upload.status not in GONE}

    async def end(self) -> None:
        for link in self.links:
            link.gate = lambda _: None
        for turn in self.turns:
            turn.set_result(None)
        self.turns.clear()
        await asyncio.gather(*self.creations, return_exceptions=True)


STEPS: Final = st.one_of(
    st.tuples(st.just("begin"), st.just(0)),
    *[st.tuples(st.just("step"), st.integers(0, 7))] * 3,
    st.tuples(st.sampled_from(["again", "dies"]), st.integers(0, 30)),
    st.tuples(st.sampled_from(["wait", "reject"]), st.just(0)),
)


@pytest.mark.timeout(300)
@settings(max_examples=30)
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
def test_never_two_uploads_of_one_key_in_whatever_order(steps: list[tuple[str, int]]) -> None:
    """Calls of several creators by turns; some die, some come twice and late, reservations run
    out. After every step there is at most one upload of the key."""

    async def run() -> None:
        async with make_rig(HeldState) as rig:
            schedule = Schedule(rig, [await rig.open(), await rig.open()])
            await schedule.begin()
            await schedule.begin()
            for name, choice in steps:
                match name:
                    case "begin" if len(schedule.creations) < CREATORS:
                        await schedule.begin()
                    case "step" | "dies":
                        await schedule.step(choice, dies=name == "dies")
                    case "again":
                        await schedule.send_again(choice)
                    case "wait":
                        rig.clock.advance(once.RESERVED_SECONDS)
                    case "reject":
                        await schedule.reject()
                    case _:
                        pass
                await schedule.rest()
                assert len(await schedule.living()) <= 1
            await schedule.end()
            assert len(await schedule.living()) <= 1
            for creation in schedule.creations:
                if not creation.cancelled() and creation.exception() is None:
                    assert creation.result().upload.id in await check_fits(rig)

    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in zip(PAUSES, (0.0, 0.0, 30.0), strict=True):
            patch.setattr(once, name, seconds)
        asyncio.run(run())
