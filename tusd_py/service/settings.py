"""Settings of uploads: how large, how long they are kept, how soon others get their turn."""

from typing import Annotated, Literal

from pydantic import ByteSize, Field, model_validator

from tusd_py.core.rates import MAX_BURST, MAX_PATIENCE_SECONDS, MAX_SECONDS, Rate
from tusd_py.core.rules import Limits
from tusd_py.settings import Settings

DAY_SECONDS = 24 * 3600.0
KIB = 1024


class UploadSettings(Settings):
    """What holds for every upload."""

    max_bytes: Annotated[ByteSize, Field(ge=1)] | None = None
    """The longest file accepted, like "30 GB" or "4 GiB"; "none": as long as a file can be. A
    token's max_size can make it smaller."""
    expire_seconds: Annotated[float, Field(gt=0)] | None = 7 * DAY_SECONDS
    """An unfinished upload is removed after this time; clients are told in Upload-Expires. "none":
    never."""
    expiry: Literal["sliding", "absolute"] = "sliding"
    """Whether the time above starts anew with every progress (sliding) or counts from the creation
    (absolute)."""
    finished_keep_seconds: Annotated[float, Field(ge=0)] | None = None
    """Record and bytes of a complete upload are removed after this time; "none": kept for ever. A
    file that was put in its destination stays in any case."""
    rejected_keep_seconds: Annotated[float, Field(ge=0)] = DAY_SECONDS
    """Record and bytes of an upload that the finish gate refused are removed after this time."""
    lease_seconds: Annotated[float, Field(ge=1, le=60)] = 5.0
    """How long a writer that fell silent keeps its right to write. Others wait at most one second
    more."""
    checkpoint_seconds: Annotated[float, Field(ge=0.1)] = 1.0
    """While bytes arrive, progress is committed and the lease renewed this often. At most a third
    of lease_seconds."""
    sync_step_bytes: Annotated[ByteSize, Field(ge=1 << 20)] = ByteSize(64 << 20)
    """With store.durability "finish": bytes are synced in the background each time so many have
    come, which bounds what has to be sent again after a loss of power."""
    interrupted_after_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Hooks are told that an upload is interrupted once nobody wrote to it for this time."""
    gate_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A gate that has not answered by then has failed, and is asked again later."""
    head_gate_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long a HEAD of a received upload waits for the finish gate before it answers 423."""
    join_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long the creation of a final upload (concatenation) waits until its parts are joined; a
    longer join goes on behind the answer."""
    partial_keep_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """Partial uploads are kept for this time after they were joined, so that a client whose answer
    was lost can ask again."""
    sweep_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Pause between two looks for uploads that are expired, abandoned, undecided or retired."""
    walk_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Pause between two steps of the walk over the store (one directory each) that finds bytes
    without a record."""
    orphan_age_seconds: Annotated[float, Field(ge=0)] = DAY_SECONDS
    """Bytes without facts beside them are removed when they are older than this."""

    @model_validator(mode="after")
    def _lease_outlives_checkpoints(self) -> "UploadSettings":
        if self.checkpoint_seconds * 3 > self.lease_seconds:
            raise ValueError("lease_seconds must be at least three times checkpoint_seconds")
        return self

    @property
    def limits(self) -> Limits:
        """The bounds as the rules take them."""
        return Limits(
            max_bytes=self.max_bytes,
            expire_seconds=self.expire_seconds,
            expiry_is_sliding=self.expiry == "sliding",
        )

    @property
    def wait_seconds(self) -> float:
        """How long a request waits for a lease: a holder that died is outwaited."""
        return self.lease_seconds + 1.0


class LimitSettings(Settings):
    """What one client may take of all servers that share the state."""

    creations: Annotated[int, Field(ge=1)] | None = None
    """So many uploads one client may create in creation_seconds, over all servers that share the
    state; "none": as many as it likes. A client is the token's client_id, without tokens that of
    the metadata; all who name none are one. Parts of parallel uploads, files of forms and repeated
    creations count like others."""
    creation_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """Creations get their turns evenly over this time."""
    creation_burst: Annotated[int, Field(ge=1, le=MAX_BURST)] | None = None
    """So many may come at once after a pause; "none": as many as creations."""
    answer: Literal["slow", "refuse"] = "slow"
    """What becomes of creations that come faster: "slow" holds each back until its turn; "refuse"
    answers 429 with Retry-After, which ends an upload of tus-js-client for good; only a final
    upload is held back even so, for all its parts have come."""
    max_wait_seconds: Annotated[float, Field(gt=0, le=MAX_PATIENCE_SECONDS)] = 10.0
    """With "slow", one whose turn is farther off is held back for this time and then answered 503
    with Retry-After. Shorter than the patience of clients (30 s on iPhones) and proxies."""
    bodies: Annotated[int, Field(ge=1)] | None = None
    """So many bodies of one client are read at full speed at the same time, over all servers;
    "none": all. Further ones are read slowly until one of them is over; none is refused. Those that
    take less than a second do not count."""
    slowed_bytes_per_second: Annotated[ByteSize, Field(ge=64 * KIB)] = ByteSize(256 * KIB)
    """How fast each of those further bodies is read."""

    @property
    def rate(self) -> Rate | None:
        """The rate of creations; None: no bound."""
        if self.creations is None:
            return None
        burst = self.creation_burst or min(self.creations, MAX_BURST)
        return Rate(count=self.creations, seconds=self.creation_seconds, burst=burst)
