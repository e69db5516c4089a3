"""The outbox as the dispatcher sees it: each call is one operation of a group."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from tusd_py.state import sqlite_events as tables
from tusd_py.state.base import DeadLetter, Delivery, Outbox, StateError
from tusd_py.state.sqlite_events import Claimant
from tusd_py.state.sqlite_uploads import Workshop

WAKE_SECONDS: Final = 1.0
"""Events of another process are looked for this often, should its datagram be lost."""


class SqliteOutbox(Outbox):
    """The contract of the outbox, on a workshop."""

    _clock: Callable[[], float]

    @property
    @abstractmethod
    def _shop(self) -> Workshop:
        """Raises StateError where the store is not open."""

    async def register(self, hooks: Sequence[str]) -> None:
        await self._shop.writer.run(partial(tables.register_hooks, hooks=tuple(hooks)))

    async def claim(
        self, hook: str, *, now: float, claim_seconds: float, limit: int
    ) -> Sequence[Delivery]:
        claimant = self._claimant()
        until = claimant.now + claim_seconds

        def give_back(claimed: Sequence[Delivery]) -> None:
            with suppress(StateError):  # being closed: a dead process claims nothing
                self._shop.writer.submit(
                    partial(tables.unclaim, deliveries=claimed, process=claimant.process)
                )

        return await self._shop.writer.run(
            partial(
                tables.claim_deliveries,
                hook=hook,
                claimant=claimant,
                now=now,
                until=until,
                limit=limit,
            ),
            on_orphan=give_back,
        )

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._shop.writer.run(
                partial(tables.settle_deliveries, deliveries=tuple(deliveries)),
                on_done=lambda _: self._shop.handover.tell_of_events(),
            )

    async def postpone(self, delivery: Delivery, *, until: float) -> None:
        process = self._shop.peers.name
        await self._shop.writer.run(
            partial(tables.postpone_delivery, delivery=delivery, process=process, until=until)
        )

    async def bury(self, delivery: Delivery, *, reason: str, now: float) -> None:
        await self._shop.writer.run(
            partial(tables.bury_delivery, delivery=delivery, reason=reason, now=now),
            on_done=lambda _: self._shop.handover.tell_of_events(),
        )

    async def dead_letters(self, *, hook: str | None, limit: int) -> Sequence[DeadLetter]:
        return await self._shop.reader.run(partial(tables.list_dead, hook=hook, limit=limit))

    async def replay(self, *, hook: str | None, event_id: str | None, now: float) -> int:
        replayed = 0
        # In pieces, so that commits of uploads come in between.
        while some := await self._shop.writer.run(
            partial(tables.replay_dead, hook=hook, event_id=event_id, now=now),
            on_done=lambda _: self._shop.handover.tell_of_events(),
        ):
            replayed += some
        return replayed

    async def next_due(self, hook: str) -> float | None:
        claimant = self._claimant()
        return await self._shop.reader.run(
            partial(tables.next_due_time, hook=hook, claimant=claimant)
        )

    async def backlog(self) -> dict[str, int]:
        return await self._shop.reader.run(tables.count_backlog)

    async def wakeups(self) -> AsyncIterator[None]:
        woken = asyncio.Event()
        woken.set()  # what was committed before anybody listened
        sets = self._shop.handover.new_events
        sets.add(woken)
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(WAKE_SECONDS):
                        await woken.wait()
                woken.clear()
                yield
        finally:
            sets.discard(woken)

    async def purge(self, *, before: float) -> int:
        purged = 0
        after: tuple[float, int] | None = (float("-inf"), 0)
        while after is not None:
            some, after = await self._shop.writer.run(
                partial(tables.purge_events, before=before, after=after)
            )
            purged += some
        return purged

    def _claimant(self) -> Claimant:
        shop = self._shop
        return Claimant(shop.peers.name, shop.book.boot.boot_id, self._clock(), shop.peers.is_alive)
