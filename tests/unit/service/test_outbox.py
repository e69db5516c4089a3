"""Events reach each hook at least once, in order per upload; hours pass in virtual time."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.outbox import MemoryOutbox
from tests.fakes.virtual_time import START, run
from tusd_py.core.events import Event, EventKind, build_event_id
from tusd_py.core.ids import UploadId
from tusd_py.hooks.base import DeliveryFailed, EventSink
from tusd_py.service.deliveries import RECORD_SECONDS, Subscription
from tusd_py.service.observer import SilentObserver
from tusd_py.service.outbox import Dispatcher, OutboxSettings

HOUR = 3600.0
Now = Callable[[], float]


def event(upload: str = "a", sequence: int = 0, kind: EventKind = EventKind.CREATED) -> Event:
    upload_id = UploadId(upload)
    return Event(
        id=build_event_id(upload_id, kind, sequence),
        kind=kind,
        upload_id=upload_id,
        occurred_at=START,
        data={"sequence": sequence},
    )


class Sink(EventSink):
    """Remembers what it was told and what it took; behaves as ``behave`` says."""

    def __init__(
        self, now: Now, behave: Callable[[Event], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        self._now = now
        self._behave = behave
        self.tries: list[tuple[float, Event]] = []
        self.taken: list[Event] = []
        self.running: Counter[str] = Counter()
        self.most_running = 0
        self._told = asyncio.Condition()

    async def deliver(self, event: Event) -> None:
        self.tries.append((self._now() - START, event))
        assert not self.running[event.upload_id], "two deliveries of one upload at once"
        self.running[event.upload_id] += 1
        self.most_running = max(self.most_running, self.running.total())
        try:
            if self._behave:
                await self._behave(event)
            self.taken.append(event)
            async with self._told:
                self._told.notify_all()
        finally:
            self.running[event.upload_id] -= 1

    async def took(self, count: int) -> None:
        async with self._told:
            await self._told.wait_for(lambda: len(self.taken) >= count)


class Counts(SilentObserver):
    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def delivered(self, hook: str, outcome: str) -> None:
        self.outcomes[hook, outcome] += 1


class Rig:
    """A dispatcher over an outbox in memory, running."""

    def __init__(self, now: Now, sinks: dict[str, Subscription], **settings: float) -> None:
        self.outbox = MemoryOutbox(now)
        self.counts = Counts()
        self.dispatcher = Dispatcher(
            self.outbox,
            sinks,
            OutboxSettings(**settings),
            now=now,
            dice=random.Random(5).random,
            observer=self.counts,
        )


@asynccontextmanager
async def running(
    now: Now, sinks: dict[str, EventSink | Subscription], **settings: float
) -> AsyncIterator[Rig]:
    subscriptions = {
        hook: sink if isinstance(sink, Subscription) else Subscription(sink=sink)
        for hook, sink in sinks.items()
    }
    rig = Rig(now, subscriptions, **settings)
    await rig.outbox.register(list(sinks))
    task = asyncio.create_task(rig.dispatcher.run())
    try:
        yield rig
        assert not task.done(), "the dispatcher has ended by itself"
        await rig.dispatcher.stop(1.0)
        await task
    finally:
        task.cancel()


async def passes(seconds: float) -> None:
    """Let virtual time go by."""
    await asyncio.sleep(seconds)


# ------------------------------------------------------------------ at least once, in order


def test_events_are_delivered_at_once_and_once() -> None:
    """Committed while the dispatcher idles: the next moment they are there."""

    async def main(now: Now) -> None:
        sink = Sink(now)
        async with running(now, {"hook": sink}) as rig:
            await passes(100)
            rig.outbox.commit(event("a"), event("b"))
            await passes(0.05)
            assert [one.upload_id for one in sink.taken] == ["a", "b"]
            await passes(HOUR)
            assert len(sink.tries) == 2 and not rig.outbox.rows
            assert rig.counts.outcomes == {("hook", "taken"): 2}

    run(main)


def test_what_was_committed_before_the_start_is_delivered() -> None:
    """By a process that has died."""

    async def main(now: Now) -> None:
        sink = Sink(now)
        rig = Rig(now, {"hook": Subscription(sink=sink)})
        await rig.outbox.register(["hook"])
        rig.outbox.commit(event())
        task = asyncio.create_task(rig.dispatcher.run())
        await sink.took(1)
        await rig.dispatcher.stop(1)
        await task

    run(main)


def test_a_receiver_away_for_an_hour_loses_nothing_and_delays_no_other() -> None:
    """Each event is taken by the other at once, and by it after its return, in order."""

    async def main(now: Now) -> None:
        async def away(_: Event) -> None:
            if now() < START + HOUR:
                raise DeliveryFailed("connection refused")

        absent, present = Sink(now, away), Sink(now)
        async with running(now, {"absent": absent, "present": present}) as rig:
            for minute in range(50):
                upload = f"upload {minute % 20}"
                rig.outbox.commit(event(upload, minute))
                await passes(60)
                assert len(present.taken) == minute + 1
                assert not absent.taken
            await passes(2.5 * HOUR)
            assert len(absent.taken) == 50 and not rig.outbox.rows
            assert_in_order(absent)
            assert max(at for at, _ in present.tries) <= 49 * 60 + 1

    run(main)


def assert_in_order(sink: Sink) -> None:
    """No event of an upload is tried before the one ahead of it was taken."""
    latest: dict[str, int] = {}
    for one in sink.taken:
        assert one.data["sequence"] > latest.get(one.upload_id, -1)
        latest[one.upload_id] = one.data["sequence"]


@settings(max_examples=40)
@given(
    uploads=st.lists(st.sampled_from("abcde"), min_size=1, max_size=20),
    seed=st.integers(0, 2**16),
    concurrency=st.integers(1, 4),
)
def test_order_per_upload_holds_whatever_fails(
    uploads: list[str], seed: int, concurrency: int
) -> None:
    """Sinks that fail, hang, raise anything and cancel themselves; a state that comes and goes."""

    async def main(now: Now) -> None:
        dice = random.Random(seed)

        async def misbehave(_: Event) -> None:
            match dice.randrange(6):
                case 0:
                    raise DeliveryFailed("no", retry_after_seconds=dice.choice([None, 5, 900]))
                case 1:
                    raise ZeroDivisionError
                case 2:
                    raise asyncio.CancelledError
                case 3:
                    await passes(dice.uniform(0, 60))
                case _:
                    await passes(dice.uniform(0, 1))

        sink = Sink(now, misbehave)
        wish = Subscription(sink=sink, concurrency=concurrency)
        async with running(now, {"hook": wish}) as rig:
            for sequence, upload in enumerate(uploads):
                rig.outbox.commit(event(upload, sequence))
                rig.outbox.is_away = dice.random() < 0.2
                await passes(dice.uniform(0, 30))
            rig.outbox.is_away = False
            while rig.outbox.rows:
                await passes(10)
            assert {one.data["sequence"] for one in sink.taken} == set(range(len(uploads)))
            assert sink.most_running <= concurrency
            firsts = list(dict.fromkeys(one.id for one in sink.taken))
            for upload in set(uploads):
                wanted = [
                    event(upload, sequence).id
                    for sequence, owner in enumerate(uploads)
                    if owner == upload
                ]
                assert [one for one in firsts if one in wanted] == wanted

    run(main)


def test_uploads_are_delivered_side_by_side_up_to_the_bound() -> None:
    """One that hangs takes its own place only."""

    async def main(now: Now) -> None:
        async def slow(one: Event) -> None:
            await passes(20 if one.upload_id == "0" else 1)

        sink = Sink(now, slow)
        wish = Subscription(sink=sink, concurrency=3)
        async with running(now, {"hook": wish}) as rig:
            rig.outbox.commit(*(event(str(number)) for number in range(9)))
            await passes(6)
            assert (sink.most_running, len(sink.taken)) == (3, 8)
            await sink.took(9)

    run(main)


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    "error",
    [
        DeliveryFailed("no"),
        ValueError("a fault in the hook"),
        TimeoutError(),
        asyncio.CancelledError(),
        RecursionError(),
    ],
    ids=repr,
)
def test_no_exception_of_a_sink_ends_the_deliveries(error: BaseException) -> None:
    """It is one failed try; the next one succeeds, and other uploads go on."""

    async def main(now: Now) -> None:
        failed: set[str] = set()

        async def fail_once(one: Event) -> None:
            if one.upload_id == "bad" and one.id not in failed:
                failed.add(one.id)
                raise error

        sink = Sink(now, fail_once)
        async with running(now, {"hook": sink}) as rig:
            rig.outbox.commit(event("bad"), event("good"))
            await passes(5)
            assert {one.upload_id for one in sink.taken} == {"bad", "good"}
            assert rig.counts.outcomes == {("hook", "taken"): 2, ("hook", "failed"): 1}

    run(main)


def test_a_sink_that_hangs_has_failed_at_its_deadline() -> None:
    """It is cancelled, and the event is delivered again."""

    async def main(now: Now) -> None:
        async def hang_once(_: Event) -> None:
            if len(sink.tries) == 1:
                await passes(HOUR)

        sink = Sink(now, hang_once)
        async with running(now, {"hook": Subscription(sink=sink, deadline_seconds=7)}) as rig:
            rig.outbox.commit(event())
            await sink.took(1)
            assert 7 <= sink.tries[1][0] <= 8.1

    run(main)


@pytest.mark.parametrize(("asked", "kept"), [(90.0, 90.0), (HOUR * 24, HOUR * 6), (None, 0.0)])
def test_retry_after_is_honoured_within_its_bound(asked: float | None, kept: float) -> None:
    """Not before the time that the receiver asked for."""

    async def main(now: Now) -> None:
        async def pause_once(_: Event) -> None:
            if len(sink.tries) == 1:
                raise DeliveryFailed("busy", retry_after_seconds=asked)

        sink = Sink(now, pause_once)
        async with running(now, {"hook": sink}) as rig:
            rig.outbox.commit(event())
            await sink.took(1)
            assert kept <= sink.tries[1][0] <= kept + 2
            assert rig.outbox.calls["claim"] == 2, "a claim is a write: only for what is due"

    run(main)


def test_after_more_than_a_day_an_event_is_buried_and_the_next_one_goes_out() -> None:
    """The dead letter has the reason; other uploads were not held up."""

    async def main(now: Now) -> None:
        async def refuse_first(one: Event) -> None:
            if one.data["sequence"] == 0 and one.upload_id == "a":
                raise DeliveryFailed("answered 400")

        sink = Sink(now, refuse_first)
        async with running(now, {"hook": sink}) as rig:
            rig.outbox.commit(event("a", 0), event("a", 1), event("b", 0))
            await passes(24 * HOUR)
            assert [one.upload_id for one in sink.taken] == ["b"]
            await passes(16 * HOUR)
            assert [(one.upload_id, one.data["sequence"]) for one in sink.taken] == [
                ("b", 0),
                ("a", 1),
            ]
            (letter,) = await rig.outbox.dead_letters(hook="hook", limit=9)
            assert letter.reason == "answered 400"
            assert letter.delivery.event == event("a", 0)
            assert rig.counts.outcomes["hook", "buried"] == 1
            assert len(sink.tries) < 110

    run(main)


def test_a_replayed_dead_letter_is_delivered() -> None:
    """An operator asked for it, the receiver is well again."""

    async def main(now: Now) -> None:
        well: list[bool] = []

        async def refuse(_: Event) -> None:
            if not well:
                raise DeliveryFailed("answered 400")

        sink = Sink(now, refuse)
        async with running(now, {"hook": sink}, give_up_seconds=0) as rig:
            rig.outbox.commit(event())
            await passes(1)
            well.append(True)
            assert await rig.outbox.replay(hook=None, event_id=None, now=now()) == 1
            await sink.took(1)

    run(main)


def test_events_that_a_hook_does_not_want_are_settled_without_asking_it() -> None:
    """They do not hold up those that it wants."""

    async def main(now: Now) -> None:
        sink = Sink(now)
        wish = Subscription(sink=sink, events=frozenset({EventKind.COMPLETED}))
        async with running(now, {"hook": wish}) as rig:
            rig.outbox.commit(event("a", 0), event("a", 1, EventKind.COMPLETED), event("b"))
            await passes(1)
            assert [one.kind for one in sink.taken] == [EventKind.COMPLETED]
            assert not rig.outbox.rows

    run(main)


def test_a_state_that_is_away_is_asked_again_and_not_all_the_time() -> None:
    """Five minutes without it: few questions, and the event arrives soon after its return."""

    async def main(now: Now) -> None:
        sink = Sink(now)
        async with running(now, {"hook": sink}) as rig:
            rig.outbox.is_away = True
            rig.outbox.commit(event())
            await passes(300)
            assert sum(rig.outbox.calls.values()) < 120
            rig.outbox.is_away = False
            await passes(16)
            assert len(sink.taken) == 1

    run(main)


def test_an_outcome_that_cannot_be_written_down_means_another_delivery() -> None:
    """The claim runs out; the event comes again under the same id."""

    async def main(now: Now) -> None:
        async def lose_the_state(_: Event) -> None:
            rig.outbox.is_away = len(sink.tries) == 1

        sink = Sink(now, lose_the_state)
        async with running(now, {"hook": Subscription(sink=sink, deadline_seconds=5)}) as rig:
            rig.outbox.commit(event())
            await passes(2 * RECORD_SECONDS)
            assert len(sink.taken) == 1 and rig.outbox.rows
            rig.outbox.is_away = False
            await passes(2 * RECORD_SECONDS)
            assert [one.id for one in sink.taken] == [event().id] * 2
            assert not rig.outbox.rows

    run(main)


def test_an_outcome_is_written_down_once_the_state_is_back() -> None:
    """Within the claim: no second delivery."""

    async def main(now: Now) -> None:
        async def lose_the_state(_: Event) -> None:
            rig.outbox.is_away = True

        sink = Sink(now, lose_the_state)
        async with running(now, {"hook": sink}) as rig:
            rig.outbox.commit(event())
            await passes(3)
            rig.outbox.is_away = False
            await passes(HOUR)
            assert len(sink.tries) == 1 and not rig.outbox.rows

    run(main)


# ------------------------------------------------------------------ idle, stop, purge


def test_an_idle_dispatcher_only_looks_now_and_then() -> None:
    """An hour: no claims, which are writes, and a look each half minute."""

    async def main(now: Now) -> None:
        async with running(now, {"hook": Sink(now)}) as rig:
            await passes(HOUR)
            assert rig.outbox.calls.get("claim", 0) == 0
            assert rig.outbox.calls["next_due"] <= HOUR / 30 + 2

    run(main)


def test_a_claim_of_a_dead_process_is_taken_over_when_it_runs_out() -> None:
    """Nobody wakes the lane for that."""

    async def main(now: Now) -> None:
        sink = Sink(now)
        async with running(now, {"hook": sink}) as rig:
            rig.outbox.commit(event())
            await rig.outbox.claim("hook", now=now(), claim_seconds=100, limit=1)
            await passes(99)
            assert not sink.taken
            await passes(32)
            assert len(sink.taken) == 1

    run(main)


def test_stopping_waits_for_running_deliveries() -> None:
    """They are recorded; nothing new is claimed."""

    async def main(now: Now) -> None:
        async def slow(_: Event) -> None:
            await passes(5)

        sink = Sink(now, slow)
        rig = Rig(now, {"hook": Subscription(sink=sink, concurrency=1)})
        await rig.outbox.register(["hook"])
        task = asyncio.create_task(rig.dispatcher.run())
        rig.outbox.commit(event("a"), event("b"))
        await passes(1)
        await rig.dispatcher.stop(10)
        await task
        assert now() - START == pytest.approx(5, abs=0.1)
        assert [one.upload_id for one in sink.taken] == ["a"]
        assert [row.event.upload_id for row in rig.outbox.rows.values()] == ["b"]

    run(main)


def test_a_delivery_cut_off_by_the_stop_stays_to_be_delivered() -> None:
    """The stop takes its bounded time; the event is neither lost nor counted as a failure."""

    async def main(now: Now) -> None:
        async def hang(_: Event) -> None:
            await passes(HOUR)

        sink = Sink(now, hang)
        rig = Rig(now, {"hook": Subscription(sink=sink, deadline_seconds=3600)})
        await rig.outbox.register(["hook"])
        task = asyncio.create_task(rig.dispatcher.run())
        rig.outbox.commit(event())
        await passes(1)
        await rig.dispatcher.stop(3)
        await task
        assert now() - START == pytest.approx(4, abs=0.1)
        (row,) = rig.outbox.rows.values()
        assert (row.attempts, row.dead) == (0, None)

    run(main)


def test_a_sink_that_ignores_its_cancellation_does_not_hold_the_stop_for_ever() -> None:
    """A second more than the bound, then the stop goes on."""

    async def main(now: Now) -> None:
        async def cling(_: Event) -> None:
            end = now() + 60
            while now() < end:
                try:
                    await passes(end - now())
                except asyncio.CancelledError:
                    continue

        rig = Rig(now, {"hook": Subscription(sink=Sink(now, cling), deadline_seconds=3600)})
        await rig.outbox.register(["hook"])
        task = asyncio.create_task(rig.dispatcher.run())
        rig.outbox.commit(event())
        await passes(1)
        await rig.dispatcher.stop(3)
        assert now() - START == pytest.approx(5, abs=0.1)
        await asyncio.wait([task])

    run(main)


def test_cancelling_ends_everything() -> None:
    """And a stop afterwards has nothing to wait for."""

    async def main(now: Now) -> None:
        async def hang(_: Event) -> None:
            await passes(HOUR)

        sink = Sink(now, hang)
        rig = Rig(now, {"hook": Subscription(sink=sink, deadline_seconds=3600)})
        await rig.outbox.register(["hook"])
        task = asyncio.create_task(rig.dispatcher.run())
        rig.outbox.commit(event())
        await passes(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sink.running.total() == 0
        await rig.dispatcher.stop(10)
        assert now() - START == pytest.approx(1, abs=0.1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_without_hooks_the_dispatcher_still_purges() -> None:
    """Events older than a week, every ten minutes."""

    async def main(now: Now) -> None:
        async with running(now, {}) as rig:
            await passes(HOUR)
            assert 5 <= len(rig.outbox.purged_before) <= 7
            assert rig.outbox.purged_before[-1] <= now() - 7 * 24 * HOUR
            rig.outbox.is_away = True
            await passes(HOUR)
            rig.outbox.is_away = False
            await passes(HOUR)
            assert len(rig.outbox.purged_before) > 10

    run(main)


def test_settings_whose_waits_would_shrink_are_refused() -> None:
    """The first wait is the shortest."""
    with pytest.raises(ValueError, match="first_retry_seconds"):
        OutboxSettings(first_retry_seconds=60, max_retry_seconds=30)
