"""The record of one upload, and which status may follow which.

The record has its full shape from the start: what later protocols need (parts, digests, the
protocol that made it) has its field, so that new rules need no new schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tusd_py.core.identity import Owner
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import Metadata


class Kind(StrEnum):
    """tus 1.0, "Concatenation": parts are joined into a final upload; most uploads are neither."""

    SINGLE = "single"
    PARTIAL = "partial"
    FINAL = "final"


class Status(StrEnum):
    """Where an upload stands. Completion is a state, not an arithmetic fact."""

    RECEIVING = "receiving"
    RECEIVED = "received"
    """All bytes are there; the finish gate has not decided yet."""
    JOINING = "joining"
    """A final upload whose parts are being put together."""
    COMPLETE = "complete"
    REJECTED = "rejected"
    """The finish gate refused it."""
    INVALID = "invalid"
    """It contradicted itself, or acknowledged bytes were lost: nothing goes on."""
    TERMINATING = "terminating"
    """It is being removed; nobody gets anything but "unknown" any more."""


NEXT: Final[Mapping[Status, frozenset[Status]]] = {
    Status.RECEIVING: frozenset(
        {Status.RECEIVED, Status.COMPLETE, Status.INVALID, Status.TERMINATING}
    ),
    Status.RECEIVED: frozenset(
        {Status.COMPLETE, Status.REJECTED, Status.INVALID, Status.TERMINATING}
    ),
    Status.JOINING: frozenset(
        {Status.RECEIVED, Status.COMPLETE, Status.INVALID, Status.TERMINATING}
    ),
    Status.COMPLETE: frozenset({Status.TERMINATING}),
    Status.REJECTED: frozenset({Status.TERMINATING}),
    Status.INVALID: frozenset({Status.TERMINATING}),
    Status.TERMINATING: frozenset(),
}

UNFINISHED: Final = frozenset({Status.RECEIVING, Status.RECEIVED, Status.JOINING})
"""Still to be decided: reconciled after a crash, looked after by the sweeper."""
GONE: Final = frozenset({Status.REJECTED, Status.INVALID, Status.TERMINATING})
"""A client is told that there is no such upload."""


EXPLICIT_COMPLETION: Final = frozenset({"rufh"})
"""Protocols whose clients say when an upload is complete; its length alone says nothing."""


@dataclass(frozen=True, slots=True)
class Boot:
    """One run of one machine. Bytes that were not synced do not outlive it."""

    host: str
    boot_id: str


NO_BOOT: Final = Boot("", "")
"""No machine: a record whose bytes nobody may believe before they are reconciled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One upload as the state store keeps it. Times are Unix seconds."""

    id: UploadId
    owner: Owner
    length: int | None
    """None until the client declares it."""
    created_at: float
    creator: Boot
    """Where it was created: an adopter of a later boot believes no unmarked byte."""
    writer: Boot
    """Who reconciled or wrote its bytes last."""
    master: str = ""
    """The generation of the state store that wrote this; set by the store."""
    kind: Kind = Kind.SINGLE
    parts: tuple[UploadId, ...] = ()
    status: Status = Status.RECEIVING
    offset: int = 0
    synced_offset: int = 0
    """Bytes known to have been synced to the medium."""
    suspect_length: int = 0
    """While ``offset`` is below it the file's length says nothing: bytes there are not believed."""
    metadata: Metadata = field(default_factory=Metadata)
    """As the client wrote it, less the token."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """The token's ``metadata`` claim: it wins in hooks and destinations, and is never echoed."""
    max_bytes: int | None = None
    """The bound that held at creation, for a length that is declared later."""
    protocol: str = "tus1"
    """The protocol that made it."""
    changed_at: float = 0.0
    expires_at: float | None = None
    finished_at: float | None = None
    interruptions: int = 0
    """How often "no writer for a while" was told."""
    is_interrupted: bool = False
    """That was told for the present gap."""
    digests: tuple[tuple[str, str], ...] = ()
    """Verified digests of the whole file: algorithm and Base64."""
    place: str | None = None
    """Where the finished file was put, relative to the destination's root."""
    refusal: str | None = None
    """What the finish gate said when it refused."""
    concat: str | None = None
    """``Upload-Concat`` as the client wrote it."""
    promised_digests: tuple[tuple[str, str], ...] = ()
    """What the client said the whole file hashes to (algorithm and Base64): verified before it is
    complete."""
    is_strict: bool = False
    """A protocol touched it in which a told offset may never shrink: where bytes were lost the
    upload is invalid."""
    bytes_per_second: float = 0.0
    """How fast bytes came at the last checkpoint of a running body; 0 once it has ended."""

    @property
    def is_complete(self) -> bool:
        return self.status is Status.COMPLETE

    @property
    def is_full(self) -> bool:
        """All bytes are there. That alone does not make it complete."""
        return self.length is not None and self.offset >= self.length

    @property
    def can_expire(self) -> bool:
        """It is removed at ``expires_at``: what has all its bytes is not, unless it is a part."""
        if self.kind is Kind.PARTIAL:
            return self.status in (Status.RECEIVING, Status.COMPLETE)
        return self.status in (Status.RECEIVING, Status.JOINING)

    @property
    def completes_at_length(self) -> bool:
        """Having all its bytes makes it due to be finished, whoever looks."""
        return self.protocol not in EXPLICIT_COMPLETION

    @property
    def is_unfinished(self) -> bool:
        return self.status in UNFINISHED
