"""Which way a call goes, how often, and until when: lanes by server, and where the buckets are.

Calls that a server cannot serve just now are repeated, here or elsewhere, until their deadline.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import MovedError, NoScriptError, ResponseError

from tusd_py.state.base import StateError
from tusd_py.state.redis.connect import Address, Dialer, Wire
from tusd_py.state.redis.faults import Fault, OnFault, Then, Verdict, judge
from tusd_py.state.redis.lane import Call, Hooks, Lane, Limits
from tusd_py.state.redis.places import NETWORK_ERRORS, make_places
from tusd_py.state.redis.settings import RedisSettings

log = logging.getLogger(__name__)

MAX_WAITING: Final = 20_000
"""More would only time out: they are refused at once."""
RETRY_SECONDS: Final = 0.02
"""The first pause before a call is repeated; it doubles with each."""
RETRY_CAP_SECONDS: Final = 0.25
MAX_DOUBLINGS: Final = 8


class Dispatch:
    """Calls in, answers out. Use it in the loop that opened it."""

    def __init__(self, settings: RedisSettings, *, on_fault: OnFault) -> None:
        self._settings = settings
        self._on_fault = on_fault
        self._dialer = Dialer(settings)
        self._places = make_places(settings, self._dialer)
        self._limits = Limits(
            connections=settings.connections,
            call_seconds=settings.call_seconds,
            retry_first_seconds=settings.retry_first_seconds,
            retry_cap_seconds=settings.retry_cap_seconds,
        )
        self._where: Sequence[Address] = ()
        self._lanes: dict[Address, Lane] = {}
        self._watched: deque[Call] = deque()
        self._watching: asyncio.TimerHandle | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._failed_finds = 0
        self._retiring: set[asyncio.Task[None]] = set()
        self._is_open = False

    @property
    def is_cluster(self) -> bool:
        return self._places.is_cluster

    @property
    def where(self) -> Sequence[Address]:
        """The server of each place."""
        return self._where

    async def open(self) -> None:
        """Find the servers. Raises StateError with a helpful sentence."""
        if self._is_open:
            raise StateError("the state store is open already")
        await self._dialer.prepare()
        try:
            async with asyncio.timeout(self._settings.call_seconds):
                self._where = list(await self._places.find())
        except NETWORK_ERRORS as exc:
            await self._places.close()
            raise StateError(self._unfound(exc)) from exc
        self._is_open = True
        self._check_later()

    async def close(self) -> None:
        """Calls that wait are refused."""
        self._is_open = False
        for handle in (self._watching, self._checking):
            if handle is not None:
                handle.cancel()
        self._watching = self._checking = None
        tasks = [*self._retiring]
        if self._refreshing is not None:
            tasks.append(self._refreshing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in list(self._lanes.values()):
            await lane.close()
        self._lanes.clear()
        while self._watched:
            self._watched.popleft().refuse(StateError("the state store was closed"))
        await self._places.close()

    def submit(self, call: Call) -> asyncio.Future[list[Any]]:
        """Send it; the future has the script's replies, or StateError. Deadlines of calls that are
        submitted one after the other come in that order, as a rule."""
        if not self._is_open:
            raise StateError("the state store is not open")
        self._send(call)
        watched, loop = self._watched, asyncio.get_running_loop()
        while watched and watched[0].future.done():
            watched.popleft()
        latest = watched[-1].deadline if watched else 0.0
        if self._watching is not None:
            latest = max(latest, self._watching.when())
        if call.deadline < latest:
            # One whose lease ends soon, or the second call of one that found its bucket new: it
            # has its own, earlier end.
            loop.call_at(call.deadline, self._give_up, call)
            return call.future
        watched.append(call)
        if self._watching is None:
            self._watching = loop.call_at(call.deadline, self._watch)
        return call.future

    async def dial_listener(self) -> Wire:
        """A connection of one's own, for messages. Raises RedisError, OSError."""
        return await self._dialer.dial(await self._places.any_address())

    def tell(self, verdict: Verdict, error: ResponseError) -> None:
        """Count a fault; what only a fault of ours explains goes to the log."""
        self._on_fault(verdict.fault)
        if verdict.fault is Fault.SCRIPT:
            log.error("redis_script_failed", exc_info=error)

    # ------------------------------------------------------------------ on the way

    def _send(self, call: Call) -> None:
        if call.future.done():
            return
        if not self._is_open:
            call.refuse(StateError("the state store was closed"))
            return
        lane = self._lane(self._where[call.place])
        if lane.waiting >= MAX_WAITING:
            self._on_fault(Fault.OVERLOAD)
            call.refuse(StateError("too many operations wait for Redis"))
            return
        lane.put(call)

    def _lane(self, address: Address) -> Lane:
        lane = self._lanes.get(address)
        if lane is None:
            hooks = Hooks(
                on_reply=self._on_reply, on_trouble=self._refresh_soon, on_fault=self._on_fault
            )
            lane = self._lanes[address] = Lane(address, self._dialer, self._limits, hooks)
        return lane

    def _on_reply(self, call: Call, reply: Any) -> None:
        if isinstance(reply, Verdict):
            call.attempts += 1
            self._send(call)
        elif isinstance(reply, ResponseError):
            self._on_error(call, reply)
        elif not call.future.done():
            call.future.set_result(reply)

    def _on_error(self, call: Call, error: ResponseError) -> None:
        call.attempts += 1
        if isinstance(error, NoScriptError):
            self._lane(self._where[call.place]).forget(call.script)
            if call.attempts == 1:
                self._send(call)
                return
        if isinstance(error, MovedError) and self.is_cluster:
            where = list(self._where)
            where[call.place] = Address(error.host or where[call.place].host, error.port)
            self._where = where
            self._refresh_soon()
            self._repeat(call)
            return
        verdict = judge(error, is_cluster=self.is_cluster)
        self.tell(verdict, error)
        if verdict.then is Then.FAIL:
            call.refuse(verdict.to_error())
            return
        call.fault = verdict
        lane = self._lanes.get(self._where[call.place])
        if verdict.then is Then.REDIAL and lane is not None:
            lane.drop()
        if verdict.then is Then.REDIAL or verdict.fault is Fault.CLUSTER:
            self._refresh_soon()
        self._repeat(call)

    def _repeat(self, call: Call) -> None:
        """After a pause, if there is time for it."""
        if call.attempts == 1:
            self._send(call)
            return
        pause = min(RETRY_CAP_SECONDS, RETRY_SECONDS * 2.0 ** min(call.attempts, MAX_DOUBLINGS))
        asyncio.get_running_loop().call_later(pause, self._send, call)

    # ------------------------------------------------------------------ time

    def _watch(self) -> None:
        """One timer for all: the deadlines of calls come in their order."""
        loop, watched = asyncio.get_running_loop(), self._watched
        now = loop.time()
        while watched and (watched[0].future.done() or watched[0].deadline <= now):
            self._give_up(watched.popleft())
        self._watching = loop.call_at(watched[0].deadline, self._watch) if watched else None

    def _give_up(self, call: Call) -> None:
        if call.future.done():
            return
        self._on_fault(Fault.TIMEOUT)
        seconds = self._settings.call_seconds
        silent = StateError(f"Redis did not answer within {seconds} s")
        call.refuse(silent if call.fault is None else call.fault.to_error())

    # ------------------------------------------------------------------ places

    def _refresh_soon(self) -> None:
        if self._places.check_seconds is None or not self._is_open:
            return
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        # With jitter: all servers see the same failure at the same time.
        await asyncio.sleep(self._limits.pause_seconds(self._failed_finds + 1))
        try:
            async with asyncio.timeout(self._settings.call_seconds):
                where = list(await self._places.find())
        except NETWORK_ERRORS as exc:
            self._failed_finds += 1
            if self._failed_finds == 1:
                log.warning("redis_places_unknown", exc_info=exc)
            self._on_fault(Fault.CLUSTER)
            return
        self._failed_finds = 0
        if where != list(self._where):
            self._move(where)

    def _move(self, where: Sequence[Address]) -> None:
        self._where = where
        log.info("redis_moved", extra={"servers": len(set(where))})
        for address in set(self._lanes) - set(where):
            lane = self._lanes.pop(address)
            for call in lane.take_all():
                self._send(call)
            task = asyncio.create_task(self._retire(lane))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, lane: Lane) -> None:
        """Batches that are under way have their time."""
        try:
            await asyncio.sleep(self._limits.attempt_seconds)
        finally:
            await lane.close()

    def _check_later(self) -> None:
        seconds = self._places.check_seconds
        if seconds is not None and self._is_open:
            self._refresh_soon()
            loop = asyncio.get_running_loop()
            self._checking = loop.call_later(seconds, self._check_later)

    def _unfound(self, error: BaseException) -> str:
        what = "no node of the Cluster answers"
        if not self.is_cluster:
            what = f"no sentinel names a master {self._settings.master_name}"
        verdict = judge(error.__cause__ or error)
        is_clear = verdict.fault not in (Fault.LOST, Fault.TIMEOUT, Fault.SCRIPT)
        return f"Redis cannot be found: {what}" + (f"; {verdict.sentence}" if is_clear else "")
