"""Which uploads there are: by id, by page, by what is due. All of it by indexes, no call without a
bound, and no scan of the keys."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Status, Upload
from tusd_py.state.base import Due, Filter, StateError
from tusd_py.state.redis.codec import (
    STATUS_LETTERS,
    client_digest,
    id_bytes,
    id_from,
    record_from,
    video_digest,
)
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.scripts import Script

COUNTS_KEPT_SECONDS: Final = 5.0
MAX_READ: Final = 200
"""Records in one call: Redis serves nobody else meanwhile."""
MAX_FOUND: Final = 1000
"""Ids in one call, of one bucket."""
PAGE_BUCKETS: Final = (1, 7, 56, 256)
"""How many buckets are looked at with each further step of a page: where there is much, the first
has enough; where there is little, the next ones are looked at together."""

FIRST_SHARE: Final = 4
SHARE_GROWTH: Final = 4

READ: Final = Script("read", parts=("records",))
DUE: Final = Script("due", parts=("records",))
PAGE: Final = Script("page", parts=("records",))
COUNTS: Final = Script("counts")


async def find_many(link: Link, upload_ids: Sequence[UploadId]) -> dict[UploadId, Upload]:
    """Those that have a record."""
    by_bucket: dict[int, list[UploadId]] = {}
    for upload_id in dict.fromkeys(upload_ids):
        by_bucket.setdefault(link.bucket_of(upload_id), []).append(upload_id)

    async def read(bucket: int, ids: Sequence[UploadId]) -> list[Upload]:
        replies = await link.call(READ, bucket, *ids)
        return [
            record_from(upload_id, reply)
            for upload_id, reply in zip(ids, replies, strict=True)
            if reply
        ]

    pieces = [
        read(bucket, ids[first : first + MAX_READ])
        for bucket, ids in by_bucket.items()
        for first in range(0, len(ids), MAX_READ)
    ]
    return {upload.id: upload for some in await asyncio.gather(*pieces) for upload in some}


async def count(link: Link) -> dict[Status, int]:
    replies = await link.call_all(COUNTS, *STATUS_LETTERS.values())
    columns = zip(*replies, strict=True)
    return {
        status: sum(map(int, column))
        for status, column in zip(STATUS_LETTERS, columns, strict=True)
    }


# ---------------------------------------------------------------------- what is due


async def list_due(
    link: Link, due: Due, *, now: float, age_seconds: float, limit: int
) -> list[UploadId]:
    """Oldest first; nothing that is under a live lease.

    Each bucket is asked for its share and a few more. Those that had nothing but older ones than
    the youngest that is wanted are asked again for more, until none of them has any.
    """
    highest = _highest(due, now, age_seconds)
    share = min(limit, FIRST_SHARE + 2 * limit // link.buckets)
    found: dict[int, tuple[bool, Pairs]] = {}
    oldest: Pairs = []
    asked: Sequence[int] = range(link.buckets)
    while asked:
        replies = await link.call_each(DUE, due.value, highest, share, buckets=asked)
        found |= {
            bucket: (False, []) if isinstance(reply, StateError) else _parse_due(reply)
            for bucket, reply in zip(asked, replies, strict=True)
        }
        oldest = _oldest(found.values(), limit)
        youngest = oldest[-1] if len(oldest) == limit else None
        asked = [
            bucket
            for bucket, (has_more, pairs) in found.items()
            if has_more and len(pairs) == share and (youngest is None or pairs[-1] < youngest)
        ]
        asked, share = asked if share < limit else (), min(limit, SHARE_GROWTH * share)
    return [id_from(member) for _, member in oldest]


Pairs = list[tuple[float, bytes]]


def _highest(due: Due, now: float, age_seconds: float) -> str:
    match due:
        case Due.EXPIRED:
            return repr(now)
        case Due.SILENT | Due.RETIRED | Due.REFUSED:
            return f"({now - age_seconds!r}"
        case Due.ABANDONED | Due.UNSETTLED | Due.UNDECIDED | Due.UNJOINED | Due.TERMINATING:
            return "+inf"


def _parse_due(reply: Sequence[bytes]) -> tuple[bool, Pairs]:
    scores, members = reply[1::2], reply[2::2]
    return reply[0] == b"1", [(float(s), m) for s, m in zip(scores, members, strict=True)]


def _oldest(found: Iterable[tuple[bool, Pairs]], limit: int) -> Pairs:
    return sorted(pair for _, pairs in found for pair in pairs)[:limit]


# ---------------------------------------------------------------------- pages


async def find_page(
    link: Link, wanted: Filter, *, after: UploadId | None, limit: int
) -> list[Upload]:
    """By id. The order of ids is the order of buckets, and of members within each."""
    found: list[Upload] = []
    while len(found) < limit:
        missing = min(limit - len(found), MAX_FOUND)
        ids = await _next_ids(link, wanted, after, missing)
        records = await find_many(link, ids)
        # Digests only find them; and some may have changed since.
        found += [records[i] for i in ids if i in records and _matches(records[i], wanted)]
        if len(ids) < missing:
            break
        after = ids[-1]
    return found


@dataclass(frozen=True, slots=True)
class _Search:
    """One index, and what of it is wanted."""

    link: Link
    index: str
    beginnings: bytes
    """What its members begin with; several, one after the other, each ``width`` long."""
    width: int
    is_ordered: bool
    """By id, within each beginning."""
    status: bytes
    """Empty: any, or the index knows."""

    def args(self, cursor: bytes, behind: bytes, limit: int) -> tuple[Arg, ...]:
        first = behind if self.is_ordered else b""
        many = limit if self.is_ordered else MAX_FOUND
        return self.index, self.beginnings, cursor, first, self.status, many, self.width

    async def rest(
        self, bucket: int, told: Sequence[bytes], behind: bytes, limit: int
    ) -> list[bytes]:
        """The first ``limit`` members of one bucket, in order. ``told``: the first answer."""
        cursor, *members = told
        while cursor and len(self.beginnings) <= self.width:
            if self.is_ordered and len(members) >= limit:
                break
            args = self.args(cursor, behind, limit)
            cursor, *some = await self.link.call(PAGE, bucket, *args)
            members += some
        return sorted(member for member in members if member > behind)[:limit]


async def _next_ids(
    link: Link, wanted: Filter, after: UploadId | None, limit: int
) -> list[UploadId]:
    search = _search_for(link, wanted)
    behind = id_bytes(after) if after else b""
    members: list[bytes] = []
    first = link.bucket_of(after) if after else 0
    for step in PAGE_BUCKETS:
        buckets = range(first, min(first + step, link.buckets))
        # In buckets behind the first all ids come behind.
        replies = await link.call_all(PAGE, *search.args(b"", behind, limit), buckets=buckets)
        for bucket, told in zip(buckets, replies, strict=True):
            if len(members) < limit:
                members += await search.rest(bucket, told, behind, limit)
        first += step
        if len(members) >= limit or first >= link.buckets:
            break
    return [id_from(member) for member in members[:limit]]


def _search_for(link: Link, wanted: Filter) -> _Search:
    """By the index that fits best."""
    video = b"" if wanted.video_id is None else video_digest(wanted.video_id)
    status = b"" if wanted.status is None else STATUS_LETTERS[wanted.status]
    if wanted.client_id is not None:
        beginning = client_digest(wanted.client_id) + video
        # Not all of a client's are in the order of their ids: those of each video are.
        return _Search(link, ":client", beginning, len(beginning), bool(video), status)
    if video:
        return _Search(link, ":video", video, len(video), True, status)
    statuses = status or b"".join(STATUS_LETTERS.values())
    return _Search(link, ":status", statuses, 1, True, b"")


def _matches(upload: Upload, wanted: Filter) -> bool:
    return (
        wanted.video_id in (None, upload.owner.video_id)
        and wanted.client_id in (None, upload.owner.client_id)
        and wanted.status in (None, upload.status)
    )
