"""Making uploads: singles, partial and final ones, with the first bytes where they come along."""

import asyncio
import logging
from dataclasses import replace

from tusd_py.core.commands import Completion, CreateUpload
from tusd_py.core.errors import (
    BodyMalformed,
    BodyTooLong,
    ChecksumMismatch,
    ChecksumUnsupported,
    ClientGone,
    GateRefused,
    InvalidHeader,
    LeaseLost,
    PartUnusable,
    StorageFull,
    TokenTooNarrow,
    UploadError,
    UploadLocked,
    UploadTooLarge,
    WholeDigestMismatch,
)
from tusd_py.core.events import EventKind, describe, events_of
from tusd_py.core.facts import facts_of
from tusd_py.core.identity import Principal
from tusd_py.core.ids import ID_BYTES, build_upload_id
from tusd_py.core.rules import AppendPlan, key_of_final, plan_create, room_of
from tusd_py.core.upload import Kind, Upload
from tusd_py.hooks.base import Moment, Question
from tusd_py.service.background import Background
from tusd_py.service.ending import Ender
from tusd_py.service.joining import Joiner
from tusd_py.service.limits import Creations
from tusd_py.service.listening import Listener
from tusd_py.service.parts import Parts
from tusd_py.service.receiving import Receiver
from tusd_py.service.removing import Remover
from tusd_py.service.settling import Held
from tusd_py.state.base import Created, LeaseGone, StateError
from tusd_py.stores.base import StoreError
from tusd_py.streams import ByteSource

log = logging.getLogger(__name__)

INSERT_TRIES = 3
"""Somebody else may make, or remove, an upload of the same key in between."""


class Creator:
    """Makes uploads. Raises UploadError, and what the back ends raise."""

    def __init__(
        self,
        parts: Parts,
        creations: Creations,
        receiver: Receiver,
        ender: Ender,
        joiner: Joiner,
        background: Background,
    ) -> None:
        self._parts = parts
        self._state = parts.state
        self._store = parts.store
        self._limits = parts.settings.limits
        self._creations = creations
        self._receiver = receiver
        self._ender = ender
        self._joiner = joiner
        self._remover = Remover(parts)
        self._background = background

    async def create(
        self,
        command: CreateUpload,
        principal: Principal,
        body: ByteSource,
        listener: Listener,
    ) -> Upload:
        """Make an upload, with as much of ``body`` as comes. Its offset says how much that was.

        A refusal leaves nothing behind. A body that ends early for a reason that is the server's
        own does not fail the creation, unless it was to be the whole upload: the client learns the
        address and goes on. Where the client hung up and never learnt it, the upload is removed.

        A final upload that is joined within ``join_seconds`` is complete; a longer join, or one
        that waits for parts, goes on behind the answer.
        """
        upload = self._plan(command, principal)
        if await self._creations.admit(upload.owner.client_id, upload.kind) > 0:
            upload = self._plan(command, principal)  # its time begins now
        if upload.kind is Kind.FINAL:
            upload = await self._joiner.plan(upload, principal.owner)
        if not await self._store.has_space():
            raise StorageFull()
        if self._parts.gates.has(Moment.CREATE):
            await self._parts.gates.ask(Question(moment=Moment.CREATE, upload=describe(upload)))
        created = await self._insert(upload, principal, with_lease=_needs_lease(command))
        is_told = listener.created(created.upload) or command.outlives_cut
        if created.lease is None:
            return created.upload
        held = Held(created.lease, created.upload)
        if upload.kind is Kind.FINAL:
            return await self._join(held)
        return await self._first_bytes(held, command, body, listener, is_told=is_told)

    def _plan(self, command: CreateUpload, principal: Principal) -> Upload:
        return plan_create(
            command,
            principal.claims,
            self._limits,
            upload_id=build_upload_id(self._parts.randomness(ID_BYTES)),
            boot=self._state.boot,
            now=self._parts.now(),
        )

    async def _insert(self, upload: Upload, principal: Principal, *, with_lease: bool) -> Created:
        """Make the record, or find the one that an earlier creation of the same file made."""
        once = _once_key(upload, principal)
        for _ in range(INSERT_TRIES):
            created = await self._insert_with_facts(upload, with_lease=with_lease, once=once)
            if created.is_new:
                self._parts.observer.upload_event(EventKind.CREATED)
                return created
            # The owner too: an issuer that numbers its tokens by video would hand one client's
            # address to another.
            if _file_of(upload) != _file_of(created.upload):
                raise TokenTooNarrow("it was used for another file")
            if await self._store.load(created.upload.id) is not None:
                return created
            # That creation failed, for all it knew, and took its facts away [facts-rule].
            log.info("creation_left_record", extra={"upload_id": created.upload.id})
            await self._remover.forget(created.upload.id)
        raise UploadLocked()

    async def _insert_with_facts(
        self, upload: Upload, *, with_lease: bool, once: str | None
    ) -> Created:
        """Facts first, then the record: what a crash leaves in between is found and expires."""
        events = events_of(upload, EventKind.CREATED, occurred_at=upload.created_at)
        await self._store.prepare(facts_of(upload))
        try:
            created = await self._state.create(upload, events, with_lease=with_lease, once=once)
        except BaseException:
            # Whether it was inserted is not known; without facts it is gone either way.
            await asyncio.shield(self._store.remove(upload.id))
            raise
        if not created.is_new:
            await self._store.remove(upload.id)
        return created

    async def _join(self, held: Held) -> Upload:
        """Join, behind the answer if it takes long, or if it cannot be done just now."""
        joining = self._background.spawn(self._join_and_tidy(held))
        try:
            async with asyncio.timeout(self._parts.settings.join_seconds):
                return await asyncio.shield(joining)
        except (GateRefused, PartUnusable, UploadTooLarge):
            raise
        except (TimeoutError, UploadError, StateError, StoreError, LeaseGone) as exc:
            log.info("join_goes_on", extra={"upload_id": held.upload.id, "reason": repr(exc)})
            return held.upload

    async def _join_and_tidy(self, held: Held) -> Upload:
        joined = await self._joiner.join(held)
        self._background.detach(self._joiner.let_parts_go(joined))
        return joined

    async def _first_bytes(
        self,
        held: Held,
        command: CreateUpload,
        body: ByteSource,
        listener: Listener,
        *,
        is_told: bool,
    ) -> Upload:
        upload = held.upload
        plan = AppendPlan(0, room_of(upload, upload.length), upload.length, command.promise)
        received = await self._receiver.receive(held, plan, body, listener)
        if isinstance(received.error, LeaseLost):
            raise received.error
        if not is_told and received.error is not None and _is_clients_own(received.error):
            await self._remover.remove(Held(held.lease, received.upload), EventKind.TERMINATED)
            raise received.error
        try:
            return await self._ender.end(held.lease, received, command)
        except (GateRefused, WholeDigestMismatch):
            raise
        except (UploadError, StateError, StoreError, LeaseGone) as exc:
            log.info("creation_cut_short", extra={"upload_id": upload.id, "reason": repr(exc)})
            if is_told:
                raise
            if command.completion is Completion.NOW:
                # Its client takes any success for that of the whole, and knows no address.
                await self._remover.forget(upload.id)
                raise
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
        await self._remover.forget(upload.id)
        raise why


def _needs_lease(command: CreateUpload) -> bool:
    """Something is done to the upload at once: a body, a join, or its completion."""
    return (
        command.announced_bytes != 0
        or command.kind is Kind.FINAL
        or command.completion is Completion.NOW
        or (command.length == 0 and command.completion is Completion.AT_LENGTH)
    )


def _once_key(upload: Upload, principal: Principal) -> str | None:
    """The key under which a repeated creation finds the first one's upload.

    A token for one file counts for the whole, not for its parts.
    """
    if upload.kind is Kind.PARTIAL:
        return None
    once = principal.claims.once_id if principal.claims else None
    if once is not None or upload.kind is Kind.SINGLE:
        return once
    return key_of_final(upload)


def _file_of(upload: Upload) -> tuple[object, ...]:
    """What makes a creation the same file as another. The sum of parts may not be known yet."""
    length = None if upload.kind is Kind.FINAL else upload.length
    return (upload.owner, upload.metadata, upload.kind, upload.parts, length)


def _is_clients_own(error: UploadError) -> bool:
    """The body ended by what the client did; a client that was told no address is gone, or is
    refused and begins anew."""
    return isinstance(
        error,
        ClientGone
        | BodyTooLong
        | UploadTooLarge
        | BodyMalformed
        | ChecksumMismatch
        | ChecksumUnsupported
        | InvalidHeader,
    )
