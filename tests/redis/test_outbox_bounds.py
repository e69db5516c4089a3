"""What the outbox costs Redis: calls, commands of a script, memory."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.redis_states import PREFIX, KeyClockLink, KeyClockState, ServerRig
from tests.contract.states import an_event, an_upload, create_held
from tests.contract.test_outbox import NOW, claim, events_of, tell
from tests.redis.records import make_rig
from tests.support.redis_servers import RedisServer
from tests.unit.test_metrics import samples
from tusd_py.core.events import EventKind
from tusd_py.metrics import Metrics, Standing
from tusd_py.state.base import StateError, StateStore
from tusd_py.state.redis.keys import KEYS
from tusd_py.state.redis.scripts import Script

CREATED, COMPLETED = EventKind.CREATED, EventKind.COMPLETED
BUCKETS = 256
MANY = 600


class CountingLink(KeyClockLink):
    """Notes of each call its script and how many buckets it was for."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.calls: list[tuple[str, int]] = []

    def _submit(self, script: Script, place: int, keys: tuple[str, ...], *rest: Any) -> Any:
        self.calls.append((script.name, len(keys)))
        return super()._submit(script, place, keys, *rest)


class CountingState(KeyClockState):
    link_type = CountingLink

    @property
    def calls(self) -> list[tuple[str, int]]:
        """Those of the outbox and of records; heartbeats and the like come in between."""
        link = self._link
        assert isinstance(link, CountingLink)
        return [call for call in link.calls if call[0] not in {"open", "beat", "ping", "moving"}]

    def forget_calls(self) -> None:
        link = self._link
        assert isinstance(link, CountingLink)
        link.calls.clear()


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig(CountingState, buckets=BUCKETS) as made:
        yield made


@pytest.fixture
async def state(rig: ServerRig) -> CountingState:
    opened = await rig.open()
    assert isinstance(opened, CountingState)
    await opened.register(["h"])
    return opened


OURS = re.compile(r":(?:e|due|heads|claims|wait|dead|letters|events|backlog)\b")


@asynccontextmanager
async def watched(server: RedisServer) -> AsyncIterator[Counter[str]]:
    """Counts the commands that touch a key of the outbox meanwhile, those of scripts."""
    counts: Counter[str] = Counter()
    async with server.client() as client, client.monitor() as monitor:
        yield counts
        await server.call("ECHO", "the end")
        while (heard := await monitor.next_command())["command"] != "ECHO the end":
            name, _, rest = heard["command"].partition(" ")
            if heard["client_type"] == "lua" and OURS.search(rest):
                counts[name.lower()] += 1


async def test_an_own_completion_is_delivered_without_a_look_at_all_buckets(
    state: CountingState,
) -> None:
    """A look where it was committed, the claim, the outcome: one call each, of one bucket."""
    upload = an_upload(7)
    lease = await create_held(state, upload)
    assert await state.next_due("h") is None
    state.forget_calls()
    await state.commit(lease, upload, [an_event(upload, COMPLETED)], release=True)
    assert await state.next_due("h") is not None
    (delivery,) = await claim(state, limit=1)
    await state.settle([delivery])
    assert await state.next_due("h") is None
    assert state.calls == [("commit", 1), ("look", 1), ("claim", 1), ("settle", 1)]


async def test_all_buckets_are_looked_at_in_few_calls_for_all_hooks_together(
    state: CountingState,
) -> None:
    await state.next_due("h")
    await state.next_due("g")
    state.forget_calls()
    assert await claim(state) == []
    assert state.calls == [("look", 32)] * 8
    await state.next_due("g")
    assert state.calls == [("look", 32)] * 8


async def tell_many(state: StateStore, numbers: Iterable[int]) -> None:
    for number in numbers:
        await tell(state, number, CREATED, COMPLETED)


async def test_a_back_log_does_not_make_scripts_do_more(
    rig: ServerRig, state: CountingState
) -> None:
    """All in one bucket. Looks, claims, outcomes, burials: as many commands as with a few."""

    async def turn() -> Counter[str]:
        other = await rig.open()
        async with watched(rig.server) as counts:
            claimed = await other.claim("h", now=NOW, claim_seconds=60, limit=4)
            assert len(claimed) == 4
            await other.settle(claimed[:1])
            await other.postpone(claimed[1], until=NOW)
            await other.bury(claimed[2], reason="no", now=NOW)
            await other.next_due("h")
        return counts

    await tell_many(state, range(255, 275))
    few = await turn()
    await tell_many(state, range(300, 300 + MANY))
    many = await turn()
    assert many == few
    assert few["zrange"] > BUCKETS and few["get"] == 4


async def test_the_oldest_of_a_back_log_are_handed_out_in_order(
    rig: ServerRig, state: CountingState
) -> None:
    """Over all buckets, though a look tells only some of each; the other one commits the oldest."""
    other = await rig.open()
    assert await claim(state) == []
    for number in range(120):
        upload = an_upload(number * 2)
        event = replace(an_event(upload), occurred_at=1000.0 - number)
        await other.create(upload, [event], with_lease=False)
    for number in range(120, 140):
        upload = an_upload(300 + number)  # all of the last bucket
        event = replace(an_event(upload), occurred_at=1000.0 - number)
        await other.create(upload, [event], with_lease=False)
    claimed = [each for _ in range(4) for each in await claim(state, limit=35)]
    assert [each.event.occurred_at for each in claimed] == [1000.0 - n for n in range(139, -1, -1)]


async def test_nothing_of_an_event_is_left_but_its_id_once_each_hook_has_taken_it(
    rig: ServerRig, state: CountingState
) -> None:
    """One takes them, the other one buries; in the end even the ids are forgotten."""
    await state.register(["h", "g"])
    for number in (1, 2):
        await tell(state, number, CREATED, COMPLETED)
    for _ in range(2):
        await state.settle(await claim(state, "h"))
    bodies = [key for key in await keys_of(rig) if ":e:" in key]
    assert len(bodies) == 4
    for _ in range(2):
        for delivery in await claim(state, "g"):
            await state.bury(delivery, reason="no", now=NOW)
    await state.replay(hook="g", event_id=None, now=NOW)
    for _ in range(2):
        await state.settle(await claim(state, "g"))
    mine = {"events", "backlog"}
    assert {kind_of(key) for key in await keys_of(rig)} & NAMES == mine
    assert await state.purge(before=NOW) == 4
    assert not {kind_of(key) for key in await keys_of(rig)} & NAMES


NAMES = {
    "events",
    "e:<event>",
    "heads:<hook>",
    "due:<hook>",
    "claims:<hook>",
    "wait:<hook>:<id>",
    "dead:<hook>",
    "letters:<hook>",
    "backlog",
}


def kind_of(key: str) -> str:
    (found,) = (each.name for each in KEYS if each.matches(key, PREFIX))
    return found


async def keys_of(rig: ServerRig) -> list[str]:
    found = await rig.server.call("KEYS", f"{PREFIX}:*")
    return [key.decode() for key in found if not key.endswith(b":clock")]


async def test_outcomes_are_written_down_where_memory_is_full(
    rig: ServerRig, state: CountingState
) -> None:
    """They make room. New events are refused, and refused as a whole."""
    first, second = await tell(state, 1, CREATED, COMPLETED)
    (other,) = await tell(state, 2, CREATED)
    (third,) = await tell(state, 3, CREATED)
    await rig.server.call("CONFIG", "SET", "maxmemory", "1mb")
    try:
        with pytest.raises(StateError):
            await tell(state, 4, CREATED)
        claimed = {each.event.id: each for each in await claim(state)}
        await state.settle([claimed[first.id]])
        await state.postpone(claimed[other.id], until=NOW)
        await state.bury(claimed[third.id], reason="no", now=NOW)
        assert {each.event.id for each in await claim(state)} == {second.id, other.id}
        assert await state.backlog() == {"h": 2}
    finally:
        await rig.server.call("CONFIG", "SET", "maxmemory", "0")
    await tell(state, 4, CREATED)
    assert await state.backlog() == {"h": 3}


async def test_an_event_whose_body_was_taken_away_holds_up_nothing(
    rig: ServerRig, state: CountingState, caplog: pytest.LogCaptureFixture
) -> None:
    """By somebody with a console. It is dropped and told of; the upload's next one goes out."""
    first, second = await tell(state, 1, CREATED, COMPLETED)
    (key,) = [key for key in await keys_of(rig) if key.endswith(f":e:{first.id}")]
    await rig.server.call("DEL", key)
    assert events_of(await claim(state)) == [second]
    (record,) = [record for record in caplog.records if record.message == "event_lost"]
    assert getattr(record, "event_id", None) == first.id
    assert await state.backlog() == {"h": 1}


async def test_names_hold_where_redis_was_emptied(rig: ServerRig, state: CountingState) -> None:
    """The server that registered them makes new buckets with them."""
    await tell(state, 1, CREATED)
    await rig.server.call("FLUSHALL")
    rig.show_time()
    (event,) = await tell(state, 2, CREATED)
    assert events_of(await claim(state)) == [event]


async def test_a_server_without_hooks_registers_that_there_are_none(state: CountingState) -> None:
    await state.register([])
    await tell(state, 1, CREATED)
    assert await state.backlog() == {}


async def test_many_dead_letters_are_listed_oldest_first_over_all_buckets(
    state: CountingState,
) -> None:
    """More than are read of a bucket at first, and not in the order of buckets."""
    await tell_many(state, range(200, 320))
    buried = []
    for number, delivery in enumerate(await claim(state, limit=120)):
        at = NOW + (number * 37) % 120
        await state.bury(delivery, reason="no", now=at)
        buried.append((at, delivery.event.id))
    wanted = [event_id for _, event_id in sorted(buried)]
    for limit in (1, 50, 119, 500):
        letters = await state.dead_letters(hook="h", limit=limit)
        assert [letter.delivery.event.id for letter in letters] == wanted[:limit]
    assert await state.dead_letters(hook="h", limit=0) == []
    assert await state.dead_letters(hook="unknown", limit=9) == []


async def test_the_back_log_is_a_figure(state: CountingState) -> None:
    """The page of figures adds up all buckets; names that are not configured count together."""
    await state.register(["encoder", "gone"])
    await tell_many(state, range(10))
    await state.settle(await claim(state, "encoder"))
    figures = Metrics(hooks=["encoder"])
    standing = Standing(await state.counts(), await state.backlog(), None)
    found = await asyncio.to_thread(samples, figures, standing)
    assert found["tusd_py_outbox_backlog[('hook', 'encoder')]"] == 10
    assert found["tusd_py_outbox_backlog[('hook', 'other')]"] == 20


async def test_what_is_over_is_purged_behind_pages_of_what_still_waits(
    state: CountingState,
) -> None:
    """All in one bucket."""
    for number in range(230):
        upload = an_upload(300 + number)
        event = replace(an_event(upload), occurred_at=1000.0 + number)
        await state.create(upload, [event], with_lease=False)
    claimed = await claim(state, limit=230)
    await state.settle([each for each in claimed if each.event.occurred_at >= 1215.0])
    assert await state.purge(before=1225.0) == 10
    assert await state.purge(before=NOW) == 5
    assert await state.backlog() == {"h": 215}


async def test_a_wake_up_without_a_commit_means_a_look_at_all_buckets(
    state: CountingState,
) -> None:
    """Though the last one is hardly a second old."""
    assert await state.next_due("h") is None
    wakeups = state.wakeups()
    await anext(wakeups)
    state.forget_calls()
    await anext(wakeups)
    assert await state.next_due("h") is None
    assert state.calls == [("look", 32)] * 8
