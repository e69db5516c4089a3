"""Events and settings that tests of hooks share."""

import base64
from typing import Any, Final

from tusd_py.core.events import Event, EventKind, build_event_id
from tusd_py.core.ids import UploadId
from tusd_py.hooks.webhook import WebhookSettings, WebhookSink

RAW_SECRET: Final = bytes(range(100, 132))
SECRET: Final = "whsec_" + base64.b64encode(RAW_SECRET).decode()
SOURCE: Final = "https://upload.example/"


def an_event(upload: str = "a" * 32, kind: EventKind = EventKind.COMPLETED) -> Event:
    upload_id = UploadId(upload)
    return Event(
        id=build_event_id(upload_id, kind, 0),
        kind=kind,
        upload_id=upload_id,
        occurred_at=1_800_000_000.25,
        data={"upload_id": upload, "metadata": {"title": "Übung"}},
    )


def a_webhook(url: str, **changes: Any) -> WebhookSink:
    settings = {"name": "hook", "url": url, "secret": SECRET, **changes}
    return WebhookSink(WebhookSettings.model_validate(settings), source=SOURCE)
