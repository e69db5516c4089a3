"""Where the files of an upload lie: ``<root>/<first 3 digits of the id>/<id>.bin`` and ``.facts``.

Bytes that are held back begin as ``<id>.<holder>.held`` there.

4096 directories keep each one small with millions of uploads. ``conf/layout.md`` tells operators.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tusd_py.core.ids import HolderId, UploadId, parse_upload_id
from tusd_py.stores.base import StoreError

FAN_OUT_DIGITS: Final = 3
BYTES_SUFFIX: Final = ".bin"
FACTS_SUFFIX: Final = ".facts"
HELD_SUFFIX: Final = ".held"

_FAN_OUT = re.compile(rf"[0-9a-f]{{{FAN_OUT_DIGITS}}}", re.ASCII)
_HOLDER = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_HELD = re.compile(rf"\.{_HOLDER.pattern}{re.escape(HELD_SUFFIX)}", re.ASCII)


class Layout:
    """Paths below one root. Nothing but the id of an upload, or of a lease's holder, ever becomes
    one."""

    def __init__(self, root: Path) -> None:
        self.root = os.fspath(root)

    def directory(self, upload_id: UploadId) -> str:
        if parse_upload_id(upload_id) is None:
            raise StoreError("an upload's id is 32 lower-case hexadecimal digits")
        return f"{self.root}/{upload_id[:FAN_OUT_DIGITS]}"

    def bytes_file(self, upload_id: UploadId) -> str:
        return f"{self.directory(upload_id)}/{upload_id}{BYTES_SUFFIX}"

    def facts_file(self, upload_id: UploadId) -> str:
        return f"{self.directory(upload_id)}/{upload_id}{FACTS_SUFFIX}"

    def held_file(self, upload_id: UploadId, holder: HolderId) -> str:
        if not _HOLDER.fullmatch(holder):
            raise StoreError("a holder's id is letters, digits, - and _, at most 64 of them")
        return f"{self.directory(upload_id)}/{upload_id}.{holder}{HELD_SUFFIX}"


def fan_out_after(cursor: str | None) -> Iterator[str]:
    """The names of fan-out directories that come after ``cursor``, in order."""
    if cursor is not None and not _FAN_OUT.fullmatch(cursor):
        raise StoreError("a walk goes on from a cursor that a page of it gave, and from no other")
    start = 0 if cursor is None else int(cursor, 16) + 1
    for number in range(start, 16**FAN_OUT_DIGITS):
        yield f"{number:0{FAN_OUT_DIGITS}x}"


def split_name(name: str) -> tuple[UploadId, str] | None:
    """Id and suffix of one of our files; None for anything else that lies in the directory."""
    stem, dot, rest = name.partition(".")
    upload_id, suffix = parse_upload_id(stem), dot + rest
    if upload_id is None:
        return None
    if _HELD.fullmatch(suffix):
        return upload_id, HELD_SUFFIX
    return (upload_id, suffix) if suffix in (BYTES_SUFFIX, FACTS_SUFFIX) else None
