"""How uploads stand, as JSON: of one, and of all of a client's for one video.

Nothing here takes a lease or asks a writer to let go, so that it may be asked at any rate.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from tusd_py.core.errors import BadRequest, NotFound, UploadUnknown
from tusd_py.core.identity import Owner, Principal
from tusd_py.core.ids import ClientId, UploadId, VideoId, parse_upload_id
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header, build_json
from tusd_py.protocol.ranges import is_known
from tusd_py.service.observing import MAX_PAGE, STATE_WORDS, Page, View
from tusd_py.web.exchange import Exchange
from tusd_py.web.health import options_or_refusal
from tusd_py.web.uploads import SCOPE_READ, bearer_of

PAGE: Final = 50
"""Uploads of one page where the client does not say."""
TAG_DIGITS: Final = 32
_NO_STORE: Final[Header] = (h.CACHE_CONTROL, "no-store")


class ReadAccess(Protocol):
    """What is asked of ``service.access.Access``."""

    async def for_upload(self, bearer: str | None, scope: str) -> Principal: ...
    async def for_listing(self, bearer: str | None) -> Principal: ...


class ViewService(Protocol):
    """What is asked of ``service.observing.Observing``."""

    async def look(self, upload_id: UploadId, principal: Principal) -> View: ...
    async def page(
        self, owner: Owner, *, state: str | None, after: UploadId | None, limit: int
    ) -> Page: ...


class UploadStatus:
    """``<base><id>/status``."""

    name = "status"

    def __init__(self, views: ViewService, access: ReadAccess) -> None:
        self._views = views
        self._access = access

    async def answer(self, exchange: Exchange) -> Answer:
        if answer := options_or_refusal(exchange.method):
            return answer
        upload_id = id_in(exchange.tail)
        principal = await self._access.for_upload(bearer_of(exchange), SCOPE_READ)
        view = await self._views.look(upload_id, principal)
        return build_view(exchange, view.data)

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """Nobody misses it."""


class StatusList:
    """``<base>status``: page by page, in the order of ids."""

    name = "status_list"

    def __init__(self, views: ViewService, access: ReadAccess) -> None:
        self._views = views
        self._access = access

    async def answer(self, exchange: Exchange) -> Answer:
        if answer := options_or_refusal(exchange.method):
            return answer
        owner = owner_of(await self._access.for_listing(bearer_of(exchange)), exchange)
        asked = exchange.request.rel_url.query
        page = await self._views.page(
            owner,
            state=_parse_state(asked.get("state")),
            after=_parse_after(asked.get("after")),
            limit=_parse_limit(asked.get("limit")),
        )
        return build_view(
            exchange, {"uploads": [dict(view.data) for view in page.views], "after": page.after}
        )

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """Nobody misses it."""


def build_view(exchange: Exchange, data: Mapping[str, Any]) -> Answer:
    """Told without being kept by caches; whoever names the tag hears only that nothing changed."""
    tag = f'"{tag_of(data)}"'
    headers: tuple[Header, ...] = ((h.ETAG, tag), _NO_STORE)
    if is_known(exchange.request.headers, tag):
        return Answer(304, headers)
    return build_json(200, headers, data)


def tag_of(data: Mapping[str, Any]) -> str:
    """Another one for all other data."""
    return hashlib.sha256(write_json(data).encode()).hexdigest()[:TAG_DIGITS]


def write_json(data: Mapping[str, Any]) -> str:
    """One line of ASCII."""
    return json.dumps(data, separators=(",", ":"))


def id_in(tail: str) -> UploadId:
    """Raises what the upload's own address would be refused with."""
    upload_id = parse_upload_id(tail)
    if upload_id is None:
        raise NotFound() if "/" in tail else UploadUnknown()
    return upload_id


def owner_of(principal: Principal, exchange: Exchange) -> Owner:
    """The token's; where tokens are off, the one that the query names."""
    if principal.owner is not None:
        return principal.owner
    asked = exchange.request.rel_url.query
    video_id, client_id = asked.get("video_id"), asked.get("client_id")
    if video_id is None or client_id is None:
        raise BadRequest("Without tokens the query must name video_id and client_id.")
    return Owner(VideoId(video_id), ClientId(client_id))


def _parse_state(text: str | None) -> str | None:
    if text is not None and text not in STATE_WORDS:
        raise BadRequest(f"The query's state must be one of {', '.join(STATE_WORDS)}.")
    return text


def _parse_after(text: str | None) -> UploadId | None:
    if not text:
        return None
    if (upload_id := parse_upload_id(text)) is None:
        raise BadRequest("The query's after must be what the page before said.")
    return upload_id


def _parse_limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_PAGE):
        raise BadRequest(f"The query's limit must be a number from 1 to {MAX_PAGE}.")
    return int(text)
