"""Brings one hook its events: claimed, delivered side by side, in order per upload.

A lane knows of one hook only, so that a receiver that is away delays nobody else. What a lane has
claimed it delivers at once; an outcome that cannot be recorded is forgotten on purpose, for the
claim runs out and the event is delivered again under the same id.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from tusd_py.core.backoff import RetryPolicy
from tusd_py.core.events import EventKind
from tusd_py.hooks.base import DeliveryFailed, EventSink
from tusd_py.service.observer import Observer
from tusd_py.state.base import Delivery, Outbox, StateError

log = logging.getLogger(__name__)

RECORD_SECONDS: Final = 30.0
"""A claim outlasts the delivery's deadline by this, for writing the outcome down."""
LOOK_SECONDS: Final = 30.0
"""How often a lane looks without being woken. Events of other servers, and what a dead server had
claimed, do not wait for it: the outbox wakes lanes for these within a second."""
LEAST_PAUSE_SECONDS: Final = 0.2
"""Before a lane looks again at what was due and could not be claimed."""
STATE_AWAY: Final = RetryPolicy(first_seconds=0.5, cap_seconds=15.0)
MAX_REASON_CHARS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One hook's wish to be told."""

    sink: EventSink
    events: frozenset[EventKind] | None = None
    """None: all kinds."""
    deadline_seconds: float = 30.0
    concurrency: int = 8

    def wants(self, kind: EventKind) -> bool:
        return self.events is None or kind in self.events


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What all lanes share."""

    outbox: Outbox
    policy: RetryPolicy
    now: Callable[[], float]
    dice: Callable[[], float]
    """Random in [0, 1)."""
    observer: Observer


class Lane:
    """The deliveries of one hook."""

    def __init__(self, hook: str, subscription: Subscription, means: Means) -> None:
        self._hook = hook
        self._subscription = subscription
        self._means = means
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._running = 0

    def wake(self) -> None:
        """There may be something to deliver."""
        self._woken.set()

    def stop(self) -> None:
        """Claim nothing more. ``run`` returns once the running deliveries have ended."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> None:
        """Deliver until stopped. Cancelling gives running deliveries up: their claims run out."""
        failures = 0
        async with asyncio.TaskGroup() as deliveries:
            while not self._stopping.is_set():
                try:
                    pause_seconds = await self._turn(deliveries)
                    failures = 0
                except StateError as exc:
                    failures += 1
                    pause_seconds = state_pause_seconds(failures, self._means)
                    log.warning("outbox_away", extra={"hook": self._hook, "reason": str(exc)})
                    # Woken by commits or not: the state store gets its rest.
                    await _wait(self._stopping, pause_seconds)
                    continue
                await _wait(self._woken, pause_seconds)

    async def _turn(self, deliveries: asyncio.TaskGroup) -> float:
        """Start what is due; how long nothing more can be done, unless somebody wakes the lane."""
        self._woken.clear()
        free = self._subscription.concurrency - self._running
        if self._stopping.is_set():
            return 0.0
        if free <= 0:
            return LOOK_SECONDS  # a delivery that ends wakes the lane
        # A claim is a write: an idle lane only reads.
        due_at = await self._means.outbox.next_due(self._hook)
        if due_at is None:
            return LOOK_SECONDS
        if (ahead := due_at - self._means.now()) > 0:
            return min(ahead, LOOK_SECONDS)
        claimed = await self._means.outbox.claim(
            self._hook,
            now=self._means.now(),
            claim_seconds=self._subscription.deadline_seconds + RECORD_SECONDS,
            limit=free,
        )
        unwanted = []
        for delivery in claimed:
            if not self._subscription.wants(delivery.event.kind):
                unwanted.append(delivery)
                continue
            self._running += 1
            deliveries.create_task(self._deliver(delivery)).add_done_callback(self._ended)
        if unwanted:
            await self._means.outbox.settle(unwanted)
        return 0.0 if claimed else LEAST_PAUSE_SECONDS

    def _ended(self, _: "asyncio.Task[None]") -> None:
        self._running -= 1
        self._woken.set()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            async with asyncio.timeout(self._subscription.deadline_seconds):
                await self._subscription.sink.deliver(delivery.event)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # stays claimed until the claim runs out, and is delivered again
            await self._failed(delivery, exc)
        except Exception as exc:
            await self._failed(delivery, exc)
        else:
            await self._record(delivery, partial(self._means.outbox.settle, [delivery]))
            self._means.observer.delivered(self._hook, "taken")
            log.info("event_delivered", extra=_fields(delivery))

    async def _failed(self, delivery: Delivery, error: BaseException) -> None:
        """Try again later, or bury it."""
        policy, now, attempts = self._means.policy, self._means.now(), delivery.attempts + 1
        reason = self._reason(error)
        # A hook that is merely away says so by DeliveryFailed; a traceback tells of a fault in it.
        trace = None if isinstance(error, DeliveryFailed | TimeoutError) else error
        fields = {**_fields(delivery), "attempts": attempts, "reason": reason}
        outbox = self._means.outbox
        if policy.is_over(attempts, now - delivery.event.occurred_at):
            log.error("event_buried", extra=fields, exc_info=trace)
            self._means.observer.delivered(self._hook, "buried")
            await self._record(delivery, partial(outbox.bury, delivery, reason=reason, now=now))
            return
        asked = error.retry_after_seconds if isinstance(error, DeliveryFailed) else None
        seconds = policy.delay_seconds(attempts, self._means.dice(), asked)
        log.warning("delivery_failed", extra={**fields, "retry_seconds": seconds}, exc_info=trace)
        self._means.observer.delivered(self._hook, "failed")
        await self._record(delivery, partial(outbox.postpone, delivery, until=now + seconds))

    def _reason(self, error: BaseException) -> str:
        match error:
            case DeliveryFailed():
                text = str(error)
            case TimeoutError():
                text = f"not taken within {self._subscription.deadline_seconds:g} s"
            case _:
                text = f"{type(error).__name__}: {error}"
        return text[:MAX_REASON_CHARS]

    async def _record(self, delivery: Delivery, write: Callable[[], Awaitable[None]]) -> None:
        """Write an outcome down; where the state store stays away, let the claim run out."""
        until = self._means.now() + RECORD_SECONDS
        failures = 0
        while True:
            try:
                await write()
                return
            except StateError as exc:
                failures += 1
                pause_seconds = state_pause_seconds(failures, self._means)
                if self._stopping.is_set() or self._means.now() + pause_seconds >= until:
                    fields = {**_fields(delivery), "reason": str(exc)}
                    log.error("delivery_not_recorded", extra=fields)
                    return
            await _wait(self._stopping, pause_seconds)


def state_pause_seconds(failures: int, means: Means) -> float:
    """How long to leave a state store alone that has failed so often in a row."""
    return max(STATE_AWAY.delay_seconds(failures, means.dice()), LEAST_PAUSE_SECONDS)


def _fields(delivery: Delivery) -> dict[str, str]:
    event = delivery.event
    return {
        "hook": delivery.hook,
        "event_id": event.id,
        "kind": event.kind.value,  # "event" is the name of the log's own record
        "upload_id": event.upload_id,
    }


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
