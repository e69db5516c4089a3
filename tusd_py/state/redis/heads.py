"""What this process has seen of the heads of the queues: which events could be handed out.

A look at all buckets is what an idle process does once a second. Between two of them it looks
only where it knows of something new: where it has committed events itself, and where it has seen
all of a bucket's oldest. What it sees may be old: who claims by it names what was seen, and the
script refuses what is so no longer.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tusd_py.state.base import StateError
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.peers import Peers
from tusd_py.state.redis.scripts import Script

LOOK_SECONDS: Final = 1.5
"""What is older than this is looked at anew, for whoever does not listen to ``wakeups``: they
demand it each second."""
HEADS_PER_LOOK: Final = 1024
LEAST_HEADS: Final = 4
MOST_HEADS: Final = 64
"""How many a look tells: so many of all buckets, within these bounds of one. It tells more once
these are handed out."""

LOOK: Final = Script("look", parts=("events", "claims"))


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """The oldest event of an upload that waits for a hook."""

    due_at: float
    bucket: int
    upload: bytes
    """16 bytes."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The heads of one bucket and hook that nobody has, as they were seen."""

    heads: tuple[Head, ...]
    until: float
    """Of those that are due later than this some may not be told."""
    number: int
    """Of the look; grows."""


class Heads:
    """Lives in the event loop. The methods that wait raise StateError."""

    def __init__(self, link: Link, peers: Peers) -> None:
        self._link = link
        self._peers = peers
        self._looked = max(LEAST_HEADS, min(MOST_HEADS, HEADS_PER_LOOK // link.buckets))
        self._sights: dict[str, dict[int, Sight]] = {}
        self._unsure: dict[int, int] = {}
        """Buckets in which something has changed, and after which look it did."""
        self._is_old = True
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._number = 0
        self._suspects: set[str] = set()
        """Processes that have claims, and are among the dead."""
        self.full_look = 0
        """The number of the last look at all buckets."""
        self.woken: set[asyncio.Event] = set()
        """Set when there may be something to hand out."""

    def hint(self, bucket: int) -> None:
        """There may be new heads in this bucket; returns at once."""
        self.doubt(bucket)
        for event in self.woken:
            event.set()

    def age(self) -> None:
        """The next look is at all buckets."""
        self._is_old = True

    def doubt(self, bucket: int) -> None:
        """What was seen of this bucket is no longer so."""
        self._unsure[bucket] = self._number

    async def refresh(self, hook: str) -> None:
        """Look where something was known to be new when this was called."""
        if hook not in self._sights:
            self._sights[hook] = {}
            self._is_old = True
        if asyncio.get_running_loop().time() - self._looked_at >= LOOK_SECONDS:
            self._is_old = True
        # Not what has become so since: others may commit without a pause.
        since = self._number
        while self._is_old or any(at <= since for at in self._unsure.values()):
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(), name="outbox look")
                self._looking.add_done_callback(_hear_out)
            # Several hooks wait for one look, which goes on when one of them is gone.
            await asyncio.shield(self._looking)

    def next_due(self, hook: str) -> float | None:
        """Of the heads seen the one that is due first."""
        sights = self._sights.get(hook, {}).values()
        return min((head.due_at for sight in sights for head in sight.heads), default=None)

    def pick(self, hook: str, *, now: float, limit: int) -> list[Head]:
        """The oldest heads that are due, no more than are known to be the oldest; they count as
        gone until their bucket is looked at again."""
        sights = self._sights.get(hook, {})
        until = min((sight.until for sight in sights.values()), default=math.inf)
        latest = min(now, until)
        due = [head for sight in sights.values() for head in sight.heads if head.due_at <= latest]
        picked = sorted(due)[:limit]
        gone = set(picked)
        for bucket in {head.bucket for head in picked}:
            sight = sights[bucket]
            left = tuple(head for head in sight.heads if head not in gone)
            sights[bucket] = Sight(left, sight.until, sight.number)
            if not left and sight.until < math.inf:
                self.doubt(bucket)
        return picked

    def next_number(self) -> int:
        """For whoever is about to see a bucket."""
        self._number += 1
        return self._number

    def saw(self, hook: str, bucket: int, number: int, told: Sequence[bytes]) -> set[str]:
        """Remember what a script told of a bucket (``look`` of lua/claims.lua); the dead that
        have claims there."""
        until, names, *flat = told
        found = {name.decode() for name in names.split()} & self._peers.dead[0]
        sights = self._sights[hook]
        earlier = sights.get(bucket)
        if earlier is not None and earlier.number > number:
            return found
        heads = sorted(
            Head(float(due), bucket, upload)
            for upload, due in zip(flat[::2], flat[1::2], strict=True)
        )
        sights[bucket] = Sight(tuple(heads), float(until) if until else math.inf, number)
        if not found <= self._suspects:
            self._suspects |= found
            # What they have can be handed out: whoever waits for this look waits for that, too.
            self._unsure[bucket] = 0
        return found

    def args(self) -> list[Arg]:
        """Those that lua/claims.lua wants."""
        dead, read_at = self._peers.dead
        names = sorted(self._suspects & dead)
        return [self._looked, self._peers.name, f"{read_at:.0f}", len(names), *names]

    async def _look(self) -> None:
        """At all buckets, or at those in which something has changed."""
        is_full, hooks = self._is_old, list(self._sights)
        self._is_old = False
        buckets = range(self._link.buckets) if is_full else sorted(self._unsure)
        number = self.next_number()
        try:
            replies = await self._link.call_each(LOOK, *self.args(), *hooks, buckets=buckets)
        except BaseException:
            self._is_old |= is_full
            raise
        for bucket in [each for each in buckets if self._unsure.get(each, number) < number]:
            del self._unsure[bucket]
        found: set[str] = set()
        for bucket, reply in zip(buckets, replies, strict=True):
            if isinstance(reply, StateError):
                # The next look at all buckets is not far. What was seen there cannot be claimed,
                # and would keep back all that is younger.
                for hook in hooks:
                    self._sights[hook][bucket] = Sight((), math.inf, number)
                continue
            for hook, told in zip(hooks, reply, strict=True):
                found |= self.saw(hook, bucket, number, told)
        if is_full:
            self._suspects = found
            self.full_look = number
            self._looked_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])


def _hear_out(look: "asyncio.Task[None]") -> None:
    """Whoever waited for it has been told what went wrong; perhaps nobody waits any more."""
    if not look.cancelled():
        look.exception()
