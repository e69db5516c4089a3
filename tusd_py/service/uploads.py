"""What clients do with uploads: create, append, ask for the offset, terminate.

The order is always the same: lease and record, rule, bytes, commit. Nothing is written before the
rule has said yes, and what was written is committed before it is told.
"""

import asyncio
from dataclasses import replace

from tusd_py.core.commands import AppendBytes, Completion, CreateUpload, ReadOffset, Terminate
from tusd_py.core.errors import (
    BodyTooLong,
    GateRefused,
    ServerStopping,
    StorageFull,
    UploadError,
    UploadLocked,
    UploadUnknown,
    WholeDigestMismatch,
)
from tusd_py.core.events import EventKind, describe
from tusd_py.core.identity import Principal
from tusd_py.core.ids import UploadId
from tusd_py.core.rules import check_append_to_finished, plan_append
from tusd_py.core.upload import Status, Upload
from tusd_py.hooks.base import Moment, Question
from tusd_py.service.awaiting import Awaiting
from tusd_py.service.background import Background
from tusd_py.service.creating import Creator
from tusd_py.service.ending import Ender, judged, note_offset
from tusd_py.service.finishing import Finisher
from tusd_py.service.joining import Joiner
from tusd_py.service.keeper import Keeper, keep_on
from tusd_py.service.limits import Creations
from tusd_py.service.listening import NO_LISTENER, Listener
from tusd_py.service.pacing import Pacing
from tusd_py.service.parts import Parts
from tusd_py.service.receiving import Receiver
from tusd_py.service.removing import Remover
from tusd_py.service.settling import AlreadyTerminated, Held, Settler, let_go
from tusd_py.service.translate import translated
from tusd_py.state.base import Purpose, Seen, Visit
from tusd_py.stores.base import StoreError
from tusd_py.streams import ByteSource


class Uploads:
    """The four things a client can ask for. Every method raises UploadError and nothing else
    that a client or a back end can cause."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._state = parts.state
        self._store = parts.store
        self._settler = Settler(parts)
        self._background = Background()
        self._receiver = Receiver(parts, Pacing(parts, self._background))
        self._finisher = Finisher(parts)
        self._remover = Remover(parts)
        self._creations = Creations(parts)
        self._joiner = Joiner(parts, self._receiver, self._finisher, Awaiting())
        self._ender = Ender(parts, self._finisher, self._joiner, self._background)
        self._creator = Creator(
            parts, self._creations, self._receiver, self._ender, self._joiner, self._background
        )
        self._is_stopping = False

    def stop(self) -> None:
        """No new uploads; running bodies end now, with what has arrived committed."""
        self._is_stopping = True
        self._creations.stop()
        self._receiver.stop()

    async def drain(self) -> None:
        """Wait for work that goes on behind answers (gates that HEADs started, joins)."""
        await self._background.drain()

    # ------------------------------------------------------------------ create

    async def create(
        self,
        command: CreateUpload,
        principal: Principal,
        body: ByteSource,
        listener: Listener = NO_LISTENER,
    ) -> Upload:
        """See ``Creator.create``."""
        with translated():
            if self._is_stopping:
                raise ServerStopping()
            return await self._creator.create(command, principal, body, listener)

    # ------------------------------------------------------------------ append

    async def append(
        self,
        command: AppendBytes,
        principal: Principal,
        body: ByteSource,
        listener: Listener = NO_LISTENER,
    ) -> Upload:
        """Add ``body`` to the upload. What arrived is kept, whatever ends it early, unless it came
        with a digest."""
        with translated():
            if self._is_stopping:
                raise ServerStopping()
            found = await self._visit(command.upload_id, Purpose.APPEND, principal)
            if isinstance(found, Seen):
                check_append_to_finished(found.upload, command)
                await _see_nothing_more(body, found.upload)
                return found.upload
            return await self._append(found, command, body, listener)

    async def _append(
        self, held: Held, command: AppendBytes, body: ByteSource, listener: Listener
    ) -> Upload:
        upload = held.upload
        is_received = upload.status is not Status.RECEIVING
        try:
            if is_received:
                check_append_to_finished(upload, command)
            plan = plan_append(upload, command)
            if command.announced_bytes != 0 and not await self._store.has_space():
                raise StorageFull()
            if plan.length is not None and upload.length is None:
                await self._store.declare_length(upload.id, plan.length)
        except (UploadError, StoreError) as exc:
            # The record is true and nothing was written: a clean release.
            upload = judged(upload, command, exc)
            await self._state.commit(held.lease, upload, release=True)
            note_offset(exc, upload)
            raise
        if is_received:
            await body.invite()
            return await self._ender.finish(held, command)
        if command.is_strict and not upload.is_strict:
            held = Held(held.lease, replace(upload, is_strict=True))
        received = await self._receiver.receive(held, plan, body, listener)
        return await self._ender.end(held.lease, received, command)

    # ------------------------------------------------------------------ offset, termination

    async def read_offset(self, command: ReadOffset, principal: Principal) -> Upload:
        """The upload as it stands. Whoever writes it is asked to let go first.

        An upload with all its bytes is finished by this (unless its client has to say so); while
        its gate has not decided, within ``head_gate_seconds``, UploadLocked is raised: a client
        takes offset = length for success.
        """
        with translated():
            if self._is_stopping:
                raise ServerStopping()
            found = await self._visit(command.upload_id, Purpose.READ, principal)
            if isinstance(found, Seen):
                return await self._with_length(found.upload)
            if found.upload.status is Status.RECEIVING and not _is_due(found.upload, command):
                await self._state.commit(found.lease, found.upload, release=True)
                return found.upload
            finishing = self._background.spawn(self._ender.complete(found))
            try:
                async with asyncio.timeout(self._parts.settings.head_gate_seconds):
                    return await asyncio.shield(finishing)
            except TimeoutError:
                raise UploadLocked() from None
            except (GateRefused, WholeDigestMismatch) as exc:
                raise UploadUnknown() from exc

    async def _with_length(self, upload: Upload) -> Upload:
        """tus 1.0, "Concatenation": a final upload's length is told once it can be calculated."""
        if upload.status is not Status.JOINING or upload.length is not None:
            return upload
        try:
            return replace(upload, length=(await self._joiner.look(upload)).length)
        except UploadError:
            return upload  # the sweeper will find the same, and end it

    async def terminate(self, command: Terminate, principal: Principal) -> None:
        """Remove the upload, finished or not. When this returns it is gone for every reader."""
        with translated():
            try:
                found = await self._visit(command.upload_id, Purpose.TERMINATE, principal)
            except AlreadyTerminated:
                return  # an earlier termination had got as far as the facts
            if isinstance(found, Seen):
                raise UploadUnknown()
            await self._terminate(found)

    async def _terminate(self, held: Held) -> None:
        if self._parts.gates.has(Moment.TERMINATE):
            try:
                async with Keeper(
                    self._state,
                    held.lease,
                    lambda: held.upload,
                    keep_on,
                    self._parts.settings.checkpoint_seconds,
                ):
                    await self._parts.gates.ask(
                        Question(moment=Moment.TERMINATE, upload=describe(held.upload))
                    )
            except BaseException:
                await let_go(self._state, held.lease)
                raise
        await self._remover.remove(held, EventKind.TERMINATED)

    async def forget(self, upload_id: UploadId) -> None:
        """Remove an upload whose address nobody was told: its creation's answer was not written."""
        with translated():
            await self._remover.forget(upload_id)

    # ------------------------------------------------------------------ common

    async def _visit(
        self, upload_id: UploadId, purpose: Purpose, principal: Principal
    ) -> Held | Seen:
        return await self._settler.visit(
            Visit(
                upload_id=upload_id,
                purpose=purpose,
                principal=principal,
                wait_seconds=self._parts.settings.wait_seconds,
            )
        )


async def _see_nothing_more(body: ByteSource, upload: Upload) -> None:
    """A chunked body may still have bytes. It is waited for also because its client (the JDK's)
    does not see an answer that comes in one packet with the ``100 Continue`` it waits for."""
    await body.invite()
    if body.announced_bytes is None and await body.read():
        raise BodyTooLong(room=0, offset=upload.offset)


def _is_due(upload: Upload, command: ReadOffset) -> bool:
    """All bytes are there, and asking completes it."""
    if command.completion is None:
        return upload.is_full and upload.completes_at_length
    return upload.is_full and command.completion is Completion.AT_LENGTH
