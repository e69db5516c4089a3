"""The outbox as the dispatcher sees it: the events of an upload lie in its bucket.

Whoever claims looks at the heads of all buckets (``heads``), chooses the oldest and claims these by
name (``claiming``), so that it does not matter how old the look was. Each claim has an id of its
own; what would harm another claim is written down for that one only.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from tusd_py.state.base import DeadLetter, Delivery, Outbox
from tusd_py.state.redis.claiming import Wish, give_back, hand_out
from tusd_py.state.redis.codec import id_bytes, raw, text
from tusd_py.state.redis.dead_letters import list_dead
from tusd_py.state.redis.heads import Heads
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.scripts import Script

WAKE_SECONDS: Final = 1.0
"""Events of other processes, and claims of dead ones, are looked for this often."""
REPLAYED_AT_ONCE: Final = 100
PURGED_AT_ONCE: Final = 100
BUCKETS_AT_ONCE: Final = 32
SETTLED_AT_ONCE: Final = 100

SETTLE: Final = Script("settle", parts=("events",))
POSTPONE: Final = Script("postpone", parts=("events",))
BURY: Final = Script("bury", parts=("events",))
REPLAY: Final = Script("replay", parts=("events",))
BACKLOG: Final = Script("backlog")
PURGE: Final = Script("purge_events", parts=("events",))


class RedisOutbox(Outbox):
    """The contract of the outbox, on a link."""

    def __init__(self) -> None:
        self._claims: set[asyncio.Task[Any]] = set()
        """Those that are under way, and those that are given back."""

    @property
    @abstractmethod
    def _link(self) -> Link:
        """Raises StateError where the store is not open."""

    @property
    @abstractmethod
    def _heads(self) -> Heads:
        """Made anew with each link. Raises StateError where the store is not open."""

    def _on_events(self, bucket: int) -> None:
        """Events of this process were committed in that bucket."""
        self._heads.hint(bucket)

    async def register(self, hooks: Sequence[str]) -> None:
        await self._link.register_hooks(hooks)

    # ------------------------------------------------------------------ handing out

    async def claim(
        self, hook: str, *, now: float, claim_seconds: float, limit: int
    ) -> Sequence[Delivery]:
        wish = Wish(hook=hook, now=now, claim_seconds=claim_seconds, limit=limit)
        link, heads = self._link, self._heads

        def ended(task: "asyncio.Task[Sequence[Delivery]]") -> None:
            """Free again what nobody knows of, or nobody wants any more."""
            unwanted = set(wish.doubtful)
            if wish.is_given_up:
                unwanted |= {delivery.event.upload_id for delivery in wish.claimed}
            if unwanted and not task.cancelled():
                self._keep(asyncio.create_task(give_back(link, heads, wish, unwanted)))

        # Goes on where the caller is cancelled: what was claimed is known at its end only.
        claiming = asyncio.create_task(hand_out(link, heads, wish))
        self._keep(claiming)
        claiming.add_done_callback(ended)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            wish.is_given_up = True
            if claiming.done():
                ended(claiming)
            raise

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._claims.add(task)
        task.add_done_callback(self._drop)

    def _drop(self, task: "asyncio.Task[Any]") -> None:
        self._claims.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has been told

    async def next_due(self, hook: str) -> float | None:
        await self._heads.refresh(hook)
        return self._heads.next_due(hook)

    async def wakeups(self) -> AsyncIterator[None]:
        loop, heads = asyncio.get_running_loop(), self._heads
        woken = asyncio.Event()
        woken.set()  # what was committed before anybody listened
        heads.woken.add(woken)
        look_at = loop.time() + WAKE_SECONDS
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(look_at):
                        await woken.wait()
                woken.clear()
                if loop.time() >= look_at:
                    look_at = loop.time() + WAKE_SECONDS
                    heads.age()
                yield
        finally:
            heads.woken.discard(woken)

    # ------------------------------------------------------------------ outcomes

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        by_bucket: dict[int, list[str]] = {}
        for delivery in deliveries:
            names = by_bucket.setdefault(self._bucket_of(delivery), [])
            names += (delivery.hook, delivery.event.id)
        await asyncio.gather(*(self._settle(*some) for some in by_bucket.items()))

    async def _settle(self, bucket: int, names: Sequence[str]) -> None:
        for at in range(0, len(names), 2 * SETTLED_AT_ONCE):
            if await self._link.call(SETTLE, bucket, *names[at : at + 2 * SETTLED_AT_ONCE]):
                self._heads.hint(bucket)

    async def postpone(self, delivery: Delivery, *, until: float) -> None:
        bucket, upload = self._bucket_of(delivery), id_bytes(delivery.event.upload_id)
        named = (delivery.hook, upload, delivery.event.id, delivery.key)
        await self._link.call(POSTPONE, bucket, *named, repr(float(until)))
        self._heads.doubt(bucket)

    async def bury(self, delivery: Delivery, *, reason: str, now: float) -> None:
        bucket, named = self._bucket_of(delivery), (delivery.hook, delivery.event.id)
        await self._link.call(BURY, bucket, *named, repr(float(now)), raw(reason))
        self._heads.hint(bucket)

    def _bucket_of(self, delivery: Delivery) -> int:
        return self._link.bucket_of(delivery.event.upload_id)

    # ------------------------------------------------------------------ for operators

    async def dead_letters(self, *, hook: str | None, limit: int) -> Sequence[DeadLetter]:
        return await list_dead(self._link, hook=hook, limit=limit)

    async def replay(self, *, hook: str | None, event_id: str | None, now: float) -> int:
        wanted = (hook or "", event_id or "", repr(float(now)), REPLAYED_AT_ONCE)

        async def replay_in(bucket: int) -> int:
            replayed = 0
            # In pieces, so that commits of uploads come in between.
            while some := await self._link.call(REPLAY, bucket, *wanted):
                replayed += some
                self._heads.hint(bucket)
            return replayed

        return await self._sum_of_buckets(replay_in)

    async def backlog(self) -> dict[str, int]:
        registered: set[bytes] = set()
        counts: dict[bytes, int] = {}
        for hooks, *flat in await self._link.call_all(BACKLOG):
            registered.update(hooks.split(b"\n") if hooks else ())
            for name, count in zip(flat[::2], flat[1::2], strict=True):
                counts[name] = counts.get(name, 0) + int(count)
        names = registered | {name for name, count in counts.items() if count}
        return {text(name): counts.get(name, 0) for name in sorted(names)}

    async def purge(self, *, before: float) -> int:
        async def purge_in(bucket: int) -> int:
            purged, rank, is_over = 0, 0, False
            while not is_over:
                gone, kept, is_over = await self._link.call(
                    PURGE, bucket, repr(float(before)), rank, PURGED_AT_ONCE
                )
                purged, rank = purged + gone, rank + kept
            return purged

        return await self._sum_of_buckets(purge_in)

    async def _sum_of_buckets(self, work: Callable[[int], Coroutine[Any, Any, int]]) -> int:
        """A few buckets at a time: nobody waits for it."""
        total = 0
        for first in range(0, self._link.buckets, BUCKETS_AT_ONCE):
            some = range(first, min(first + BUCKETS_AT_ONCE, self._link.buckets))
            total += sum(await asyncio.gather(*map(work, some)))
        return total

    async def _close_outbox(self) -> None:
        """End what goes on by itself. What is claimed is free once this process has left."""
        for task in list(self._claims):
            task.cancel()
        await asyncio.gather(*self._claims, return_exceptions=True)
        await self._heads.close()
