"""Quotas in Redis: what clients take, over all servers. One script each, one round trip.

Their keys are no records: they alone have a time to live, end when they say nothing any more, and
are forgotten with the data of a master that is lost. They lie in the bucket of the client's name,
with a digest for a name. Nothing depends on a generation, so none is asked for.
"""

from abc import abstractmethod
from hashlib import sha1
from typing import Final

from tusd_py.core.ids import HolderId
from tusd_py.core.rates import MICRO, Rate, Turn
from tusd_py.state.quotas import Quotas
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.scripts import Script

ADMIT: Final = Script("admit")
ENTER: Final = Script("enter_place")
LEAVE: Final = Script("leave_place")


class RedisQuotas(Quotas):
    """The contract of quotas, on a link."""

    @property
    @abstractmethod
    def _link(self) -> Link:
        """Raises StateError where the store is not open."""

    async def admit(self, key: str, rate: Rate, *, patience_seconds: float = 0.0) -> Turn:
        link, digest = self._link, _digest(key)
        is_given, wait = await link.call(
            ADMIT,
            link.bucket_of_digest(digest),
            digest.hex(),
            rate.interval_us,
            rate.tolerance_us,
            rate.reach_us,
            int(patience_seconds * MICRO),
        )
        return Turn(is_given == b"1", int(wait) / MICRO)

    async def enter(self, key: str, body: HolderId, *, limit: int, seconds: float) -> bool:
        link, digest = self._link, _digest(key)
        bucket = link.bucket_of_digest(digest)
        got = await link.call(ENTER, bucket, digest.hex(), body, limit, round(seconds * 1000))
        return bool(got)

    async def leave(self, key: str, body: HolderId) -> None:
        link, digest = self._link, _digest(key)
        await link.call(LEAVE, link.bucket_of_digest(digest), digest.hex(), body)


def _digest(key: str) -> bytes:
    return sha1(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
