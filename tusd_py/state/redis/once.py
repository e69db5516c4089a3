"""Keys of one file: however many ask, and whoever dies meanwhile, one upload is made for a key.

A key's entry and the record it is for lie in different buckets, perhaps on different servers, so
they cannot change in one step. Two do, and no clock is trusted with it:

1. The key is *reserved* for one upload, by a mark that is made for this attempt alone.
2. The record is made, unless its reservation is *void*.

Who finds the key reserved looks for that upload's record. It is there: that is the upload of this
key. It is not there, or its client is told that there is no such upload, and the reservation has
run out: the look declares it void, in that upload's bucket and in the same step; then the entry is
given to the newcomer, if it is still the one that was found void. So an entry changes hands only
when its former mark can never make a record any more. Two creators never both make one that
lives: for both to have had the entry, the first one's mark was void before the second had it. How
long a reservation lasts decides only how long others wait for a creator that died.

(What a failover makes Redis forget is forgotten here too: a key that was reserved within the
second before it may be given away once more.)
"""

import asyncio
import secrets
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Upload
from tusd_py.state.base import LeaseBusy, StateError
from tusd_py.state.redis.codec import raw, record_from, text
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.scripts import Script

RESERVED_SECONDS: Final = 5.0
"""A creator that is alive needs a few milliseconds."""
PENDING_SECONDS: Final = 1.0
"""How long a creation waits for another one of the same key."""
FIRST_PAUSE_SECONDS: Final = 0.005
PAUSE_CAP_SECONDS: Final = 0.1
MAX_ROUNDS: Final = 100
BUCKETS_AT_ONCE: Final = 32

RESERVE: Final = Script("reserve")
LOOK: Final = Script("look_once", parts=("records",))
OLD: Final = Script("old_once")
FORGET: Final = Script("unreserve")


@dataclass(frozen=True, slots=True)
class Reservation:
    """A key that is reserved for one attempt to make a record."""

    digest: bytes
    """Of the key: its own text is not kept."""
    mark: str


NOT_ONCE: Final = Reservation(b"", "")


class OnceKeys:
    """Keys of one file, on a link. Without state of its own."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def reserve(self, key: str, upload_id: UploadId) -> Reservation | Upload:
        """The key is reserved, or the upload of this key that there is. Raises LeaseBusy where
        somebody else is about to make one."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PENDING_SECONDS
        digest = sha1(raw(key), usedforsecurity=False).digest()
        mine, voided, pause = secrets.token_hex(8), "", FIRST_PAUSE_SECONDS
        for _ in range(MAX_ROUNDS):
            kind, *reply = await self._link.call(
                RESERVE,
                self._link.bucket_of_digest(digest),
                digest,
                upload_id,
                mine,
                round(RESERVED_SECONDS * 1000),
                voided,
            )
            if kind == b"mine":
                return Reservation(digest, mine)
            other, mark, left = UploadId(text(reply[0])), text(reply[1]), float(reply[2]) / 1000
            found = await self._look(other, mark, is_over=left <= 0)
            if isinstance(found, Upload):
                return found
            if found:
                voided = mark
                continue
            if loop.time() >= give_up_at:
                raise LeaseBusy(min(max(0.0, left), RESERVED_SECONDS))
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_CAP_SECONDS)
        raise StateError("a key of one file changes hands again and again: try again")

    async def give_up(self, reserved: Reservation, upload_id: UploadId) -> None:
        """No record was made."""
        await self._look(upload_id, reserved.mark, is_over=True)
        await self.forget(reserved)

    async def forget(self, reserved: Reservation) -> None:
        """Its record was removed, or is never made: others need not find that out."""
        await self._link.call(
            FORGET, self._link.bucket_of_digest(reserved.digest), reserved.digest, reserved.mark
        )

    async def _look(self, upload_id: UploadId, mark: str, *, is_over: bool) -> Upload | bool:
        """The upload; True: the reservation is void; False: one may be made yet."""
        kind, *reply = await self._link.call(
            LOOK, self._link.bucket_of(upload_id), upload_id, mark, "1" if is_over else ""
        )
        return record_from(upload_id, reply[0]) if kind == b"record" else kind == b"void"


class OnceTidy:
    """Forgets keys of which no upload has come, and those whose upload was removed by a process
    that died before it could say so. They would do no harm; but nobody else ever looks at them."""

    def __init__(self) -> None:
        self._cursors: dict[int, bytes] = {}

    async def step(self, link: Link) -> int:
        """Look at some keys of each bucket, behind those of the last time; how many it forgot."""
        tidied = 0
        for first in range(0, link.buckets, BUCKETS_AT_ONCE):
            some = range(first, min(first + BUCKETS_AT_ONCE, link.buckets))
            tidied += sum(await asyncio.gather(*(self._step(link, bucket) for bucket in some)))
        return tidied

    async def _step(self, link: Link, bucket: int) -> int:
        cursor, *flat = await link.call(OLD, bucket, self._cursors.get(bucket, b"0"))
        self._cursors[bucket] = cursor

        async def forget(digest: bytes, upload_id: UploadId, mark: str) -> bool:
            place = link.bucket_of(upload_id)
            if (await link.call(LOOK, place, upload_id, mark, "1", "1"))[0] != b"void":
                return False
            await OnceKeys(link).forget(Reservation(digest, mark))
            return True

        entries = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        return sum(
            await asyncio.gather(*(forget(d, UploadId(text(i)), text(m)) for d, i, m in entries))
        )
