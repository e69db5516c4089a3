"""An outbox in memory that follows the contract, and can be out of reach. But it wakes nobody each
second: so days pass quickly, and it is seen what lanes do by themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from tusd_py.core.events import Event
from tusd_py.state.base import DeadLetter, Delivery, Outbox, StateError


@dataclass
class Row:
    hook: str
    event: Event
    due_at: float
    attempts: int = 0
    claimed_until: float = 0.0
    dead: DeadLetter | None = None


class MemoryOutbox(Outbox):
    """``calls`` counts what was asked of it, by method."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._hooks: list[str] = []
        self.rows: dict[int, Row] = {}
        self.calls: dict[str, int] = {}
        self.purged_before: list[float] = []
        self.is_away = False
        self._changed = asyncio.Event()
        self._next_key = 0

    def commit(self, *events: Event) -> None:
        """What a state store does together with a change of records."""
        for event in events:
            for hook in self._hooks:
                self.rows[self._next_key] = Row(hook, event, self._now())
                self._next_key += 1
        self._changed.set()

    def _called(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.is_away:
            raise StateError("out of reach")

    def _heads(self, hook: str) -> dict[int, Row]:
        """The oldest live row of each upload."""
        heads: dict[str, tuple[int, Row]] = {}
        for key, row in self.rows.items():
            if row.hook == hook and row.dead is None:
                heads.setdefault(row.event.upload_id, (key, row))
        return dict(heads.values())

    async def register(self, hooks: Sequence[str]) -> None:
        self._called("register")
        self._hooks = list(hooks)

    async def claim(
        self, hook: str, *, now: float, claim_seconds: float, limit: int
    ) -> Sequence[Delivery]:
        self._called("claim")
        claimed: list[Delivery] = []
        for key, row in self._heads(hook).items():
            if len(claimed) < limit and row.due_at <= now and row.claimed_until <= now:
                row.claimed_until = now + claim_seconds
                claimed.append(Delivery(hook=hook, event=row.event, attempts=row.attempts, key=key))
        return claimed

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        self._called("settle")
        for delivery in deliveries:
            self.rows.pop(int(delivery.key), None)

    async def postpone(self, delivery: Delivery, *, until: float) -> None:
        self._called("postpone")
        row = self.rows[int(delivery.key)]
        row.due_at, row.claimed_until, row.attempts = until, 0.0, row.attempts + 1

    async def bury(self, delivery: Delivery, *, reason: str, now: float) -> None:
        self._called("bury")
        self.rows[int(delivery.key)].dead = DeadLetter(
            delivery=delivery, reason=reason, buried_at=now
        )

    async def dead_letters(self, *, hook: str | None, limit: int) -> Sequence[DeadLetter]:
        self._called("dead_letters")
        found = [row.dead for row in self.rows.values() if row.dead and hook in (None, row.hook)]
        return found[:limit]

    async def replay(self, *, hook: str | None, event_id: str | None, now: float) -> int:
        self._called("replay")
        replayed = 0
        for row in self.rows.values():
            if row.dead and hook in (None, row.hook) and event_id in (None, row.event.id):
                row.dead, row.due_at, row.claimed_until = None, now, 0.0
                replayed += 1
        self._changed.set()
        return replayed

    async def next_due(self, hook: str) -> float | None:
        self._called("next_due")
        now = self._now()
        return min(
            (row.due_at for row in self._heads(hook).values() if row.claimed_until <= now),
            default=None,
        )

    async def backlog(self) -> dict[str, int]:
        self._called("backlog")
        alive = [row.hook for row in self.rows.values() if row.dead is None]
        return {hook: alive.count(hook) for hook in set(alive)}

    async def wakeups(self) -> AsyncIterator[None]:
        self._called("wakeups")
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield

    async def purge(self, *, before: float) -> int:
        self._called("purge")
        self.purged_before.append(before)
        return 0
