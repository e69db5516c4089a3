"""Uploads and what lies beside their bytes, ready made: tests name only what they are about."""

from dataclasses import replace
from typing import Any, Final

from tusd_py.core.facts import CompletionMark, Facts, Remains, facts_of
from tusd_py.core.identity import Claims, Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Upload

AN_ID: Final = UploadId("0123456789abcdef0123456789abcdef")
AN_OWNER: Final = Owner(VideoId("17"), ClientId("4"))
A_BOOT: Final = Boot("host-a", "boot-1")
"""Where uploads of these tests were created and written."""
NEXT_BOOT: Final = Boot("host-a", "boot-2")
"""The same machine after a restart."""

_UPLOAD: Final = Upload(
    id=AN_ID,
    owner=AN_OWNER,
    length=10,
    offset=5,
    max_bytes=100,
    metadata=Metadata("filename Y2F0Lm1wNA=="),
    created_at=1_000.0,
    changed_at=1_000.0,
    creator=A_BOOT,
    writer=A_BOOT,
)


def an_upload(**changes: Any) -> Upload:
    """Receiving, at 5 of 10 bytes, at most 100 allowed."""
    return replace(_UPLOAD, **changes)


def some_facts(**changes: Any) -> Facts:
    """Those of ``an_upload()``."""
    return replace(facts_of(_UPLOAD), **changes)


def remains(size: int, *, mark: CompletionMark | None = None, **facts: Any) -> Remains:
    """Facts of ``an_upload()`` beside a file of ``size`` bytes."""
    return Remains(facts=some_facts(**facts), size=size, mark=mark)


def a_mark(**changes: Any) -> CompletionMark:
    """Complete with all 10 bytes."""
    return replace(CompletionMark(length=10, finished_at=2_000.0), **changes)


def some_claims(**changes: Any) -> Claims:
    """A token for the owner of ``an_upload()``."""
    return replace(Claims(AN_OWNER), **changes)
