"""The way to one server: what waits for it travels together, on a few connections.

All calls of one turn of the loop go in one batch, and so does what waits while the batches before
it are under way, like group commit. Connections are made one at a time, with back-off and jitter
while the server is away; then calls wait for it at most until their own deadline, and those that
come when it has been away for longer are refused at once.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import NoScriptError, ResponseError

from tusd_py.state.base import StateError
from tusd_py.state.redis.connect import Address, Dialer, Wire
from tusd_py.state.redis.faults import OnFault, Then, Verdict, judge, judge_dial
from tusd_py.state.redis.places import NETWORK_ERRORS
from tusd_py.state.redis.scripts import Composed

log = logging.getLogger(__name__)

MAX_BATCH_CALLS: Final = 128
"""Redis serves nobody else meanwhile; the rest goes in the next batch."""
MAX_BATCH_BYTES: Final = 1024 * 1024
MAX_DOUBLINGS: Final = 16


class Call:
    """One EVALSHA on its way."""

    __slots__ = (
        "attempts",
        "deadline",
        "fault",
        "future",
        "packed",
        "place",
        "script",
    )

    def __init__(
        self,
        place: int,
        script: Composed,
        packed: bytes,
        future: asyncio.Future[list[Any]],
        deadline: float,
    ) -> None:
        self.place = place
        self.script = script
        self.packed = packed
        self.future = future
        self.deadline = deadline
        self.attempts = 0
        self.fault: Verdict | None = None
        """Why it was not answered so far."""

    def refuse(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # A caller that was cancelled never looks at it.
            self.future.exception()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much, how long, how often."""

    connections: int
    call_seconds: float
    retry_first_seconds: float
    retry_cap_seconds: float

    @property
    def attempt_seconds(self) -> float:
        """Longest wait for the answers of one batch: there is time for another try."""
        return self.call_seconds / 2

    def pause_seconds(self, failures: int) -> float:
        """Before the next try: random, so that servers do not come all at once."""
        ceiling = self.retry_first_seconds * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
        return random.random() * min(self.retry_cap_seconds, ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Whom a lane tells."""

    on_reply: Callable[[Call, Any], None]
    """The answer to a call, or its error (a ResponseError), or why it was lost."""
    on_trouble: Callable[[], None]
    """The server may not be where it was."""
    on_fault: OnFault


class Lane:
    """Calls for one server. Use it in one loop; nothing of it blocks."""

    def __init__(self, address: Address, dialer: Dialer, limits: Limits, hooks: Hooks) -> None:
        self.address = address
        self._dialer = dialer
        self._limits = limits
        self._hooks = hooks
        self._waiting: deque[Call] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._is_waking = False
        """A worker is about to take what waits, and takes what is added meanwhile."""
        self._dialing = asyncio.Lock()
        self._epoch = 0
        self._failures = 0
        self._away: Verdict | None = None
        self._away_since = 0.0
        self._is_closed = False
        self._known: set[str] = set()
        """Scripts that the server has: the others go before their first call, in the same batch."""

    def put(self, call: Call) -> None:
        """Have it sent. Its answer goes to ``on_reply``."""
        if self._is_closed:
            call.refuse(StateError("the state store is not open"))
            return
        if self._away is not None:
            call.fault = self._away
            if asyncio.get_running_loop().time() - self._away_since > self._limits.call_seconds:
                call.refuse(self._away.to_error())
                return
        self._waiting.append(call)
        if not self._is_waking:
            self._wake()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take_all(self) -> list[Call]:
        """What has not been sent yet, to be sent elsewhere."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def forget(self, script: Composed) -> None:
        """The server does not have it any more."""
        self._known.discard(script.sha)

    def drop(self) -> None:
        """Close the connections once their batches are over; calls go on over new ones."""
        self._epoch += 1

    async def close(self) -> None:
        """What waits is refused. Does not wait for the other end."""
        self._is_closed = True
        for call in self.take_all():
            call.refuse(StateError("the state store was closed"))
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    # ------------------------------------------------------------------ workers

    def _wake(self) -> None:
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                self._is_waking = True
                return
        if len(self._workers) < self._limits.connections:
            worker = asyncio.create_task(self._work(), name=f"redis {self.address}")
            self._workers.add(worker)
            worker.add_done_callback(self._on_worker_done)
            self._is_waking = True

    def _on_worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (exc := worker.exception()) is not None:
            # A fault of ours: its batch is lost, those that wait get another worker.
            log.error("redis_worker_failed", exc_info=exc)
            self._is_waking = False
            if self._waiting and not self._is_closed:
                self._wake()

    async def _work(self) -> None:
        wire: Wire | None = None
        epoch = self._epoch
        loop = asyncio.get_running_loop()
        try:
            while True:
                while not self._waiting:
                    self._is_waking = False
                    waiter = loop.create_future()
                    self._idle.append(waiter)
                    await waiter
                if wire is not None and (epoch != self._epoch or await wire.is_stale()):
                    await wire.close()
                    wire = None
                if wire is None:
                    self._let_others_go_on()
                    epoch = self._epoch
                    wire = await self._connect()
                    if wire is None:
                        continue
                batch = self._gather()
                if batch and not await self._exchange(wire, batch):
                    await wire.close()
                    wire = None
        finally:
            if wire is not None:
                await wire.close()

    def _let_others_go_on(self) -> None:
        """This worker needs a connection first; another one may have one."""
        self._is_waking = False
        if self._idle:
            self._wake()

    def _gather(self) -> list[Call]:
        batch: list[Call] = []
        size = 0
        self._is_waking = False
        while self._waiting and len(batch) < MAX_BATCH_CALLS and size < MAX_BATCH_BYTES:
            call = self._waiting.popleft()
            if call.future.done():
                continue  # cancelled or too late before it was sent: nothing happens
            batch.append(call)
            size += len(call.packed)
        if self._waiting:
            self._wake()
        return batch

    async def _exchange(self, wire: Wire, batch: list[Call]) -> bool:
        """Send and hear; whether the connection is still good."""
        answered = 0
        try:
            async with asyncio.timeout(self._limits.attempt_seconds):
                packed, loading = self._pack(batch)
                await wire.send(packed)
                refused = await self._hear_loads(wire, loading)
                for call in batch:
                    self._hooks.on_reply(call, await self._hear(wire, refused, call))
                    answered += 1
        except NETWORK_ERRORS as exc:
            self._lose(batch[answered:], judge(exc))
            return False
        except BaseException as exc:
            # Nobody is left to wait for ever.
            is_closing = isinstance(exc, asyncio.CancelledError)
            why = "the state store was closed" if is_closing else "Redis could not be understood"
            for call in batch[answered:]:
                call.refuse(StateError(why))
            raise
        if self._failures:
            self._come_back()
        return True

    def _pack(self, batch: list[Call]) -> tuple[list[bytes], list[str]]:
        """What to send, and the scripts that are loaded first."""
        missing: dict[str, Composed] = {}
        for call in batch:
            if call.script.sha not in self._known:
                missing[call.script.sha] = call.script
        packed = [pack_load(script) for script in missing.values()]
        packed += [call.packed for call in batch]
        return packed, list(missing)

    async def _hear_loads(self, wire: Wire, loading: list[str]) -> dict[str, ResponseError]:
        """Which scripts the server did not take, and why."""
        refused: dict[str, ResponseError] = {}
        for sha in loading:
            try:
                await wire.read()
            except ResponseError as exc:
                refused[sha] = exc
            else:
                self._known.add(sha)
        return refused

    async def _hear(self, wire: Wire, refused: dict[str, ResponseError], call: Call) -> Any:
        try:
            return await wire.read()
        except NoScriptError as exc:
            return refused.get(call.script.sha, exc)
        except ResponseError as exc:
            return exc

    def _lose(self, batch: list[Call], verdict: Verdict) -> None:
        self._fail(verdict)
        for call in batch:
            call.fault = verdict
            self._hooks.on_reply(call, verdict)

    # ------------------------------------------------------------------ connecting

    async def _connect(self) -> Wire | None:
        """A connection, once there is one; None: nobody waits any more."""
        async with self._dialing:
            while True:
                if self._failures:
                    await asyncio.sleep(self._limits.pause_seconds(self._failures))
                if not self._waiting and self._away is None:
                    return None
                try:
                    wire, _ = await self._dialer.dial_master(self.address)
                except Exception as exc:
                    # Also a fault of ours: without a pause it would come again at once.
                    self._fail(judge_dial(exc, self.address))
                else:
                    self._away = None
                    return wire

    def _fail(self, verdict: Verdict) -> None:
        self._failures += 1
        self._hooks.on_fault(verdict.fault)
        if self._failures == 1:
            log.warning(
                "redis_away",
                extra={
                    "address": str(self.address),
                    "fault": verdict.fault.value,
                    "reason": verdict.sentence,
                },
            )
        if self._away is None:
            self._away_since = asyncio.get_running_loop().time()
        self._away = verdict
        for call in self._waiting:
            call.fault = verdict
        if verdict.then is Then.FAIL:
            for call in self.take_all():
                call.refuse(verdict.to_error())
        self._hooks.on_trouble()

    def _come_back(self) -> None:
        log.info("redis_back", extra={"address": str(self.address), "failures": self._failures})
        self._failures = 0
        self._away = None


def pack_load(script: Composed) -> bytes:
    text = script.text.encode()
    return b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$%d\r\n%s\r\n" % (len(text), text)
