"""Refusals of Resumable Uploads for HTTP: statuses, and problem details (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from tusd_py.core import errors as e
from tusd_py.core.errors import UploadError
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header
from tusd_py.protocol.refusals import Statuses

STATUSES: Final = Statuses(
    {
        e.InvalidHeader: 400,
        e.MissingHeader: 400,
        e.InvalidMetadata: 400,
        e.LengthMissing: 400,
        e.LengthConflict: 400,
        e.UnsupportedVersion: 412,
        e.UnsupportedMediaType: 415,
        e.MethodNotAllowed: 405,
        # The drafts leave it open; the problem types for digests recommend 400.
        e.ChecksumUnsupported: 400,
        e.ChecksumMismatch: 400,
        e.WholeDigestMismatch: 400,
        e.BodyMalformed: 400,
        e.TokenInvalid: 401,
        e.VideoMismatch: 403,
        e.ClientMismatch: 403,
        e.TokenTooNarrow: 403,
        e.TypeNotAllowed: 403,
        # Older drafts: what is not active (any more) MUST be 404.
        e.UploadUnknown: 404,
        e.UploadDamaged: 404,
        e.UploadTooLarge: 413,
        e.OffsetMismatch: 409,
        # Bytes past the length contradict it; that is no limit of ours.
        e.BodyTooLong: 400,
        e.UploadIsFinal: 403,
        e.UploadLocked: 423,
        e.UploadFinished: 400,
        e.PartUnusable: 400,
        e.BytesGone: 410,
        e.RangeUnsatisfiable: 416,
        e.PreconditionFailed: 412,
        e.FormInvalid: 400,
        e.TooManyWatchers: 503,
        e.UploadHandedOver: 423,
        e.LeaseLost: 423,
        e.GateRefused: 403,
        e.GateFailed: 503,
        e.StorageFull: 507,
        e.StorageFailed: 503,
        e.StateUnavailable: 503,
        e.ServerStopping: 503,
        e.BodyTooSlow: 503,
        e.ClientGone: 400,
        e.TooManyRequests: 429,
        e.CreationDelayed: 503,
        e.InternalError: 500,
        e.NotFound: 404,
        e.BadRequest: 400,
        e.MethodUnknown: 501,
        e.HeadersTooLarge: 431,
        e.ExpectationFailed: 417,
    },
    # 400 too: a HEAD that carries an offset is refused in every version.
    on_head=frozenset({400, 401, 403, 404, 405, 423}),
)

REGISTRY: Final = "https://iana.org/assignments/http-problem-types#"
_INCONSISTENT: Final = ("inconsistent-upload-length", "inconsistent length values for upload")
_MISMATCHING_DIGEST: Final = ("digest-mismatching-values", "mismatching digest values")
TYPES: Final[Mapping[type[UploadError], tuple[str, str]]] = {
    e.OffsetMismatch: (
        "mismatching-upload-offset",
        "offset from request does not match offset of resource",
    ),
    e.LengthConflict: _INCONSISTENT,
    e.BodyTooLong: _INCONSISTENT,
    e.UploadFinished: ("completed-upload", "upload is already completed"),
    e.ChecksumMismatch: _MISMATCHING_DIGEST,
    e.WholeDigestMismatch: _MISMATCHING_DIGEST,
    e.ChecksumUnsupported: ("digest-unsupported-algorithms", "unsupported hashing algorithms"),
}
"""Problems that are registered, or going to be: the name behind ``#``, and its title."""
_HEADERS: Final[tuple[Header, ...]] = (
    (h.CONTENT_TYPE, h.PROBLEM_JSON),
    # Text of ours with a client's words in it must never be taken for a page.
    (h.CONTENT_TYPE_OPTIONS, "nosniff"),
)


def build_problem(
    error: UploadError, status: int, headers: tuple[Header, ...], request_id: str
) -> Answer:
    """The refusal as problem details, with the same ``code`` and ``request_id`` as everywhere."""
    name, title = TYPES.get(type(error), (None, _phrase(status)))
    problem: dict[str, Any] = {
        "type": "about:blank" if name is None else REGISTRY + name,
        "title": title,
        "status": status,
        "detail": str(error),
        "code": error.code,
        "request_id": request_id,
    }
    if isinstance(error, e.OffsetMismatch):
        problem |= {"expected-offset": error.stored, "provided-offset": error.requested}
    text = json.dumps(problem, ensure_ascii=False)
    # A lone surrogate (a header that was not UTF-8) must not make an answer fail.
    body = text.encode("utf-8", "replace") + b"\n"
    return Answer(status, (*headers, *_HEADERS), body, error.code)


def _phrase(status: int) -> str:
    """RFC 9457, 4.2.1: the title of ``about:blank`` is that of the status; a gate may have one
    that nobody has registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
