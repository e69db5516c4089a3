"""Calls about events that arrive twice, late, or whose answer is lost: nobody notices."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest

from tests.contract import test_outbox as suite
from tests.contract.redis_states import KeyClockLink, KeyClockState, ServerRig
from tests.contract.states import an_event, an_upload
from tests.contract.test_outbox import CLAIM_SECONDS, NOW, claim, events_of, tell
from tests.redis.records import make_rig
from tusd_py.core.events import EventKind
from tusd_py.state.base import Delivery, StateError, StateStore
from tusd_py.state.redis.event_codec import event_args
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.scripts import Script

ANSWERED_LAST: Final = frozenset({"claim", "unclaim", "settle", "postpone", "bury", "create"})
"""What is asked again because the first answer was lost; the second one is heard."""
ANSWERED_FIRST: Final = frozenset({"replay", "purge_events"})
"""Of what is counted the first answer is heard, and the call arrives once more afterwards."""

# An answer that was lost cannot tell what it made due: that is seen by the next look.
LOST_WITH_ANSWERS: Final = "test_what_an_outcome_makes_due_is_seen_at_once"
globals().update(
    {
        name: test
        for name, test in vars(suite).items()
        if name.startswith("test_") and name != LOST_WITH_ANSWERS
    }
)
# The suite of the contract, on a way to Redis on which every call arrives twice.


class TwiceLink(KeyClockLink):
    """Every call arrives twice."""

    async def call(self, script: Script, bucket: int, *args: Arg, **how: Any) -> Any:
        first = await super().call(script, bucket, *args, **how)
        if script.name not in ANSWERED_LAST | ANSWERED_FIRST:
            return first
        second = await super().call(script, bucket, *args, **how)
        return first if script.name in ANSWERED_FIRST else second


class TwiceState(KeyClockState):
    link_type = TwiceLink


class LossyLink(KeyClockLink):
    """Answers of some scripts can be lost; what was sent can be sent again."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.lost: set[str] = set()
        self.sent: list[tuple[Script, int, tuple[Arg, ...]]] = []

    async def call(self, script: Script, bucket: int, *args: Arg, **how: Any) -> Any:
        self.sent.append((script, bucket, args))
        reply = await super().call(script, bucket, *args, **how)
        if script.name in self.lost:
            raise StateError("the answer was lost")
        return reply

    async def send_again(self, name: str) -> Any:
        """The first call of that script arrives once more."""
        script, bucket, args = next(each for each in self.sent if each[0].name == name)
        return await KeyClockLink.call(self, script, bucket, *args)


class LossyState(KeyClockState):
    link_type = LossyLink


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(TwiceState) as made:
        yield made


@pytest.fixture
async def state(rig: ServerRig) -> StateStore:
    opened = await rig.open()
    await opened.register(["h"])
    return opened


@pytest.fixture
async def lossy() -> AsyncIterator[StateStore]:
    async with make_rig(LossyState) as made:
        opened = await made.open()
        await opened.register(["h"])
        yield opened


def link_of(state: StateStore) -> LossyLink:
    assert isinstance(state, LossyState)
    link: Link = state._link
    assert isinstance(link, LossyLink)
    return link


async def claimed_at_last(state: StateStore) -> Sequence[Delivery]:
    """What is handed out by the time that what is given back was given back."""
    async with asyncio.timeout(10):
        async for _ in state.wakeups():
            if claimed := await claim(state):
                return claimed
    raise AssertionError("nobody wakes")


async def test_the_way_of_this_suite_is_that_on_which_calls_arrive_twice(state: StateStore) -> None:
    assert isinstance(state, TwiceState)


async def test_a_claim_whose_answer_was_lost_is_given_back(lossy: StateStore) -> None:
    """Nobody delivers it: it does not wait until the claim runs out."""
    (event,) = await tell(lossy, 1, EventKind.CREATED)
    link = link_of(lossy)
    link.lost = {"claim"}
    with pytest.raises(StateError):
        await claim(lossy)
    link.lost = set()
    assert events_of(await claimed_at_last(lossy)) == [event]


async def test_what_was_claimed_before_an_answer_was_lost_is_delivered(lossy: StateStore) -> None:
    """One bucket answers, the other one does not."""
    (here,) = await tell(lossy, 0, EventKind.CREATED)
    (there,) = await tell(lossy, 255, EventKind.CREATED)
    link = link_of(lossy)
    original = link.call

    async def call(script: Script, bucket: int, *args: Arg, **how: Any) -> Any:
        reply = await original(script, bucket, *args, **how)
        if script.name == "claim" and bucket:
            raise StateError("the answer was lost")
        return reply

    link.call = call  # type: ignore[method-assign]
    assert events_of(await claim(lossy)) == [here]
    link.call = original  # type: ignore[method-assign]
    assert events_of(await claimed_at_last(lossy)) == [there]


async def test_a_claim_that_arrives_after_its_event_was_taken_claims_nothing(
    lossy: StateStore,
) -> None:
    """Not that event, which is gone, and not the next one of its upload."""
    _, second = await tell(lossy, 1, EventKind.CREATED, EventKind.COMPLETED)
    await lossy.settle(await claim(lossy))
    granted, _ = await link_of(lossy).send_again("claim")
    assert granted == []
    assert events_of(await claim(lossy)) == [second]


async def test_a_postponement_that_arrives_late_leaves_the_next_try_alone(
    lossy: StateStore,
) -> None:
    await tell(lossy, 1, EventKind.CREATED)
    (first,) = await claim(lossy)
    await lossy.postpone(first, until=NOW)
    (again,) = await claim(lossy)
    await link_of(lossy).send_again("postpone")
    assert await claim(lossy) == []
    assert again.attempts == 1


async def test_a_late_postponement_of_the_same_process_takes_no_claim(lossy: StateStore) -> None:
    """A claim has an id of its own, whoever has it."""
    await tell(lossy, 1, EventKind.CREATED)
    (late,) = await claim(lossy, now=NOW)
    rival = await lossy.claim("h", now=NOW, claim_seconds=CLAIM_SECONDS, limit=1)
    assert rival == []
    await lossy.bury(late, reason="no", now=NOW)
    await lossy.replay(hook="h", event_id=None, now=NOW)
    (_,) = await claim(lossy)
    await lossy.postpone(late, until=NOW)
    assert await claim(lossy) == []


async def test_events_of_a_commit_that_arrives_twice_are_stored_once(lossy: StateStore) -> None:
    """Events know themselves; the record's own guard is not needed for it."""
    upload = an_upload(1)
    script = Script("tell", parts=("events",), body="return store_events(B, 'h', ARGV[3], 4)")
    events = [an_event(upload), an_event(upload, EventKind.COMPLETED, 1)]
    link = link_of(lossy)
    calls = [await link.call(script, 1, upload.id, *event_args(events)) for _ in range(2)]
    assert calls == [2, 0]
    assert await lossy.backlog() == {"h": 2}
