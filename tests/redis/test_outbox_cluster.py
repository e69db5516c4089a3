"""Deliveries while a part of a cluster is away: only what lies there waits."""

import asyncio
from pathlib import Path

from tests.contract.states import an_upload
from tests.contract.test_outbox import claim, tell
from tests.redis.clustered import clustered
from tusd_py.core.events import EventKind, event_of
from tusd_py.core.ids import UploadId
from tusd_py.state.base import StateError, StateStore
from tusd_py.state.redis.heads import LEAST_HEADS

BUCKETS = 16


async def claimed_at_last(state: StateStore, count: int) -> set[str]:
    """So many ids, as a dispatcher claims them that hears of failures and goes on."""
    found: set[str] = set()
    async with asyncio.timeout(40):
        async for _ in state.wakeups():
            try:
                found |= {delivery.event.id for delivery in await claim(state)}
            except StateError:
                continue
            if len(found) >= count:
                return found
    raise AssertionError("nobody wakes")


async def test_events_of_other_nodes_are_delivered_while_one_is_away(tmp_path: Path) -> None:
    async with clustered(tmp_path, buckets=BUCKETS, call_seconds=0.5, connect_seconds=0.5) as it:
        state, victim = it.state, it.cluster.nodes[0]
        await state.register(["h"])
        away, there = set[str](), set[str]()
        for bucket, owner in enumerate(it.owners):
            (event,) = await tell(state, bucket * 256 // BUCKETS, EventKind.CREATED)
            (away if owner is victim else there).add(event.id)
        assert away and there
        victim.pause()
        try:
            assert await claimed_at_last(state, len(there)) == there
        finally:
            victim.resume()
        assert await claimed_at_last(state, len(away)) == away


async def test_what_waits_behind_a_node_that_is_away_keeps_nothing_else_waiting(
    tmp_path: Path,
) -> None:
    """More is older there than a look tells, and what was seen of it cannot be claimed."""
    async with clustered(tmp_path, connect_seconds=1.0) as it:
        state, victim = it.state, it.cluster.nodes[0]
        await state.register(["h"])
        is_away = [owner is victim for owner in it.owners]
        there = set[str]()
        for bucket, occurred_at in ((is_away.index(True), 1000.0), (is_away.index(False), 2000.0)):
            for number in range(LEAST_HEADS + 1):
                upload = an_upload(id=UploadId(f"{bucket:02x}{number:030x}"))
                event = event_of(upload, EventKind.CREATED, occurred_at=occurred_at + number)
                await state.create(upload, [event], with_lease=False)
                if occurred_at == 2000.0:
                    there.add(event.id)
        assert await state.next_due("h") == 1000.0
        victim.pause()
        try:
            assert await claimed_at_last(state, len(there)) == there
        finally:
            victim.resume()
        assert len(await claimed_at_last(state, LEAST_HEADS + 1)) == LEAST_HEADS + 1
