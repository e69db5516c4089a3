"""What every kind of hook has in common: one entry of ``[[hooks]]``, made into a sink and gates."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from tusd_py.core.events import EventKind
from tusd_py.hooks.base import EventSink, Gate, Moment
from tusd_py.settings import Settings


class HookUnusable(ValueError):
    """A hook with which the server must not start. The text tells the operator what to do."""


class HookSettings(Settings):
    """What each entry of ``[[hooks]]`` may set, whatever its kind."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    """Unique and kept: undelivered events and dead letters belong to it."""
    events: tuple[EventKind, ...] | None = None
    """The kinds of events it is told; "none": all."""
    deadline_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """A delivery that takes longer has failed and is tried again."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Deliveries at once, of different uploads, by each process."""


class Hook(ABC):
    """One configured hook. Made before the loop runs, closed by it."""

    def __init__(self, settings: HookSettings) -> None:
        self.name = settings.name
        self.deadline_seconds = settings.deadline_seconds
        self.concurrency = settings.concurrency
        self.events = None if settings.events is None else frozenset(settings.events)
        """None: all kinds."""

    @property
    @abstractmethod
    def sink(self) -> EventSink | None:
        """Who is told; None: nobody."""

    @property
    @abstractmethod
    def gates(self) -> Mapping[Moment, Gate]:
        """Who is asked, and when."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections. Idempotent. No delivery may be running."""
