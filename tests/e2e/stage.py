"""A server and the receiver of its events: what most tests against the real process need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.installations import serving
from tests.e2e.rig import hooked
from tests.support.receiver import Receiver, receiving
from tests.support.server import Server


@dataclass(frozen=True, slots=True)
class Stage:
    server: Server
    receiver: Receiver


@asynccontextmanager
async def staged(directory: Path) -> AsyncIterator[Stage]:
    async with (
        receiving() as receiver,
        serving(directory, hooked(directory, receiver)) as server,
    ):
        yield Stage(server, receiver)
