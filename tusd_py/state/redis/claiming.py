"""How events are handed out: the oldest heads that were seen, claimed by name, until there are
enough or nothing is left."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tusd_py.core.ids import UploadId
from tusd_py.state.base import Delivery, StateError
from tusd_py.state.redis.codec import id_bytes, id_from
from tusd_py.state.redis.event_codec import event_from
from tusd_py.state.redis.heads import Head, Heads
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.scripts import Script

log = logging.getLogger(__name__)

CLAIMED_AT_ONCE: Final = 32
MAX_ROUNDS: Final = 100
"""Of looking and claiming, should others always be faster."""
GIVE_BACK_SECONDS: Final = 1.0
"""Between two tries to give back a claim."""

CLAIM: Final = Script("claim", parts=("events", "claims"))
UNCLAIM: Final = Script("unclaim", parts=("events",))


@dataclass(slots=True)
class Wish:
    """One call of ``claim``, and what has become of it."""

    hook: str
    now: float
    claim_seconds: float
    limit: int
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of the claims."""
    claimed: list[Delivery] = field(default_factory=list)
    doubtful: set[UploadId] = field(default_factory=set)
    """Of which nobody knows whether they were handed out: the answer did not come."""
    is_given_up: bool = False

    @property
    def missing(self) -> int:
        return min(self.limit - len(self.claimed), CLAIMED_AT_ONCE)


async def hand_out(link: Link, heads: Heads, wish: Wish) -> Sequence[Delivery]:
    """Claim what is due. "Nothing" is said only after a look at all buckets. Raises StateError
    where nothing was claimed before."""
    began = heads.next_number()
    for _ in range(MAX_ROUNDS):
        if wish.missing <= 0 or wish.is_given_up:
            break
        try:
            await heads.refresh(wish.hook)
            picked = heads.pick(wish.hook, now=wish.now, limit=wish.missing)
            if picked:
                await _claim(link, heads, wish, picked)
            elif wish.claimed or heads.full_look > began:
                break
            else:
                heads.age()
        except StateError:
            if not wish.claimed:
                raise
            break
    return wish.claimed


async def _claim(link: Link, heads: Heads, wish: Wish, picked: Sequence[Head]) -> None:
    """Claim them by name, each bucket for itself. Raises the first StateError, after all."""
    by_bucket: dict[int, list[Head]] = {}
    for head in picked:
        by_bucket.setdefault(head.bucket, []).append(head)
    wish.doubtful.update(id_from(head.upload) for head in picked)
    answers = await asyncio.gather(
        *(_claim_in(link, heads, wish, bucket, some) for bucket, some in by_bucket.items()),
        return_exceptions=True,
    )
    # In the order in which they were picked, whatever bucket answered first.
    order = {id_from(head.upload): place for place, head in enumerate(picked)}
    granted = [each for answer in answers if isinstance(answer, list) for each in answer]
    wish.claimed += sorted(granted, key=lambda each: order[each.event.upload_id])
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer


async def _claim_in(
    link: Link, heads: Heads, wish: Wish, bucket: int, picked: Sequence[Head]
) -> list[Delivery]:
    number = heads.next_number()
    names = [arg for head in picked for arg in (head.upload, repr(head.due_at))]
    wanted = (wish.id, repr(float(wish.now)), round(wish.claim_seconds * 1000), wish.hook)
    try:
        granted, told = await link.call(CLAIM, bucket, *heads.args(), *wanted, *names)
    except StateError:
        heads.doubt(bucket)
        raise
    heads.saw(wish.hook, bucket, number, told)
    wish.doubtful.difference_update(id_from(head.upload) for head in picked)
    deliveries = []
    had = {delivery.event.id for delivery in wish.claimed}
    for upload, attempts, event_id, body in granted:
        if event_id.decode("ascii", "replace") in had:
            continue  # by a look that overtook the claim it seemed to be free
        if not body:
            fields = {"hook": wish.hook, "event_id": event_id.decode("ascii", "replace")}
            log.error("event_lost", extra={**fields, "upload_id": id_from(upload)})
            continue
        event = event_from(event_id, body)
        deliveries.append(
            Delivery(hook=wish.hook, event=event, attempts=int(attempts), key=wish.id)
        )
    return deliveries


async def give_back(link: Link, heads: Heads, wish: Wish, uploads: set[UploadId]) -> None:
    """What nobody delivers is free again; tried until the claims are over by themselves."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wish.claim_seconds
    by_bucket: dict[int, list[bytes]] = {}
    for upload_id in uploads:
        by_bucket.setdefault(link.bucket_of(upload_id), []).append(id_bytes(upload_id))
    while by_bucket and loop.time() < until:
        for bucket, members in list(by_bucket.items()):
            try:
                await link.call(UNCLAIM, bucket, wish.hook, wish.id, *members)
            except StateError:
                await asyncio.sleep(GIVE_BACK_SECONDS)
                continue
            heads.hint(bucket)
            del by_bucket[bucket]
