"""The names of all header fields, and the grammar of those that carry upload facts.

``parse_x`` takes a field value as it came and returns its meaning or raises InvalidHeader;
``build_x`` makes a value that ``parse_x`` of a client would take. Nothing else may escape.
"""

from collections.abc import Iterable
from email.utils import formatdate
from typing import Final, Protocol

from tusd_py.core.errors import HeadersTooLarge, InvalidHeader, InvalidMetadata
from tusd_py.core.metadata import Metadata, parse_pairs
from tusd_py.core.rules import MAX_LENGTH

ACCEPT_PATCH: Final = "Accept-Patch"
ACCEPT_RANGES: Final = "Accept-Ranges"
ACCESS_CONTROL_ALLOW_CREDENTIALS: Final = "Access-Control-Allow-Credentials"
ACCESS_CONTROL_ALLOW_HEADERS: Final = "Access-Control-Allow-Headers"
ACCESS_CONTROL_ALLOW_METHODS: Final = "Access-Control-Allow-Methods"
ACCESS_CONTROL_ALLOW_ORIGIN: Final = "Access-Control-Allow-Origin"
ACCESS_CONTROL_EXPOSE_HEADERS: Final = "Access-Control-Expose-Headers"
ACCESS_CONTROL_MAX_AGE: Final = "Access-Control-Max-Age"
ACCESS_CONTROL_REQUEST_METHOD: Final = "Access-Control-Request-Method"
ACCEL_BUFFERING: Final = "X-Accel-Buffering"
ALLOW: Final = "Allow"
AUTHORIZATION: Final = "Authorization"
CACHE_CONTROL: Final = "Cache-Control"
CONNECTION: Final = "Connection"
CONTENT_DIGEST: Final = "Content-Digest"
CONTENT_DISPOSITION: Final = "Content-Disposition"
CONTENT_ENCODING: Final = "Content-Encoding"
CONTENT_LENGTH: Final = "Content-Length"
CONTENT_RANGE: Final = "Content-Range"
CONTENT_SECURITY_POLICY: Final = "Content-Security-Policy"
CONTENT_TRANSFER_ENCODING: Final = "Content-Transfer-Encoding"
CONTENT_TYPE: Final = "Content-Type"
CONTENT_TYPE_OPTIONS: Final = "X-Content-Type-Options"
CROSS_ORIGIN_RESOURCE_POLICY: Final = "Cross-Origin-Resource-Policy"
DATE: Final = "Date"
ETAG: Final = "ETag"
EXPECT: Final = "Expect"
FORWARDED: Final = "Forwarded"
HOST: Final = "Host"
IF_MATCH: Final = "If-Match"
IF_MODIFIED_SINCE: Final = "If-Modified-Since"
IF_NONE_MATCH: Final = "If-None-Match"
IF_RANGE: Final = "If-Range"
IF_UNMODIFIED_SINCE: Final = "If-Unmodified-Since"
LAST_EVENT_ID: Final = "Last-Event-ID"
LAST_MODIFIED: Final = "Last-Modified"
LOCATION: Final = "Location"
METHOD_OVERRIDE: Final = "X-HTTP-Method-Override"
ORIGIN: Final = "Origin"
RANGE: Final = "Range"
REPR_DIGEST: Final = "Repr-Digest"
REQUESTED_WITH: Final = "X-Requested-With"
REQUEST_ID: Final = "X-Request-ID"
RETRY_AFTER: Final = "Retry-After"
SERVER: Final = "Server"
TRAILER: Final = "Trailer"
TRANSFER_ENCODING: Final = "Transfer-Encoding"
TUS_CHECKSUM_ALGORITHM: Final = "Tus-Checksum-Algorithm"
TUS_EXTENSION: Final = "Tus-Extension"
TUS_MAX_SIZE: Final = "Tus-Max-Size"
TUS_RESUMABLE: Final = "Tus-Resumable"
TUS_VERSION: Final = "Tus-Version"
UPGRADE: Final = "Upgrade"
UPLOAD_CHECKSUM: Final = "Upload-Checksum"
UPLOAD_COMPLETE: Final = "Upload-Complete"
UPLOAD_CONCAT: Final = "Upload-Concat"
UPLOAD_DEFER_LENGTH: Final = "Upload-Defer-Length"
UPLOAD_DRAFT_INTEROP_VERSION: Final = "Upload-Draft-Interop-Version"
UPLOAD_EXPIRES: Final = "Upload-Expires"
UPLOAD_INCOMPLETE: Final = "Upload-Incomplete"
UPLOAD_LENGTH: Final = "Upload-Length"
UPLOAD_LIMIT: Final = "Upload-Limit"
UPLOAD_METADATA: Final = "Upload-Metadata"
UPLOAD_OFFSET: Final = "Upload-Offset"
VARY: Final = "Vary"
VIA: Final = "Via"
WANT_REPR_DIGEST: Final = "Want-Repr-Digest"
WWW_AUTHENTICATE: Final = "WWW-Authenticate"
X_FORWARDED_FOR: Final = "X-Forwarded-For"
X_FORWARDED_HOST: Final = "X-Forwarded-Host"
X_FORWARDED_PROTO: Final = "X-Forwarded-Proto"

OFFSET_OCTET_STREAM: Final = "application/offset+octet-stream"
PARTIAL_UPLOAD: Final = "application/partial-upload"
JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"

TOO_MANY_BYTES: Final = MAX_LENGTH + 1
"""What ``parse_bytes`` makes of every number that is larger than a file can be."""
_MAX_DIGITS: Final = len(str(MAX_LENGTH))
_OWS: Final = " \t"


class Fields(Protocol):
    """The header fields of a request: names without regard to case, repeated lines apart."""

    def getall(self, key: str, default: list[str], /) -> list[str]: ...


def single(fields: Fields, name: str) -> str | None:
    """The value of a field that may stand there once; None where it is absent.

    Lines that say the same are one line (a proxy may have doubled it); lines that differ have no
    meaning. RFC 9110, 5.5: white space around a value is not part of it.
    """
    lines = fields.getall(name, [])
    if not lines:
        return None
    value = lines[0].strip(_OWS)
    if len(lines) > 1 and any(line.strip(_OWS) != value for line in lines[1:]):
        raise InvalidHeader(name, "given once")
    return value


def announces_trailer(fields: Fields, name: str) -> bool:
    """``Trailer`` says that a field of this name comes behind the body."""
    announced = ",".join(fields.getall(TRAILER, []))
    return name.lower() in {one.strip(_OWS).lower() for one in announced.split(",")}


def parse_bytes(name: str, text: str) -> int:
    """tus 1.0: "The value MUST be a non-negative integer."

    The text sets no upper bound: a length that no file can have is well written and too large
    (413), an offset like that is the wrong one (409). Both rules see ``TOO_MANY_BYTES``.
    """
    # str.isdigit() takes "²" and int() takes " 5" and "1_0"; the grammar takes neither.
    if not (text.isascii() and text.isdigit()):
        raise InvalidHeader(name, "a whole number of bytes")
    digits = text.lstrip("0") or "0"
    # Long texts never become a number: int() takes quadratic time.
    return TOO_MANY_BYTES if len(digits) > _MAX_DIGITS else min(int(digits), TOO_MANY_BYTES)


def build_bytes(number: int) -> str:
    return str(number)


def parse_defer_length(text: str) -> bool:
    """tus 1.0, "Upload-Defer-Length": "The Upload-Defer-Length value MUST be 1."."""
    if text != "1":
        raise InvalidHeader(UPLOAD_DEFER_LENGTH, "1")
    return True


def parse_metadata(lines: Iterable[str], *, max_bytes: int) -> Metadata:
    """The metadata of all ``Upload-Metadata`` lines, byte for byte.

    tus 1.0 wants unique keys. One known client (tusc) adds a line of its own to its user's and so
    repeats ``filename``: of a key that stood in an earlier line the earlier value counts. A key
    twice in one line is refused.
    """
    merged: list[str] = []
    seen: set[str] = set()
    for line in lines:
        text = line.strip(_OWS)
        if not text:
            continue
        pairs = [pair for pair in text.split(",") if _key_of(pair) not in seen]
        seen.update(map(_key_of, pairs))
        merged.extend(pairs)
    wire = ",".join(merged)
    try:
        size = len(wire.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise InvalidMetadata("is not UTF-8 text") from exc
    if size > max_bytes:
        raise HeadersTooLarge()
    parse_pairs(wire)
    return Metadata(wire)


def _key_of(pair: str) -> str:
    return pair.strip(_OWS).partition(" ")[0]


def build_metadata(metadata: Metadata) -> str:
    """The value that the client specified, less what must not be kept."""
    return metadata.wire


def parse_media_type(text: str | None) -> str:
    """Type and subtype in lower case, without parameters; empty where there is none."""
    return "" if text is None else text.partition(";")[0].strip(_OWS).lower()


def parse_bearer(text: str | None) -> str | None:
    """The token of ``Authorization: Bearer``; None for other schemes (RFC 6750, 2.1)."""
    if text is None:
        return None
    scheme, _, token = text.strip(_OWS).partition(" ")
    return (token.strip(_OWS) or None) if scheme.lower() == "bearer" else None


def build_date(unix_seconds: float) -> str:
    """IMF-fixdate, as RFC 9110 wants senders to write it; whole seconds, never later."""
    return formatdate(int(unix_seconds), usegmt=True)


def build_retry_after(seconds: float) -> str:
    """Whole seconds, at least one, never earlier than asked for."""
    whole = int(seconds)
    return str(max(1, whole if whole >= seconds else whole + 1))
