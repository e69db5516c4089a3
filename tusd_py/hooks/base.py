"""Two contracts: a gate is asked before something happens, a sink is told afterwards.

A gate may refuse, while the client waits, and has a deadline. A sink is told at least once, in
order per upload; it must take an event id that it has seen before without acting twice.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tusd_py.core.events import Event


class Moment(StrEnum):
    """Before what a gate is asked."""

    CREATE = "create"
    FINISH = "finish"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a gate is asked about."""

    moment: Moment
    upload: Mapping[str, Any]
    """The upload as in event payloads (``core.events.describe``): no token."""
    path: Path | None = None
    """Where the finished bytes lie on this machine, at FINISH, where they lie on a file system.
    Read them, do not change them."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """No. The client gets the status (400 to 499) and the sentence; the upload is rejected."""

    sentence: str
    status: int = 422

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 499:
            raise ValueError(f"a gate refuses with a status from 400 to 499, not {self.status}")


class Gate(ABC):
    """Asked before something happens, while the client waits."""

    @abstractmethod
    async def decide(self, question: Question) -> Allow | Refuse:
        """Any exception, and no answer within the deadline, is a failure, not a refusal: the
        question is asked again. May be asked several times about the same upload, also after an
        answer that was lost in a crash; cancelled when the deadline passes."""

    async def close(self) -> None:  # noqa: B027 - most gates hold nothing
        """Let go of connections."""


class DeliveryFailed(Exception):
    """The sink did not take the event. It is tried again, not before ``retry_after_seconds``."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class EventSink(ABC):
    """Told after something happened, at least once, in order per upload."""

    @abstractmethod
    async def deliver(self, event: Event) -> None:
        """Returning means: taken for good. Any exception means: not taken (DeliveryFailed says
        when to try again). Several calls run at once, for different uploads."""

    async def close(self) -> None:  # noqa: B027 - most sinks hold nothing
        """Let go of connections."""
