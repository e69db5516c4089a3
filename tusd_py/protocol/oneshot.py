"""Uploads in one request, by clients that know no upload protocol: forms and raw bodies.

What bears a sign of tus or of its successor is never taken for one: it would look like success to
a client whose request was mangled on its way. The answer is JSON that names what was made; a file
that was cut short is named too, with the offset it reached, and can be gone on with by tus.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from tusd_py.core import errors as e
from tusd_py.core.commands import Completion, CreateUpload
from tusd_py.core.errors import UploadError
from tusd_py.core.ids import parse_upload_id
from tusd_py.core.metadata import Metadata, build_pairs, parse_pairs
from tusd_py.core.upload import Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol import tus1
from tusd_py.protocol.answers import Answer, Header, build_json, build_refusal
from tusd_py.protocol.base import Asked
from tusd_py.protocol.digest_fields import parse_digests
from tusd_py.protocol.refusals import Statuses
from tusd_py.protocol.representation import parse_file_name, parse_representation

FORM: Final = "form"
RAW: Final = "raw"
"""Names of protocols, as records have them."""
FORM_TYPE: Final = "multipart/form-data"
ANY_ORIGIN: Final = "*"

_SIGNS: Final = (
    h.TUS_RESUMABLE,
    h.UPLOAD_CHECKSUM,
    h.UPLOAD_COMPLETE,
    h.UPLOAD_CONCAT,
    h.UPLOAD_DEFER_LENGTH,
    h.UPLOAD_DRAFT_INTEROP_VERSION,
    h.UPLOAD_INCOMPLETE,
    h.UPLOAD_LENGTH,
    h.UPLOAD_OFFSET,
)
_TYPES_OF_PROTOCOLS: Final = frozenset({h.OFFSET_OCTET_STREAM, h.PARTIAL_UPLOAD})
# What curl and wget say of any file that they post.
_SAYS_NOTHING: Final = b"application/x-www-form-urlencoded"

STATUSES: Final = Statuses(
    # 460 is tus's own.
    {**tus1.STATUS, e.WholeDigestMismatch: 400, e.ChecksumMismatch: 400},
    on_head=frozenset(),
)
_LEAVES_NOTHING: Final = (
    e.GateRefused,
    e.TokenTooNarrow,
    e.WholeDigestMismatch,
    e.UploadUnknown,
    e.UploadTooLarge,
    e.BodyTooLong,
)


class Shape(Enum):
    """How the file is sent."""

    FORM = auto()
    RAW = auto()


@dataclass(frozen=True, slots=True)
class Stored:
    """An upload that was made, and its address for this client."""

    upload: Upload
    location: str


# ------------------------------------------------------------------ requests


def recognise(asked: Asked, tail: str) -> Shape | None:
    """What a request to the endpoint, or to ``tail`` behind it, is; None: no one-shot upload.
    Never raises.

    A POST has to have a body and to say its type; a PUT may send anything, and also nothing where
    it names a file. What is there already is not put: an upload's address keeps its own methods.
    """
    fields = asked.fields
    if asked.method not in ("POST", "PUT") or any(fields.getall(name, []) for name in _SIGNS):
        return None
    types = fields.getall(h.CONTENT_TYPE, [])
    media_type = h.parse_media_type(types[0] if types else None)
    if media_type in _TYPES_OF_PROTOCOLS or parse_upload_id(tail) is not None:
        return None
    has_body = asked.announced_bytes != 0
    if asked.method == "POST":
        is_meant = has_body and media_type != "" and not tail
    else:
        is_meant = has_body or tail != ""
    if not is_meant:
        return None
    return Shape.FORM if media_type == FORM_TYPE else Shape.RAW


def check_origin(fields: h.Fields, origins: Collection[str]) -> None:
    """Raises BadRequest where a page asks whose origin the operator does not allow.

    A browser sends a page's form anywhere without asking first: the headers of the other protocols
    keep foreign pages out, here nothing else does.
    """
    told = fields.getall(h.ORIGIN, [])
    if not told or ANY_ORIGIN in origins or told[0] in origins:
        return
    try:
        netloc = urlsplit(told[0]).netloc
    except ValueError:
        netloc = ""
    if not netloc or netloc not in fields.getall(h.HOST, []):
        raise e.BadRequest("Pages of this origin may not upload here.")


def parse_told_metadata(fields: h.Fields, *, max_bytes: int) -> Metadata:
    """``Upload-Metadata``, which may come along. Raises InvalidMetadata or HeadersTooLarge."""
    return h.parse_metadata(fields.getall(h.UPLOAD_METADATA, []), max_bytes=max_bytes)


def parse_raw(asked: Asked, tail: str, *, max_metadata_bytes: int) -> CreateUpload:
    """The upload whose bytes are the body as a whole.

    RFC 9110, 9.3.4: a server without partial PUT has to refuse Content-Range, "likely to be partial
    content that was mistaken for a full representation". curl sends it with ``-C``.
    """
    fields = asked.fields
    if fields.getall(h.CONTENT_RANGE, []):
        raise e.InvalidHeader(h.CONTENT_RANGE, "absent: a file is gone on with by tus")
    told = parse_told_metadata(fields, max_bytes=max_metadata_bytes)
    found = dict(parse_representation(fields).values())
    if found.get("filetype") == _SAYS_NOTHING:
        del found["filetype"]
    if tail:
        found.setdefault("filename", parse_name(tail).encode("utf-8"))
    return CreateUpload(
        length=asked.announced_bytes,
        metadata=_completed(told, found),
        announced_bytes=asked.announced_bytes,
        protocol=RAW,
        completion=Completion.NOW,
        # The body is the file, so both fields say the same. Bytes are kept when it is cut, and
        # verified once it is whole.
        promised_digests=(
            *parse_digests(h.CONTENT_DIGEST, fields.getall(h.CONTENT_DIGEST, [])),
            *parse_digests(h.REPR_DIGEST, fields.getall(h.REPR_DIGEST, [])),
        ),
        outlives_cut=True,
    )


def parse_name(tail: str) -> str:
    """The name of a file in the path of a PUT. Raises NotFound where that is no one name."""
    name = unquote(tail)
    if "/" in name or "\\" in name:
        raise e.NotFound()
    clean = parse_file_name([f"attachment; filename*=utf-8''{quote(name, errors='replace')}"])
    if clean is None:
        raise e.NotFound()
    return clean


def parse_part(
    headers: h.Fields, fields: Mapping[str, bytes], *, max_metadata_bytes: int
) -> CreateUpload:
    """The upload of one file of a form: ``headers`` of its part, ``fields`` that came before it.
    Raises FormInvalid."""
    metadata = build_pairs({**parse_representation(headers).values(), **fields})
    if len(metadata.wire) > max_metadata_bytes:
        raise e.FormInvalid("its fields are too large")
    return CreateUpload(
        length=None,
        metadata=metadata,
        announced_bytes=None,
        protocol=FORM,
        completion=Completion.NOW,
        outlives_cut=True,
    )


def _completed(told: Metadata, found: Mapping[str, bytes]) -> Metadata:
    """What the client told for the purpose, and what else its request says."""
    known = told.values()
    more = build_pairs({key: value for key, value in found.items() if key not in known})
    wire = ",".join(filter(None, (told.wire, more.wire)))
    parse_pairs(wire)  # there is a bound to pairs
    return Metadata(wire)


# ------------------------------------------------------------------ answers


def build_stored(stored: Sequence[Stored], shape: Shape) -> Answer:
    """All files are complete. A form's are a list, also where it had one."""
    described = [_describe(one) for one in stored]
    said = {"uploads": described} if shape is Shape.FORM else described[0]
    return build_json(201, ((h.LOCATION, stored[0].location),), said)


def is_kept(error: UploadError) -> bool:
    """An upload that ended with ``error`` can be gone on with, or will be decided later."""
    return not isinstance(error, _LEAVES_NOTHING)


def build_failure(
    error: UploadError,
    stored: Sequence[Stored],
    cut: Stored | None,
    *,
    request_id: str,
    refusal_status: int | None,
) -> Answer:
    """A refusal. ``stored``: what a form had made before, and stays. ``cut``: what is left of the
    file at which it ended: its address is told, and its offset where ``error`` knows it."""
    status, common = STATUSES.judge(error, method="POST", refusal_status=refusal_status)
    headers: list[Header] = list(common)
    uploads = [_describe(one) for one in stored]
    if cut is not None:
        headers.append((h.LOCATION, cut.location))
        if error.offset is not None:
            headers.append((h.UPLOAD_OFFSET, h.build_bytes(error.offset)))
        uploads.append(_describe(cut) | {"offset": error.offset})
    more = {"uploads": uploads} if uploads else {}
    return build_refusal(error, status, tuple(headers), request_id, more)


def _describe(one: Stored) -> dict[str, object]:
    upload = one.upload
    return {
        "id": upload.id,
        "location": one.location,
        "offset": upload.offset,
        "length": upload.length,
        "is_complete": upload.is_complete,
    }
