"""How far a running append has come, and how much of it is on the medium."""

import asyncio
import logging
import time
from dataclasses import replace

from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Upload
from tusd_py.service.keeper import join
from tusd_py.stores.base import Appended, Appending, ByteStore, StoreError

log = logging.getLogger(__name__)


class Progress:
    """Of one append. The records it gives are for commits."""

    def __init__(
        self, store: ByteStore, appending: Appending, upload: Upload, step_bytes: int
    ) -> None:
        self._store = store
        self._appending = appending
        self._upload = upload
        is_power = store.durability is Durability.POWER
        self._counts_synced_only = is_power or (
            # A told offset of such an upload may never shrink, also not by a loss of power.
            upload.is_strict and store.durability is Durability.FINISH
        )
        self._step_bytes = 1 if is_power else step_bytes
        self._synced = upload.synced_offset
        self._sync: asyncio.Task[None] | None = None
        self._measured_at = time.monotonic()
        self._measured_offset = appending.offset

    def snapshot(self) -> Upload:
        """The record for a checkpoint. Where only synced bytes count, a sync runs beside the
        writing and never delays the renewal of the lease."""
        offset = self._appending.offset
        upload = replace(self._upload, bytes_per_second=self._measure(offset))
        if self._store.durability is Durability.PROCESS:
            return replace(upload, offset=offset)
        if self._sync is None and offset - self._synced >= self._step_bytes:
            self._sync = asyncio.create_task(self._sync_to(offset))
        return self._with(upload, offset)

    def at(self, offset: int) -> Upload:
        """The record after a cancelled append, whose last bytes may not be synced."""
        return self._with(self._upload, offset)

    async def final(self, appended: Appended) -> tuple[Appended, Upload]:
        """How the append ended, and the record after it."""
        offset = appended.offset
        if self._store.durability is Durability.POWER:
            self._synced = offset  # so the store promises, however the append ended
        elif self._counts_synced_only and offset > self._synced:
            try:
                await self._store.sync(self._appending.upload_id)
                self._synced = offset
            except StoreError as exc:
                offset = max(self._synced, self._upload.offset)
                appended = replace(appended, offset=offset, error=appended.error or exc)
        return appended, self._with(self._upload, offset)

    async def close(self) -> None:
        """Wait for a sync that is under way."""
        if self._sync is not None:
            await join(self._sync)

    def _with(self, upload: Upload, offset: int) -> Upload:
        if self._counts_synced_only:
            offset = max(self._synced, upload.offset)
        return replace(upload, offset=offset, synced_offset=min(self._synced, offset))

    def _measure(self, offset: int) -> float:
        """Bytes a second since the last checkpoint."""
        now = time.monotonic()
        seconds, self._measured_at = now - self._measured_at, now
        count, self._measured_offset = offset - self._measured_offset, offset
        return count / seconds if seconds > 0 else 0.0

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
