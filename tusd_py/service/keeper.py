"""Keeps a lease alive while its holder works, and says when it is wanted or lost."""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tusd_py.core.upload import Upload
from tusd_py.state.base import Lease, LeaseGone, StateError, UploadState
from tusd_py.streams import StopReason

log = logging.getLogger(__name__)


def keep_on(reason: StopReason) -> None:
    """For work that is not stopped: who asks for the lease waits until it is done, and a lease
    that is lost meanwhile shows at the commit."""


def tell_nobody(upload: Upload) -> None:
    """For commits that nobody waits for."""


class Keeper:
    """Commits ``snapshot()`` each ``seconds``, which renews the lease; an async context manager.

    ``on_stop`` is called on the event loop: with ASKED when somebody wants the lease (once; it is
    renewed all the same), LEASE_LOST when a renewal was refused, STATE_AWAY when it could not be
    renewed in time. Leaving the context waits until a commit that is under way has ended, so
    nothing is committed after it. ``on_commit`` is told of each record that was committed.
    """

    def __init__(
        self,
        state: UploadState,
        lease: Lease,
        snapshot: Callable[[], Upload],
        on_stop: Callable[[StopReason], None],
        seconds: float,
        on_commit: Callable[[Upload], None] = tell_nobody,
    ) -> None:
        self._on_commit = on_commit
        self._state = state
        self._lease = lease
        self._snapshot = snapshot
        self._on_stop = on_stop
        self._seconds = seconds
        self._stopping = False
        self._committing = False
        self._told_asked = False
        self._is_away = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """The last renewal met a store that did not answer, or could not."""
        return self._is_away

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = self._task
        if task is None:
            return
        self._stopping = True
        if not self._committing:  # a commit in flight is waited for instead
            task.cancel()
        await join(task)

    async def _run(self) -> None:
        while not self._stopping:
            if not await self._is_asked() and not await self._renew():
                return

    async def _is_asked(self) -> bool:
        """Somebody asked, now. The lease is kept all the same until it is let go."""
        if self._told_asked:
            await asyncio.sleep(self._seconds)
            return False
        try:
            async with asyncio.timeout(self._seconds):
                await self._lease.asked.wait()
        except TimeoutError:
            return False
        self._told_asked = True
        self._on_stop(StopReason.ASKED)
        return True

    async def _renew(self) -> bool:
        self._committing = True
        # A store that does not answer may keep a renewal for as long as the lease lasts. What is
        # under way stops before that, so that there is time to commit what came.
        left = self._lease.remaining_seconds
        patience = left - min(self._seconds, left / 2)
        warning = asyncio.get_running_loop().call_later(patience, self._give_up)
        try:
            upload = self._snapshot()
            await self._state.commit(self._lease, upload, release=False)
            self._is_away = False
            self._on_commit(upload)
        except LeaseGone:
            ran_out = self._is_away and self._lease.is_over
            self._on_stop(StopReason.STATE_AWAY if ran_out else StopReason.LEASE_LOST)
            return False
        except StateError as exc:
            self._is_away = True
            log.warning(
                "checkpoint_failed",
                extra={"upload_id": self._lease.upload_id, "reason": repr(exc)},
            )
            # The body goes on for as long as the lease lasts by our own clock, not longer.
            if self._lease.remaining_seconds <= 2 * self._seconds:
                self._on_stop(StopReason.STATE_AWAY)
                return False
        finally:
            warning.cancel()
            self._committing = False
        return True

    def _give_up(self) -> None:
        if not self._lease.is_over:  # else this process has slept, and somebody may have taken it
            self._is_away = True
            self._on_stop(StopReason.STATE_AWAY)


async def join(task: asyncio.Task[None]) -> None:
    """Wait for the task's end however often the waiting itself is cancelled."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    if cancelled is not None:
        raise cancelled
