"""What lies beside an upload's bytes, so that no acknowledged byte depends on one database.

The facts never change, but for a length that is declared later. The completion mark is written
after the gate has decided and before the record is committed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tusd_py.core.identity import Owner
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import EXPLICIT_COMPLETION, Boot, Kind, Status, Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The unchanging part of an upload."""

    id: UploadId
    owner: Owner
    length: int | None
    metadata: Metadata
    created_at: float
    creator: Boot
    expires_at: float | None = None
    kind: Kind = Kind.SINGLE
    parts: tuple[UploadId, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int | None = None
    protocol: str = "tus1"
    concat: str | None = None
    promised_digests: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionMark:
    """Says beside the bytes that the upload is complete."""

    length: int
    finished_at: float
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """All that a byte store knows of one upload."""

    facts: Facts
    size: int
    """Bytes in the file; 0 where there is no file."""
    mark: CompletionMark | None = None


def facts_of(upload: Upload) -> Facts:
    """What of a record has to lie beside its bytes."""
    return Facts(
        id=upload.id,
        owner=upload.owner,
        length=upload.length,
        metadata=upload.metadata,
        created_at=upload.created_at,
        creator=upload.creator,
        expires_at=upload.expires_at,
        kind=upload.kind,
        parts=upload.parts,
        overrides=upload.overrides,
        max_bytes=upload.max_bytes,
        protocol=upload.protocol,
        concat=upload.concat,
        promised_digests=upload.promised_digests,
    )


def upload_of(facts: Facts) -> Upload:
    """A record made anew of the facts. Nothing of its bytes is believed yet.

    Its writer is the creator: an adopter of a later boot then falls back to the synced offset,
    which is 0, and believes no unmarked byte.
    """
    return Upload(
        id=facts.id,
        owner=facts.owner,
        length=facts.length,
        metadata=facts.metadata,
        created_at=facts.created_at,
        creator=facts.creator,
        writer=facts.creator,
        expires_at=facts.expires_at,
        kind=facts.kind,
        parts=facts.parts,
        overrides=facts.overrides,
        max_bytes=facts.max_bytes,
        protocol=facts.protocol,
        concat=facts.concat,
        promised_digests=facts.promised_digests,
        is_strict=facts.protocol in EXPLICIT_COMPLETION,
        changed_at=facts.created_at,
        status=Status.JOINING if facts.kind is Kind.FINAL else Status.RECEIVING,
    )
