"""How records come into being: by a creation, or by an adoption of bytes that have none."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tusd_py.core.events import Event
from tusd_py.core.upload import Upload
from tusd_py.state.base import Created, LeaseBusy, OnceTaken, StateError, Taken
from tusd_py.state.redis.codec import changing_fields, facts_text, fixed_fields, text
from tusd_py.state.redis.event_codec import event_args
from tusd_py.state.redis.holding import RedisLeases, new_holder
from tusd_py.state.redis.link import Arg
from tusd_py.state.redis.once import NOT_ONCE, OnceKeys, Reservation
from tusd_py.state.redis.scripts import Script

CREATE: Final = Script("create", parts=("records", "events"))
ADOPT: Final = Script("adopt", parts=("records",))


class RedisMaking(RedisLeases):
    """One step where there is no key of one file, one more where there is."""

    async def create(
        self, upload: Upload, events: Sequence[Event], *, with_lease: bool, once: str | None = None
    ) -> Created:
        return await self._errands.finish(
            self._create(upload, events, with_lease=with_lease, once=once), self._return_created
        )

    async def _create(
        self, upload: Upload, events: Sequence[Event], *, with_lease: bool, once: str | None
    ) -> Created:
        link, holder = self._link, new_holder()
        reserved = NOT_ONCE
        if once is not None:
            found = await OnceKeys(link).reserve(once, upload.id)
            if isinstance(found, Upload):
                return Created(found, is_new=False, lease=None)
            reserved = found
        asked_at = self._clock()
        bucket = link.bucket_of(upload.id)
        kind, *reply = await link.call(
            CREATE,
            bucket,
            upload.id,
            holder,
            "1" if with_lease else "",
            *self._me,
            *_insert_args(upload, reserved),
            *event_args(events, link.hooks),
        )
        if kind == b"made":
            made = replace(upload, master=text(reply[0]))
            lease = self._lease(made.id, 1, holder, asked_at) if with_lease else None
            if events:
                self._on_events(bucket)
            return Created(made, is_new=True, lease=lease)
        if kind == b"void":
            raise StateError("the reservation of a key of one file ran out: try again")
        raise StateError("there is an upload of this id")

    async def adopt(self, upload: Upload, *, once: str | None = None) -> Taken:
        return await self._errands.finish(self._adopt(upload, once), self._return_adopted)

    async def _adopt(self, upload: Upload, once: str | None) -> Taken:
        link, holder = self._link, new_holder()
        reserved = NOT_ONCE
        if once is not None:
            found = await OnceKeys(link).reserve(once, upload.id)
            if isinstance(found, Upload):
                raise LeaseBusy(0.0) if found.id == upload.id else OnceTaken
            reserved = found
        # Of no generation until the adopter has reconciled and committed.
        made = replace(upload, master="")
        asked_at = self._clock()
        kind, *reply = await link.call(
            ADOPT,
            link.bucket_of(made.id),
            made.id,
            holder,
            *self._me,
            *_insert_args(made, reserved),
        )
        if kind == b"granted":
            boot_id = text(reply[0]) if reply[1] == b"1" else None
            lease = self._lease(made.id, 1, holder, asked_at)
            return Taken(lease, made, is_settled=False, writer_boot_id=boot_id)
        if reserved is not NOT_ONCE:
            with suppress(StateError):  # then it runs out by itself
                await OnceKeys(link).give_up(reserved, made.id)
        if kind == b"exists":
            raise LeaseBusy(0.0)
        if kind == b"grace":
            raise LeaseBusy(self._bounded(reply[0]))
        raise StateError("the reservation of a key of one file ran out: try again")

    def _return_created(self, created: Created) -> None:
        if created.lease is not None:
            self._give_lease_back(created.lease)

    def _return_adopted(self, taken: Taken) -> None:
        self._give_lease_back(taken.lease)


def _insert_args(upload: Upload, reserved: Reservation) -> list[Arg]:
    fields = fixed_fields(upload) + changing_fields(upload)
    return [reserved.mark, reserved.digest, facts_text(upload), len(fields) // 2, *fields]
