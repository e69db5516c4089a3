"""What every state store promises of events on their way to hooks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.states import (
    STATES,
    StateRig,
    an_event,
    an_upload,
    create_held,
    number_of,
    take,
)
from tusd_py.core.events import Event, EventKind
from tusd_py.state.base import Delivery, StateError, StateStore

NOW = 5000.0
CLAIM_SECONDS = 30.0

CREATED, COMPLETED, TERMINATED = (
    EventKind.CREATED,
    EventKind.COMPLETED,
    EventKind.TERMINATED,
)


@pytest.fixture(params=sorted(STATES))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateRig]:
    async with STATES[request.param](tmp_path) as made:
        yield made


@pytest.fixture
async def state(rig: StateRig) -> StateStore:
    """One that tells the hook "h"."""
    opened = await rig.open()
    await opened.register(["h"])
    return opened


async def tell(state: StateStore, number: int, *kinds: EventKind) -> list[Event]:
    """An upload whose events of these kinds were committed, a second after one another."""
    upload = an_upload(number)
    events = [an_event(upload, kind, n) for n, kind in enumerate(kinds)]
    await state.create(upload, events, with_lease=False)
    return events


async def claim(
    state: StateStore, hook: str = "h", *, now: float = NOW, limit: int = 100
) -> Sequence[Delivery]:
    return await state.claim(hook, now=now, claim_seconds=CLAIM_SECONDS, limit=limit)


def events_of(deliveries: Sequence[Delivery]) -> list[Event]:
    return [delivery.event for delivery in deliveries]


async def test_an_event_arrives_as_it_was_committed(state: StateStore) -> None:
    (event,) = await tell(state, 1, CREATED)
    (delivery,) = await claim(state)
    assert delivery.event == event
    assert delivery.hook == "h" and delivery.attempts == 0


async def test_events_come_with_every_kind_of_commit(state: StateStore) -> None:
    upload = an_upload()
    lease = await create_held(state, upload)
    await state.commit(lease, upload, [an_event(upload, CREATED)], release=False)
    await state.commit(lease, upload, [an_event(upload, COMPLETED)], release=True)
    lease = (await take(state, upload)).lease
    await state.remove(lease, [an_event(upload, TERMINATED)])
    for kind in (CREATED, COMPLETED, TERMINATED):
        (delivery,) = await claim(state)
        assert delivery.event.kind is kind
        await state.settle([delivery])
    assert await state.backlog() == {"h": 0}


async def test_an_event_told_again_under_the_same_id_is_not_doubled(state: StateStore) -> None:
    upload = an_upload()
    lease = await create_held(state, upload)
    event = an_event(upload, COMPLETED)
    await state.commit(lease, upload, [event], release=False)
    await state.commit(lease, upload, [event, event], release=False)
    assert await state.backlog() == {"h": 1}
    await state.settle(await claim(state))
    await state.commit(lease, upload, [event], release=True)
    assert await claim(state) == []


async def test_events_of_one_upload_come_in_order_and_one_at_a_time(state: StateStore) -> None:
    events = await tell(state, 1, CREATED, COMPLETED, TERMINATED)
    for event in events:
        claimed = await claim(state)
        assert events_of(claimed) == [event]
        assert await claim(state) == []
        await state.settle(claimed)
    assert await claim(state) == []


async def test_an_event_that_failed_holds_back_the_next_of_its_upload_only(
    state: StateStore,
) -> None:
    first, second = await tell(state, 1, CREATED, COMPLETED)
    (other,) = await tell(state, 2, CREATED)
    claimed = {each.event.upload_id: each for each in await claim(state)}
    await state.postpone(claimed[first.upload_id], until=NOW + 60)
    await state.settle([claimed[other.upload_id]])
    assert await claim(state, now=NOW + 59) == []
    (again,) = await claim(state, now=NOW + 60)
    assert again.event == first and again.attempts == 1
    await state.settle([again])
    assert events_of(await claim(state, now=NOW + 60)) == [second]


async def test_the_oldest_come_first_and_no_more_than_wanted(state: StateStore) -> None:
    for n in range(1, 6):
        upload = an_upload(n)
        event = replace(an_event(upload), occurred_at=100.0 - n)
        await state.create(upload, [event], with_lease=False)
    claimed = await claim(state, limit=3)
    assert [number_of(each.event.upload_id) for each in claimed] == [5, 4, 3]
    assert [number_of(each.event.upload_id) for each in await claim(state)] == [2, 1]


async def test_two_hooks_are_independent(rig: StateRig) -> None:
    state = await rig.open()
    await state.register(["slow", "fast"])
    first, second = await tell(state, 1, CREATED, COMPLETED)
    (stuck,) = await claim(state, "slow")
    await state.postpone(stuck, until=NOW + 9999)
    for event in (first, second):
        claimed = await claim(state, "fast")
        assert events_of(claimed) == [event]
        await state.settle(claimed)
    assert await state.backlog() == {"slow": 2, "fast": 0}


async def test_of_many_claimants_each_event_goes_to_one(rig: StateRig) -> None:
    states = [await rig.open(), await rig.open()]
    await states[0].register(["h"])
    for n in range(30):
        await tell(states[0], n, CREATED)
    claimed = await asyncio.gather(*(claim(states[n % 2], limit=5) for n in range(12)))
    ids = [each.event.id for some in claimed for each in some]
    assert len(ids) == len(set(ids)) == 30


async def test_a_claim_that_ran_out_is_handed_out_again(rig: StateRig) -> None:
    state, other = await rig.open(), await rig.open()
    await state.register(["h"])
    (event,) = await tell(state, 1, CREATED)
    await claim(state)
    rig.clock.advance(CLAIM_SECONDS - 1)
    assert await claim(other) == []
    rig.clock.advance(1)
    assert events_of(await claim(other)) == [event]


async def test_whoever_delivers_late_takes_no_claim_of_another(rig: StateRig) -> None:
    state, other = await rig.open(), await rig.open()
    await state.register(["h"])
    await tell(state, 1, CREATED)
    (late,) = await claim(state)
    rig.clock.advance(CLAIM_SECONDS)
    assert len(await claim(other)) == 1
    await state.postpone(late, until=NOW)
    assert await claim(state) == []


async def test_settling_twice_does_no_harm(state: StateStore) -> None:
    first, second = await tell(state, 1, CREATED, COMPLETED)
    claimed = await claim(state)
    await state.settle(claimed)
    await state.settle(claimed)
    await state.settle([])
    assert events_of(await claim(state)) == [second] != [first]


async def test_a_buried_event_lets_the_next_of_its_upload_out(state: StateStore) -> None:
    first, second = await tell(state, 1, CREATED, COMPLETED)
    (delivery,) = await claim(state)
    await state.bury(delivery, reason="410 Gone", now=NOW)
    assert events_of(await claim(state)) == [second]
    (letter,) = await state.dead_letters(hook=None, limit=10)
    assert letter.delivery.event == first
    assert letter.reason == "410 Gone" and letter.buried_at == NOW
    assert await state.backlog() == {"h": 1}


async def test_dead_letters_are_listed_by_hook_oldest_first(rig: StateRig) -> None:
    state = await rig.open()
    await state.register(["a", "b"])
    for n in range(3):
        await tell(state, n, CREATED)
    for hook in ("a", "b"):
        for delivery in await claim(state, hook):
            number = number_of(delivery.event.upload_id)
            await state.bury(delivery, reason="no", now=NOW - number)
    letters = await state.dead_letters(hook="a", limit=2)
    assert [number_of(each.delivery.event.upload_id) for each in letters] == [2, 1]
    assert len(await state.dead_letters(hook=None, limit=100)) == 6


async def test_dead_letters_are_replayed_by_hook_or_by_event(rig: StateRig) -> None:
    state = await rig.open()
    await state.register(["a", "b"])
    events = [(await tell(state, n, CREATED))[0] for n in range(3)]
    for hook in ("a", "b"):
        for delivery in await claim(state, hook):
            await state.bury(delivery, reason="no", now=NOW)
    assert await state.replay(hook="a", event_id=events[1].id, now=NOW) == 1
    (again,) = await claim(state, "a")
    assert again.event == events[1] and again.attempts == 0
    assert await state.replay(hook="b", event_id=None, now=NOW) == 3
    assert await state.replay(hook=None, event_id=None, now=NOW) == 2
    assert await state.replay(hook=None, event_id=None, now=NOW) == 0
    assert len(await claim(state, "b")) == 3
    assert await state.dead_letters(hook=None, limit=9) == []


async def test_a_replayed_event_does_not_run_beside_a_later_one(state: StateStore) -> None:
    first, second = await tell(state, 1, CREATED, COMPLETED)
    (delivery,) = await claim(state)
    await state.bury(delivery, reason="no", now=NOW)
    running = await claim(state)
    assert await state.replay(hook="h", event_id=first.id, now=NOW) == 1
    assert await claim(state) == []
    await state.settle(running)
    assert events_of(running) == [second]
    assert events_of(await claim(state)) == [first]


@pytest.mark.parametrize("outcome", ["settle", "bury", "postpone", "replay"])
async def test_what_an_outcome_makes_due_is_seen_at_once(state: StateStore, outcome: str) -> None:
    """By the process that wrote it down: its lane does not wait for another look."""
    await tell(state, 1, CREATED, COMPLETED)
    (delivery,) = await claim(state)
    assert await state.next_due("h") is None
    if outcome == "settle":
        await state.settle([delivery])
    elif outcome == "postpone":
        await state.postpone(delivery, until=1001.0)
    else:
        await state.bury(delivery, reason="no", now=NOW)
    if outcome == "replay":
        (following,) = await claim(state)
        await state.settle([following])
        assert await state.next_due("h") is None
        assert await state.replay(hook="h", event_id=None, now=1001.0) == 1
    assert await state.next_due("h") == 1001.0


async def test_what_comes_late_of_a_replayed_event_lets_no_second_one_out(
    state: StateStore,
) -> None:
    """Of three events two were buried and replayed while the third is on its way; then somebody
    says late that the first was taken after all."""
    first, second, third = await tell(state, 1, CREATED, COMPLETED, TERMINATED)
    (late,) = await claim(state)
    await state.bury(late, reason="no", now=NOW)
    (delivery,) = await claim(state)
    await state.bury(delivery, reason="no", now=NOW)
    running = await claim(state)
    assert await state.replay(hook="h", event_id=None, now=NOW) == 2
    await state.settle([late])
    assert await claim(state) == []
    await state.settle(running)
    assert events_of([late, *running]) == [first, third]
    assert events_of(await claim(state)) == [second]


async def test_next_due_tells_when_to_look_again(state: StateStore) -> None:
    assert await state.next_due("h") is None
    (event,) = await tell(state, 1, CREATED)
    due = await state.next_due("h")
    assert due is not None and due <= event.occurred_at
    (delivery,) = await claim(state)
    assert await state.next_due("h") is None
    await state.postpone(delivery, until=NOW + 60)
    assert await state.next_due("h") == NOW + 60


async def test_a_name_gets_the_events_committed_after_it_was_registered(rig: StateRig) -> None:
    state = await rig.open()
    await tell(state, 1, CREATED)
    await state.register(["h"])
    (event,) = await tell(state, 2, CREATED)
    assert events_of(await claim(state)) == [event]


async def test_names_hold_for_whoever_commits(rig: StateRig) -> None:
    """A command that removes an upload knows no hooks; the server's are told all the same."""
    server, command = await rig.open(), await rig.open()
    await server.register(["h"])
    (event,) = await tell(command, 1, CREATED)
    assert events_of(await claim(server)) == [event]


async def test_a_name_no_longer_configured_keeps_what_it_had(rig: StateRig) -> None:
    state = await rig.open()
    await state.register(["old", "new"])
    (first,) = await tell(state, 1, CREATED)
    await state.register(["new"])
    await tell(state, 2, CREATED)
    assert await state.backlog() == {"old": 1, "new": 2}
    assert events_of(await claim(state, "old")) == [first]
    assert await state.purge(before=NOW) == 0


async def test_purge_forgets_what_was_delivered_or_buried_and_nothing_else(
    state: StateStore,
) -> None:
    for n in range(4):
        upload = an_upload(n)
        event = replace(an_event(upload), occurred_at=100.0 + n)
        await state.create(upload, [event], with_lease=False)
    delivered, buried, waiting, new = await claim(state)
    await state.settle([delivered, new])
    await state.bury(buried, reason="no", now=NOW)
    await state.postpone(waiting, until=NOW)
    assert await state.purge(before=103.0) == 2
    assert await state.purge(before=103.0) == 0
    assert await state.dead_letters(hook=None, limit=9) == []
    assert events_of(await claim(state)) == [waiting.event]
    assert await state.purge(before=104.0) == 1


async def test_a_claim_of_a_cancelled_caller_is_free_again(state: StateStore) -> None:
    await tell(state, 1, CREATED)
    for turns in range(5):
        claiming = asyncio.create_task(claim(state))
        for _ in range(turns):
            await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.wait([claiming])
        if not claiming.cancelled():  # it was done by then
            for delivery in claiming.result():
                await state.postpone(delivery, until=NOW)
    # What the last one got is handed back right after, perhaps behind this one's first try.
    while not await claim(state):
        pass


async def test_what_failed_to_commit_changes_no_delivery(rig: StateRig) -> None:
    state = await rig.open()
    await state.register(["h"])
    await tell(state, 1, CREATED)
    claimed = await claim(state)
    async with rig.broken_commits(state):
        with pytest.raises(StateError):
            await state.settle(claimed)
        with pytest.raises(StateError):
            await tell(state, 2, CREATED)
    assert await state.backlog() == {"h": 1}
    await state.settle(claimed)
    assert await state.backlog() == {"h": 0}


@pytest.mark.parametrize("is_far", [False, True], ids=["own", "of another instance"])
async def test_commits_with_events_wake_the_dispatcher(rig: StateRig, is_far: bool) -> None:
    state = await rig.open()
    other = await rig.open() if is_far else state
    await state.register(["h"])
    wakeups = state.wakeups()
    await anext(wakeups)  # the first look is due at once
    waiting = asyncio.ensure_future(anext(wakeups))
    await asyncio.sleep(0)
    (event,) = await tell(other, 1, CREATED)
    await asyncio.wait_for(waiting, 5.0)
    assert events_of(await claim(state)) == [event]


async def test_whoever_delivers_is_woken_though_nothing_was_committed(state: StateStore) -> None:
    """For events of others, and for what a dead process had: nobody tells of these."""
    wakeups = state.wakeups()
    for _ in range(3):
        await asyncio.wait_for(anext(wakeups), 5.0)
