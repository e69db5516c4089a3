"""Makes the records anew from what lies in the store: for an installation whose state was lost.

Running servers do the same by themselves, upload by upload, when a client asks or the sweeper's
walk comes by; this does it at once, before they are started.
"""

import asyncio
from dataclasses import dataclass

from tusd_py.core.ids import UploadId
from tusd_py.service.parts import Parts
from tusd_py.service.sweeper import Sweeper


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
    failed = missing
    for _ in range(2):
        failed = [i for i in failed if not await sweeper.judge(i)]
        if not failed:
            break
        # No lease is granted for so long after a state store began anew [grace].
        await asyncio.sleep(parts.settings.lease_seconds + 0.1)
    adopted = [i for i in missing if await parts.state.find(i) is not None]
    return Rebuilt(uploads, len(adopted), tuple(i for i in failed if i not in set(adopted)))


async def _missing(parts: Parts) -> tuple[int, list[UploadId]]:
    count, missing, cursor = 0, [], None
    while True:
        page = await parts.store.walk(cursor, orphan_age_seconds=float("inf"))
        count += len(page.upload_ids)
        for upload_id in page.upload_ids:
            if await parts.state.find(upload_id) is None:
                missing.append(upload_id)
        if (cursor := page.cursor) is None:
            return count, missing
