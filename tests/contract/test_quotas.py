"""What every state store promises of quotas: turns at a rate, and places with deadlines."""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.contract.states import STATES, StateRig
from tests.fakes.buckets import Bucket, Places
from tusd_py.core.ids import HolderId
from tusd_py.core.rates import MAX_PATIENCE_SECONDS, MICRO, Rate, Turn
from tusd_py.state.base import StateError, StateStore

EVERY_SECOND = Rate(count=60, seconds=60.0, burst=3)
ODD_KEYS = ("", "client", "client ", "CLIENT", "x" * 100_000, "{a}:b\0\n", "é\u2028", "\udcff")


@pytest.fixture(params=sorted(STATES))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateRig]:
    async with STATES[request.param](tmp_path) as made:
        yield made


@pytest.fixture
async def state(rig: StateRig) -> StateStore:
    return await rig.open()


class TestTurns:
    async def test_a_burst_is_given_at_once_and_then_one_each_interval(
        self, rig: StateRig, state: StateStore
    ) -> None:
        first = [await state.admit("client", EVERY_SECOND) for _ in range(4)]
        assert first == [Turn(True, 0.0)] * 3 + [Turn(False, 1.0)]
        rig.clock.advance(0.75)
        assert await state.admit("client", EVERY_SECOND) == Turn(False, 0.25)
        rig.clock.advance(0.25)
        assert await state.admit("client", EVERY_SECOND) == Turn(True, 0.0)
        assert await state.admit("client", EVERY_SECOND) == Turn(False, 1.0)

    async def test_who_has_patience_gets_his_turn_in_the_order_of_asking(
        self, rig: StateRig, state: StateStore
    ) -> None:
        turns = [await state.admit("client", EVERY_SECOND, patience_seconds=2) for _ in range(7)]
        assert [turn.wait_seconds for turn in turns] == [0, 0, 0, 1, 2, 3, 3]
        assert [turn.is_given for turn in turns] == [True] * 5 + [False] * 2
        rig.clock.advance(2)
        assert await state.admit("client", EVERY_SECOND) == Turn(False, 1.0)

    async def test_all_who_share_the_store_share_the_turns(self, rig: StateRig) -> None:
        """Also when they ask at the same moment."""
        states = [await rig.open(), await rig.open()]
        rate = Rate(count=10, seconds=100.0, burst=10)
        turns = await asyncio.gather(*(states[n % 2].admit("client", rate) for n in range(30)))
        assert sum(turn.is_given for turn in turns) == 10
        assert {turn.wait_seconds for turn in turns if not turn.is_given} == {10.0}

    async def test_turns_outlive_those_who_took_them(self, rig: StateRig) -> None:
        state = await rig.open()
        for _ in range(3):
            await state.admit("client", EVERY_SECOND)
        await rig.close()
        assert await (await rig.open()).admit("client", EVERY_SECOND) == Turn(False, 1.0)

    async def test_each_key_has_its_own_turns_whatever_it_is(self, state: StateStore) -> None:
        """No name of a client is another's, breaks anything, or is too long."""
        rate = Rate(count=1, seconds=60.0, burst=1)
        assert [(await state.admit(key, rate)).is_given for key in ODD_KEYS] == [True] * len(
            ODD_KEYS
        )
        assert not any([(await state.admit(key, rate)).is_given for key in ODD_KEYS])

    async def test_the_smallest_and_the_largest_rates_are_exact(
        self, rig: StateRig, state: StateStore
    ) -> None:
        """Whole microseconds, not the digits a script language prints."""
        slow = Rate(count=1, seconds=86_400.0, burst=10_000)
        for _ in range(3):
            assert await state.admit("slow", slow) == Turn(True, 0.0)
        fast = Rate(count=1_000_000, seconds=1.0, burst=1)
        assert await state.admit("fast", fast) == Turn(True, 0.0)
        assert await state.admit("fast", fast) == Turn(False, 0.000001)
        third = Rate(count=3, seconds=1.0, burst=1)
        await state.admit("third", third)
        assert await state.admit("third", third) == Turn(False, 0.333334)

    async def test_a_rate_of_before_locks_nobody_out(
        self, rig: StateRig, state: StateStore
    ) -> None:
        await state.admit("client", Rate(count=1, seconds=86_400.0, burst=1))
        longest = MAX_PATIENCE_SECONDS + 1
        assert await state.admit("client", EVERY_SECOND) == Turn(False, longest)
        rig.clock.advance(longest)
        assert await state.admit("client", EVERY_SECOND) == Turn(True, 0.0)


class TestPlaces:
    async def test_as_many_get_in_as_there_are_places(self, state: StateStore) -> None:
        got = [await state.enter("client", body(n), limit=2, seconds=10) for n in range(4)]
        assert got == [True, True, False, False]
        assert await state.enter("another", body(9), limit=2, seconds=10)

    async def test_who_renews_in_time_stays_and_the_others_stay_out(
        self, rig: StateRig, state: StateStore
    ) -> None:
        for _ in range(5):
            assert await state.enter("client", body(1), limit=1, seconds=10)
            assert not await state.enter("client", body(2), limit=1, seconds=10)
            rig.clock.advance(9.5)

    async def test_a_place_that_is_not_renewed_is_free(
        self, rig: StateRig, state: StateStore
    ) -> None:
        await state.enter("client", body(1), limit=1, seconds=10)
        rig.clock.advance(10)
        assert await state.enter("client", body(2), limit=1, seconds=10)
        assert not await state.enter("client", body(1), limit=1, seconds=10)

    async def test_a_place_that_is_left_is_free_at_once(self, rig: StateRig) -> None:
        here, there = await rig.open(), await rig.open()
        await here.enter("client", body(1), limit=1, seconds=10)
        assert not await there.enter("client", body(2), limit=1, seconds=10)
        await here.leave("client", body(1))
        assert await there.enter("client", body(2), limit=1, seconds=10)

    async def test_leaving_what_one_does_not_have_does_nothing(self, state: StateStore) -> None:
        await state.enter("client", body(1), limit=1, seconds=10)
        await state.leave("client", body(2))
        await state.leave("another", body(1))
        assert not await state.enter("client", body(2), limit=1, seconds=10)

    async def test_who_is_in_stays_in_when_places_become_fewer(self, state: StateStore) -> None:
        for n in (1, 2, 3):
            assert await state.enter("client", body(n), limit=3, seconds=10)
        assert await state.enter("client", body(3), limit=1, seconds=10)
        assert not await state.enter("client", body(4), limit=3, seconds=10)

    async def test_all_who_share_the_store_share_the_places(self, rig: StateRig) -> None:
        states = [await rig.open(), await rig.open()]
        got = await asyncio.gather(
            *(states[n % 2].enter("client", body(n), limit=5, seconds=10) for n in range(20))
        )
        assert sum(got) == 5

    async def test_each_key_has_its_own_places_whatever_it_is(self, state: StateStore) -> None:
        first = [await state.enter(key, body(1), limit=1, seconds=10) for key in ODD_KEYS]
        second = [await state.enter(key, body(2), limit=1, seconds=10) for key in ODD_KEYS]
        assert (all(first), any(second)) == (True, False)

    async def test_the_places_of_the_dead_are_free_at_once_or_by_their_deadline(
        self, rig: StateRig
    ) -> None:
        dying, living = await rig.open(), await rig.open()
        await dying.enter("client", body(1), limit=1, seconds=10)
        await dying.close()
        assert rig.shows_death == await living.enter("client", body(2), limit=1, seconds=10)
        rig.clock.advance(10)
        assert await living.enter("client", body(3), limit=1, seconds=10)


async def test_a_store_that_cannot_be_asked_says_so(rig: StateRig) -> None:
    state = await rig.open()
    await state.close()
    with pytest.raises(StateError):
        await state.admit("client", EVERY_SECOND)
    with pytest.raises(StateError):
        await state.enter("client", body(1), limit=1, seconds=10)
    with pytest.raises(StateError):
        await state.leave("client", body(1))


def body(number: int) -> HolderId:
    return HolderId(f"{number:032x}")


RATES = {
    "a": EVERY_SECOND,
    "b": Rate(count=3, seconds=1.0, burst=1),
    "c": Rate(count=1, seconds=7.0, burst=5),
}
KEYS = st.sampled_from(sorted(RATES))
INSTANCES = st.integers(0, 1)


class QuotaMachine(RuleBasedStateMachine):
    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.buckets: defaultdict[str, Bucket] = defaultdict(Bucket)
        self.places: defaultdict[str, Places] = defaultdict(Places)
        self.entered_by: dict[tuple[str, str], int] = {}

    @initialize()
    def open(self) -> None:
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())

        async def start() -> None:
            self.rig = await self.stack.enter_async_context(STATES[self.kind](Path(folder)))
            self.states = [await self.rig.open(), await self.rig.open()]

        self.runner.run(start())

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @property
    def now(self) -> Fraction:
        return Fraction(self.rig.clock())

    @rule(instance=INSTANCES, key=KEYS, patience=st.sampled_from([0, 2, 10]))
    def admit(self, instance: int, key: str, patience: int) -> None:
        asked = self.states[instance].admit(key, RATES[key], patience_seconds=patience)
        turn = self.runner.run(asked)
        is_given, wait = self.buckets[key].ask(self.now, RATES[key], Fraction(patience))
        assert (turn.is_given, round(turn.wait_seconds * MICRO)) == (is_given, int(wait * MICRO))

    @rule(
        instance=INSTANCES,
        key=KEYS,
        number=st.integers(1, 4),
        limit=st.integers(1, 3),
        seconds=st.sampled_from([1, 5]),
    )
    def enter(self, instance: int, key: str, number: int, limit: int, seconds: int) -> None:
        entering = self.states[instance].enter(key, body(number), limit=limit, seconds=seconds)
        got = self.runner.run(entering)
        expected = self.places[key].enter(
            body(number), self.now, limit=limit, seconds=Fraction(seconds)
        )
        assert got == expected
        if got:
            self.entered_by[key, body(number)] = instance

    @rule(instance=INSTANCES, key=KEYS, number=st.integers(1, 4))
    def leave(self, instance: int, key: str, number: int) -> None:
        self.runner.run(self.states[instance].leave(key, body(number)))
        self.places[key].leave(body(number))

    @rule(seconds=st.sampled_from([0.125, 0.5, 1.0, 4.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.rig.clock.advance(seconds)

    @rule(instance=INSTANCES)
    def die(self, instance: int) -> None:
        """What a dead process had is free where its death shows; its turns stay spent."""

        async def restart() -> None:
            await self.states[instance].close()
            self.states[instance] = await self.rig.open()

        self.runner.run(restart())
        if self.rig.shows_death:
            for (key, one), by in self.entered_by.items():
                if by == instance:
                    self.places[key].leave(one)
        self.entered_by = {each: by for each, by in self.entered_by.items() if by != instance}


@pytest.mark.parametrize("kind", sorted(STATES))
def test_any_sequence_is_that_of_buckets_and_places(kind: str) -> None:
    """To the microsecond, whatever two instances do in whatever order."""
    machine = type("Machine", (QuotaMachine,), {"kind": kind})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40))
