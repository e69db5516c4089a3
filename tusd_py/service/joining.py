"""Concatenation: the parts of a final upload become its bytes.

tus 1.0, "Concatenation". A final upload is accepted while parts are unfinished
(concatenation-unfinished); it is joined once they are complete. To the store a join is an append,
with the same checkpoints: whoever takes it up after a crash goes on where it had come to.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tusd_py.core.errors import LengthConflict, UploadError, UploadLocked
from tusd_py.core.identity import ANYBODY, Owner
from tusd_py.core.ids import UploadId
from tusd_py.core.rules import AppendPlan, move, plan_join
from tusd_py.core.upload import Status, Upload
from tusd_py.service.finishing import Finisher
from tusd_py.service.parts import Parts
from tusd_py.service.receiving import Receiver
from tusd_py.service.settling import Held, Settler
from tusd_py.service.translate import translated
from tusd_py.state.base import LeaseBusy, LeaseGone, Purpose, Seen, StateError, Visit
from tusd_py.stores.base import Part, StoreError

log = logging.getLogger(__name__)


MAX_AWAITED: Final = 10_000
"""Parts that are remembered as awaited; final uploads beyond are left to the sweeper."""


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

    def __init__(self, parts: Parts, receiver: Receiver, finisher: Finisher) -> None:
        self._state = parts.state
        self._settings = parts.settings
        self._now = parts.now
        self._settler = Settler(parts)
        self._receiver = receiver
        self._finisher = finisher
        self._waiting: defaultdict[UploadId, set[UploadId]] = defaultdict(set)
        """By part. A memory only: the sweeper comes to every final upload anyway."""

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
        """How its parts are. Raises PartUnusable and UploadTooLarge."""
        ids = list(dict.fromkeys(final.parts))
        found = dict(zip(ids, [await self._state.find(one) for one in ids], strict=True))
        length = plan_join(final, [found[one] for one in final.parts], owner)
        return Outlook([part for part in found.values() if part is not None], length)

    async def has_prospects(self, final: Upload, now: float) -> bool:
        """It can be joined now, or a part of it is still being sent."""
        try:
            outlook = await self.look(final)
        except UploadError:
            return False
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
        self._await_parts(final)  # before the look: none may become complete in between
        try:
            outlook = await self.look(final)
        except UploadError as exc:
            await self._give_up(held, exc)
            raise
        if not outlook.is_ready or outlook.length is None:
            await self._wait_for(held, outlook)
            raise PartsAwaited()
        for part in outlook.parts:
            self._waiting.pop(part.id, None)
        await self._keep(outlook.parts)
        lengths = {part.id: part.offset for part in outlook.parts}
        plan = AppendPlan(final.offset, outlook.length - final.offset, outlook.length)
        received = await self._receiver.join(held, plan, [Part(i, lengths[i]) for i in final.parts])
        if received.error is not None:
            if received.may_commit:
                await self._state.commit(held.lease, received.upload, release=True)
            raise received.error
        joined = await self._finisher.finish(Held(held.lease, received.upload))
        log.info("upload_joined", extra={"upload_id": final.id, "parts": len(final.parts)})
        return joined

    async def let_parts_go(self, final: Upload) -> None:
        """After the join: parts are kept for a while, so that a lost answer can be asked for
        again, and expire then."""
        expires_at = self._now() + self._settings.partial_keep_seconds
        for part_id in dict.fromkeys(final.parts):
            await self._set_expiry(part_id, expires_at)

    async def part_completed(self, part_id: UploadId) -> None:
        """Join what waited for this part, if it was the last one. Raises nothing of what a client
        or a back end can cause: the sweeper comes to it again."""
        for final_id in self._waiting.pop(part_id, set()):
            try:
                with translated():
                    visit = Visit(upload_id=final_id, purpose=Purpose.SWEEP, principal=ANYBODY)
                    found = await self._settler.visit(visit)
                    if isinstance(found, Seen) or found.upload.status is not Status.JOINING:
                        continue
                    await self.let_parts_go(await self.join(found))
            except UploadError as exc:
                log.info("join_put_off", extra={"upload_id": final_id, "code": exc.code})

    def _await_parts(self, final: Upload) -> None:
        if len(self._waiting) < MAX_AWAITED:
            for part_id in final.parts:
                self._waiting[part_id].add(final.id)

    async def _wait_for(self, held: Held, outlook: Outlook) -> None:
        await self._keep([part for part in outlook.parts if part.is_complete])
        upload = replace(held.upload, length=outlook.length)
        if upload.expires_at is not None:
            # Progress of its parts is its own.
            ends = [part.expires_at for part in outlook.parts if part.expires_at is not None]
            upload = replace(upload, expires_at=max([upload.expires_at, *ends]))
        await self._state.commit(held.lease, upload, release=True)

    async def _give_up(self, held: Held, why: UploadError) -> None:
        log.warning("join_impossible", extra={"upload_id": held.upload.id, "code": why.code})
        invalid = replace(move(held.upload, Status.INVALID), changed_at=self._now())
        await self._state.commit(held.lease, invalid, release=True)

    async def _keep(self, parts: Sequence[Upload]) -> None:
        """Complete parts that a final upload needs do not expire under it."""
        needed_until = self._now() + self._settings.partial_keep_seconds
        for part in parts:
            if part.expires_at is not None and part.expires_at < needed_until:
                await self._set_expiry(part.id, needed_until)

    async def _set_expiry(self, part_id: UploadId, expires_at: float) -> None:
        """What cannot be had just now is tried again with the next look at the final upload."""
        visit = Visit(
            upload_id=part_id,
            purpose=Purpose.SWEEP,
            principal=ANYBODY,
            wait_seconds=self._settings.wait_seconds,
        )
        with suppress(UploadError, LeaseBusy, LeaseGone, StateError, StoreError):
            found = await self._settler.visit(visit)
            if isinstance(found, Held):
                upload = found.upload
                if upload.is_complete:
                    upload = replace(upload, expires_at=expires_at)
                await asyncio.shield(self._state.commit(found.lease, upload, release=True))
