"""Empties the outbox: events reach each hook at least once, in order per upload.

Each hook has a lane of its own. The dispatcher wakes the lanes when events were committed, and
forgets old events.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from pydantic import Field, model_validator

from tusd_py.core.backoff import RetryPolicy
from tusd_py.service.deliveries import Lane, Means, Subscription, state_pause_seconds
from tusd_py.service.observer import Observer
from tusd_py.settings import Settings
from tusd_py.state.base import Outbox, StateError

log = logging.getLogger(__name__)

GIVE_UP_SECONDS: Final = 1.0
"""For sinks to end once they were cancelled."""


class OutboxSettings(Settings):
    """How events are delivered to hooks."""

    keep_seconds: Annotated[float, Field(ge=60)] = 7 * 86400.0
    """How long events are kept that every hook has taken, and dead letters."""
    purge_seconds: Annotated[float, Field(ge=1)] = 600.0
    """How often older ones are removed."""
    first_retry_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """The longest wait after a first failure; it doubles each time, and any moment up to it is
    as likely (full jitter)."""
    max_retry_seconds: Annotated[float, Field(gt=0, le=86400)] = 3600.0
    """No wait is longer, unless the receiver asks for it."""
    max_retry_after_seconds: Annotated[float, Field(ge=0, le=7 * 86400)] = 6 * 3600.0
    """The longest Retry-After that is honoured."""
    give_up_seconds: Annotated[float, Field(ge=0)] = 26 * 3600.0
    """An event that is older, and was tried as often as fits into this time, becomes a dead letter:
    it is listed and replayed by hand, and the upload's next event goes out."""

    @model_validator(mode="after")
    def _waits_grow(self) -> "OutboxSettings":
        if self.first_retry_seconds > self.max_retry_seconds:
            raise ValueError("first_retry_seconds must not exceed max_retry_seconds")
        return self

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            first_seconds=self.first_retry_seconds,
            cap_seconds=self.max_retry_seconds,
            give_up_seconds=self.give_up_seconds,
            max_retry_after_seconds=self.max_retry_after_seconds,
        )


class Dispatcher:
    """Delivers events until it is stopped."""

    def __init__(
        self,
        outbox: Outbox,
        sinks: Mapping[str, Subscription],
        settings: OutboxSettings,
        *,
        now: Callable[[], float],
        dice: Callable[[], float],
        observer: Observer,
    ) -> None:
        """``sinks`` by hook name, as registered with the outbox. ``now`` is Unix time, ``dice`` is
        random in [0, 1). The sinks are closed by whoever made them."""
        self._settings = settings
        self._means = Means(
            outbox=outbox, policy=settings.policy, now=now, dice=dice, observer=observer
        )
        self._lanes = [Lane(hook, sink, self._means) for hook, sink in sinks.items()]
        self._lane_tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self) -> None:
        """Until ``stop``, or until cancelled; once only. Failures of sinks and of the state store
        do not end it."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._listen(), name="outbox wakeups"),
                    tasks.create_task(self._purge(), name="outbox purge"),
                ]
                async with asyncio.TaskGroup() as lanes:
                    self._lane_tasks = [lanes.create_task(lane.run()) for lane in self._lanes]
                    await self._stopping.wait()
                for helper in helpers:
                    helper.cancel()
        finally:
            self._lane_tasks = []
            self._ended.set()

    async def stop(self, seconds: float) -> None:
        """Claim nothing more, and let running deliveries end within ``seconds``; those that do not
        are cancelled and delivered again later, here or by another process."""
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()
        if await _is_set_within(self._ended, seconds):
            return
        log.warning("deliveries_given_up", extra={"seconds": seconds})
        for task in self._lane_tasks:
            task.cancel()
        if not await _is_set_within(self._ended, GIVE_UP_SECONDS):
            log.error("deliveries_hang", extra={"seconds": GIVE_UP_SECONDS})

    async def _listen(self) -> None:
        """Wake every lane when events may have been committed."""
        failures = 0
        while True:
            try:
                async for _ in self._means.outbox.wakeups():
                    failures = 0
                    for lane in self._lanes:
                        lane.wake()
            except StateError as exc:
                log.warning("outbox_wakeups_away", extra={"reason": str(exc)})
            failures += 1
            await asyncio.sleep(state_pause_seconds(failures, self._means))

    async def _purge(self) -> None:
        """Forget old events now and then; not at the same moment in every process."""
        await asyncio.sleep(self._settings.purge_seconds * self._means.dice())
        while True:
            before = self._means.now() - self._settings.keep_seconds
            try:
                purged = await self._means.outbox.purge(before=before)
                if purged:
                    log.info("events_purged", extra={"events": purged})
            except StateError as exc:
                log.warning("events_not_purged", extra={"reason": str(exc)})
            await asyncio.sleep(self._settings.purge_seconds)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
