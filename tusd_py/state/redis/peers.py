"""The other processes, on this host and on others: what they say, and which of them are dead.

Messages are hints: what they say is also in the records, so that a lost one costs time only. Each
process beats at least once a second; its own beat comes back to it as a message, so that a
subscription that has gone deaf is found out, wherever on the way it went so.
"""

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from tusd_py.state.base import StateError
from tusd_py.state.redis.connect import Wire
from tusd_py.state.redis.faults import Fault, OnFault, judge
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.places import NETWORK_ERRORS
from tusd_py.state.redis.scripts import Script

log = logging.getLogger(__name__)

BEAT_SECONDS: Final = 1.0
BEATS_PER_LEASE: Final = 5
SILENT_BEATS: Final = 5
"""So many own beats unheard, and the subscription is made anew."""
FIRST_PAUSE_SECONDS: Final = 0.05
PAUSE_CAP_SECONDS: Final = 1.0
MAX_DOUBLINGS: Final = 8
GATHER_SECONDS: Final = 0.02
"""After a change of master messages of all buckets come at once: they are opened together."""

BEAT: Final = Script("beat")


class Peers:
    """This process among the others. Its name is random: the dead never return."""

    def __init__(
        self,
        link: Link,
        *,
        lease_seconds: float,
        on_message: Callable[[str], None] = lambda _: None,
        on_gap: Callable[[], None] = lambda: None,
        on_fault: OnFault = lambda _: None,
    ) -> None:
        self.name = secrets.token_hex(8)
        self.on_message = on_message
        """Called in the loop with each message: "ask <id> <holder>", "free <id>", "events",
        "generation <bucket>"."""
        self.on_gap = on_gap
        """Called in the loop when messages may have been lost: look for yourself."""
        self.dead: tuple[frozenset[str], float] = (frozenset(), 0.0)
        """The processes whose heartbeat is older than ``lease_seconds``, and when that was read, in
        ms of the server's clock: what they claimed since then was claimed by the living."""
        self._link = link
        self._on_fault = on_fault
        self._interval = min(BEAT_SECONDS, lease_seconds / BEATS_PER_LEASE)
        self._share = math.ceil(link.buckets * self._interval / lease_seconds)
        """Buckets to look at with each beat: all of them within a lease."""
        self._cursor = 0
        self._due: set[int] = set()
        self._wake = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._reason = "Redis does not answer"
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, *, within_seconds: float) -> None:
        """Listen and beat from now on. Raises StateError where nothing can be heard in that time.
        The link is open."""
        for work in (self._listen, self._keep_beating, self._keep_open):
            self._tasks.append(asyncio.create_task(self._for_ever(work)))
        try:
            async with asyncio.timeout(within_seconds):
                await self._subscribed.wait()
            await self._beat()
        except TimeoutError:
            await self._stop()
            raise StateError(f"messages of Redis cannot be subscribed to: {self._reason}") from None
        except BaseException:
            await self._stop()
            raise

    async def close(self) -> None:
        """Say goodbye: what this process has claimed is free for others at once. The link is still
        open."""
        await self._stop()
        with suppress(StateError):  # then they notice by the heartbeat
            await self._link.call_meta(BEAT, self.name, "gone")

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        """A fault of ours must not end the heartbeat: others would take this process for dead."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("redis_peers_failed")
                await asyncio.sleep(self._interval)

    # ------------------------------------------------------------------ hearing

    async def _listen(self) -> None:
        failures = 0
        while True:
            self._subscribed.clear()
            try:
                await self._hear()
            except NETWORK_ERRORS as exc:
                failures = 1 if self._subscribed.is_set() else failures + 1
                self._reason = judge(exc, is_cluster=self._link.is_cluster).sentence
                self._on_fault(Fault.SUBSCRIPTION)
                if failures == 1:
                    log.warning("redis_subscription_lost", exc_info=exc)
            ceiling = FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
            # With jitter: all processes lose theirs at the same time.
            await asyncio.sleep(random.random() * min(PAUSE_CAP_SECONDS, ceiling))

    async def _hear(self) -> None:
        """One subscription, until it ends: by an error, always."""
        wire = await self._link.dial_listener()
        try:
            await self._subscribe(wire)
            self._subscribed.set()
            self._due.update(range(self._link.buckets))
            self._wake.set()
            self.on_gap()
            while True:
                async with asyncio.timeout(self._interval * SILENT_BEATS):
                    self._take(await wire.read())
        finally:
            await wire.close()

    async def _subscribe(self, wire: Wire) -> None:
        channels = (f"{self._link.prefix}:all", f"{self._link.prefix}:p:{self.name}")
        async with asyncio.timeout(self._interval * SILENT_BEATS):
            await wire.ask("SUBSCRIBE", *channels)
            for _ in channels[1:]:
                await wire.read()

    def _take(self, message: Any) -> None:
        if not isinstance(message, list) or len(message) != 3 or message[0] != b"message":
            return
        text = bytes(message[2]).decode("ascii", "replace")
        if text == "beat":
            return
        kind, _, rest = text.partition(" ")
        if kind == "generation":
            with suppress(ValueError):  # of a program that names buckets in another way
                self._due.add(int(rest, 16))
                self._wake.set()
        try:
            self.on_message(text)
        except Exception:
            # A fault of ours with one message must not make us deaf for the others.
            log.exception("redis_message_failed", extra={"kind": kind})

    # ------------------------------------------------------------------ beating

    async def _keep_beating(self) -> None:
        while True:
            with suppress(StateError):  # the link has told; the next one comes soon
                await self._beat()
            await asyncio.sleep(self._interval)

    async def _beat(self) -> None:
        now, *names = await self._link.call_meta(BEAT, self.name, "here")
        dead = frozenset(name.decode("ascii", "replace") for name in names)
        if fresh := dead - self.dead[0]:
            log.info("redis_processes_dead", extra={"count": len(fresh)})
        self.dead = (dead, float(now))

    # ------------------------------------------------------------------ opening

    async def _keep_open(self) -> None:
        """Open what has its turn, and at once what is new. Apart from the beat, which must come in
        time: where a part of a Cluster is away, this takes as long as calls may take."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
                    await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            self._due.update(self._next_share())
            await self._open_due()

    def _next_share(self) -> list[int]:
        buckets = self._link.buckets
        share = [(self._cursor + n) % buckets for n in range(min(self._share, buckets))]
        self._cursor = (self._cursor + self._share) % buckets
        return share

    async def _open_due(self) -> None:
        due = sorted(bucket for bucket in self._due if bucket < self._link.buckets)
        self._due.clear()
        try:
            await self._link.open_buckets(due)
        except StateError as exc:
            # They stay due: the next turn tries them again.
            self._due.update(due)
            log.debug("redis_buckets_not_opened", exc_info=exc)
