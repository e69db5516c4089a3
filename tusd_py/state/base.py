"""The contracts of a state store: records with their leases, and the outbox.

Leases live here and nowhere else, because they must be checked where the commit happens. Taking a
lease and loading its upload is one step; committing a change with its events and letting go is one.

A lease is a fencing number *and* a random holder id. A commit or renewal must match both *and* come
before the deadline, by the store's clock. It is let go by an explicit mark.

One contract, and what still differs by back end:

* Durability. A commit in the embedded file survives the death of every process, or the loss of
  power where so set. A commit in Redis survives what Redis is configured to survive; with its
  recommended configuration a loss of power, or a failover, may forget the last second. That is why
  records of another generation are never believed before bytes and record were reconciled.
* Clock. Deadlines are by the store's clock: the host's clock that cannot jump, or the clock of the
  Redis server. Holders go by their own clock in either case, and never beyond the store's.
* Death. On one host a holder whose process died is known at once, elsewhere by its deadline.
* Order. Events of one upload are in order everywhere. Between uploads "oldest first" is by the time
  they are due; who asks may not see for a second what another process has committed.
* ``once``. In the embedded file it is part of the same transaction; on several machines the key is
  reserved first, and a creation whose reservation ran out is refused.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from tusd_py.core.events import Event
from tusd_py.core.identity import Principal
from tusd_py.core.ids import ClientId, HolderId, UploadId, VideoId
from tusd_py.core.upload import Boot, Status, Upload
from tusd_py.state.errors import LeaseBusy as LeaseBusy
from tusd_py.state.errors import LeaseGone as LeaseGone
from tusd_py.state.errors import OnceTaken as OnceTaken
from tusd_py.state.errors import RecordUnknown as RecordUnknown
from tusd_py.state.errors import StateError as StateError
from tusd_py.state.errors import StateFull as StateFull
from tusd_py.state.moving import Movable
from tusd_py.state.quotas import Quotas


class Purpose(StrEnum):
    """What the lease is wanted for: it decides when none is needed and who is asked."""

    APPEND = "append"
    READ = "read"
    TERMINATE = "terminate"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request's wish for an upload: who, what for, how long it would wait."""

    upload_id: UploadId
    purpose: Purpose
    principal: Principal
    wait_seconds: float = 0.0


class Lease:
    """The right to write one upload, as its holder sees it.

    Its deadline is by the holder's own clock that cannot jump, reckoned from *before* the request
    that granted or renewed it was sent, so it is never later than the store's.
    """

    def __init__(
        self,
        upload_id: UploadId,
        number: int,
        holder: HolderId,
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self.upload_id = upload_id
        self.number = number
        """The fencing number: grows with every lease of this upload."""
        self.holder = holder
        self.deadline = deadline
        self.asked = asyncio.Event()
        """Set when somebody wants it: stop reading, commit, let go."""
        self._clock = clock

    @property
    def remaining_seconds(self) -> float:
        """Until the deadline; 0 once it has passed."""
        return max(0.0, self.deadline - self._clock())

    @property
    def is_over(self) -> bool:
        """By the holder's own clock. Safe in any thread."""
        return self._clock() >= self.deadline


@dataclass(frozen=True, slots=True)
class Taken:
    """The lease is held."""

    lease: Lease
    upload: Upload
    is_settled: bool
    """False: bytes and record must be reconciled before the record is believed — the last lease
    was not let go cleanly, or the record is of another generation of the state store or an earlier
    boot of its writer's host [restart-is-unclean]. Always False for purpose SWEEP, because the
    sweeper reconciles before it judges [sweep-reconciles]."""
    writer_boot_id: str | None = None
    """The boot that the host of the record's writer runs now, as that host published it in the
    store [host-boot]; None for a host that this store has not heard of."""
    waited_seconds: float = 0.0
    """How long another holder had to be waited for; 0 where nobody was in the way."""


@dataclass(frozen=True, slots=True)
class Seen:
    """No lease is needed: the record is true as it stands."""

    upload: Upload
    waited_seconds: float = 0.0
    """As in ``Taken``."""


@dataclass(frozen=True, slots=True)
class Created:
    """A record that was made, or the earlier one of the same ``once`` key."""

    upload: Upload
    is_new: bool
    lease: Lease | None


class Due(StrEnum):
    """Why the sweeper should look at an upload."""

    ABANDONED = "abandoned"
    """Unfinished, its lease ran out without being let go (or its holder's process is dead)."""
    UNSETTLED = "unsettled"
    """Unfinished, of an earlier boot of its host or another generation [sweep-after-change]."""
    UNDECIDED = "undecided"
    """Received, no live lease: nobody asks the gate."""
    UNJOINED = "unjoined"
    """Joining, no live lease: nobody puts the parts together."""
    TERMINATING = "terminating"
    EXPIRED = "expired"
    """Receiving or joining, or a complete *partial* upload; ``expires_at`` has passed, no live
    lease."""
    SILENT = "silent"
    """Receiving, no lease, not changed for the time given, not told as interrupted yet."""
    RETIRED = "retired"
    """Complete and no partial upload, and finished longer ago than the time given."""
    REFUSED = "refused"
    """Rejected or invalid, and changed longer ago than the time given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which uploads an operator wants to see; None: all."""

    video_id: VideoId | None = None
    client_id: ClientId | None = None
    status: Status | None = None


class UploadState(ABC):
    """Records of uploads and their leases. Every method raises StateError where it cannot be asked.

    All of them are bounded in time. Cancelling one is safe: the change happened as a whole or not
    at all, and a lease that was granted to a caller that is gone is let go again.
    """

    @property
    @abstractmethod
    def boot(self) -> Boot:
        """The host and boot of this process, as published in the store."""

    @abstractmethod
    async def create(
        self, upload: Upload, events: Sequence[Event], *, with_lease: bool, once: str | None = None
    ) -> Created:
        """Insert the record with its events; with ``with_lease`` its lease too, in the same step.

        ``once``: a key for one file. Where an earlier upload of this key still exists, that one is
        returned, ``is_new`` False, nothing is inserted and no lease is given.
        """

    @abstractmethod
    async def take(self, visit: Visit) -> Taken | Seen:
        """Take the lease and load the record, in one step.

        In this order: an unknown upload raises RecordUnknown; a principal that names another owner
        raises VideoMismatch or ClientMismatch (``core.identity.check_owner``) before anybody is
        asked. Then, where the record's generation is the present one, without a lease:
        COMPLETE, REJECTED, INVALID → Seen for APPEND and READ; TERMINATING → Seen for all but
        SWEEP and TERMINATE. READ of a settled record whose lease was let go cleanly, RECEIVING and
        not full → Seen. JOINING → Seen for READ and APPEND, whoever holds the lease: nothing of
        such a record changes by what a client asks, and the joining is not disturbed.

        Else the lease is taken if it is free: let go, past its deadline, of an earlier boot, or
        its holder's process is known to be dead. Taking changes lease fields only [lease-only]; but
        where a settled record is taken for APPEND, this host's boot becomes its writer's in the
        same step: before the first byte it names the machine whose restart would lose it.
        A live holder is asked to let go (once per visit; SWEEP never asks, nor do READ and APPEND
        where the record is RECEIVED: its gate is being asked), and waited for up to
        ``wait_seconds``, without polling the store; then LeaseBusy. For ``lease_seconds`` after a
        change of generation no lease on a record of before is granted: LeaseBusy [grace].
        """

    @abstractmethod
    async def adopt(self, upload: Upload, *, once: str | None = None) -> Taken:
        """Make a record for bytes whose record is missing, and take its lease, in one step.
        ``once``: as for ``create``; where another upload of this key exists: OnceTaken.

        The caller reads the facts again *after* this [adopt-leased]. Where a record exists by now:
        LeaseBusy with 0 seconds (start over with ``take``). [grace] holds as for ``take``. The
        result is never settled.
        """

    @abstractmethod
    async def find(self, upload_id: UploadId) -> Upload | None:
        """The record as it stands, without a lease; it may be behind a running writer."""

    @abstractmethod
    async def find_many(self, upload_ids: Sequence[UploadId]) -> Mapping[UploadId, Upload]:
        """As ``find`` for each of them, in one step; what has no record is left away."""

    @abstractmethod
    async def commit(
        self, lease: Lease, upload: Upload, events: Sequence[Event] = (), *, release: bool
    ) -> None:
        """Write the record and its events in one step, renew the lease or, with ``release``, let
        it go in the same step and wake whoever waits. The record's ``master`` becomes the present
        generation. What is among an upload's facts stays as it was created, but for length and
        expiry. Raises LeaseGone [commit-in-time]. Durable to the degree the store is set to.
        """

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """Let go without changing the record. *Not* a clean mark where the lease was taken over
        an unsettled record. Does not raise where the lease is gone already."""

    @abstractmethod
    async def remove(self, lease: Lease, events: Sequence[Event] = ()) -> None:
        """Remove the record and its lease, and store the events, in one step. Raises LeaseGone."""

    @abstractmethod
    async def list_due(
        self, due: Due, *, now: float, age_seconds: float = 0.0, limit: int = 100
    ) -> Sequence[UploadId]:
        """Uploads that are due, oldest first, by an index. ``age_seconds`` where Due says "time
        given". ``now`` is Unix time."""

    @abstractmethod
    async def page(self, wanted: Filter, *, after: UploadId | None, limit: int) -> Sequence[Upload]:
        """Uploads by id, for operators."""

    @abstractmethod
    async def counts(self) -> dict[Status, int]:
        """How many uploads there are by status; may be a few seconds old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one hook."""

    hook: str
    event: Event
    attempts: int
    """Tries that failed before."""
    key: int | str = field(repr=False)
    """The store's own handle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that a hook did not take in all its time."""

    delivery: Delivery
    reason: str
    buried_at: float


class Outbox(ABC):
    """Events on their way: at least once, in order per upload and per hook.

    An upload's next event for a hook is handed out only when its earlier one was taken or buried.
    A delivery that is handed out is the caller's for ``claim_seconds``, or until its process dies
    (over many hosts that is known within seconds).
    """

    @abstractmethod
    async def register(self, hooks: Sequence[str]) -> None:
        """The names that get every event committed from now on. Once, at start. A name that is no
        longer configured keeps its undelivered events for an operator."""

    @abstractmethod
    async def claim(
        self, hook: str, *, now: float, claim_seconds: float, limit: int
    ) -> Sequence[Delivery]:
        """Deliveries that are due, oldest first, at most one per upload. What other processes did
        a second ago may not count yet, but "none" is true. Cancelled: they are free again."""

    @abstractmethod
    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        """The hook has taken them. Idempotent."""

    @abstractmethod
    async def postpone(self, delivery: Delivery, *, until: float) -> None:
        """It failed; try again then. Counts an attempt. Nothing happens once it is another's."""

    @abstractmethod
    async def bury(self, delivery: Delivery, *, reason: str, now: float) -> None:
        """It failed for good: a dead letter, and the upload's next event goes out."""

    @abstractmethod
    async def dead_letters(self, *, hook: str | None, limit: int) -> Sequence[DeadLetter]:
        """For an operator, oldest first."""

    @abstractmethod
    async def replay(self, *, hook: str | None, event_id: str | None, now: float) -> int:
        """Make dead letters due again; how many."""

    @abstractmethod
    async def next_due(self, hook: str) -> float | None:
        """Unix time of the next unclaimed delivery; None: nothing waits. As late as ``claim``."""

    @abstractmethod
    async def backlog(self) -> dict[str, int]:
        """Undelivered events by hook."""

    @abstractmethod
    def wakeups(self) -> AsyncIterator[None]:
        """Yields at once when this process has committed events, and at least once a second: for
        events of others, and for what the dead had been handed out. Coalesced."""

    @abstractmethod
    async def purge(self, *, before: float) -> int:
        """Forget events (delivered to all, or buried) older than this Unix time; how many."""


class StateFault(StrEnum):
    """What goes wrong with a state store itself, as it is counted."""

    AWAY = "away"
    """It could not be reached, or did not answer in time."""
    REFUSED = "refused"
    """It answered that it cannot do this now: out of memory, read-only, failing over."""
    CHANGED = "changed"
    """Another generation began: its process is another one, or its data are gone."""


def _tell_nobody(fault: StateFault) -> None:
    """For stores whose faults nobody counts."""


class StateStore(UploadState, Outbox, Quotas, Movable):
    """One back end of all state contracts."""

    serves_many_hosts: ClassVar[bool] = False
    """Whether hosts share it, so that each needs a name of its own."""
    on_fault: Callable[[StateFault], None] = staticmethod(_tell_nobody)
    """Told of each fault, in any thread. Cheap, never raises."""

    @abstractmethod
    async def open(self) -> None:
        """Connect, migrate the schema, publish host and boot. Raises StateError with a helpful
        text, also where the store is of a newer version than this program."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and threads. Leases that are still held are not let go."""

    @abstractmethod
    async def ping(self) -> None:
        """Raises StateError unless reads and writes work now."""
