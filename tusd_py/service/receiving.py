"""One body on its way into an upload whose lease is held: written, checkpointed, committed."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from tusd_py.core.errors import (
    BodyMalformed,
    BodyTooSlow,
    ClientGone,
    LeaseLost,
    ServerStopping,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    UploadError,
    UploadHandedOver,
)
from tusd_py.core.reconcile import Durability
from tusd_py.core.rules import AppendPlan, overflow_error
from tusd_py.core.upload import Upload
from tusd_py.service.keeper import Keeper, join
from tusd_py.service.parts import Parts
from tusd_py.service.settling import Held
from tusd_py.state.base import LeaseGone, StateError
from tusd_py.stores.base import Appended, Appending, ByteStore, StoreError
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

    def __init__(self, parts: Parts) -> None:
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

    async def receive(self, held: Held, plan: AppendPlan, body: ByteSource) -> Received:
        """Write ``body`` as ``plan`` says. Nothing is committed but checkpoints.

        Cancelling is safe: when CancelledError comes out, no write is under way any more, and the
        lease was not let go.
        """
        upload = replace(held.upload, length=plan.length)
        brake = Brake(has_time=lambda: not held.lease.is_over)
        if self._is_stopping:
            brake.pull(StopReason.STOPPING)
        appending = Appending(upload.id, plan.offset, plan.room, brake)
        progress = _Progress(self._store, appending, upload, self._settings.sync_step_bytes)
        keeper = Keeper(
            self._state,
            held.lease,
            lambda: self._advanced(progress.snapshot()),
            brake.pull,
            self._settings.checkpoint_seconds,
        )
        began = time.monotonic()
        self._observer.appends_running(1)
        self._brakes.add(brake)
        try:
            await body.invite()
            async with keeper:
                appended = await self._store.append(appending, body)
        except asyncio.CancelledError:
            await self._save(held, progress.at(appending.offset))
            raise
        finally:
            self._brakes.discard(brake)
            await progress.close()
            self._observer.appends_running(-1)
        self._observer.append_ended(
            appended.end, appended.offset - plan.offset, time.monotonic() - began
        )
        return self._judge(progress.final(appended), plan, appended)

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
            error = StorageFailed()
        elif appended.overflowed:
            error = overflow_error(upload, plan.length, plan.room)
        elif appended.end is not SourceEnd.COMPLETE:
            error = ERRORS[appended.end]()
        return Received(upload, error)

    def _advanced(self, upload: Upload) -> Upload:
        """The record with what progress changes besides the offset."""
        now = self._now()
        return replace(
            upload,
            changed_at=now,
            is_interrupted=False,
            expires_at=self._limits.expiry_after_progress(upload, now),
            # Bytes that are written now are believed again [no-cut].
            suspect_length=0 if upload.offset >= upload.suspect_length else upload.suspect_length,
        )


class _Progress:
    """How far a running append has come, and how much of it is on the medium."""

    def __init__(
        self, store: ByteStore, appending: Appending, upload: Upload, step_bytes: int
    ) -> None:
        self._store = store
        self._appending = appending
        self._upload = upload
        self._step_bytes = 1 if store.durability is Durability.POWER else step_bytes
        self._synced = upload.synced_offset
        self._sync: asyncio.Task[None] | None = None

    def snapshot(self) -> Upload:
        """The record for a checkpoint. Where durability is power only synced bytes count; a sync
        runs beside the writing and never delays the renewal of the lease."""
        offset = self._appending.offset
        if self._store.durability is Durability.PROCESS:
            return replace(self._upload, offset=offset)
        if self._sync is None and offset - self._synced >= self._step_bytes:
            self._sync = asyncio.create_task(self._sync_to(offset))
        if self._store.durability is Durability.POWER:
            offset = max(self._synced, self._upload.offset)
        return replace(self._upload, offset=offset, synced_offset=self._synced)

    def at(self, offset: int) -> Upload:
        """The record after a cancelled append, whose last bytes may not be synced."""
        if self._store.durability is Durability.POWER:
            offset = max(self._synced, self._upload.offset)
        return replace(self._upload, offset=offset, synced_offset=min(self._synced, offset))

    def final(self, appended: Appended) -> Upload:
        """The record after an append that ended by itself."""
        synced = self._synced
        if self._store.durability is Durability.POWER:
            synced = appended.offset  # so the store promises, however the append ended
        return replace(self._upload, offset=appended.offset, synced_offset=synced)

    async def close(self) -> None:
        """Wait for a sync that is under way."""
        if self._sync is not None:
            await join(self._sync)

    async def _sync_to(self, offset: int) -> None:
        try:
            await self._store.sync(self._appending.upload_id)
        except StoreError:
            # Not believed, so not counted: the append itself meets the same medium.
            log.exception("sync_failed", extra={"upload_id": self._appending.upload_id})
            return
        finally:
            self._sync = None
        self._synced = max(self._synced, offset)
