"""One body on its way into an upload whose lease is held: written, checkpointed, committed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

from tusd_py.core.errors import (
    BodyMalformed,
    BodyTooSlow,
    ClientGone,
    LeaseLost,
    PartUnusable,
    ServerStopping,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    UploadError,
    UploadHandedOver,
)
from tusd_py.core.rules import AppendPlan, overflow_error
from tusd_py.core.upload import Upload
from tusd_py.service.keeper import Keeper
from tusd_py.service.listening import NO_LISTENER, Listener
from tusd_py.service.pacing import Pacing
from tusd_py.service.parts import Parts
from tusd_py.service.progress import Progress
from tusd_py.service.settling import Held
from tusd_py.state.base import LeaseGone, StateError
from tusd_py.stores.base import Appended, Appending, Part, PartLost
from tusd_py.streams import Brake, ByteSource, SourceEnd, StopReason

log = logging.getLogger(__name__)

SAVE_SECONDS = 2.0
"""How long a cancelled request may take to commit what it wrote."""

ERRORS: dict[SourceEnd | StopReason, Callable[[], UploadError]] = {
    SourceEnd.HUNG_UP: ClientGone,
    SourceEnd.TOO_SLOW: BodyTooSlow,
    SourceEnd.MALFORMED: BodyMalformed,
    StopReason.ASKED: UploadHandedOver,
    StopReason.LEASE_LOST: LeaseLost,
    StopReason.STOPPING: ServerStopping,
    StopReason.NO_SPACE: StorageFull,
    StopReason.STATE_AWAY: StateUnavailable,
}
"""What a body that ended early is answered with; every end but COMPLETE has a row."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a body came to. The lease is still held, unless ``error`` says that it is lost."""

    upload: Upload
    """With the offset that was reached; not committed yet."""
    error: UploadError | None
    """Why it ended early; None where the whole body is there."""

    @property
    def may_commit(self) -> bool:
        return not isinstance(self.error, LeaseLost)


class Receiver:
    """Writes bodies. Knows those that are running, so that a stop can end them."""

    def __init__(self, parts: Parts, pacing: Pacing | None = None) -> None:
        """``pacing`` None: bodies are read as they come."""
        self._pacing = pacing
        self._state = parts.state
        self._store = parts.store
        self._settings = parts.settings
        self._limits = parts.settings.limits
        self._observer = parts.observer
        self._now = parts.now
        self._brakes: set[Brake] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """End every running body, and those that begin later (they waited for a lease, or for a
        gate): what arrived is kept."""
        self._is_stopping = True
        for brake in self._brakes:
            brake.pull(StopReason.STOPPING)

    async def receive(
        self,
        held: Held,
        plan: AppendPlan,
        body: ByteSource,
        listener: Listener = NO_LISTENER,
    ) -> Received:
        """Write ``body`` as ``plan`` says. Nothing is committed but checkpoints, which
        ``listener`` is told of.

        Cancelling is safe: when CancelledError comes out, no write is under way any more, and the
        lease was not let go.
        """
        await body.invite()
        appending = self._appending(held, plan)
        pacing, holder = self._pacing, held.lease.holder
        with pacing.paced(held.upload, holder, body) if pacing else nullcontext(body) as source:
            appended, upload = await self._run(
                held, plan, appending, lambda: self._store.append(appending, source), listener
            )
        return self._judge(upload, plan, appended)

    async def join(self, held: Held, plan: AppendPlan, parts: Sequence[Part]) -> Received:
        """Write the bytes of ``parts`` as if they were a body. The upload goes on joining."""
        appending = self._appending(held, plan)
        appended, upload = await self._run(
            held, plan, appending, lambda: self._store.join(appending, parts), NO_LISTENER
        )
        return self._judge(upload, plan, appended)

    def _appending(self, held: Held, plan: AppendPlan) -> Appending:
        brake = Brake(has_time=lambda: not held.lease.is_over)
        if self._is_stopping:
            brake.pull(StopReason.STOPPING)
        return Appending(
            held.upload.id,
            plan.offset,
            plan.room,
            brake,
            promise=plan.promise,
            holder=held.lease.holder,
        )

    async def _run(
        self,
        held: Held,
        plan: AppendPlan,
        appending: Appending,
        work: Callable[[], Awaitable[Appended]],
        listener: Listener,
    ) -> tuple[Appended, Upload]:
        """The writing, with checkpoints beside it, and the record as it is afterwards."""
        upload = replace(held.upload, length=plan.length)
        progress = Progress(self._store, appending, upload, self._settings.sync_step_bytes)
        keeper = Keeper(
            self._state,
            held.lease,
            lambda: self._checkpoint(progress.snapshot()),
            appending.brake.pull,
            self._settings.checkpoint_seconds,
            listener.advanced,
        )
        began = time.monotonic()
        self._observer.appends_running(1)
        self._brakes.add(appending.brake)
        try:
            async with keeper:
                appended = await work()
            if appended.end is StopReason.LEASE_LOST and keeper.is_away:
                appended = replace(appended, end=StopReason.STATE_AWAY)
        except asyncio.CancelledError:
            await self._save(held, progress.at(appending.offset))
            raise
        finally:
            self._brakes.discard(appending.brake)
            await progress.close()
            self._observer.appends_running(-1)
        self._observer.append_ended(
            appended.end, appended.offset - plan.offset, time.monotonic() - began
        )
        return await progress.final(appended)

    async def _save(self, held: Held, upload: Upload) -> None:
        """The request was cancelled; what reached the disk still counts. A short, bounded time to
        say so; where that fails the record is reconciled with the bytes later."""
        with suppress(TimeoutError, LeaseGone, StateError):
            async with asyncio.timeout(SAVE_SECONDS):
                await self._state.commit(held.lease, self._advanced(upload), release=True)

    def _judge(self, upload: Upload, plan: AppendPlan, appended: Appended) -> Received:
        upload = self._advanced(upload)
        error: UploadError | None = None
        if appended.error is not None:
            log.error(
                "append_failed",
                extra={"upload_id": upload.id, "offset": upload.offset},
                exc_info=appended.error,
            )
            error = PartUnusable() if isinstance(appended.error, PartLost) else StorageFailed()
        elif appended.unproven is not None:
            error = appended.unproven
        elif appended.overflowed:
            error = overflow_error(upload, plan.length, plan.room)
        elif appended.end is not SourceEnd.COMPLETE:
            error = ERRORS[appended.end]()
        return Received(upload, error)

    def _checkpoint(self, upload: Upload) -> Upload:
        return replace(self._advanced(upload), bytes_per_second=upload.bytes_per_second)

    def _advanced(self, upload: Upload) -> Upload:
        """The record with what progress changes besides the offset."""
        now = self._now()
        return replace(
            upload,
            changed_at=now,
            bytes_per_second=0.0,
            is_interrupted=False,
            expires_at=self._limits.expiry_after_progress(upload, now),
            # Bytes that are written now are believed again [no-cut].
            suspect_length=0 if upload.offset >= upload.suspect_length else upload.suspect_length,
        )
