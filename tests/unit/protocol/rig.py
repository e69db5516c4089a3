"""Requests and uploads without a wire, for the tests of translators."""

from collections.abc import Iterable, Mapping
from typing import Any

from multidict import CIMultiDict

from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.upload import NO_BOOT, Upload
from tusd_py.protocol.base import Asked, Terms

ID = UploadId("0" * 32)
NOW = 1000.0


def terms(**changes: Any) -> Terms:
    values: dict[str, Any] = {
        "max_bytes": None,
        "expire_seconds": None,
        "max_metadata_bytes": 200,
        "ignores_hex_checksums": True,
        "locate": lambda url: None,
        "now": lambda: NOW,
    }
    return Terms(**values | changes)


def asked(
    fields: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    announced: int | None = 0,
    *,
    method: str = "POST",
    trailers: Mapping[str, str] | None = None,
    can_hear_interim: bool = True,
) -> Asked:
    return Asked(
        method=method,
        fields=CIMultiDict(fields),
        announced_bytes=announced,
        trailers=lambda: CIMultiDict(trailers or {}),
        remark=lambda event: None,
        can_hear_interim=can_hear_interim,
    )


def an_upload(**changes: Any) -> Upload:
    values: dict[str, Any] = {
        "id": ID,
        "owner": Owner(VideoId("v"), ClientId("c")),
        "length": 10,
        "created_at": 0.0,
        "creator": NO_BOOT,
        "writer": NO_BOOT,
        "offset": 4,
        "protocol": "rufh",
    }
    return Upload(**values | changes)
