"""The state of many hosts in Redis: one back end of all state contracts."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from tusd_py.core.upload import Boot
from tusd_py.state.base import StateError, StateFault, StateStore
from tusd_py.state.redis.faults import Fault
from tusd_py.state.redis.heads import Heads
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.moving import RedisMoving, refuse_unfinished
from tusd_py.state.redis.once import OnceTidy
from tusd_py.state.redis.outbox import RedisOutbox
from tusd_py.state.redis.peers import Peers
from tusd_py.state.redis.quotas import RedisQuotas
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.uploads import RedisUploads

log = logging.getLogger(__name__)

AWAY: Final = frozenset(
    {Fault.CONNECT, Fault.LOST, Fault.TIMEOUT, Fault.OVERLOAD, Fault.SUBSCRIPTION}
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an open state works with."""

    link: Link
    peers: Peers
    heads: Heads


class RedisState(RedisOutbox, RedisUploads, RedisQuotas, RedisMoving, StateStore):
    """Redis or Valkey as the whole state. Open it in the loop that uses it."""

    settings_type: ClassVar[type[RedisSettings]] = RedisSettings
    serves_many_hosts: ClassVar[bool] = True
    link_type: ClassVar[type[Link]] = Link

    def __init__(
        self,
        settings: RedisSettings,
        *,
        boot: Boot,
        lease_seconds: float,
        clock: Callable[[], float],
        power_safe: bool = False,
    ) -> None:
        """``power_safe``: how durable a commit is, Redis' own configuration decides; offsets that
        are told are safe without it, for the bytes win over records of another generation."""
        RedisUploads.__init__(self)
        RedisOutbox.__init__(self)
        self._settings = settings
        self._boot = boot
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._parts: Parts | None = None
        self._once_tidy = OnceTidy()
        self._changed_at = float("-inf")

    @property
    def _open_parts(self) -> Parts:
        if self._parts is None:
            raise StateError("the state store is not open")
        return self._parts

    @property
    def _link(self) -> Link:
        return self._open_parts.link

    @property
    def _heads(self) -> Heads:
        return self._open_parts.heads

    @property
    def _process(self) -> str:
        return self._open_parts.peers.name

    async def open(self) -> None:
        if self._parts is not None:
            raise StateError("the state store is open already")
        link = self.link_type(
            self._settings,
            boot=self._boot,
            lease_seconds=self._lease_seconds,
            on_fault=self._on_link_fault,
            on_generation=self._on_generation,
        )
        await link.open()
        peers = Peers(
            link,
            lease_seconds=self._lease_seconds,
            on_message=self._handover.on_message,
            on_gap=self._on_gap,
            on_fault=self._on_link_fault,
        )
        try:
            await refuse_unfinished(link, peers.name)
            await peers.open(within_seconds=self._settings.call_seconds)
        except BaseException:
            await link.close()
            raise
        self._parts = Parts(link, peers, Heads(link, peers))

    async def close(self) -> None:
        parts = self._parts
        if parts is None:
            return
        await self._errands.end(self._settings.call_seconds)
        await self._close_outbox()
        self._parts = None
        try:
            await parts.peers.close()
        finally:
            await parts.link.close()

    async def ping(self) -> None:
        await self._link.ping()

    async def purge(self, *, before: float) -> int:
        await self._once_tidy.step(self._link)
        return await super().purge(before=before)

    # ------------------------------------------------------------------ what others say

    def _on_gap(self) -> None:
        """Messages were lost: whoever waits looks now."""
        self._handover.wake_all()
        if self._parts is not None:
            self._parts.heads.age()

    def _on_generation(self) -> None:
        """Each bucket says so for itself: they are counted as one change."""
        now = asyncio.get_running_loop().time()
        if now - self._changed_at > self._lease_seconds:
            self.on_fault(StateFault.CHANGED)
            log.warning("state_generation_changed")
        self._changed_at = now

    def _on_link_fault(self, kind: str) -> None:
        self.on_fault(StateFault.AWAY if kind in AWAY else StateFault.REFUSED)
