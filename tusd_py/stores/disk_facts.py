"""The facts journal: lines of JSON beside the bytes, each written by one ``write``.

The first line is the facts, later ones add what became known: a declared length, the copy being
made for a destination, the mark of completion. Of each the first one counts. A line that has no
newline, or does not parse, was cut off by a crash: it was never written. Without a first line
there are no facts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tusd_py.core.facts import CompletionMark, Facts
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId, parse_upload_id
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Kind
from tusd_py.stores.base import StoreError

VERSION: Final = 1
MAX_JOURNAL_BYTES: Final = 8 * 1024 * 1024
"""A final upload of a hundred thousand parts has half of it."""
MAX_FACTS_BYTES: Final = MAX_JOURNAL_BYTES // 2
TORN: Final = b"!\n"
"""Ends a line that a crash left open, so that nothing later can make it whole."""


class FactsOfLaterVersion(StoreError):
    """Facts that a later version of this program wrote: there, but not to be read here."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What the lines say."""

    facts: Facts
    """With the length that was declared later."""
    mark: CompletionMark | None = None
    staged: str | None = None
    """The destination (relative) beside which a copy may lie."""
    is_torn: bool = False
    """The last line has no end; whatever is added starts with ``TORN``."""


def build_facts_line(facts: Facts) -> bytes:
    """The first line. Raises StoreError where it is longer than a reader would take."""
    later: dict[str, Any] = {}
    # Younger than the others: only where there is something to say, so that it reads as before.
    if facts.concat is not None:
        later["concat"] = facts.concat
    if facts.promised_digests:
        later["promised_digests"] = facts.promised_digests
    line = _build_line(
        {
            "v": VERSION,
            "id": facts.id,
            "owner": {"video_id": facts.owner.video_id, "client_id": facts.owner.client_id},
            "length": facts.length,
            "metadata": facts.metadata.wire,
            "created_at": facts.created_at,
            "creator": {"host": facts.creator.host, "boot_id": facts.creator.boot_id},
            "expires_at": facts.expires_at,
            "kind": facts.kind,
            "parts": list(facts.parts),
            "overrides": dict(facts.overrides),
            "max_bytes": facts.max_bytes,
            "protocol": facts.protocol,
            **later,
        }
    )
    if len(line) > MAX_FACTS_BYTES:
        raise StoreError(f"the facts of {facts.id} take more than {MAX_FACTS_BYTES} bytes")
    return line


def build_length_line(length: int) -> bytes:
    return _build_line({"length": length})


def build_staged_line(name: str) -> bytes:
    return _build_line({"staged": name})


def build_mark_line(mark: CompletionMark) -> bytes:
    return _build_line(
        {
            "complete": {
                "length": mark.length,
                "finished_at": mark.finished_at,
                "place": mark.place,
            }
        }
    )


def _build_line(content: Mapping[str, Any]) -> bytes:
    # ASCII only: escapes carry every character, lone surrogates too, and no newline is left.
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def parse_journal(data: bytes, upload_id: UploadId) -> Journal | None:
    """None where the first line is not complete, or speaks of another upload."""
    *lines, tail = data.split(b"\n")
    first = _parse_line(lines[0]) if lines else None
    facts = _parse_facts(first) if first is not None else None
    if facts is None or facts.id != upload_id:
        return None
    mark: CompletionMark | None = None
    staged: str | None = None
    for line in lines[1:]:
        added = _parse_line(line)
        if added is None:
            continue
        if facts.length is None and _is_count(added.get("length")):
            facts = replace(facts, length=added["length"])
        mark = mark or _parse_mark(added.get("complete"))
        if staged is None and isinstance(added.get("staged"), str):
            staged = added["staged"]
    return Journal(facts, mark, staged, is_torn=bool(tail))


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _parse_facts(content: dict[str, Any]) -> Facts | None:
    version = content.get("v")
    if not _is_count(version):
        return None
    if version != VERSION:
        raise FactsOfLaterVersion(f"facts of version {version}, this program reads {VERSION}")
    upload_id = parse_upload_id(str(content.get("id")))
    if upload_id is None:
        return None
    try:
        return Facts(
            id=upload_id,
            owner=Owner(
                VideoId(content["owner"]["video_id"]), ClientId(content["owner"]["client_id"])
            ),
            length=content["length"],
            metadata=Metadata(content["metadata"]),
            created_at=content["created_at"],
            creator=Boot(content["creator"]["host"], content["creator"]["boot_id"]),
            expires_at=content["expires_at"],
            kind=Kind(content["kind"]),
            parts=tuple(UploadId(part) for part in content["parts"]),
            overrides=content["overrides"],
            max_bytes=content["max_bytes"],
            protocol=content["protocol"],
            concat=content.get("concat"),
            promised_digests=tuple(
                (algorithm, value) for algorithm, value in content.get("promised_digests", ())
            ),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _parse_mark(content: Any) -> CompletionMark | None:
    if not isinstance(content, dict) or not _is_count(content.get("length")):
        return None
    finished_at, place = content.get("finished_at"), content.get("place")
    if not isinstance(finished_at, int | float) or not isinstance(place, str | None):
        return None
    return CompletionMark(length=content["length"], finished_at=finished_at, place=place)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
