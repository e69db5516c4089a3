"""Makes the records anew from what lies in the store: for an installation whose state was lost.

Running servers do the same by themselves, upload by upload, when a client asks or the sweeper's
walk comes by; this does it at once, before they are started or beside them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tusd_py.core.ids import UploadId
from tusd_py.service.parts import Parts
from tusd_py.service.sweeper import Sweeper

AT_ONCE: Final = 8
"""Uploads judged at the same time: each asks the state several times, one after another."""
LOOKED_UP_AT_ONCE: Final = 500
TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found."""

    uploads: int
    """With facts in the store."""
    adopted: int
    """Whose record was missing and is there now."""
    failed: tuple[UploadId, ...]
    """Whose record could not be made; the log says why."""


async def rebuild(parts: Parts) -> Rebuilt:
    """Adopt every upload without a record. Completions that nobody was told of are told again,
    under the id they would have had. Idempotent; orphans are left to the sweeper."""
    sweeper = Sweeper(parts)
    uploads, missing = await _missing(parts)
    failed: Sequence[UploadId] = missing
    for number in range(TRIES):
        if number and failed:
            # No lease is granted for so long after a state store began anew [grace].
            await asyncio.sleep(parts.settings.lease_seconds + 0.1)
        failed = await _judge(sweeper, failed)
    there = await _with_record(parts, missing)
    return Rebuilt(uploads, len(there), tuple(i for i in failed if i not in there))


async def _judge(sweeper: Sweeper, upload_ids: Sequence[UploadId]) -> list[UploadId]:
    """Those that must be looked at again."""
    again: list[UploadId] = []
    todo = iter(upload_ids)

    async def work() -> None:
        for upload_id in todo:
            if not await sweeper.judge(upload_id):
                again.append(upload_id)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return again


async def _missing(parts: Parts) -> tuple[int, list[UploadId]]:
    count, missing, cursor = 0, list[UploadId](), None
    while True:
        page = await parts.store.walk(cursor, orphan_age_seconds=float("inf"))
        count += len(page.upload_ids)
        there = await _with_record(parts, page.upload_ids)
        missing += [upload_id for upload_id in page.upload_ids if upload_id not in there]
        if (cursor := page.cursor) is None:
            return count, missing


async def _with_record(parts: Parts, upload_ids: Sequence[UploadId]) -> set[UploadId]:
    there: set[UploadId] = set()
    for first in range(0, len(upload_ids), LOOKED_UP_AT_ONCE):
        there |= (await parts.state.find_many(upload_ids[first : first + LOOKED_UP_AT_ONCE])).keys()
    return there
