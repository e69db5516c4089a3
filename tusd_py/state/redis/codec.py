"""Records as Redis keeps them, and back: nothing is lost on the way.

What never changes is one JSON text that Lua does not look into. What changes are the fields of a
hash: one letter each, a field that has its default is not there, and values are short, so that
Redis keeps the hash packed. Numbers stay text as Python writes them: Lua has only doubles, and
neither lengths nor times may be rounded. Text is UTF-8 in which lone surrogates (a header's stray
bytes, a JSON claim) survive.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Kind, Status, Upload

STATUS_LETTERS: Final[Mapping[Status, bytes]] = {
    Status.RECEIVING: b"r",
    Status.RECEIVED: b"v",
    Status.JOINING: b"j",
    Status.COMPLETE: b"c",
    Status.REJECTED: b"x",
    Status.INVALID: b"i",
    Status.TERMINATING: b"t",
}
KIND_LETTERS: Final[Mapping[Kind, bytes]] = {
    Kind.SINGLE: b"",
    Kind.PARTIAL: b"p",
    Kind.FINAL: b"f",
}
DIGEST_BYTES: Final = 8
"""Of each half of an owner: enough to find by; who it really is, the record says."""

_STATUS_BY_LETTER: Final = {letter: status for status, letter in STATUS_LETTERS.items()}
_KIND_BY_LETTER: Final = {letter: kind for kind, letter in KIND_LETTERS.items()}

_DEFAULTS: Final[Mapping[str, Any]] = {
    "video": "",
    "client": "",
    "at": 0.0,
    "host": "",
    "boot": "",
    "parts": (),
    "meta": "",
    "over": {},
    "max": None,
    "proto": "tus1",
    "concat": None,
    "promised": (),
}

Pairs = tuple[tuple[str, str], ...]
Fields = Mapping[bytes, bytes]


def owner_digest(owner: Owner) -> bytes:
    """What indexes know of an owner: of the video, then of the client."""
    return video_digest(owner.video_id) + client_digest(owner.client_id)


def video_digest(video_id: VideoId) -> bytes:
    return _digest(video_id)


def client_digest(client_id: ClientId) -> bytes:
    return _digest(client_id)


def facts_text(upload: Upload) -> bytes:
    """What never changes after the creation. What has its default is left away."""
    facts: dict[str, Any] = {
        "video": upload.owner.video_id,
        "client": upload.owner.client_id,
        "at": upload.created_at,
        "host": upload.creator.host,
        "boot": upload.creator.boot_id,
        "parts": upload.parts,
        "meta": upload.metadata.wire,
        "over": dict(upload.overrides),
        "max": upload.max_bytes,
        "proto": upload.protocol,
        "concat": upload.concat,
        "promised": upload.promised_digests,
    }
    return _json({name: each for name, each in facts.items() if each != _DEFAULTS[name]})


def fixed_fields(upload: Upload) -> list[bytes]:
    """Names and values of what never changes and Lua must know."""
    fields = [b"o", owner_digest(upload.owner)]
    if letter := KIND_LETTERS[upload.kind]:
        fields += [b"k", letter]
    return fields


def changing_fields(upload: Upload) -> list[bytes]:
    """Names and values of what a commit writes; an empty value takes the field away.

    The generation is the store's to say.
    """
    return [
        *(b"s", STATUS_LETTERS[upload.status]),
        *(b"h", raw(upload.writer.host)),
        *(b"b", raw(upload.writer.boot_id)),
        *(b"l", b"" if upload.length is None else b"%d" % upload.length),
        *(b"a", _count(upload.offset)),
        *(b"y", _count(upload.synced_offset)),
        *(b"q", _count(upload.suspect_length)),
        *(b"c", _time(upload.changed_at)),
        *(b"e", _time(upload.expires_at)),
        *(b"z", _time(upload.finished_at)),
        *(b"n", _count(upload.interruptions)),
        *(b"w", b"1" if upload.is_interrupted else b""),
        *(b"g", _json(upload.digests) if upload.digests else b""),
        *(b"p", _optional(upload.place)),
        *(b"f", _optional(upload.refusal)),
        *(b"t", b"1" if upload.is_strict else b""),
        *(b"v", _time(upload.bytes_per_second) if upload.bytes_per_second else b""),
    ]


def upload_from(upload_id: UploadId, facts_json: bytes, fields: Fields) -> Upload:
    """The record of a JSON text and a hash, as the functions above wrote them."""
    facts: dict[str, Any] = {**_DEFAULTS, **json.loads(text(facts_json))}
    length = fields.get(b"l")
    return Upload(
        id=upload_id,
        owner=Owner(VideoId(facts["video"]), ClientId(facts["client"])),
        length=None if length is None else int(length),
        created_at=facts["at"],
        creator=Boot(facts["host"], facts["boot"]),
        writer=Boot(text(fields.get(b"h", b"")), text(fields.get(b"b", b""))),
        master=text(fields.get(b"m", b"")),
        kind=_KIND_BY_LETTER[fields.get(b"k", b"")],
        parts=tuple(facts["parts"]),
        status=_STATUS_BY_LETTER[fields[b"s"]],
        offset=int(fields.get(b"a", 0)),
        synced_offset=int(fields.get(b"y", 0)),
        suspect_length=int(fields.get(b"q", 0)),
        metadata=Metadata(facts["meta"]),
        overrides=facts["over"],
        max_bytes=facts["max"],
        protocol=facts["proto"],
        changed_at=float(fields.get(b"c", 0.0)),
        expires_at=_time_from(fields.get(b"e")),
        finished_at=_time_from(fields.get(b"z")),
        interruptions=int(fields.get(b"n", 0)),
        is_interrupted=b"w" in fields,
        digests=_pairs_from(json.loads(text(fields.get(b"g", b"[]")))),
        place=_optional_from(fields.get(b"p")),
        refusal=_optional_from(fields.get(b"f")),
        concat=facts["concat"],
        promised_digests=_pairs_from(facts["promised"]),
        is_strict=b"t" in fields,
        bytes_per_second=float(fields.get(b"v", 0.0)),
    )


def record_from(upload_id: UploadId, reply: Sequence[bytes]) -> Upload:
    """The record as scripts answer it: the JSON text, then names and values by turns."""
    return upload_from(upload_id, reply[0], dict(zip(reply[1::2], reply[2::2], strict=True)))


def id_bytes(upload_id: UploadId) -> bytes:
    """An id as a member of an index."""
    return bytes.fromhex(upload_id)


def id_from(member: bytes) -> UploadId:
    return UploadId(member.hex())


def raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _digest(value: str) -> bytes:
    return hashlib.sha1(raw(value), usedforsecurity=False).digest()[:DIGEST_BYTES]


def _json(value: object) -> bytes:
    # Not as \u escapes: two lone surrogates in a row would come back as one character.
    return raw(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _count(number: int) -> bytes:
    return b"%d" % number if number else b""


def _time(seconds: float | None) -> bytes:
    if seconds is None:
        return b""
    if math.isnan(seconds):
        # Redis would refuse it as a score, in the middle of a script.
        raise ValueError("a time that is no number")
    return repr(seconds).encode("ascii")


def _time_from(value: bytes | None) -> float | None:
    return None if value is None else float(value)


def _optional(value: str | None) -> bytes:
    """Empty text is not None."""
    return b"" if value is None else b"=" + raw(value)


def _optional_from(value: bytes | None) -> str | None:
    return None if value is None else text(value[1:])


def _pairs_from(pairs: Sequence[Sequence[str]]) -> Pairs:
    return tuple((name, value) for name, value in pairs)
