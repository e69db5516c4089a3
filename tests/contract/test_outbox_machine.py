"""The outbox against a small model: any sequence of steps of two instances.

Times are unique, so that "oldest first" means one order. Before an instance is asked what it may
hand out it looks everywhere (who is told "nothing" has looked): stores may hear of each other late.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.contract.states import STATES, an_event, an_upload, take
from tusd_py.core.events import Event, EventKind
from tusd_py.core.ids import EventId, UploadId
from tusd_py.state.base import Delivery

CLAIM_SECONDS = 30.0
HOOKS = ("a", "b")
INSTANCES = st.integers(0, 1)
NUMBERS = st.integers(1, 3)
SEQUENCES = st.integers(0, 3)
SECONDS = st.integers(0, 900)
NEVER_DUE = -1e9


@dataclass
class Row:
    """One event for one hook, until it was taken or purged."""

    hook: str
    event: Event
    number: int
    """In the order of commits."""
    due: float
    attempts: int = 0
    claim: "Claim | None" = None
    buried: tuple[float, str] | None = None


@dataclass(frozen=True, eq=False)
class Claim:
    """One time that an event was handed out."""

    instance: int
    delivery: Delivery
    deadline: float


class Model:
    """What should be."""

    def __init__(self) -> None:
        self.hooks: set[str] = set()
        self.known: dict[EventId, float] = {}
        self.rows: dict[tuple[str, EventId], Row] = {}
        self.heads: dict[tuple[str, UploadId], Row] = {}
        self._number = 0

    def tell(self, event: Event) -> None:
        if event.id in self.known:
            return
        self.known[event.id] = event.occurred_at
        self._number += 1
        for hook in self.hooks:
            row = Row(hook, event, self._number, event.occurred_at)
            self.rows[hook, event.id] = row
            self.promote(row)

    def promote(self, of: Row) -> None:
        """The next one of this queue becomes the head, where it has none."""
        queue = (of.hook, of.event.upload_id)
        waiting = [row for row in self.alive(of.hook) if row.event.upload_id == queue[1]]
        if queue not in self.heads and waiting:
            self.heads[queue] = min(waiting, key=lambda row: row.number)

    def alive(self, hook: str) -> list[Row]:
        return [row for row in self.rows.values() if row.hook == hook and row.buried is None]

    def dead(self) -> list[Row]:
        return [row for row in self.rows.values() if row.buried is not None]

    def leave_queue(self, row: Row) -> None:
        queue = (row.hook, row.event.upload_id)
        row.claim = None
        if self.heads.get(queue) is row:
            del self.heads[queue]
        self.promote(row)

    def settle(self, hook: str, event: Event) -> None:
        row = self.rows.pop((hook, event.id), None)
        if row is not None:
            self.leave_queue(row)

    def bury(self, hook: str, event: Event, at: float) -> None:
        row = self.rows.get((hook, event.id))
        if row is not None and row.buried is None:
            row.attempts += 1
            row.buried = (at, f"at {at}")
            self.leave_queue(row)

    def replay(self, hook: str | None, event_id: str | None, now: float) -> int:
        chosen = [
            row
            for row in self.dead()
            if hook in (None, row.hook) and event_id in (None, row.event.id)
        ]
        for row in chosen:
            row.buried, row.attempts, row.due = None, 0, now
        for row in chosen:
            self.promote(row)
        return len(chosen)

    def purge(self, before: float) -> int:
        waited_for = {row.event.id for row in self.rows.values() if row.buried is None}
        old = {event_id for event_id, at in self.known.items() if at < before} - waited_for
        for event_id in old:
            del self.known[event_id]
        self.rows = {key: row for key, row in self.rows.items() if key[1] not in old}
        return len(old)

    def free(self, hook: str, clock: float) -> list[Row]:
        """What can be handed out once it is due, oldest first."""
        found = [
            row
            for row in self.heads.values()
            if row.hook == hook and (row.claim is None or row.claim.deadline <= clock)
        ]
        return sorted(found, key=lambda row: row.due)


class OutboxMachine(RuleBasedStateMachine):
    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.model = Model()
        self.claims: list[Claim] = []
        self.moments = 0

    @initialize()
    def open(self) -> None:
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())

        async def start() -> None:
            self.rig = await self.stack.enter_async_context(STATES[self.kind](Path(folder)))
            self.states = [await self.rig.open(), await self.rig.open()]
            for number in range(1, 4):
                await self.states[0].create(an_upload(number), [], with_lease=False)

        self.runner.run(start())
        self.register(0, set(HOOKS))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    def moment(self, seconds: float) -> float:
        """A time that no other one equals."""
        self.moments += 1
        return 1000.0 + seconds + self.moments / 1024

    @rule(instance=INSTANCES, hooks=st.sets(st.sampled_from(HOOKS)))
    def register(self, instance: int, hooks: set[str]) -> None:
        self.runner.run(self.states[instance].register(sorted(hooks)))
        self.model.hooks = set(hooks)

    @rule(instance=INSTANCES, number=NUMBERS, sequences=st.lists(SEQUENCES, max_size=3), at=SECONDS)
    def tell(self, instance: int, number: int, sequences: Sequence[int], at: float) -> None:
        """Perhaps again, and in any order of time."""
        upload, state = an_upload(number), self.states[instance]
        events = [
            replace(an_event(upload, EventKind.INTERRUPTED, sequence), occurred_at=self.moment(at))
            for sequence in sequences
        ]

        async def commit() -> None:
            taken = await take(state, upload)
            await state.commit(taken.lease, upload, events, release=True)

        self.runner.run(commit())
        for event in events:
            self.model.tell(event)

    @rule(instance=INSTANCES, hook=st.sampled_from(HOOKS), limit=st.integers(1, 4), seconds=SECONDS)
    def claim(self, instance: int, hook: str, limit: int, seconds: float) -> None:
        state, now = self.states[instance], 1000.0 + seconds

        async def look_and_claim() -> tuple[float | None, Sequence[Delivery]]:
            assert not await state.claim(hook, now=NEVER_DUE, claim_seconds=CLAIM_SECONDS, limit=1)
            due = await state.next_due(hook)
            return due, await state.claim(hook, now=now, claim_seconds=CLAIM_SECONDS, limit=limit)

        next_due, deliveries = self.runner.run(look_and_claim())
        free = self.model.free(hook, self.rig.clock())
        assert next_due == (free[0].due if free else None)
        wanted = [row for row in free if row.due <= now][:limit]
        # Only events that were replayed together are equally old.
        got = {delivery.event.id: delivery for delivery in deliveries}
        assert len(got) == len(deliveries) == len(wanted)
        rows = [self.model.rows[hook, event_id] for event_id in got]
        assert [row.due for row in rows] == [row.due for row in wanted]
        for row in rows:
            delivery = got[row.event.id]
            assert row in free and delivery.event == row.event
            assert delivery.attempts == row.attempts
            row.claim = Claim(instance, delivery, self.rig.clock() + CLAIM_SECONDS)
            self.claims.append(row.claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), count=st.integers(1, 3), instance=INSTANCES)
    def settle(self, data: st.DataObject, count: int, instance: int) -> None:
        """Perhaps late, and whoever says so."""
        claims = [data.draw(st.sampled_from(self.claims)) for _ in range(count)]
        self.runner.run(self.states[instance].settle([claim.delivery for claim in claims]))
        for claim in claims:
            self.model.settle(claim.delivery.hook, claim.delivery.event)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), seconds=SECONDS)
    def postpone(self, data: st.DataObject, seconds: float) -> None:
        """Perhaps late: then it may be another's, and is left alone."""
        claim = data.draw(st.sampled_from(self.claims))
        delivery, until = claim.delivery, self.moment(seconds)
        row = self.model.rows.get((delivery.hook, delivery.event.id))
        now = None if row is None else row.claim
        if now is not None and now is not claim and now.instance == claim.instance:
            return  # of one process both: stores need not tell them apart
        self.runner.run(self.states[claim.instance].postpone(delivery, until=until))
        if row is not None and now is claim:
            row.claim, row.due = None, until
            row.attempts += 1

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), instance=INSTANCES, seconds=SECONDS)
    def bury(self, data: st.DataObject, instance: int, seconds: float) -> None:
        delivery, at = data.draw(st.sampled_from(self.claims)).delivery, self.moment(seconds)
        self.runner.run(self.states[instance].bury(delivery, reason=f"at {at}", now=at))
        self.model.bury(delivery.hook, delivery.event, at)

    @rule(data=st.data(), instance=INSTANCES, hook=st.sampled_from((None, *HOOKS)))
    def replay(self, data: st.DataObject, instance: int, hook: str | None) -> None:
        ids = sorted({row.event.id for row in self.model.dead()})
        event_id = data.draw(st.sampled_from([None, *ids]))
        now = self.moment(0)
        replaying = self.states[instance].replay(hook=hook, event_id=event_id, now=now)
        assert self.runner.run(replaying) == self.model.replay(hook, event_id, now)

    @rule(instance=INSTANCES, before=st.integers(0, 1000))
    def purge(self, instance: int, before: float) -> None:
        purging = self.states[instance].purge(before=1000.0 + before)
        assert self.runner.run(purging) == self.model.purge(1000.0 + before)

    @rule(seconds=st.sampled_from([CLAIM_SECONDS / 2, CLAIM_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.rig.clock.advance(seconds)

    @precondition(lambda self: self.rig.shows_death)
    @rule(instance=INSTANCES)
    def die(self, instance: int) -> None:
        """What was handed out to an instance that ends is free again."""

        async def restart() -> None:
            await self.states[instance].close()
            self.states[instance] = await self.rig.open()

        self.runner.run(restart())
        for row in self.model.rows.values():
            if row.claim is not None and row.claim.instance == instance:
                row.claim = None
        self.claims = [claim for claim in self.claims if claim.instance != instance]

    @invariant()
    def nothing_is_lost_and_nothing_counted_twice(self) -> None:
        async def look() -> None:
            state = self.states[0]
            counts = {hook: len(self.model.alive(hook)) for hook in HOOKS}
            wanted = {
                hook: count for hook, count in counts.items() if count or hook in self.model.hooks
            }
            assert await state.backlog() == wanted
            letters = [
                (letter.delivery.hook, letter.delivery.event, letter.delivery.attempts)
                for letter in await state.dead_letters(hook=None, limit=100)
            ]
            dead = sorted(self.model.dead(), key=lambda row: row.buried or (0.0, ""))
            assert letters == [(row.hook, row.event, row.attempts) for row in dead]

        self.runner.run(look())


@pytest.mark.parametrize("kind", sorted(STATES))
def test_any_sequence_of_steps_keeps_to_the_model(kind: str) -> None:
    """At least once, in order, to one at a time: whatever two instances do in whatever order."""
    machine = type("Machine", (OutboxMachine,), {"kind": kind})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40))
