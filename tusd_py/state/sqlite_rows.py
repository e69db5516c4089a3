"""Records and events as rows of the state file, and back: nothing is lost on the way.

Scalars have their own columns; parts, overrides and digests are JSON. Text that has no UTF-8 form
(a header's stray bytes, a JSON claim's lone surrogate) is stored as a blob instead.
"""

import hashlib
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
    "kind",
    "parts",
    "metadata",
    "overrides",
    "max_bytes",
    "protocol",
    "concat",
    "promised_digests",
)
"""What never changes after the creation (facts that stay): a commit does not write it again."""
CHANGING_COLUMNS: Final = (
    "length",
    "writer_host",
    "writer_boot",
    "master",
    "status",
    "is_open",
    "offset",
    "synced_offset",
    "suspect_length",
    "changed_at",
    "expires_at",
    "finished_at",
    "interruptions",
    "is_interrupted",
    "digests",
    "place",
    "refusal",
    "is_strict",
    "bytes_per_second",
)
COLUMNS: Final = FIXED_COLUMNS + CHANGING_COLUMNS
FIXED_WIDTH: Final = len(FIXED_COLUMNS)
WIDTH: Final = len(COLUMNS)

Row = tuple[Any, ...]
Pairs = tuple[tuple[str, str], ...]


def fixed_values(upload: Upload) -> Row:
    """In the order of FIXED_COLUMNS."""
    return (
        upload.id,
        text_value(upload.owner.video_id),
        text_value(upload.owner.client_id),
        upload.created_at,
        text_value(upload.creator.host),
        text_value(upload.creator.boot_id),
        upload.kind.value,
        _list_value(upload.parts),
        upload.metadata.wire.encode("utf-8", "surrogatepass"),
        json.dumps(dict(upload.overrides)) if upload.overrides else None,
        upload.max_bytes,
        text_value(upload.protocol),
        None if upload.concat is None else text_value(upload.concat),
        _list_value(upload.promised_digests),
    )


def changing_values(upload: Upload, master: str) -> Row:
    """In the order of CHANGING_COLUMNS; the generation is the store's to say."""
    return (
        upload.length,
        text_value(upload.writer.host),
        text_value(upload.writer.boot_id),
        master,
        upload.status.value,
        int(upload.is_unfinished),
        upload.offset,
        upload.synced_offset,
        upload.suspect_length,
        upload.changed_at,
        upload.expires_at,
        upload.finished_at,
        upload.interruptions,
        int(upload.is_interrupted),
        _list_value(upload.digests),
        None if upload.place is None else text_value(upload.place),
        None if upload.refusal is None else text_value(upload.refusal),
        int(upload.is_strict),
        upload.bytes_per_second,
    )


def upload_from(row: Row) -> Upload:
    """The record of a row whose first columns are COLUMNS."""
    (
        upload_id, video_id, client_id, created_at, creator_host, creator_boot, kind, parts,
        metadata, overrides, max_bytes, protocol, concat, promised_digests,
    ) = row[:FIXED_WIDTH]  # fmt: skip
    (
        length, writer_host, writer_boot, master, status, _, offset, synced_offset, suspect_length,
        changed_at, expires_at, finished_at, interruptions, is_interrupted, digests, place, refusal,
        is_strict, bytes_per_second,
    ) = row[FIXED_WIDTH:WIDTH]  # fmt: skip
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
        digests=_pairs_from(digests),
        place=None if place is None else text_from(place),
        refusal=None if refusal is None else text_from(refusal),
        concat=None if concat is None else text_from(concat),
        promised_digests=_pairs_from(promised_digests),
        is_strict=bool(is_strict),
        bytes_per_second=bytes_per_second,
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


def once_value(key: str) -> str:
    """The key of one file as it is kept: clients' keys are of any length and any characters."""
    return hashlib.sha1(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _list_value(items: tuple[Any, ...]) -> str | None:
    return json.dumps(items) if items else None


def _pairs_from(value: str | None) -> Pairs:
    return tuple((name, text) for name, text in json.loads(value)) if value else ()
