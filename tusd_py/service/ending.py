"""The end of a body: its bytes are committed and the lease let go, or the upload is finished."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from tusd_py.core.commands import AppendBytes, CreateUpload
from tusd_py.core.digests import Algorithm
from tusd_py.core.errors import (
    BodyTooLong,
    GateFailed,
    LengthConflict,
    StateUnavailable,
    UploadError,
)
from tusd_py.core.rules import check_completion, move
from tusd_py.core.upload import GONE, Kind, Status, Upload
from tusd_py.service.background import Background
from tusd_py.service.finishing import Finisher
from tusd_py.service.joining import Joiner
from tusd_py.service.parts import Parts
from tusd_py.service.patience import commit_in_time
from tusd_py.service.receiving import Received
from tusd_py.service.settling import Held
from tusd_py.state.base import Lease
from tusd_py.stores.base import StoreError

log = logging.getLogger(__name__)


class Ender:
    """Ends creations and appends, whose lease is held."""

    def __init__(
        self, parts: Parts, finisher: Finisher, joiner: Joiner, background: Background
    ) -> None:
        self._state = parts.state
        self._store = parts.store
        self._finisher = finisher
        self._joiner = joiner
        self._background = background

    async def end(
        self, lease: Lease, received: Received, command: CreateUpload | AppendBytes
    ) -> Upload:
        """Commit what came and let go, or finish. Raises what ended the body early."""
        upload, error = received.upload, received.error
        if error is None:
            try:
                if check_completion(upload, command.completion):
                    return await self.finish(await self._close_length(lease, upload), command)
            except LengthConflict as exc:
                error = exc
        if received.may_commit:
            upload = judged(upload, command, error)
            away = error if isinstance(error, StateUnavailable) else None
            await commit_in_time(self._state, lease, upload, release=True, away=away)
            note_offset(error, upload)
        if error is not None:
            raise error
        return upload

    async def finish(self, held: Held, command: CreateUpload | AppendBytes) -> Upload:
        """Complete the upload. See ``Finisher.finish``."""
        try:
            return await self.complete(held, command.wanted_digests)
        except GateFailed as exc:
            note_offset(exc, held.upload)
            raise

    async def complete(self, held: Held, wanted: Sequence[Algorithm] = ()) -> Upload:
        """See ``Finisher.finish``. What waited for this upload goes on behind the answer."""
        finished = await self._finisher.finish(held, wanted)
        if finished.kind is Kind.PARTIAL:
            self._background.detach(self._joiner.part_completed(finished.id))
        elif finished.kind is Kind.FINAL:
            self._background.detach(self._joiner.let_parts_go(finished))
        return finished

    async def _close_length(self, lease: Lease, upload: Upload) -> Held:
        """The end of the body says how long the upload is, where nobody said so before."""
        if upload.length is None:
            try:
                await self._store.declare_length(upload.id, upload.offset)
            except StoreError:
                await self._state.commit(lease, upload, release=True)
                raise
            upload = replace(upload, length=upload.offset)
        return Held(lease, upload)


def note_offset(error: Exception | None, upload: Upload) -> None:
    """Give ``error`` the offset that was committed: some protocols tell it with refusals too."""
    if isinstance(error, UploadError) and upload.status not in GONE:
        error.offset = upload.offset


def judged(upload: Upload, command: CreateUpload | AppendBytes, error: Exception | None) -> Upload:
    """The record after a request: invalid where a strict one contradicted the length."""
    if command.is_strict and isinstance(error, BodyTooLong):
        return move(upload, Status.INVALID)
    return upload
