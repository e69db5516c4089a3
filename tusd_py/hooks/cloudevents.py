"""An event as CloudEvents 1.0 in structured JSON. Pure."""

import json
from typing import Final

from tusd_py.core.events import Event, iso_time

CONTENT_TYPE: Final = "application/cloudevents+json"


def build_cloud_event(event: Event, *, source: str) -> bytes:
    """The body of a delivery. The same event makes the same bytes, at each try.

    CloudEvents 1.0: ``source`` and ``id`` together are unique; ``source`` is a URI reference.
    """
    document = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.kind.value,
        "subject": event.upload_id,
        "time": iso_time(event.occurred_at),
        "datacontenttype": "application/json",
        "data": dict(event.data),
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
