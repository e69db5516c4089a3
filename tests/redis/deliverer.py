"""One server's deliveries, for tests that kill or stop it: ``python -m … URL``.

It claims what there is, says the id of each event whose delivery begins, and delivers none: each
line on standard input makes one delivery fail. It says "failed" once that was written down.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from pydantic import SecretStr

from tusd_py.core.events import Event
from tusd_py.core.upload import Boot
from tusd_py.hooks.base import DeliveryFailed, EventSink
from tusd_py.service.deliveries import Subscription
from tusd_py.service.observer import SilentObserver
from tusd_py.service.outbox import Dispatcher, OutboxSettings
from tusd_py.state.base import Delivery, Outbox
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.store import RedisState

LEASE_SECONDS: Final = 1.0
CLAIM_SECONDS: Final = 60.0
"""At least: nobody waits for a claim to run out."""


State = TypeVar("State", bound=RedisState)


def make_state(
    state_type: type[State], url: str, host: str, lease_seconds: float = LEASE_SECONDS
) -> State:
    return state_type(
        RedisSettings(url=SecretStr(url)),
        boot=Boot(host, f"boot of {host}"),
        lease_seconds=lease_seconds,
        clock=time.monotonic,
    )


@asynccontextmanager
async def delivering(outbox: Outbox, sinks: dict[str, Subscription]) -> AsyncIterator[None]:
    """A dispatcher that runs meanwhile."""
    await outbox.register(sorted(sinks))
    dispatcher = Dispatcher(
        outbox,
        sinks,
        OutboxSettings(),
        now=time.time,
        dice=random.random,
        observer=SilentObserver(),
    )
    task = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        await dispatcher.stop(0.0)
        await task


class Stuck(EventSink):
    """A receiver that answers when it is told to."""

    def __init__(self) -> None:
        self.lines = asyncio.Queue[str]()

    async def deliver(self, event: Event) -> None:
        say(event.id)
        await self.lines.get()
        raise DeliveryFailed("told to")


class TellingState(RedisState):
    """It says when a failure was written down."""

    async def postpone(self, delivery: Delivery, *, until: float) -> None:
        await super().postpone(delivery, until=until)
        say("failed")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main(url: str) -> None:
    state, sink = make_state(TellingState, url, "the other"), Stuck()
    await state.open()
    subscription = Subscription(sink=sink, deadline_seconds=CLAIM_SECONDS, concurrency=8)
    async with delivering(state, {"h": subscription}):
        while line := await asyncio.to_thread(sys.stdin.readline):
            sink.lines.put_nowait(line)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
