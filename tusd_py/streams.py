"""A body on its way from a client to a byte store.

Bytes never pass through ``core``. Whoever writes them pulls them from a ``ByteSource`` and looks at
a ``Brake`` before each write: the brake is how a request is made to stop early with what it has.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import Final


class SourceEnd(StrEnum):
    """Why no more bytes come."""

    COMPLETE = "complete"
    """The body's last byte was read."""
    HUNG_UP = "hung_up"
    """The client went away (FIN or RST) before the end."""
    TOO_SLOW = "too_slow"
    """Nothing for the idle time, or less than the minimum rate."""
    MALFORMED = "malformed"
    """The transfer coding is broken."""


class ByteSource(ABC):
    """The bytes of one request's body, in order, each once."""

    @property
    @abstractmethod
    def announced_bytes(self) -> int | None:
        """How many bytes the sender promised; None where it did not say."""

    @abstractmethod
    async def invite(self) -> None:
        """Let the sender start: ``100 Continue`` where it waits for that. Idempotent.

        Called after every check and before the first ``read``; also before a success is answered
        without reading, because some clients take an answer without it for a refusal.
        """

    @abstractmethod
    async def read(self) -> bytes:
        """What has arrived, at least one byte; ``b""`` once ``end`` is set. Never raises for what
        the peer does.

        Cancelling is safe: no byte is lost, the next call returns it. Waits at most the idle time.
        """

    @property
    @abstractmethod
    def end(self) -> SourceEnd | None:
        """Why ``read`` returned ``b""``; None while more may come."""


class StopReason(StrEnum):
    """Who told an append to stop."""

    ASKED = "asked"
    """A newer request wants the lease."""
    LEASE_LOST = "lease_lost"
    """The lease is over by the holder's own clock, or was given to another."""
    STOPPING = "stopping"
    """The server is being stopped."""
    NO_SPACE = "no_space"
    """The reserve of free space was reached."""
    STATE_AWAY = "state_away"
    """Progress could not be committed before the lease ran out."""


_KEEPS_WHAT_ARRIVED: Final = (None, StopReason.ASKED, StopReason.STOPPING)


class Brake:
    """Stops one append. Pulled from the event loop, read from the writing thread.

    The first reason counts. ``has_time`` is the lease's own deadline: it is asked before each
    write, in the thread, so that a process that was stopped and continued does not write on.
    """

    def __init__(self, has_time: Callable[[], bool] = lambda: True) -> None:
        self._reason: StopReason | None = None
        self._pulled = asyncio.Event()
        self._has_time = has_time

    def pull(self, reason: StopReason) -> None:
        """Stop as soon as possible. Call it on the event loop; later reasons are ignored."""
        if self._reason is None:
            self._reason = reason
            self._pulled.set()

    @property
    def reason(self) -> StopReason | None:
        """Why to stop; None to go on. Safe to read in any thread."""
        if self._reason is None and not self._has_time():
            return StopReason.LEASE_LOST
        return self._reason

    @property
    def may_write(self) -> bool:
        """What has arrived may still be written: nothing stops it, or somebody only wants us to
        read no more (a newcomer, the end of the server) and the lease has time left. Safe to read
        in any thread."""
        return self._reason in _KEEPS_WHAT_ARRIVED and self._has_time()

    async def wait(self) -> None:
        """Returns once the brake was pulled. (The deadline alone does not wake it.)"""
        await self._pulled.wait()
