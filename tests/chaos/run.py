"""One run: load, kills, cuts, an absent receiver; then the last judgement."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.client import Uploader
from tests.chaos.ledger import Broken, Ledger, Promise
from tests.e2e.rig import stored_bytes, webhook
from tests.support import tus
from tests.support.receiver import FAILS, HANGS, OK, Receiver, receiving
from tests.support.relay import Cut, Fault, Relay, relay_to
from tests.support.server import Server, ServerDied, serving

CLIENTS = 8
LIFE_SECONDS = (0.05, 0.8)
"""How long the server lives between ready and killed."""
EARLY_SHARE = 0.2
"""So many are killed once more before they serve."""
START_SECONDS = (0.2, 1.0)
BREAK_SECONDS = (0.02, 0.3)
TROUBLE_SECONDS = (0.2, 2.0)
SETTLE_SECONDS = 60.0
LINE_BYTES_PER_SECOND = 40 * 1024 * 1024
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard."""

    seed: int
    kills: int
    seconds: float
    """No kill later than this."""
    workers: int = 1


@dataclass(slots=True)
class Summary:
    """What a run came to."""

    plan: Plan
    kills: int = 0
    kills_of_redis: int = 0
    """Among them."""
    cuts: int = 0
    uploads: int = 0
    stored_bytes: int = 0
    sent_bytes: int = 0
    completions_told: int = 0
    deliveries_refused: int = 0
    seconds: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        mib = 1024 * 1024
        asked = ", ".join(f"{name}: {count}" for name, count in sorted(self.requests.items()))
        redis = f" ({self.kills_of_redis} of Redis)" if self.kills_of_redis else ""
        return (
            f"seed {self.plan.seed}: {self.kills} kills{redis} and {self.cuts} cuts in "
            f"{self.seconds:.0f} s; {self.uploads} uploads, "
            f"{self.stored_bytes / mib:.0f} MiB stored of {self.sent_bytes / mib:.0f} MiB sent; "
            f"{self.completions_told} tellings of completions, "
            f"{self.deliveries_refused} deliveries not taken\n{asked}"
        )


class Chaos:
    """The parts of a run."""

    def __init__(self, plan: Plan, server: Server, relay: Relay, receiver: Receiver) -> None:
        self.plan = plan
        self.server = server
        self.relay = relay
        self.receiver = receiver
        self.ledger = Ledger()
        self.summary = Summary(plan)
        self._up = asyncio.Event()
        self._up.set()
        self._began = time.monotonic()
        self._uploaders = [
            Uploader(server, self._endpoint, self.ledger, self._dice(f"client {number}"), self._up)
            for number in range(CLIENTS)
        ]

    async def run(self, tell: Tell) -> Summary:
        """Raises Broken (alone, or in a group) where a promise was not kept."""
        async with asyncio.TaskGroup() as load:
            for uploader in self._uploaders:
                load.create_task(uploader.run())
            async with asyncio.TaskGroup() as harm:
                killing = harm.create_task(self._kill(tell))
                others = [harm.create_task(self._cut()), harm.create_task(self._vex_receiver())]
                await killing
                for other in others:
                    other.cancel()
            self.relay.clear()
            self.receiver.default = OK
            await self.receiver.come_back()
            for uploader in self._uploaders:
                uploader.has_enough = True
        await self._judge()
        return self.summary

    # ------------------------------------------------------------------ harm

    async def _kill(self, tell: Tell) -> None:
        dice = self._dice("kills")
        while self.summary.kills < self.plan.kills:
            await asyncio.sleep(dice.uniform(*LIFE_SECONDS))
            if time.monotonic() - self._began > self.plan.seconds:
                return
            self._up.clear()
            await self.server.kill9()
            self.summary.kills += 1
            self._check_disk()
            if dice.random() < EARLY_SHARE:
                await self._kill_at_start(dice.uniform(*START_SECONDS))
            await self.server.start()
            self._up.set()
            if self.summary.kills % 25 == 0:
                tell(f"{self.summary.kills} kills, {len(self.ledger.promises)} uploads")

    async def _kill_at_start(self, seconds: float) -> None:
        """What a start makes good must bear to be broken off too."""
        starting = asyncio.create_task(self.server.start())
        await asyncio.sleep(seconds)
        await self.server.kill9()
        self.summary.kills += 1
        with contextlib.suppress(ServerDied):
            await starting

    async def _cut(self) -> None:
        dice = self._dice("cuts")
        while True:
            await asyncio.sleep(dice.uniform(*BREAK_SECONDS))
            living = self.relay.living
            if living:
                self.summary.cuts += 1
                dice.choice(living).cut(dice.choice([Cut.FIN, Cut.RST]))

    async def _vex_receiver(self) -> None:
        dice = self._dice("receiver")
        while True:
            await asyncio.sleep(dice.uniform(*TROUBLE_SECONDS))
            match dice.choice(["fails", "hangs", "away", "well"]):
                case "fails":
                    self.receiver.default = FAILS
                case "hangs":
                    self.receiver.default = HANGS
                case "away":
                    await self.receiver.go_away()
                case _:
                    self.receiver.default = OK
            await asyncio.sleep(dice.uniform(*TROUBLE_SECONDS))
            self.receiver.default = OK
            await self.receiver.come_back()

    # ------------------------------------------------------------------ judgement

    def _check_disk(self) -> None:
        """While the server is dead: what was acknowledged lies there, whatever its state says.
        Finished files are read once more at the end."""
        for promise in self.ledger.promises:
            if not promise.is_finished and promise.acknowledged:
                promise.check_bytes(self._stored(promise), whole=False)

    async def _judge(self) -> None:
        """Every upload is finished, identical, shown as such, and told under one id."""
        try:
            await self.receiver.until(
                lambda one: self.ledger.is_told(one.deliveries), seconds=SETTLE_SECONDS
            )
        except TimeoutError:
            self.ledger.check_events(self.receiver.deliveries)
            raise
        for promise in self.ledger.promises:
            promise.check_bytes(self._stored(promise), whole=True)
            found = await tus.head(promise.url)
            if (found.status, found.headers.get("Upload-Offset")) != (200, str(promise.size)):
                raise Broken(f"HEAD of {promise.url}: {found.status} {found.headers}")
        if code := await self.server.stop():
            raise Broken(f"the server ended with {code}\n{self.server.tail()}")
        self._check_logs()
        self._sum_up(self.ledger.check_events(self.receiver.deliveries))

    def _check_logs(self) -> None:
        """Nothing unforeseen happened, and no byte was found missing."""
        bad = {"acknowledged_bytes_lost", "request_failed", "background_died", "append_failed"}
        for record in self.server.logs:
            if record.get("event") in bad:
                raise Broken(f"the server logged {record}")

    def _sum_up(self, completions: int) -> None:
        summary, ledger = self.summary, self.ledger
        summary.uploads = len(ledger.promises)
        summary.stored_bytes = sum(promise.size for promise in ledger.promises)
        summary.sent_bytes = ledger.sent_bytes
        summary.completions_told = completions
        summary.deliveries_refused = sum(not one.taken for one in self.receiver.deliveries)
        summary.seconds = time.monotonic() - self._began
        summary.requests = dict(ledger.requests)

    # ------------------------------------------------------------------ common

    def _dice(self, name: str) -> random.Random:
        return random.Random(f"{self.plan.seed} {name}")

    def _endpoint(self) -> str:
        return self.relay.url(self.server.endpoint)

    def _stored(self, promise: Promise) -> bytes:
        try:
            return stored_bytes(self.server, promise.url)
        except FileNotFoundError:
            return b""


@asynccontextmanager
async def prepared(plan: Plan, directory: Path) -> AsyncIterator[Chaos]:
    """A server, the line to it and the receiver of its events, running."""
    async with (
        receiving() as receiver,
        serving(directory, _settings(plan, directory, receiver)) as server,
        relay_to(server.endpoint) as relay,
    ):
        relay.default = Fault(bytes_per_second=LINE_BYTES_PER_SECOND)
        yield Chaos(plan, server, relay, receiver)


def _settings(plan: Plan, directory: Path, receiver: Receiver) -> dict[str, Any]:
    return {
        "hooks": [webhook(directory, receiver, deadline_seconds=1)],
        "outbox": {"first_retry_seconds": 0.1, "max_retry_seconds": 1},
        "upload": {"checkpoint_seconds": 0.2, "sweep_seconds": 1},
        "process": {"workers": plan.workers},
        "log": {"level": "info"},
    }
