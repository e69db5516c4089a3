"""What clients do with uploads: create, append, ask for the offset, terminate.

The order is always the same: lease and record, rule, bytes, commit. Nothing is written before the
rule has said yes, and what was written is committed before it is told.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from tusd_py.core.commands import AppendBytes, CreateUpload, ReadOffset, Terminate
from tusd_py.core.errors import (
    BodyMalformed,
    BodyTooLong,
    ClientGone,
    GateRefused,
    LeaseLost,
    ServerStopping,
    StorageFull,
    TokenTooNarrow,
    UploadError,
    UploadLocked,
    UploadTooLarge,
    UploadUnknown,
)
from tusd_py.core.events import EventKind, describe, event_of
from tusd_py.core.facts import facts_of
from tusd_py.core.identity import ANYBODY, Principal
from tusd_py.core.ids import ID_BYTES, UploadId, build_upload_id
from tusd_py.core.rules import (
    AppendPlan,
    check_append_to_finished,
    plan_append,
    plan_create,
    room_of,
)
from tusd_py.core.upload import Status, Upload
from tusd_py.hooks.base import Moment, Question
from tusd_py.service.finishing import Finisher
from tusd_py.service.keeper import Keeper, keep_on
from tusd_py.service.parts import Parts
from tusd_py.service.receiving import Received, Receiver
from tusd_py.service.removing import Remover
from tusd_py.service.settling import AlreadyTerminated, Held, Settler, let_go
from tusd_py.service.translate import translated
from tusd_py.state.base import (
    Created,
    Lease,
    LeaseGone,
    Purpose,
    Seen,
    StateError,
    Visit,
)
from tusd_py.stores.base import StoreError
from tusd_py.streams import ByteSource

log = logging.getLogger(__name__)


class Uploads:
    """The four things a client can ask for. Every method raises UploadError and nothing else
    that a client or a back end can cause."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._state = parts.state
        self._store = parts.store
        self._limits = parts.settings.limits
        self._settler = Settler(parts)
        self._receiver = Receiver(parts)
        self._finisher = Finisher(parts)
        self._remover = Remover(parts)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_stopping = False

    @property
    def max_bytes(self) -> int | None:
        """The operator's bound, for ``Tus-Max-Size``."""
        return self._limits.max_bytes

    @property
    def can_expire(self) -> bool:
        """Whether unfinished uploads are removed after some time."""
        return self._limits.expire_seconds is not None

    def stop(self) -> None:
        """No new uploads; running bodies end now, with what has arrived committed."""
        self._is_stopping = True
        self._receiver.stop()

    async def drain(self) -> None:
        """Wait for work that goes on behind answers (gates that HEADs started)."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # ------------------------------------------------------------------ create

    async def create(self, command: CreateUpload, principal: Principal, body: ByteSource) -> Upload:
        """Make an upload, with as much of ``body`` as comes. Its offset says how much that was.

        A refusal leaves nothing behind. A body that ends early for a reason that is the server's
        own does not fail the creation: the client learns the address and goes on. A client that
        hung up never learnt it, so the upload is removed.
        """
        with translated():
            if self._is_stopping:
                raise ServerStopping()
            upload = plan_create(
                command,
                principal.claims,
                self._limits,
                upload_id=build_upload_id(self._parts.randomness(ID_BYTES)),
                boot=self._state.boot,
                now=self._parts.now(),
            )
            if not await self._store.has_space():
                raise StorageFull()
            if self._parts.gates.has(Moment.CREATE):
                await self._parts.gates.ask(Question(moment=Moment.CREATE, upload=describe(upload)))
            has_body = command.announced_bytes != 0
            created = await self._insert(
                upload, principal, with_lease=has_body or upload.length == 0
            )
            if created.lease is None:
                return created.upload
            return await self._first_bytes(Held(created.lease, created.upload), body)

    async def _insert(self, upload: Upload, principal: Principal, *, with_lease: bool) -> Created:
        """Facts first, then the record: what a crash leaves in between is found and expires."""
        once = principal.claims.once_id if principal.claims else None
        event = event_of(upload, EventKind.CREATED, occurred_at=upload.created_at)
        await self._store.prepare(facts_of(upload))
        try:
            created = await self._state.create(upload, [event], with_lease=with_lease, once=once)
        except BaseException:
            # Whether it was inserted is not known; without facts it is gone either way.
            await asyncio.shield(self._store.remove(upload.id))
            raise
        if created.is_new:
            self._parts.observer.upload_event(EventKind.CREATED)
            return created
        await self._store.remove(upload.id)
        first = created.upload
        asked, made = ((one.owner, one.length, one.metadata) for one in (upload, first))
        # The owner too: an issuer that numbers its tokens by video would hand one client's
        # address to another.
        if asked != made:
            raise TokenTooNarrow("it was used for another file")
        return created

    async def _first_bytes(self, held: Held, body: ByteSource) -> Upload:
        upload = held.upload
        plan = AppendPlan(0, room_of(upload, upload.length), upload.length)
        received = await self._receiver.receive(held, plan, body)
        if isinstance(received.error, ClientGone | BodyTooLong | UploadTooLarge | BodyMalformed):
            await self._remover.remove(Held(held.lease, received.upload), EventKind.TERMINATED)
            raise received.error
        if isinstance(received.error, LeaseLost):
            raise received.error
        try:
            return await self._end_append(held.lease, received)
        except GateRefused:
            raise
        except (UploadError, StateError, StoreError, LeaseGone) as exc:
            log.info("creation_cut_short", extra={"upload_id": upload.id, "reason": repr(exc)})
            if received.upload.is_full:
                return await self._unfinished(received.upload, exc)
            # The address is worth more than the reason: the client goes on from the offset.
            return received.upload

    async def _unfinished(self, upload: Upload, why: Exception) -> Upload:
        """All bytes came with the creation and it could not be finished: no answer of the gate, a
        fault of the medium, a lost lease. The client gets its address and an offset below the
        length, so that it asks again; it must not take this for success, nor send everything
        anew: both files would be told of."""
        if upload.offset > 0:
            return replace(upload, offset=upload.offset - 1)
        await self.forget(upload.id)
        raise why

    # ------------------------------------------------------------------ append

    async def append(self, command: AppendBytes, principal: Principal, body: ByteSource) -> Upload:
        """Add ``body`` to the upload. What arrived is kept, whatever ends it early."""
        with translated():
            if self._is_stopping:
                raise ServerStopping()
            found = await self._visit(command.upload_id, Purpose.APPEND, principal)
            if isinstance(found, Seen):
                check_append_to_finished(found.upload, command)
                await body.invite()
                return found.upload
            return await self._append(found, command, body)

    async def _append(self, held: Held, command: AppendBytes, body: ByteSource) -> Upload:
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
        except (UploadError, StoreError):
            # The record is true and nothing was written: a clean release.
            await self._state.commit(held.lease, upload, release=True)
            raise
        if is_received:
            await body.invite()
            return await self._finisher.finish(held)
        received = await self._receiver.receive(held, plan, body)
        return await self._end_append(held.lease, received)

    async def _end_append(self, lease: Lease, received: Received) -> Upload:
        """Commit what came and let go, or finish. Raises what ended the body early."""
        upload = received.upload
        if received.error is None and upload.is_full:
            return await self._finisher.finish(Held(lease, upload))
        if received.may_commit:
            await self._state.commit(lease, upload, release=True)
        if received.error is not None:
            raise received.error
        return upload

    # ------------------------------------------------------------------ offset, termination

    async def read_offset(self, command: ReadOffset, principal: Principal) -> Upload:
        """The upload as it stands. Whoever writes it is asked to let go first.

        An upload with all its bytes is finished by this; while its gate has not decided, within
        ``head_gate_seconds``, UploadLocked is raised: a client takes offset = length for success.
        """
        with translated():
            if self._is_stopping:
                raise ServerStopping()
            found = await self._visit(command.upload_id, Purpose.READ, principal)
            if isinstance(found, Seen):
                return found.upload
            if found.upload.status is Status.RECEIVING and not found.upload.is_full:
                await self._state.commit(found.lease, found.upload, release=True)
                return found.upload
            finishing = self._spawn(self._finisher.finish(found))
            try:
                async with asyncio.timeout(self._parts.settings.head_gate_seconds):
                    return await asyncio.shield(finishing)
            except TimeoutError:
                raise UploadLocked() from None
            except GateRefused as exc:
                raise UploadUnknown() from exc

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
            found = await self._visit(upload_id, Purpose.TERMINATE, ANYBODY)
            if isinstance(found, Held):
                await self._remover.remove(found, EventKind.TERMINATED)

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

    def _spawn(self, work: Coroutine[Any, Any, Upload]) -> asyncio.Task[Upload]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Upload]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("finish_put_off", extra={"reason": repr(error)})
