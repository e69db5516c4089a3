"""What all calls of uploads share: the way to Redis, the leases held here, and their sequence."""

import secrets
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tusd_py.core.ids import HolderId, UploadId
from tusd_py.core.upload import Boot
from tusd_py.state.base import Lease, LeaseGone, StateError, UploadState
from tusd_py.state.redis.codec import raw
from tusd_py.state.redis.errands import Errands
from tusd_py.state.redis.handover import Handover
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.scripts import Script

RELEASE: Final = Script("release", parts=("records",))


class RedisLeases(UploadState):
    """Leases that were granted here."""

    _boot: Boot
    _clock: Callable[[], float]
    _lease_seconds: float

    def __init__(self) -> None:
        self._handover = Handover()
        self._errands = Errands()

    @property
    @abstractmethod
    def _link(self) -> Link:
        """Raises StateError where the store is not open."""

    @property
    @abstractmethod
    def _process(self) -> str:
        """The name of this process, as others know it."""

    @abstractmethod
    def _on_events(self, bucket: int) -> None:
        """Events of this process were committed in that bucket."""

    @property
    def boot(self) -> Boot:
        return self._boot

    @property
    def _me(self) -> tuple[Arg, Arg, Arg]:
        return self._process, raw(self._boot.host), raw(self._boot.boot_id)

    async def release(self, lease: Lease) -> None:
        await self._errands.finish(self._release(lease))

    async def _release(self, lease: Lease) -> None:
        await self._ask(RELEASE, lease)
        self._handover.let_go(lease.upload_id, lease.holder)

    async def _under(self, script: Script, lease: Lease, *args: Arg) -> list[bytes]:
        """What comes behind "done". Raises LeaseGone."""
        # [commit-in-time] Also by one's own clock: that of another master may be behind, and who
        # was stopped for long must not be let in by it.
        kind, reply = b"gone", []
        if (left := lease.remaining_seconds) > 0:
            kind, *reply = await self._ask(script, lease, *args, within_seconds=left)
        if kind != b"done":
            self._handover.let_go(lease.upload_id, lease.holder)
            raise LeaseGone
        return reply

    async def _ask(
        self, script: Script, lease: Lease, *args: Arg, within_seconds: float | None = None
    ) -> list[bytes]:
        link = self._link
        sequence = self._handover.number(lease, (script.name, *args))
        held = (lease.upload_id, lease.holder, lease.number, sequence, self._process)
        bucket = link.bucket_of(lease.upload_id)
        reply: list[bytes] = await link.call(
            script, bucket, *held, *args, within_seconds=within_seconds
        )
        self._handover.answered(lease)
        return reply

    def _lease(self, upload_id: UploadId, number: int, holder: HolderId, asked_at: float) -> Lease:
        # Reckoned from before the request: never later than the store's own deadline.
        lease = Lease(upload_id, number, holder, asked_at + self._lease_seconds, self._clock)
        self._handover.hold(lease)
        return lease

    def _give_lease_back(self, lease: Lease) -> None:
        """It was granted to a caller that is gone."""

        async def give_back() -> None:
            with suppress(StateError):  # then it runs out by itself
                await self._release(lease)

        self._errands.send(give_back())

    def _bounded(self, left_ms: bytes) -> float:
        """Seconds until a deadline of a lease. A server whose clock was put back says more than
        can be."""
        return min(max(0.0, float(left_ms) / 1000), self._lease_seconds)


def new_holder() -> HolderId:
    return HolderId(secrets.token_hex(16))
