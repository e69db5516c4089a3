"""Events as Redis keeps them, and back.

A body is text for whoever delivers it; Lua reads only what stands before the data: by how many
hooks it is still held (four digits), the upload, its number in the bucket, and when it happened.
"""

import json
from collections.abc import Sequence

from tusd_py.core.events import Event, EventKind
from tusd_py.core.ids import EventId, UploadId
from tusd_py.state.redis.codec import raw, text

_FIELDS_BEFORE_DATA = 5


def event_args(events: Sequence[Event], hooks: Sequence[str] = ()) -> list[bytes]:
    """Arguments for ``store_events`` of lua/events.lua: their count, then id, kind, time and data
    of each, then the hooks that this process has registered."""
    args = [b"%d" % len(events)]
    for event in events:
        data = json.dumps(dict(event.data), ensure_ascii=False, separators=(",", ":"))
        at = repr(float(event.occurred_at))
        args += [raw(event.id), raw(event.kind.value), at.encode("ascii"), raw(data)]
    if events and hooks:
        args.append(raw("\n".join(hooks)))
    return args


def event_from(event_id: bytes, body: bytes) -> Event:
    """The event of a body."""
    _, upload_id, _, at, kind, data = body.split(b" ", _FIELDS_BEFORE_DATA)
    return Event(
        id=EventId(event_id.decode("ascii")),
        kind=EventKind(kind.decode("ascii")),
        upload_id=UploadId(upload_id.decode("ascii")),
        occurred_at=float(at),
        data=json.loads(text(data)),
    )
