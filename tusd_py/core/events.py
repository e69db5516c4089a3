"""What is told of an upload, and under which id.

An event's id is derived from upload, kind and sequence: told again after a rebuild or a failover
it has the same id, so a receiver that remembers ids never acts twice.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tusd_py.core.ids import EventId, UploadId
from tusd_py.core.upload import Kind, Upload


class EventKind(StrEnum):
    """Kinds of events, as receivers see them."""

    CREATED = "upload.created"
    COMPLETED = "upload.completed"
    REJECTED = "upload.rejected"
    TERMINATED = "upload.terminated"
    EXPIRED = "upload.expired"
    INTERRUPTED = "upload.interrupted"
    """No writer for a while; told once per gap, whose beginning in ms is its sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, as it is stored in the outbox."""

    id: EventId
    kind: EventKind
    upload_id: UploadId
    occurred_at: float
    data: Mapping[str, Any]
    """Ready for JSON."""


def build_event_id(upload_id: UploadId, kind: EventKind, sequence: int) -> EventId:
    """The same three always make the same id: 32 hexadecimal digits."""
    text = f"{upload_id}\n{kind}\n{sequence}".encode()
    return EventId(hashlib.sha256(text).hexdigest()[:32])


def events_of(
    upload: Upload, kind: EventKind, *, occurred_at: float, sequence: int = 0
) -> tuple[Event, ...]:
    """As ``event_of``; none for a partial upload: nobody should act on a piece of a file, and the
    final upload tells of the whole."""
    if upload.kind is Kind.PARTIAL:
        return ()
    return (event_of(upload, kind, occurred_at=occurred_at, sequence=sequence),)


def event_of(upload: Upload, kind: EventKind, *, occurred_at: float, sequence: int = 0) -> Event:
    """The event that tells ``kind`` of ``upload`` as it is now."""
    return Event(
        id=build_event_id(upload.id, kind, sequence),
        kind=kind,
        upload_id=upload.id,
        occurred_at=occurred_at,
        data=describe(upload),
    )


def describe(upload: Upload) -> dict[str, Any]:
    """An upload for hooks and operators, ready for JSON. It never holds a token.

    Metadata values that are not UTF-8 stand Base64-encoded under ``metadata_base64`` instead.
    """
    text: dict[str, str] = {}
    encoded: dict[str, str] = {}
    for key, value in upload.metadata.values().items():
        try:
            text[key] = value.decode("utf-8")
        except UnicodeDecodeError:
            encoded[key] = base64.b64encode(value).decode("ascii")
    text.update(upload.overrides)
    for key in upload.overrides:
        encoded.pop(key, None)
    return {
        "upload_id": upload.id,
        "video_id": upload.owner.video_id,
        "client_id": upload.owner.client_id,
        "kind": upload.kind.value,
        "status": upload.status.value,
        "length": upload.length,
        "offset": upload.offset,
        "metadata": text,
        "metadata_base64": encoded,
        "created_at": iso_time(upload.created_at),
        "expires_at": iso_time(upload.expires_at),
        "finished_at": iso_time(upload.finished_at),
        "place": upload.place,
        "refusal": upload.refusal,
        "protocol": upload.protocol,
        "digests": dict(upload.digests),
    }


def iso_time(seconds: float | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, None for None."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
