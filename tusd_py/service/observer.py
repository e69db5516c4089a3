"""What the services count. Labels are few and could all be listed; ids never become one."""

from typing import Protocol

from tusd_py.core.events import EventKind
from tusd_py.state.base import StateFault
from tusd_py.streams import SourceEnd, StopReason


class Observer(Protocol):
    """Counts what happens. Every method is cheap, never waits and never raises."""

    def upload_event(self, kind: EventKind) -> None:
        """Something was committed that events tell of."""

    def append_ended(
        self, end: SourceEnd | StopReason, received_bytes: int, seconds: float
    ) -> None:
        """One body was written as far as it came."""

    def appends_running(self, change: int) -> None:
        """One body more (1) or less (-1) is being written."""

    def lease_waited(self, seconds: float, granted: bool) -> None:
        """A request had to wait for a lease."""

    def reconciled(self, lost_bytes: int) -> None:
        """Bytes and record were compared after an unclean end."""

    def delivered(self, hook: str, outcome: str) -> None:
        """``outcome``: taken, failed, buried."""

    def gate_asked(self, hook: str, outcome: str, seconds: float) -> None:
        """``outcome``: allowed, refused, failed."""

    def state_fault(self, fault: StateFault) -> None:
        """The state store itself failed. In any thread."""

    def creation_limited(self, outcome: str) -> None:
        """A client created faster than it may: the creation was held until its turn (``held``),
        held in vain (``delayed``) or ``refused`` at once."""

    def bodies_slowed(self, change: int) -> None:
        """One body more (1) or less (-1) is read slowly because its client has so many."""

    def swept(self, what: str) -> None:
        """The sweeper did something: expired, adopted, orphan, retired, settled, undecided."""


class SilentObserver:
    """Counts nothing: for tests and commands."""

    def upload_event(self, kind: EventKind) -> None:
        pass

    def append_ended(
        self, end: SourceEnd | StopReason, received_bytes: int, seconds: float
    ) -> None:
        pass

    def appends_running(self, change: int) -> None:
        pass

    def lease_waited(self, seconds: float, granted: bool) -> None:
        pass

    def reconciled(self, lost_bytes: int) -> None:
        pass

    def delivered(self, hook: str, outcome: str) -> None:
        pass

    def gate_asked(self, hook: str, outcome: str, seconds: float) -> None:
        pass

    def state_fault(self, fault: StateFault) -> None:
        pass

    def creation_limited(self, outcome: str) -> None:
        pass

    def bodies_slowed(self, change: int) -> None:
        pass

    def swept(self, what: str) -> None:
        pass
