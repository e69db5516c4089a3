"""Names of things: look-alike strings that must not be mixed up, and the form of an id."""

import re
from typing import Final, NewType

UploadId = NewType("UploadId", str)
VideoId = NewType("VideoId", str)
ClientId = NewType("ClientId", str)
HolderId = NewType("HolderId", str)
"""Random, made anew for each lease: a fencing number alone repeats after a failover."""
EventId = NewType("EventId", str)

ID_BYTES: Final = 16
"""Randomness in an upload's id: the URL is a capability, so it cannot be guessed."""

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def build_upload_id(randomness: bytes) -> UploadId:
    """The id made of ``ID_BYTES`` random bytes: 32 lower-case hexadecimal digits."""
    if len(randomness) != ID_BYTES:
        raise ValueError(f"an upload id takes {ID_BYTES} random bytes, not {len(randomness)}")
    return UploadId(randomness.hex())


def parse_upload_id(text: str) -> UploadId | None:
    """The id that ``text`` spells, or None: nothing else ever becomes a path or a key."""
    return UploadId(text) if _UPLOAD_ID.fullmatch(text) else None
