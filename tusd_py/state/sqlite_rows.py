"""Records and events as rows of the state file, and back: nothing is lost on the way.

Scalars have their own columns; parts, overrides and digests are JSON. Text that has no UTF-8 form
(a header's stray bytes, a JSON claim's lone surrogate) is stored as a blob instead.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from tusd_py.core.events import Event, EventKind
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, EventId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Kind, Status, Upload

FIXED_COLUMNS: Final = (
    "id",
    "video_id",
    "client_id",
    "created_at",
    "creator_host",
    "creator_boot",
)
"""What never changes after the creation: a commit does not write it again."""
CHANGING_COLUMNS: Final = (
    "length",
    "writer_host",
    "writer_boot",
    "master",
    "kind",
    "parts",
    "status",
    "is_open",
    "offset",
    "synced_offset",
    "suspect_length",
    "metadata",
    "overrides",
    "max_bytes",
    "protocol",
    "changed_at",
    "expires_at",
    "finished_at",
    "interruptions",
    "is_interrupted",
    "digests",
    "place",
    "refusal",
)
COLUMNS: Final = FIXED_COLUMNS + CHANGING_COLUMNS
WIDTH: Final = len(COLUMNS)

Row = tuple[Any, ...]


def fixed_values(upload: Upload) -> Row:
    """In the order of FIXED_COLUMNS."""
    return (
        upload.id,
        text_value(upload.owner.video_id),
        text_value(upload.owner.client_id),
        upload.created_at,
        text_value(upload.creator.host),
        text_value(upload.creator.boot_id),
    )


def changing_values(upload: Upload, master: str) -> Row:
    """In the order of CHANGING_COLUMNS; the generation is the store's to say."""
    return (
        upload.length,
        text_value(upload.writer.host),
        text_value(upload.writer.boot_id),
        master,
        upload.kind.value,
        _list_value(upload.parts),
        upload.status.value,
        int(upload.is_unfinished),
        upload.offset,
        upload.synced_offset,
        upload.suspect_length,
        upload.metadata.wire.encode("utf-8", "surrogatepass"),
        json.dumps(dict(upload.overrides)) if upload.overrides else None,
        upload.max_bytes,
        text_value(upload.protocol),
        upload.changed_at,
        upload.expires_at,
        upload.finished_at,
        upload.interruptions,
        int(upload.is_interrupted),
        _list_value(upload.digests),
        None if upload.place is None else text_value(upload.place),
        None if upload.refusal is None else text_value(upload.refusal),
    )


def upload_from(row: Row) -> Upload:
    """The record of a row whose first columns are COLUMNS."""
    (
        upload_id,
        video_id,
        client_id,
        created_at,
        creator_host,
        creator_boot,
        length,
        writer_host,
        writer_boot,
        master,
        kind,
        parts,
        status,
        _,
        offset,
        synced_offset,
        suspect_length,
        metadata,
        overrides,
        max_bytes,
        protocol,
        changed_at,
        expires_at,
        finished_at,
        interruptions,
        is_interrupted,
        digests,
        place,
        refusal,
    ) = row[:WIDTH]
    return Upload(
        id=UploadId(upload_id),
        owner=Owner(VideoId(text_from(video_id)), ClientId(text_from(client_id))),
        length=length,
        created_at=created_at,
        creator=Boot(text_from(creator_host), text_from(creator_boot)),
        writer=Boot(text_from(writer_host), text_from(writer_boot)),
        master=master,
        kind=Kind(kind),
        parts=tuple(json.loads(parts)) if parts else (),
        status=Status(status),
        offset=offset,
        synced_offset=synced_offset,
        suspect_length=suspect_length,
        metadata=Metadata(metadata.decode("utf-8", "surrogatepass")),
        overrides=json.loads(overrides) if overrides else {},
        max_bytes=max_bytes,
        protocol=text_from(protocol),
        changed_at=changed_at,
        expires_at=expires_at,
        finished_at=finished_at,
        interruptions=interruptions,
        is_interrupted=bool(is_interrupted),
        digests=tuple((name, value) for name, value in json.loads(digests)) if digests else (),
        place=None if place is None else text_from(place),
        refusal=None if refusal is None else text_from(refusal),
    )


def event_values(event: Event) -> Row:
    """Id, upload, kind, time and JSON data."""
    data: Mapping[str, Any] = event.data
    return (
        event.id,
        event.upload_id,
        event.kind.value,
        event.occurred_at,
        json.dumps(dict(data), separators=(",", ":")),
    )


def event_from(row: Row) -> Event:
    """The event of a row that starts with the columns of ``event_values``."""
    event_id, upload_id, kind, occurred_at, data = row[:5]
    return Event(
        id=EventId(event_id),
        kind=EventKind(kind),
        upload_id=UploadId(upload_id),
        occurred_at=occurred_at,
        data=json.loads(data),
    )


def text_value(text: str) -> str | bytes:
    """Text as SQLite can bind it: sqlite3 refuses what has no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def text_from(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def _list_value(items: tuple[Any, ...]) -> str | None:
    return json.dumps(items) if items else None
