"""Who may touch which upload: claims of a token, the owner they make, and the binding of the two.

The four refusals and their texts are the platform's own: ``token invalid (null)``,
``token invalid (<12 characters>…)`` and the two mismatches, A in the token and B in the metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tusd_py.core.errors import (
    ClientMismatch,
    TokenInvalid,
    TokenTooNarrow,
    TypeNotAllowed,
    VideoMismatch,
)
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.metadata import Metadata

SHOWN_TOKEN_CHARS: Final = 12
TOKEN_KEY: Final = "token"


@dataclass(frozen=True, slots=True)
class Owner:
    """The one video and the one client that an upload belongs to."""

    video_id: VideoId
    client_id: ClientId


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token, whose signature holds, says."""

    owner: Owner
    max_bytes: int | None = None
    allowed_types: tuple[str, ...] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Overrides for owner, hooks and destination; never echoed to the client."""
    scope: frozenset[str] | None = None
    """None: everything. Else of ``create``, ``append``, ``read``, ``terminate``."""
    once_id: str | None = None
    """The token's ``jti`` where it is for one file only."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Without claims nobody was named: the URL is the capability, or tokens are off."""

    claims: Claims | None = None

    @property
    def owner(self) -> Owner | None:
        return self.claims.owner if self.claims else None

    def require_scope(self, wanted: str) -> None:
        """Raises TokenTooNarrow where the token names scopes and not this one."""
        if self.claims and self.claims.scope is not None and wanted not in self.claims.scope:
            raise TokenTooNarrow(f"it lacks the scope {wanted}")


ANYBODY: Final = Principal()


def show_token(token: str | None) -> str:
    """As much of a token as may be shown: ``null`` or its first 12 characters and an ellipsis."""
    if not token:
        return "null"
    # Client text in an answer: printable ASCII only, so that it cannot end a header or a line.
    shown = "".join(c if " " < c < "\x7f" else "?" for c in token[:SHOWN_TOKEN_CHARS])
    return f"{shown}…"


def check_binding(claims: Claims, metadata: Metadata, *, token_in_metadata: bool) -> None:
    """The token and the metadata speak of the same video and client, or a refusal is raised.

    With the token in the header a key that is absent from the metadata is taken from the claims
    (partial uploads carry no metadata); with the token in the metadata both keys are needed.
    """
    video_id, client_id = metadata.text("video_id"), metadata.text("client_id")
    if token_in_metadata and (not video_id or not client_id):
        raise TokenInvalid("null")
    if video_id and video_id != claims.owner.video_id:
        raise VideoMismatch(token=claims.owner.video_id, metadata=_shown(video_id))
    if client_id and client_id != claims.owner.client_id:
        raise ClientMismatch(token=claims.owner.client_id, metadata=_shown(client_id))


def check_owner(principal: Principal, owner: Owner) -> None:
    """A principal that is named must be the upload's owner; one that is not has the URL."""
    claimed = principal.owner
    if claimed is None or claimed == owner:
        return
    if claimed.video_id != owner.video_id:
        raise VideoMismatch(token=claimed.video_id, metadata=owner.video_id)
    raise ClientMismatch(token=claimed.client_id, metadata=owner.client_id)


def check_type(claims: Claims, metadata: Metadata) -> None:
    """The metadata's ``filetype`` is one the token allows; ``video/*`` stands for a family."""
    if claims.allowed_types is None:
        return
    # Media types are case-insensitive and may carry parameters (RFC 9110, 8.3.1).
    actual = (metadata.text("filetype") or "").partition(";")[0].strip().lower()
    family = actual.partition("/")[0] + "/*"
    allowed = {wanted.lower() for wanted in claims.allowed_types}
    if "/" not in actual or not ({actual, family, "*/*"} & allowed):
        raise TypeNotAllowed()


def _shown(text: str, max_chars: int = 64) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text[:max_chars])
    return printable + "…" if len(text) > max_chars else printable
