"""Cross-origin rules of browsers (WHATWG Fetch): what each answer says to them.

All of it is made once; a request chooses. Errors carry it too: without it a browser shows its
script a network error, and the client retries what was refused.
"""

from collections.abc import Iterable
from typing import Final

from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Header

METHODS: Final = "POST, PUT, HEAD, PATCH, DELETE, GET, OPTIONS"
MAX_AGE_SECONDS: Final = 86400
ALLOWED: Final = (
    h.AUTHORIZATION,
    h.CONTENT_TYPE,
    h.ORIGIN,
    h.REQUESTED_WITH,
    h.REQUEST_ID,
    h.METHOD_OVERRIDE,
    h.TUS_RESUMABLE,
    h.UPLOAD_LENGTH,
    h.UPLOAD_OFFSET,
    h.UPLOAD_METADATA,
    h.UPLOAD_DEFER_LENGTH,
    h.UPLOAD_CONCAT,
    h.UPLOAD_CHECKSUM,
    h.UPLOAD_COMPLETE,
    h.UPLOAD_INCOMPLETE,
    h.UPLOAD_DRAFT_INTEROP_VERSION,
    h.UPLOAD_LIMIT,
    h.CONTENT_DIGEST,
    h.CONTENT_DISPOSITION,
    h.CONTENT_ENCODING,
    h.REPR_DIGEST,
    h.WANT_REPR_DIGEST,
    h.RANGE,
    h.IF_RANGE,
    h.IF_MATCH,
    h.IF_NONE_MATCH,
    h.IF_MODIFIED_SINCE,
    h.IF_UNMODIFIED_SINCE,
    h.LAST_EVENT_ID,
)
EXPOSED: Final = (
    h.LOCATION,
    h.UPLOAD_OFFSET,
    h.UPLOAD_LENGTH,
    h.UPLOAD_METADATA,
    h.UPLOAD_DEFER_LENGTH,
    h.UPLOAD_CONCAT,
    h.UPLOAD_EXPIRES,
    h.UPLOAD_COMPLETE,
    h.UPLOAD_INCOMPLETE,
    h.UPLOAD_DRAFT_INTEROP_VERSION,
    h.UPLOAD_LIMIT,
    h.ACCEPT_PATCH,
    h.REPR_DIGEST,
    h.TUS_VERSION,
    h.TUS_RESUMABLE,
    h.TUS_MAX_SIZE,
    h.TUS_EXTENSION,
    h.TUS_CHECKSUM_ALGORITHM,
    h.ACCEPT_RANGES,
    h.CONTENT_RANGE,
    h.CONTENT_DISPOSITION,
    h.ETAG,
    h.RETRY_AFTER,
    h.REQUEST_ID,
)
ANY_ORIGIN: Final = "*"


class Cors:
    """The operator's rule: any origin, or a list of them, with or without credentials."""

    def __init__(
        self,
        origins: Iterable[str] = (ANY_ORIGIN,),
        *,
        credentials: bool = False,
        extra_allowed: Iterable[str] = (),
        extra_exposed: Iterable[str] = (),
    ) -> None:
        listed = frozenset(origins)
        if credentials and ANY_ORIGIN in listed:
            raise ValueError("credentials need a list of origins: browsers refuse * with them")
        preflight = (
            (h.ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (h.ACCESS_CONTROL_ALLOW_HEADERS, ", ".join((*ALLOWED, *extra_allowed))),
            (h.ACCESS_CONTROL_MAX_AGE, str(MAX_AGE_SECONDS)),
        )
        expose = ((h.ACCESS_CONTROL_EXPOSE_HEADERS, ", ".join((*EXPOSED, *extra_exposed))),)
        creds = ((h.ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),) if credentials else ()
        self._is_any = ANY_ORIGIN in listed
        # Where the origin is echoed a cache must keep the answers apart, also those without it.
        vary = () if self._is_any else ((h.VARY, h.ORIGIN),)
        any_origin = ((h.ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN),) if self._is_any else ()
        self._plain: dict[str | None, tuple[Header, ...]] = {None: (*any_origin, *vary, *expose)}
        self._preflight: dict[str | None, tuple[Header, ...]] = {
            None: (*any_origin, *vary, *(preflight if self._is_any else ()))
        }
        for origin in () if self._is_any else listed:
            echo = ((h.ACCESS_CONTROL_ALLOW_ORIGIN, origin), *vary, *creds)
            self._plain[origin] = (*echo, *expose)
            self._preflight[origin] = (*echo, *preflight)

    def key_of(self, origin: str | None) -> str | None:
        """What of ``origin`` matters: itself where it is listed, else None. Nothing else of a
        client is ever echoed."""
        return origin if origin in self._plain else None

    def keys(self) -> Iterable[str | None]:
        """All keys there are, to make the headers of answers once."""
        return self._plain.keys()

    def headers(self, key: str | None) -> tuple[Header, ...]:
        """For an answer to anything but a preflight."""
        return self._plain[key]

    def preflight(self, key: str | None) -> tuple[Header, ...]:
        """For the answer to a preflight: it is made without credentials or tus headers."""
        return self._preflight[key]
