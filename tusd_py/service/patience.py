"""Commits that outlast a state store which is away for a moment.

What is committed here has been received already. While the lease lasts nobody else writes, so
trying again costs the client nothing; failing would send it through another request.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from tusd_py.core.events import Event
from tusd_py.core.upload import Upload
from tusd_py.state.base import Lease, LeaseGone, StateError, StateFull, UploadState

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.2
"""Between two tries. The state store bounds how often it is really asked."""


async def commit_in_time(
    state: UploadState,
    lease: Lease,
    upload: Upload,
    events: Sequence[Event] = (),
    *,
    release: bool,
    away: Exception | None = None,
) -> None:
    """As ``state.commit``, tried again while the lease lasts. Raises what the last try raised; but
    where the lease ran out because the store was away nobody else took it: the last error that said
    so, ``away`` where it was met before.

    A try whose outcome was lost may have committed: with ``release`` the next one then raises
    LeaseGone where the store cannot tell, and the client asks for the offset.
    """
    while True:
        try:
            await state.commit(lease, upload, events, release=release)
            return
        except LeaseGone:
            if away is not None and lease.is_over:
                raise away from None
            raise
        except StateFull:
            raise
        except StateError as exc:
            if lease.remaining_seconds <= PAUSE_SECONDS:
                raise
            away = exc
            log.warning("commit_tried_again", extra={"upload_id": upload.id, "reason": repr(exc)})
        await asyncio.sleep(PAUSE_SECONDS)
