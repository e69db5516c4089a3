"""Concatenation: the parts of a final upload become its bytes.

tus 1.0, "Concatenation". A final upload is accepted while parts are unfinished
(concatenation-unfinished); it is joined once they are complete. To the store a join is an append,
with the same checkpoints: whoever takes it up after a crash goes on where it had come to.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tusd_py.core.errors import (
    LengthConflict,
    PartUnusable,
    UploadError,
    UploadLocked,
    UploadTooLarge,
    UploadUnknown,
)
from tusd_py.core.identity import ANYBODY, Owner
from tusd_py.core.ids import UploadId
from tusd_py.core.rules import AppendPlan, move, plan_join
from tusd_py.core.upload import Status, Upload
from tusd_py.service.awaiting import Awaiting
from tusd_py.service.finishing import Finisher
from tusd_py.service.keeper import Keeper, keep_on
from tusd_py.service.parts import Parts
from tusd_py.service.receiving import Received, Receiver
from tusd_py.service.settling import Held, Settler, let_go
from tusd_py.service.translate import translated
from tusd_py.state.base import LeaseBusy, LeaseGone, Purpose, StateError, Visit
from tusd_py.stores.base import Part, StoreError

log = logging.getLogger(__name__)

SLOWEST_JOIN_BYTES_PER_SECOND: Final = 1024 * 1024
"""Parts do not expire under a join that is faster than this."""


class PartsAwaited(UploadLocked):
    """Parts of the final upload are unfinished; its lease was let go."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the parts of a final upload come to."""

    parts: Sequence[Upload]
    """Each once, in the order of their first mention."""
    length: int | None
    """The final upload's; None while that of a part is not known."""

    @property
    def is_ready(self) -> bool:
        return all(part.is_complete for part in self.parts)


class Joiner:
    """Joins final uploads. Knows which of them wait for parts that this process receives."""

    def __init__(
        self, parts: Parts, receiver: Receiver, finisher: Finisher, awaiting: Awaiting | None = None
    ) -> None:
        """``awaiting``: where it is remembered; None: nowhere."""
        self._state = parts.state
        self._settings = parts.settings
        self._now = parts.now
        self._settler = Settler(parts)
        self._receiver = receiver
        self._finisher = finisher
        self._awaiting = Awaiting(0) if awaiting is None else awaiting

    async def plan(self, final: Upload, owner: Owner | None) -> Upload:
        """``final`` with its length, where that is known already. ``owner``: whose parts they have
        to be; None: nobody was named, so they have to be of one owner.

        Raises PartUnusable, UploadTooLarge, or LengthConflict where the client said another one.
        """
        length = (await self.look(final, owner)).length
        if final.length is not None and length is not None and final.length != length:
            raise LengthConflict(stored=length, requested=final.length)
        return replace(final, length=length)

    async def look(self, final: Upload, owner: Owner | None = None) -> Outlook:
        """How its parts are. Raises PartUnusable and UploadTooLarge, and UploadLocked where that
        cannot be said just now. A part whose record was lost with the state is adopted."""
        ids = list(dict.fromkeys(final.parts))
        found = dict(await self._state.find_many(ids))
        for part_id in ids:
            if part_id not in found:
                # The first that is not there ends it: nobody makes us look for thousands.
                found[part_id] = await self._adopt(part_id)
        length = plan_join(final, [found[one] for one in final.parts], owner)
        return Outlook([found[one] for one in ids], length)

    async def has_prospects(self, final: Upload, now: float) -> bool:
        """It can be joined now, or a part of it is still being sent, as far as can be known."""
        try:
            outlook = await self.look(final)
        except (PartUnusable, UploadTooLarge):
            return False
        except (UploadError, StateError, StoreError):
            return True
        return outlook.is_ready or any(
            part.expires_at is None or part.expires_at > now
            for part in outlook.parts
            if not part.is_complete
        )

    async def join(self, held: Held) -> Upload:
        """Put the parts together and finish. The lease is let go, whatever comes of it.

        Raises PartsAwaited while parts are unfinished; PartUnusable where one is gone, then the
        upload is invalid; what ends a body early; what ``Finisher.finish`` raises.
        """
        final = held.upload
        outlook = await self._prepare(held)
        if not outlook.is_ready or outlook.length is None:
            await self._wait_for(held, outlook)
            raise PartsAwaited()
        lengths = {part.id: part.offset for part in outlook.parts}
        plan = AppendPlan(final.offset, outlook.length - final.offset, outlook.length)
        received = await self._receiver.join(held, plan, [Part(i, lengths[i]) for i in final.parts])
        if received.error is not None:
            await self._break_off(held, received, received.error)
            raise received.error
        joined = await self._finisher.finish(Held(held.lease, received.upload))
        log.info("upload_joined", extra={"upload_id": final.id, "parts": len(final.parts)})
        return joined

    async def _prepare(self, held: Held) -> Outlook:
        """Look at the parts, keep them for the join, and remember which are awaited. There may be
        many, and each has a lease of its own: the final upload's is renewed meanwhile."""
        final = held.upload
        self._awaiting.put(final.id, final.parts)  # none may become complete after the look
        seconds = self._settings.checkpoint_seconds
        try:
            async with Keeper(self._state, held.lease, lambda: final, keep_on, seconds):
                outlook = await self.look(final)
                await self._keep(outlook)
        except (PartUnusable, UploadTooLarge) as exc:
            await self._give_up(held, exc)
            raise
        except BaseException:
            await let_go(self._state, held.lease)
            raise
        self._awaiting.put(final.id, [part.id for part in outlook.parts if not part.is_complete])
        return outlook

    async def let_parts_go(self, final: Upload) -> None:
        """After the join: parts are kept for a while, so that a lost answer can be asked for
        again, and expire then."""
        expires_at = self._now() + self._settings.partial_keep_seconds
        for part_id in dict.fromkeys(final.parts):
            await self._set_expiry(part_id, expires_at)

    async def part_completed(self, part_id: UploadId) -> None:
        """Join what waited for this part, if it was the last one. Raises nothing of what a client
        or a back end can cause: the sweeper comes to it again."""
        for final_id in self._awaiting.take(part_id):
            try:
                with translated():
                    await self._join_waiting(final_id)
            except UploadError as exc:
                log.info("join_put_off", extra={"upload_id": final_id, "code": exc.code})

    async def _join_waiting(self, final_id: UploadId) -> None:
        # Its holder may have looked before the part was complete: it lets go in a moment.
        found = await self._settler.visit(self._visit(final_id))
        if not isinstance(found, Held):
            return
        if found.upload.status is not Status.JOINING:
            await let_go(self._state, found.lease)
            return
        await self.let_parts_go(await self.join(found))

    async def _adopt(self, part_id: UploadId) -> Upload:
        """A part whose record is missing. Raises PartUnusable where there is nothing of it."""
        try:
            found = await self._settler.visit(self._visit(part_id))
        except UploadUnknown as exc:
            raise PartUnusable() from exc
        except LeaseBusy as exc:
            raise UploadLocked() from exc
        if isinstance(found, Held):
            await let_go(self._state, found.lease)
        return found.upload

    async def _wait_for(self, held: Held, outlook: Outlook) -> None:
        upload = replace(held.upload, length=outlook.length)
        if upload.expires_at is not None:
            # Progress of its parts is its own.
            ends = [part.expires_at for part in outlook.parts if part.expires_at is not None]
            upload = replace(upload, expires_at=max([upload.expires_at, *ends]))
        await self._state.commit(held.lease, upload, release=True)

    async def _break_off(self, held: Held, received: Received, error: UploadError) -> None:
        upload = received.upload
        if isinstance(error, PartUnusable):
            await self._give_up(Held(held.lease, upload), error)
        elif received.may_commit:
            if upload.offset == held.upload.offset:
                # Trying in vain is no progress: what cannot be joined ends some time.
                upload = replace(upload, expires_at=held.upload.expires_at)
            await self._state.commit(held.lease, upload, release=True)

    async def _give_up(self, held: Held, why: UploadError) -> None:
        log.warning("join_impossible", extra={"upload_id": held.upload.id, "code": why.code})
        self._awaiting.forget(held.upload.id)
        invalid = replace(move(held.upload, Status.INVALID), changed_at=self._now())
        await self._state.commit(held.lease, invalid, release=True)

    async def _keep(self, outlook: Outlook) -> None:
        """Complete parts that a final upload needs do not expire under it."""
        keep_seconds = self._settings.partial_keep_seconds
        join_seconds = (outlook.length or 0) / SLOWEST_JOIN_BYTES_PER_SECOND
        needed_until = self._now() + join_seconds + keep_seconds
        for part in outlook.parts:
            # Not with every look: it comes again long before the rest of the time has passed.
            lasts = part.expires_at is None or part.expires_at >= needed_until - keep_seconds / 2
            if part.is_complete and not lasts:
                await self._set_expiry(part.id, needed_until)

    async def _set_expiry(self, part_id: UploadId, expires_at: float) -> None:
        """What cannot be had just now is tried again with the next look at the final upload."""
        with suppress(UploadError, LeaseBusy, LeaseGone, StateError, StoreError):
            found = await self._settler.visit(self._visit(part_id))
            if isinstance(found, Held):
                upload = found.upload
                if upload.is_complete:
                    upload = replace(upload, expires_at=expires_at)
                await asyncio.shield(self._state.commit(found.lease, upload, release=True))

    def _visit(self, upload_id: UploadId) -> Visit:
        return Visit(
            upload_id=upload_id,
            purpose=Purpose.SWEEP,
            principal=ANYBODY,
            wait_seconds=self._settings.wait_seconds,
        )
