"""Dead letters of all buckets, oldest first."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tusd_py.state.base import DeadLetter, Delivery
from tusd_py.state.redis.codec import text
from tusd_py.state.redis.event_codec import event_from
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.scripts import Script

AT_FIRST: Final = 16
"""So many of each bucket and hook are looked at, for a start."""
AT_ONCE: Final = 100

LETTERS: Final = Script("letters")
LETTER: Final = Script("letter", parts=("events",))


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """Where a dead letter is."""

    buried_at: float
    bucket: int
    hook: bytes
    event_id: bytes


async def list_dead(link: Link, *, hook: str | None, limit: int) -> Sequence[DeadLetter]:
    """The oldest ones."""
    found = sorted(await _find(link, hook, limit))[:limit]
    letters: dict[Found, DeadLetter] = {}
    for at in range(0, len(found), AT_ONCE):
        letters |= await _read(link, found[at : at + AT_ONCE])
    return [letters[each] for each in found if each in letters]


async def _find(link: Link, hook: str | None, limit: int) -> list[Found]:
    """The oldest are among them, as many as wanted."""
    found: list[Found] = []
    unread: dict[tuple[int, bytes], tuple[int, float]] = {}
    """Where more lies: how many were read, and up to when that is all."""

    def remember(bucket: int, rank: int, wanted: int, reply: list[list[bytes]]) -> None:
        by_hook: dict[bytes, list[Found]] = {}
        for name, at, event_id in reply:
            by_hook.setdefault(name, []).append(Found(float(at), bucket, name, event_id))
        for name, some in by_hook.items():
            found.extend(some)
            if len(some) == wanted:
                unread[bucket, name] = rank + wanted, some[-1].buried_at

    first = min(AT_FIRST, limit)
    for bucket, reply in enumerate(await link.call_all(LETTERS, hook or "", 0, first)):
        remember(bucket, 0, first, reply)
    while True:
        found.sort()
        last = found[limit - 1].buried_at if len(found) >= limit > 0 else math.inf
        todo = [(where, rank) for where, (rank, until) in unread.items() if until < last]
        if not todo:
            return found
        for (bucket, name), rank in todo:
            del unread[bucket, name]
            remember(bucket, rank, AT_ONCE, await link.call(LETTERS, bucket, name, rank, AT_ONCE))


async def _read(link: Link, found: Sequence[Found]) -> dict[Found, DeadLetter]:
    """What they hold; without those that were taken away meanwhile."""
    by_bucket: dict[int, list[Found]] = {}
    for each in found:
        by_bucket.setdefault(each.bucket, []).append(each)
    replies = await asyncio.gather(
        *(
            link.call(LETTER, bucket, *(arg for each in some for arg in (each.hook, each.event_id)))
            for bucket, some in by_bucket.items()
        )
    )
    letters = {}
    for bucket, reply in zip(by_bucket, replies, strict=True):
        for hook, event_id, at, letter, body in reply:
            attempts, _, reason = letter.partition(b" ")
            delivery = Delivery(
                hook=text(hook), event=event_from(event_id, body), attempts=int(attempts), key=""
            )
            letters[Found(float(at), bucket, hook, event_id)] = DeadLetter(
                delivery=delivery, reason=text(reason), buried_at=float(at)
            )
    return letters
